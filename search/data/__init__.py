"""Real images, ready for training."""

from search.data.dataset import Data
from search.data.loading import join_training, load, load_test
from search.data.settings import check_settings

__all__ = ["Data", "check_settings", "join_training", "load", "load_test"]
