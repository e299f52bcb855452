"""The far end of `backend=ray`: an actor somewhere in the cluster, and the training in it."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

from search.backends.base import (
    BackendSettings,
    EpochDone,
    Event,
    Finished,
    Job,
    choose_device,
    evaluate,
    limit_memory,
)
from search.data import Data
from search.evaluation.training import Epoch
from search.system.scratch import Scratch
from search.system.user_modules import import_user_modules

REPORT_S = 1.0
"""An actor reports at most this often, besides at rungs and at the end: short epochs come together."""

STATE_BYTES_PER_S = 5 * 2**20
"""What a trial's checkpoints may take of the network: those of large networks travel less often than every report."""


class RayWorker(Trainable):
    """An actor that trains one job after another. The training has a thread of its own: between rungs it waits for nobody."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], data: Data, imports: tuple[str, ...], device: str, settings: BackendSettings
    ) -> None:
        import_user_modules(imports)
        self._data = data
        self._device = choose_device(device)
        if self._device != "cpu" and settings.gpus < 1:  # none may take the memory of those it shares with
            torch.cuda.set_per_process_memory_fraction(settings.gpus)
        self._threads = max(1, math.floor(settings.cpus))
        self._scratch = Scratch()
        limit_memory(settings.trial_memory_mb)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._training.abandon()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return self._training.report()

    def cleanup(self) -> None:
        self._training.abandon()
        self._scratch.remove()

    def _begin(self, config: dict[str, Any]) -> None:
        # Tune sends an actor's config back with every report
        job, state = config["job"], config.pop("state")
        checkpoint = self._scratch.path / f"{job.number}.pt"
        if state is not None:
            checkpoint.write_bytes(state)
        self._training = _Training(job, self._data, self._device, self._threads, checkpoint)


class _Training:
    """The training of one job in a thread, and what it has to report."""

    def __init__(self, job: Job, data: Data, device: str, threads: int, checkpoint: Path) -> None:
        self._job = job
        self._data = data
        self._device = device
        self._threads = threads
        self._checkpoint = checkpoint
        self._events: queue.SimpleQueue[EpochDone | Finished] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._waits = False
        self._state_due = 0.0
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def report(self) -> dict[str, Any]:
        """What has happened since the last report, as soon as there is something; asking again lets a waiting training go on."""
        if self._waits:
            self._answers.put(True)
        event = self._events.get()
        events = [event]
        until = time.monotonic() + REPORT_S
        while not (self._is_rung(event) or isinstance(event, Finished)):
            try:
                event = self._events.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            events.append(event)
        done = isinstance(event, Finished)
        self._waits = self._is_rung(event)
        state = None
        if not done and time.monotonic() >= self._state_due:
            state = self._checkpoint.read_bytes()
            self._state_due = time.monotonic() + len(state) / STATE_BYTES_PER_S
        return {"events": events, "state": state, "waits": self._waits, "done": done}

    def abandon(self) -> None:
        """Ends the training at the end of its epoch at the latest."""
        self._abandoned = True
        self._answers.put(False)
        self._thread.join()
        self._checkpoint.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            torch.set_num_threads(self._threads)
            outcome = evaluate(self._job, self._data, self._device, self._on_epoch, self._checkpoint)
            self._events.put(Finished(self._job.number, outcome))
        except BaseException:  # a user's block that calls sys.exit: nobody would hear of a thread's end
            os._exit(1)

    def _on_epoch(self, epoch: Epoch) -> bool:
        event = EpochDone(self._job.number, epoch)
        self._events.put(event)
        goes_on = self._answers.get() if self._is_rung(event) else True
        return goes_on and not self._abandoned

    def _is_rung(self, event: Event) -> bool:
        return isinstance(event, EpochDone) and event.epoch.epoch in self._job.rungs
