"""The time of one proposal after 100, 1,000 and 10,000 trials, beside Optuna's samplers.

    python tests/benchmarks/ask_time.py [--sizes 100,1000,10000] [--samplers cost_aware,tpe,nsga2,gp] [--space chain:0]

The first proposal is that of a driver that has just started: nothing is remembered of costs, layers or trials. The next ones are
those of a driver that goes on. Processor time of `Study.ask`, with the trials in memory; a sampler that needs more than
`MAX_S` for one is not asked after more trials.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from problems import problem

from search.objective import Objective
from search.samplers import make_sampler
from search.study import Outcome, Study
from spaces import SearchSpace
from spaces.costs import forget

GOALS_S = {100: 0.5, 1_000: 1.0, 10_000: 2.0}
MAX_S = 60.0
NUM_NEXT = 3
SETTINGS = {"tpe": {"multivariate": True}, "gp": {"warn_independent_sampling": False}}


def study(space: SearchSpace, name: str, size: int) -> Study:
    """A study in memory."""
    sampler = make_sampler({"name": name, **SETTINGS.get(name, {})}, 1)
    return Study(space, Objective(), sampler, optuna.storages.InMemoryStorage(), trials=size + 10)
