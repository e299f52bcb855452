"""The names that a trial's values have: columns of the tables, and attributes in the storage."""

from __future__ import annotations

from search.objective.costs import BUILT_IN

_COSTS = {name: cost.meaning for name, cost in BUILT_IN.items()}

TRIAL_COLUMNS = {
    "number": "of the trial, from 0 in the order in which they were proposed",
    "state": "complete; stopped, early; failed; infeasible, beyond a hard limit; running; waiting to run again",
    "accuracy": "share of the validation images classified rightly after the last epoch, 0 to 1",
    "accuracy_top5": "share of them whose class is among the five best guesses; from 20 classes on",
    **{name: _COSTS[name] for name in ("flops", "params", "latency_ms")},
    "latency_error": "relative standard deviation of that prediction",
    **_COSTS,  # the others: those that are there already keep their places
    "reward": "MnasNet's, accuracy x (cost / target)^w, of `accuracy_mean` where it is known; its mean over a range of targets",
    "epochs": "epochs trained",
    "seconds": "wall time of the training",
    "digest": "16 hexadecimal digits that equal networks share; also the end of their names in front/",
    "duplicate_of": "number of the trial that had trained the same before, whose outcome this one repeats",
    "failure": "why it failed (diverged, out of memory, exception, worker lost), or which limit it exceeds and by what",
    "retried": "why it was started again, where its worker was lost before",
}
"""The columns every trials table opens with, and what each holds. A study's own costs stand after the built-in ones."""

LEARNT_COLUMNS = {
    "name": "of a network that was enqueued, such as one of the literature",
    "accuracy_mean": "mean accuracy under the other seeds of `confirm=`, the trial's own training left out",
    "accuracy_std": "standard deviation of those accuracies",
    "confirmations": "how many they are",
    "measured_ms": "milliseconds a forward pass, measured end to end after the search",
}
"""Columns that follow where a trial has them. Each further column is a decision."""

ATTRIBUTES = ("architecture", "candidate", "curve", "driver", "enqueued", "infeasible", "outside")
"""What a trial stores beside its columns."""

TAKEN = frozenset({*TRIAL_COLUMNS, *LEARNT_COLUMNS, *ATTRIBUTES})
"""Names that a further cost cannot have."""
