"""Where candidates are evaluated."""

# This module imports nothing heavy: `search.run` starts the workers' server before its own imports, which take as long.

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.backends.base import Backend, BackendSettings
    from search.evaluation.job import Evaluator


def make_backend(
    settings: BackendSettings,
    workers: int | None,
    evaluator: Evaluator,
    imports: Sequence[str],
    *,
    bounded: bool = False,
) -> Backend:
    """The backend of `settings`, ready to start jobs.

    Args:
        workers: jobs at the same time; None: as many as there are CPU cores, or as the cluster has room for.
        evaluator: evaluates the jobs.
        imports: modules every worker imports first.
        bounded: whether the search has a time limit, at which jobs are ended.

    Raises:
        InputError: it cannot start.
    """
    # each brings much that the other does not need
    if settings.name == "ray":
        set_up_ray(only_here=settings.address is None)
        from search.backends.ray import RayBackend

        return RayBackend(settings, workers, evaluator, imports)
    workers = num_cores() if workers is None else workers
    if _runs_here(settings, workers, evaluator, bounded):
        from search.backends.inline import InlineBackend

        return InlineBackend(evaluator)
    from search.backends.local import LocalBackend

    return LocalBackend(
        workers,
        evaluator,
        imports,
        settings.accelerator,
        timeout_s=settings.trial_timeout_s,
        memory_mb=settings.trial_memory_mb,
    )


def check_backend(
    settings: BackendSettings,
    workers: int | None,
    evaluator: Evaluator,
    imports: Sequence[str],
    *,
    bounded: bool = False,
) -> None:
    """Finds out whether a trial can run there, before anything is made or measured. A cluster that is named is joined.

    Raises:
        InputError: it cannot.
    """
    from search.backends.base import check_room, choose_device

    if settings.name != "ray":
        choose_device(settings.accelerator)
        if _runs_here(settings, num_cores() if workers is None else workers, evaluator, bounded):
            return
    elif settings.address is None:
        check_room(settings)
    else:
        set_up_ray(only_here=False)
        from search.backends.ray import connect

        connect(settings, workers, imports)
    evaluator.fingerprint()


def _runs_here(settings: BackendSettings, workers: int, evaluator: Evaluator, bounded: bool) -> bool:
    """Whether jobs run in the driver's own process: a user's function, one at a time, which nothing may have to end."""
    from search.evaluation.user_function import UserFunction

    limited = bounded or settings.trial_timeout_s is not None or settings.trial_memory_mb is not None
    return isinstance(evaluator, UserFunction) and workers == 1 and not limited


def set_up_ray(*, only_here: bool) -> None:
    """Sets the variables that Ray and Tune read when they are imported; what the user has set stays.

    Args:
        only_here: for a cluster that is meant for this machine alone: it listens on the loopback address and no other, as Ray's
            clusters do on desktop systems; on Linux they would be open to the network.
    """
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study is the only record
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # the driver says how many run; their actors start side by side
        "TUNE_WARN_THRESHOLD_S": "1000000",
        "RAY_AIR_NEW_OUTPUT": "0",  # whose silence is complete
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if only_here else "1",
        "RAY_AUTH_MODE": "token",  # not the default of all versions
        "RAY_BACKEND_LOG_LEVEL": "fatal",  # what it cannot do is told in an error of ours
    }
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def num_cores() -> int:
    """The cores this process may use, which a container or a job scheduler can have narrowed."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
