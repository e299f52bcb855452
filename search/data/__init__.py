"""Real images, ready for training."""

from search.data.dataset import Data, check_settings, join_training, load, load_test

__all__ = ["Data", "check_settings", "join_training", "load", "load_test"]
