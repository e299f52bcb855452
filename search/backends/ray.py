"""Trials on a Ray cluster: Ray Tune executes them, the study asks, tells and stores.

Tune wants to lead: it asks a searcher for trials and a scheduler for decisions, in a loop that blocks. Here it runs in a thread of
the driver, and both are mere doors to the driver's loop (`_Door`): whatever Tune has to say waits at the door until the driver has
dealt with it, so the two never act at the same time and Tune decides nothing. Tune's own retries, experiment state, result files
and restoring are not used.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, PlacementGroupFactory, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from search.backends import num_cores
from search.backends.base import (
    BackendSettings,
    EpochDone,
    Event,
    Finished,
    Job,
    Lost,
    overdue,
)
from search.backends.processes import SIGNALS, deaf
from search.backends.ray_worker import RayWorker
from search.data import Data
from search.evaluation.outcome import Outcome
from search.evaluation.training import Epoch
from search.system.scratch import Scratch
from spaces.errors import InputError

MAX_FALSE_STARTS = 3
"""Actors in a row that end before they could take a trial, after which the search ends."""

MAX_KEPT = 10_000
"""Actors that wait for their next trial, at most."""

_TRAINABLES: dict[tuple[Any, ...], Any] = {}

CAPACITY_S = 5.0
"""How often the cluster is asked for its size."""

NO_ROOM_S = 900.0
"""Seconds without a node that has room for a trial, after which the search ends; an autoscaler may take minutes for one."""


class RayBackend:
    """Jobs as trials of Ray Tune, each in an actor that is used again for the next one.

    Args:
        settings: of conf/backend/ray.yaml.
        workers: trials at the same time; None: as many as the cluster has room for, as it grows and shrinks.
        data: the images; they are put in the object store once.
        imports: modules every worker imports first.

    Raises:
        InputError: there is no such cluster, or none of its nodes has room for a trial.
    """

    def __init__(self, settings: BackendSettings, workers: int | None, data: Data, imports: Sequence[str] = ()) -> None:
        self._settings = settings
        self._workers = workers
        connect(settings, workers, imports)
        self._room, self._asked_at = cluster_capacity(settings), time.monotonic()
        self._had_room_at = self._asked_at
        self._jobs: dict[int, Job] = {}
        self._states: dict[int, tuple[Job, bytes]] = {}
        """The last checkpoint of jobs that have not finished: a lost one goes on from there."""
        self._door = _Door()
        self._scratch = Scratch()
        trainable = self._make_trainable(data, imports)
        self._thread = threading.Thread(target=self._tune, args=(trainable,), daemon=True)
        self._thread.start()

    @property
    def num_free(self) -> int:
        """Trials that the cluster has room for now."""
        self._look_for_room()
        # never 0: a cluster that has lost all its nodes may get new ones
        capacity = max(1, self._room) if self._workers is None else self._workers
        return max(0, capacity - len(self._jobs))

    def _look_for_room(self) -> None:
        """Asks the cluster for its size now and then, where that matters.

        Raises:
            InputError: no node has had room for a trial for too long.
        """
        now = time.monotonic()
        trains = any(running.started is not None for running in self._door.running())
        if now - self._asked_at > CAPACITY_S and (self._workers is None or not trains):
            self._room, self._asked_at = cluster_capacity(self._settings), now
        if self._room or trains:
            self._had_room_at = now
        elif now - self._had_room_at > NO_ROOM_S:
            raise InputError(f"backend: after {NO_ROOM_S / 60:g} minutes still {no_room(self._settings)}")

    def start(self, job: Job) -> None:
        """Passes a job on; one that was lost goes on from its last checkpoint."""
        known, state = self._states.pop(job.number, (job, None))
        self._jobs[job.number] = job
        self._door.put(job, state if known == job else None)

    def answer(self, number: int, go_on: bool) -> None:
        """Decides about the trial that waits at a rung."""
        self._door.answer(number, go_on)

    def wait(self, timeout_s: float) -> list[Event]:
        """What actors report.

        Raises:
            InputError: the cluster is gone.
        """
        self._stop_overdue()
        events: list[Event] = []
        for event, state in self._door.take(timeout_s):
            if isinstance(event, EpochDone):
                if state is not None:
                    self._states[event.number] = self._jobs[event.number], state
            elif isinstance(event, Finished | Lost):
                self._jobs.pop(event.number, None)
            if isinstance(event, Finished):
                self._states.pop(event.number, None)
            events.append(event)
        if not events and self._door.failure is not None:
            raise InputError(
                f"backend=ray: {self._door.failure}; nothing that was finished is lost, and the same command goes on"
            )
        return events

    def close(self) -> None:
        """Ends the trials, whatever they are doing, and leaves the cluster (or ends it, where it was started here)."""
        self._door.close()
        for running in self._door.running():
            _kill(running.actor)
        self._thread.join(timeout=20)
        self._scratch.remove()

    def _make_trainable(self, data: Data, imports: Sequence[str]) -> Any:
        """What Tune makes actors of; puts the images in the object store, once."""
        device = "cpu" if self._settings.accelerator == "cpu" or not self._settings.gpus else "cuda"
        # one for the studies of a sweep that differ in nothing that workers see: Tune gives nothing back that it has put there
        key = (ray.get_runtime_context().get_job_id(), data.fingerprint, tuple(imports), device, self._settings)
        if key not in _TRAINABLES:
            _TRAINABLES[key] = tune.with_parameters(
                RayWorker, data=data, imports=tuple(imports), device=device, settings=self._settings
            )
        return _TRAINABLES[key]

    def _stop_overdue(self) -> None:
        """Ends the actors of trials that are past their time: whatever hangs there would not listen."""
        limit = self._settings.trial_timeout_s
        if limit is None:
            return
        for running in self._door.running():
            if running.started is not None and running.limit is None and time.monotonic() - running.started > limit:
                running.limit = limit
                _kill(running.actor)

    def _tune(self, trainable: Any) -> None:
        """Tune's own loop, in its own thread, until the door is closed."""
        settings = self._settings
        resources = {"CPU": float(settings.cpus)}
        if settings.gpus:
            resources["GPU"] = float(settings.gpus)
        if settings.trial_memory_mb is not None:
            resources["memory"] = float(settings.trial_memory_mb * 2**20)
        try:
            tune.run(
                trainable,
                name="trials",
                storage_path=str(self._scratch.path),
                search_alg=_Jobs(self._door),
                scheduler=_Decisions(self._door),
                callbacks=[_Starts(self._door)],
                stop=_Closing(self._door),
                num_samples=-1,
                max_failures=0,
                reuse_actors=True,
                resources_per_trial=PlacementGroupFactory([resources]),
                trial_dirname_creator=lambda trial: trial.trial_id,
                raise_on_failed_trial=False,
                verbose=0,
            )
            self._door.fail("Ray Tune has ended")
        except BaseException as error:
            self._door.fail(f"Ray Tune has ended ({' '.join(str(error).split())[:300] or type(error).__name__})")


@dataclass
class _Running:
    """A trial that Tune has taken and that has not ended."""

    epochs: list[Epoch] = field(default_factory=list)
    """Reported by it."""
    actor: Any = None
    """Trains it, once it has begun."""
    started: float | None = None
    """When it began, by the monotonic clock."""
    go_on: bool = True
    """What is decided about it where it waits at a rung."""
    limit: float | None = None
    """The limit in seconds for which its actor was ended, because its time was over."""


class _Door:
    """Between the driver's loop and Tune's thread: jobs go in, events come out, and Tune waits while the driver thinks."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._jobs: deque[tuple[Job, bytes | None]] = deque()
        self._events: deque[tuple[Event, bytes | None]] = deque()
        self._handled = True
        self._running: dict[int, _Running] = {}
        self.false_starts = 0
        """Actors in a row that ended before their first trial."""
        self.closed = False
        self.failure: str | None = None
        """Why Tune's loop has ended."""

    def __deepcopy__(self, memo: Any) -> _Door:
        """Tune copies what it is given; there is one door."""
        return self

    def __reduce__(self) -> Any:
        """Tune writes what it is given into files that nobody reads."""
        return _Door, ()

    # the driver's side

    def put(self, job: Job, state: bytes | None) -> None:
        """Leaves a job for Tune."""
        with self._condition:
            self._jobs.append((job, state))
            self._condition.notify_all()

    def take(self, timeout_s: float) -> list[tuple[Event, bytes | None]]:
        """Lets Tune go on until it has something to say; what it said before has been dealt with."""
        with self._condition:
            self._handled = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._events or self.failure is not None, timeout_s)
            events = list(self._events)
            self._events.clear()
            self._handled = not events
            return events

    def answer(self, number: int, go_on: bool) -> None:
        """Decides about a trial that waits at a rung, if it is still there."""
        with self._condition:
            if number in self._running:
                self._running[number].go_on = go_on

    def running(self) -> list[_Running]:
        """The trials that have not ended."""
        with self._condition:
            return list(self._running.values())

    def close(self) -> None:
        """Nothing more will come from the driver."""
        with self._condition:
            self.closed = True
            self._condition.notify_all()

    # Tune's side

    def next_job(self) -> tuple[Job, bytes | None] | None:
        """The next job; where nothing runs, waits for one."""
        with self._condition:
            if not self._running:
                self._condition.wait_for(lambda: self._jobs or self.closed)
            if self.closed or not self._jobs:
                return None
            job, state = self._jobs.popleft()
            self._running[job.number] = _Running()
            return job, state

    def trial(self, number: int) -> _Running:
        """A trial that has not ended."""
        with self._condition:
            return self._running[number]

    def end(self, number: int) -> None:
        """A trial has ended."""
        with self._condition:
            self._running.pop(number, None)

    def say(self, event: Event, state: bytes | None = None) -> None:
        """Leaves an event for the driver."""
        with self._condition:
            self._events.append((event, state))
            self._condition.notify_all()

    def wait_until_handled(self) -> None:
        """Waits until the driver has dealt with all events: has answered, and has brought the next job if there is one."""
        with self._condition:
            self._condition.wait_for(lambda: (not self._events and self._handled) or self.closed)

    def fail(self, reason: str) -> None:
        """Tune's loop has ended."""
        with self._condition:
            self.failure = reason
            self._condition.notify_all()


class _Jobs(Searcher):
    """What Tune asks for trials: the driver's jobs, one after the other."""

    def __init__(self, door: _Door) -> None:
        super().__init__()
        self._door = door

    def suggest(self, trial_id: str) -> Any:
        taken = self._door.next_job()
        if self._door.closed:
            return Searcher.FINISHED
        if taken is None:
            return None
        job, state = taken
        return {"job": job, "state": state}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler has said it."""


class _Starts(Callback):
    """Notes when a trial begins on its actor."""

    def __init__(self, door: _Door) -> None:
        self._door = door

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        running = self._door.trial(_number(trial))
        running.actor, running.started = trial.temporary_state.ray_actor, time.monotonic()
        self._door.false_starts = 0
        if self._door.closed:  # meanwhile
            _kill(running.actor)


class _Closing(Stopper):
    """Ends Tune's loop when the driver wants no more."""

    def __init__(self, door: _Door) -> None:
        self._door = door

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._door.closed


class _Decisions(TrialScheduler):
    """What Tune asks for decisions: passes on what trials report, and the driver's answers back."""

    def __init__(self, door: _Door) -> None:
        super().__init__()
        self._door = door
        self._keeps_actors = False

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        running = self._door.trial(_number(trial))
        for event in result["events"]:
            running.epochs.append(event.epoch)
            self._door.say(event, result["state"] if event is result["events"][-1] else None)
        if not result["waits"]:
            return self.CONTINUE
        self._door.wait_until_handled()
        return self.CONTINUE if running.go_on else self.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        number = _number(trial)
        if not self._keeps_actors and (cache := getattr(tune_controller, "_actor_cache", None)) is not None:
            # Of two actors whose trials end together Tune would keep one, and start another process for the next trial: seconds.
            cache.increase_max(trial.placement_group_factory, MAX_KEPT)
            self._keeps_actors = True
        if result["waits"]:  # at a rung, and was told to stop there
            self._end(Finished(number, _stopped(self._door.trial(number).epochs)))
            return
        for event in result["events"][:-1]:
            self._door.say(event)
        self._end(result["events"][-1])

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        number, reason = _number(trial), _last_words(trial)
        running = self._door.trial(number)
        if running.started is None:
            self._door.false_starts += 1
            if self._door.false_starts >= MAX_FALSE_STARTS:
                self._door.fail(f"{MAX_FALSE_STARTS} actors in a row could not start, the last: {reason}")
        if running.limit is None and "low on memory" in reason:  # the node's, and Ray chose this one
            self._end(Finished(number, Outcome("failed", failure=f"out of memory: {reason}")))
        elif running.limit is None:
            self._end(Lost(number, reason))
        else:
            self._end(Finished(number, overdue(running.limit, running.epochs)))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Came from the driver."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Only when all is closed."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        return None  # Tune starts pending trials in their order by itself

    def debug_string(self) -> str:
        return "decided by the study"

    def _end(self, event: Finished | Lost) -> None:
        """The last word on a trial. Its actor is kept for the next job, which therefore has to be there."""
        self._door.end(event.number)
        if not self._door.closed:
            self._door.say(event)
            self._door.wait_until_handled()


def _number(trial: Trial) -> int:
    job: Job = trial.config["job"]
    return job.number


def _stopped(epochs: Sequence[Epoch]) -> Outcome:
    """What a trial came to that was stopped after these epochs."""
    last, curve = epochs[-1], tuple(epoch.accuracy for epoch in epochs)
    return Outcome("stopped", last.accuracy, last.accuracy_top5, len(curve), last.seconds, curve)


def _last_words(trial: Trial) -> str:
    """What Ray says about the end of an actor, in one line."""
    try:
        text = Path(trial.error_file).read_text()
    except (OSError, TypeError):
        return "no reason is known"
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Failure #")]
    telling = [line for line in lines if any(word in line for word in ("InputError", "low on memory", "unexpectedly"))]
    return (telling[-1:] or lines or ["no reason is known"])[0][:300]


def _kill(actor: Any) -> None:
    """Ends an actor's process, whatever it is doing."""
    try:
        ray.kill(actor)  # None where there is none any more
    except Exception:  # it is gone already, or the cluster is
        return


def connect(settings: BackendSettings, workers: int | None, imports: Sequence[str]) -> None:
    """Joins the cluster at `settings.address`, or starts one on this machine that only this machine can reach.

    Raises:
        InputError: it is not there, or none of its nodes has room for a trial.
    """
    if not ray.is_initialized():  # by an earlier job of a sweep
        _initialize(settings, workers, imports)
    if settings.address is not None and workers is None and not cluster_capacity(settings):
        raise InputError(
            f"backend: {no_room(settings)}; where an autoscaler brings nodes, workers= says for how many trials"
        )


def _initialize(settings: BackendSettings, workers: int | None, imports: Sequence[str]) -> None:
    """Raises InputError where there is no cluster."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # whatever happens to a trial is told by the driver
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if settings.address is None:
            with _modules_on_path(), deaf(), _handlers_kept():
                ray.init(
                    address="local",
                    # more workers than there are cores are the user's wish
                    num_cpus=max(num_cores(), math.ceil((workers or 1) * settings.cpus)),
                    include_dashboard=False,
                    **quiet,
                )
        else:
            ray.init(address=settings.address, runtime_env={"py_modules": _modules(imports)}, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        where = "starting a cluster here" if settings.address is None else f"joining the cluster at {settings.address}"
        remedy = (
            "an address is auto or host:port"
            if "Invalid address" in reason
            else "`ray start --head` starts a cluster, and every node and driver needs the same token"
        )
        raise InputError(f"backend.address: {where} failed: {reason}; {remedy}") from error


def no_room(settings: BackendSettings) -> str:
    """That no node has room for a trial, and what there is."""
    nodes = [
        ", ".join(f"{node['Resources'].get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
        for node in ray.nodes()
        if node["Alive"]
    ]
    memory = "" if settings.trial_memory_mb is None else f" and {settings.trial_memory_mb:g} MiB"
    return (
        f"no node of the cluster has room for a trial, which needs {settings.cpus:g} CPUs, {settings.gpus:g} GPUs{memory} "
        f"(nodes: {'; '.join(nodes) or 'none'})"
    )


def cluster_capacity(settings: BackendSettings) -> int:
    """How many trials the nodes of the cluster have room for."""
    wanted = {"CPU": settings.cpus, "GPU": settings.gpus, "memory": (settings.trial_memory_mb or 0) * 2**20}
    wanted = {name: amount for name, amount in wanted.items() if amount}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    # a hair more than whole: 1 / 0.1 is 9.99 in some roundings
    return sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items()) for node in nodes)


def _modules(imports: Sequence[str]) -> list[str]:
    """The folders and files of the project's own packages and of the user's modules, to be sent to all nodes."""
    names = {"search", "spaces", *(name.partition(".")[0] for name in imports)}
    places = []
    for name in sorted(names):
        spec = importlib.util.find_spec(name)
        assert spec is not None  # the driver has imported it
        places.append(next(iter(spec.submodule_search_locations)) if spec.submodule_search_locations else spec.origin)
    return [str(place) for place in places]


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray's own handler of SIGTERM, which ends the process in a crash report, does not stay."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _modules_on_path() -> Iterator[None]:
    """What this process can import, the processes that it starts can too."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.getcwd(), *filter(None, sys.path)])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
