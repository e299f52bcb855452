"""What must hold before a search starts, of its parts together."""

from __future__ import annotations

from search.evaluation.job import Evaluator
from search.objective.reward import Objective
from search.samplers.fidelity import Fidelity, Full
from spaces import InputError, SearchSpace


def check_evaluator(evaluator: Evaluator, objective: Objective, *, confirm: int) -> None:
    """Raises InputError where the evaluator cannot confirm, or declares no metric of a name that is limited."""
    objective.check_metrics(evaluator.metrics)
    if confirm and not evaluator.takes_seed:
        raise InputError(
            f"confirm={confirm}: the function takes no `seed`, so that all its evaluations of a network would be one; give it a "
            "parameter `seed`"
        )


def check_rungs(
    fidelity: Fidelity, evaluator: Evaluator, space: SearchSpace, epochs: int | None = None, key: str = "train.epochs"
) -> None:
    """Raises InputError where no evaluation can be stopped early.

    Args:
        fidelity: the search's.
        evaluator: the search's.
        space: its hyperparameters may state the epochs.
        epochs: of an evaluation whose hyperparameters state none.
        key: the setting that states the epochs.
    """
    if isinstance(fidelity, Full):
        return
    if not evaluator.reports:
        raise InputError(
            "fidelity: the function takes no `report`, by which it could be stopped early; give it a parameter `report`, or "
            "fidelity=full"
        )
    stated = [candidate.hyperparameters.get("epochs", epochs) for candidate in space.coverage()]
    known = {int(count) for count in stated if count is not None}
    if None in stated:
        raise InputError("fidelity: epochs= is missing; it says how many epochs the function reports")
    if not any(map(fidelity.rungs, known)):
        raise InputError(
            f"fidelity: a training of {key}={max(known)} has no rung at which it could be stopped; give it more "
            "epochs, or fidelity=full"
        )
