"""Trials that a search did not leave as they are: added or edited by hand, in a tool that knows nothing of networks."""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

from spaces.architecture import digest_of
from spaces.checks import is_number


def defect(trial: FrozenTrial) -> str | None:
    """Why a finished trial cannot be one that a search wrote; None where it can.

    What has a defect is passed over: it does not count, informs no sampler and is on no front.
    """
    attributes = trial.user_attrs
    if {"infeasible", "duplicate_of"} & attributes.keys():
        return None
    missing = [name for name in ("digest", "architecture", "flops", "params") if name not in attributes]
    if missing:
        return f"edited by hand: it has no {missing[0]}"
    if digest_of(attributes["architecture"]) != attributes["digest"]:
        return "edited by hand: its architecture is not that of its digest"
    accuracy = attributes.get("accuracy")
    good = is_number(accuracy) and 0 <= accuracy <= 1
    if not good and (trial.state is TrialState.COMPLETE or accuracy is not None):
        return f"edited by hand: its accuracy is {accuracy!r}"
    return None
