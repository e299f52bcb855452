"""What a second worker, the driver, the storage and Ray cost.

    python -m tests.benchmarks.cluster workers         # from one worker to two: share of linear, local processes and Ray
    python -m tests.benchmarks.cluster driver          # the driver's own cost a trial: 64 workers that answer at once
    python -m tests.benchmarks.cluster ray             # Ray's start, and its cost a trial beyond training
    python -m tests.benchmarks.cluster rival           # Ray Tune's own OptunaSearch against ours on trials that end at once
    python -m tests.benchmarks.cluster gpu             # several candidates a GPU against one at a time

`driver` takes [--trials 100 1000 5000] [--backends sqlite postgresql ray] [--sampler random]; PostgreSQL is measured where it is
installed. `workers` means little unless the machine is otherwise idle: the load is printed with it.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch
from optuna.storages import RDBStorage

from search.backends import make_backend, set_up_ray
from search.backends.base import Backend, BackendSettings, Event, Finished, Job, evaluate
from search.backends.processes import make_context
from search.data import load
from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.samplers import make_sampler
from search.study.driver import explore
from search.study.study import Study
from search.trials.leases import PostgresLeases
from search.trials.storage import open_database, open_storage
from spaces import SearchSpace
from tests.search.backends.test_local import make_job

NUM_WORKERS = 64
"""Simulated ones."""
RIVAL_S, RIVAL_TRIALS = 300.0, 5000
"""What the rival is given: time, and trials at the most."""
LAYER: dict[str, Any] = {"block": "conv", "channels": {"choice": [8, 16, 24, 32]}, "kernel_size": {"choice": [1, 3, 5]}}
SPACE = {"layers": [LAYER] * 6}
"""Three million networks by twelve decisions: as many as a plain search has, and their costs are soon known."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", "driver", "ray", "rival", "gpu"])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--backends", nargs="+", default=["sqlite", "postgresql", "ray"])
    parser.add_argument("--sampler", default="random")
    arguments = parser.parse_args()
    set_up_ray(only_here=True)
    if arguments.what == "workers":
        print(
            f"bare processes: {measure_bare():.2f} of linear, which is what this machine's cores, caches and memory leave"
        )
        for name in ("local", "ray"):
            measure_workers(name)
    elif arguments.what == "driver":
        for kind in arguments.backends:
            measure_driver(kind, arguments.trials, arguments.sampler)
    elif arguments.what == "ray":
        measure_ray()
    elif arguments.what == "rival":
        compare_rival()
    else:
        measure_gpu()


def measure_bare(jobs: int = 8, epochs: int = 60) -> float:
    """The share of linear that processes reach that train side by side and do nothing else."""
    context = make_context()
    wall = {}
    for workers in (1, 2):
        pairs = [context.Pipe() for _ in range(workers)]
        mine = [[make_job(number, epochs=epochs) for number in range(i, jobs, workers)] for i in range(workers)]
        processes = [context.Process(target=train_bare, args=(pair[1], own)) for pair, own in zip(pairs, mine)]  # type: ignore[attr-defined]
        for process in processes:
            process.start()
        for here, _ in pairs:
            here.recv()  # it has started
        start = time.perf_counter()
        for here, _ in pairs:
            here.send(None)
        for here, _ in pairs:
            here.recv()
        wall[workers] = time.perf_counter() - start
        for process in processes:
            process.join()
    return wall[1] / (2 * wall[2])


def train_bare(driver: Any, jobs: list[Job]) -> None:
    """The life of such a process."""
    torch.set_num_threads(1)
    data = load({"source": "digits"})
    evaluate(make_job(0, epochs=1), data, "cpu", lambda epoch: True)
    driver.send(None)
    driver.recv()
    for job in jobs:
        evaluate(job, data, "cpu", lambda epoch: True)
    driver.send(None)


def measure_workers(name: str, jobs: int = 8, epochs: int = 60) -> None:
    """The same trainings by one worker and by two: how much of twice the speed is reached."""
    data = load({"source": "digits"})
    wall = {}
    for workers in (1, 2):
        backend = make_backend(BackendSettings.from_config({"name": name, "accelerator": "cpu"}), workers, data, [])
        run(backend, [make_job(number, epochs=1) for number in range(workers)])  # they have started
        wall[workers] = run(backend, [make_job(number, epochs=epochs) for number in range(jobs)])
        backend.close()
    print(
        f"{name}: {jobs} trainings take {wall[1]:.1f} s with one worker, {wall[2]:.1f} s with two: "
        f"{wall[1] / (2 * wall[2]):.2f} of linear (load {os.getloadavg()[0]:.1f})",
        flush=True,
    )


def run(backend: Backend, jobs: list[Job]) -> float:
    """Seconds from the first start to the last end."""
    start, waiting, ends = time.perf_counter(), deque(jobs), 0
    while ends < len(jobs):
        while waiting and backend.num_free:
            backend.start(waiting.popleft())
        ends += sum(isinstance(event, Finished) for event in backend.wait(0.5))
    return time.perf_counter() - start


class Instant:
    """A backend whose workers have answered before they are asked."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []

    @property
    def num_free(self) -> int:
        """Of the simulated workers."""
        return NUM_WORKERS - len(self._jobs)

    def start(self, job: Job) -> None:
        """Takes a job."""
        self._jobs.append(job)

    def wait(self, timeout_s: float) -> list[Event]:
        """The end of the first job."""
        return [Finished(job.number, outcome_of(job.number)) for job in [self._jobs.pop(0)]]

    def answer(self, number: int, go_on: bool) -> None:
        """Nobody waits."""

    def close(self) -> None:
        """Nothing to close."""


def outcome_of(number: int) -> Outcome:
    """Some accuracy."""
    accuracy = 0.5 + (number * 2654435761 % 1000) / 2000
    return Outcome("complete", accuracy, None, 3, 0.0, (accuracy / 3, accuracy / 2, accuracy))


class Timed:
    """Counts a sampler's own time."""

    def __init__(self, sampler: optuna.samplers.BaseSampler) -> None:
        self.wall_s = self.cpu_s = 0.0
        for name in ("sample_relative", "sample_independent"):
            setattr(sampler, name, self._timed(getattr(sampler, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            value = method(*arguments)
            self.wall_s += time.perf_counter() - start
            self.cpu_s += time.process_time() - cpu
            return value

        return call


class Cost(NamedTuple):
    """What a search takes, in seconds."""

    wall_s: float
    cpu_s: float
    """Of the driver's process, without the sampler."""
    sampler_s: float

    @property
    def own_s(self) -> float:
        """Without the sampler: the driver, the storage and the backend."""
        return self.wall_s - self.sampler_s


def measure_driver(kind: str, counts: list[int], sampler: str = "random") -> list[Cost]:
    """What a search of each length takes."""
    server = None
    if kind == "postgresql":
        from tests.search.postgres import Server

        server = Server()
        os.environ.update(server.environment)

    backend = make_instant_ray() if kind == "ray" else Instant()
    with tempfile.TemporaryDirectory() as folder:

        def search(trials: int) -> Cost:
            name, place = f"driver-{trials}", Path(folder)
            storage = open_database(place / f"{name}.db") if server is None else open_storage(place, server.url)
            leases = None if server is None else PostgresLeases(server.url, name)
            return measure_search(Kept(backend), name, trials, make_sampler({"name": sampler}, 0), storage, leases)

        search(50)  # the first ones meet every layer for the first time
        costs = []
        for trials in counts:
            cost = search(trials)
            costs.append(cost)
            own_ms, cpu_ms, sampler_ms = (
                1e3 * seconds / trials for seconds in (cost.own_s, cost.cpu_s, cost.sampler_s)
            )
            print(
                f"{kind}: {trials} trials in {cost.wall_s:.1f} s, {trials / cost.wall_s:.0f} a second; one takes {own_ms:.1f} ms, "
                f"{cpu_ms:.1f} ms of it the driver's CPU, and the sampler {sampler_ms:.1f} ms",
                flush=True,
            )
    backend.close()
    if server is not None:
        server.close()
    for (fewer, less), (more, much) in pairwise(zip(counts, costs)):
        exponent = math.log(much.own_s / less.own_s) / math.log(more / fewer)
        print(
            f"{kind}: from {fewer} to {more} trials the total without the sampler grows from {less.own_s:.1f} to "
            f"{much.own_s:.1f} s, as n^{exponent:.2f}"
        )
    return costs


def measure_search(
    backend: Any, name: str, trials: int, sampler: Any, storage: RDBStorage, leases: PostgresLeases | None
) -> Cost:
    """One search of that many trials."""
    space = SearchSpace(SPACE, in_channels=1, num_classes=10, resolution=8)
    timed = Timed(sampler)
    study = Study(space, Objective(), sampler, storage, name=name, trials=trials, leases=leases)
    start, cpu = time.perf_counter(), time.process_time()
    explore(study, lambda: backend, seed=0, retries=0, watch=lambda *_: None)
    return Cost(time.perf_counter() - start, time.process_time() - cpu - timed.cpu_s, timed.wall_s)


class Kept:
    """A backend that the next search goes on with: starting it is not what is measured."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def close(self) -> None:
        """Not yet."""


def make_instant_ray() -> Backend:
    """Ray with as many actors as simulated workers, that answer without training."""
    import ray
    from ray import tune

    from search.backends.ray import RayBackend

    class InstantTrial(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._job = config["job"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._job = new_config["job"]
            return True

        def step(self) -> dict[str, Any]:
            end = Finished(self._job.number, outcome_of(self._job.number))
            return {"events": [end], "state": None, "waits": False, "done": True}

    class InstantRay(RayBackend):
        def _make_trainable(self, *_: Any) -> Any:
            return InstantTrial

    ray.shutdown()
    settings = BackendSettings.from_config({"name": "ray", "cpus": 1})
    backend = InstantRay(settings, NUM_WORKERS, load({"source": "digits", "limit": 100}))
    run(backend, [make_job(number) for number in range(NUM_WORKERS)])  # the actors have started
    return backend


def measure_ray(jobs: int = 40) -> None:
    """Ray's start-up, and what a trial takes beyond its training."""
    data = load({"source": "digits", "limit": 200})
    for name in ("local", "ray"):
        start = time.perf_counter()
        backend = make_backend(BackendSettings.from_config({"name": name, "accelerator": "cpu"}), 1, data, [])
        run(backend, [make_job(0, epochs=1)])
        began_s = time.perf_counter() - start
        training_s, ends, start = 0.0, 0, time.perf_counter()
        backend.start(make_job(1, epochs=3))
        while ends < jobs:
            for event in backend.wait(0.5):
                if isinstance(event, Finished):
                    ends += 1
                    training_s += event.outcome.seconds
                    if ends < jobs:
                        backend.start(make_job(ends + 1, epochs=3))
        beyond_s = (time.perf_counter() - start - training_s) / jobs
        backend.close()
        print(
            f"{name}: the first trial has ended after {began_s:.1f} s; a trial takes {beyond_s:.3f} s beyond its training"
        )


def compare_rival() -> None:
    """How many trials that end at once OptunaSearch does in five minutes, and how long as many take here."""
    done, seconds = measure_rival()
    print(f"OptunaSearch: {done} trials in {seconds:.1f} s, {done / seconds:.1f} a second", flush=True)
    start = time.perf_counter()
    measure_driver("ray", [done])
    ours = time.perf_counter() - start  # its actors' start included, as in the rival's time, and the 50 trials before
    print(f"ours takes {ours:.1f} s for as many: {seconds / ours:.1f} times as fast")


def measure_rival() -> tuple[int, float]:
    """Ray Tune with its OptunaSearch, as its documentation shows it: trials done, and seconds."""
    import ray
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    def train(config: dict[str, Any]) -> None:
        values = config.values()
        tune.report({"accuracy": 0.5 + (hash(tuple(values)) % 1000) / 2000, "flops": float(sum(values))})

    ray.init(address="local", num_cpus=NUM_WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    sampler = optuna.samplers.RandomSampler(seed=0)
    search = OptunaSearch(define, metric=["accuracy", "flops"], mode=["max", "min"], sampler=sampler)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=ConcurrencyLimiter(search, NUM_WORKERS),
                num_samples=RIVAL_TRIALS,
                reuse_actors=True,
                time_budget_s=RIVAL_S,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        start = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - start
    ray.shutdown()
    return sum(bool(result.metrics) and "accuracy" in result.metrics for result in results), seconds


def define(trial: optuna.Trial) -> None:
    """The same decisions; at the module's top, because OptunaSearch pickles it."""
    for layer in range(len(SPACE["layers"])):
        for name in ("channels", "kernel_size"):
            trial.suggest_categorical(f"layers.{layer}.{name}", LAYER[name]["choice"])


def measure_gpu(jobs: int = 16, epochs: int = 30) -> None:
    """Trials an hour on one GPU: four candidates at a time against one."""
    if not torch.cuda.is_available():
        print("gpu: there is none here")
        return
    data = load({"source": "digits"})
    rates = {}
    for share in (1, 0.25):
        settings = BackendSettings.from_config({"name": "ray", "cpus": 1, "gpus": share, "accelerator": "cuda"})
        workers = round(1 / share)
        backend = make_backend(settings, workers, data, [])
        run(backend, [make_job(number, epochs=1) for number in range(workers)])
        rates[share] = 3600 * jobs / run(backend, [make_job(number, epochs=epochs) for number in range(jobs)])
        backend.close()
        print(f"gpu: {workers} at a time, {rates[share]:.0f} trials an hour")
    print(f"gpu: four candidates a GPU do {rates[0.25] / rates[1]:.2f} times the work of one")


if __name__ == "__main__":
    main()
