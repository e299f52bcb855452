"""The default evaluator: builds a candidate's network and trains it from scratch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from search.data import Data
from search.evaluation.job import Evaluator, Job, Report
from search.evaluation.outcome import Outcome, failed, out_of_memory, raised
from search.evaluation.training import Diverged, Epoch, OutOfMemory, memory_errors, train
from spaces import build, decode


@dataclass(frozen=True)
class FromScratch:
    """Trains candidates on the training images and measures them on the validation images."""

    data: Data

    @property
    def metrics(self) -> Mapping[str, str]:
        """None beside accuracy."""
        return {}

    @property
    def takes_seed(self) -> bool:
        """Yes: it draws the weights and the order of the images."""
        return True

    @property
    def reports(self) -> bool:
        """Yes."""
        return True

    def fingerprint(self) -> str:
        """That of the images."""
        return f"training on {self.data.fingerprint}"

    def pack(self, folder: Path) -> Callable[[], Evaluator]:
        """Writes the images once; the workers map the same copy."""
        self.data.save(folder)
        return partial(self.open, folder)

    @classmethod
    def open(cls, folder: Path) -> FromScratch:
        """The evaluator whose images `pack` has written."""
        return cls(Data.open(folder))

    def evaluate(self, job: Job, report: Report, device: str = "cpu", checkpoint: Path | None = None) -> Outcome:
        """Builds and trains a job's network; a checkpoint is read and written as `train` does."""
        outcome = self._train(job, report, device, checkpoint)
        if out_of_memory(outcome):
            # the frames of the error hold the network and one another
            gc.collect()
            if device != "cpu":
                torch.cuda.empty_cache()
        return outcome

    def _train(self, job: Job, report: Report, device: str, checkpoint: Path | None) -> Outcome:
        epochs: list[Epoch] = []

        def note(epoch: Epoch) -> bool:
            epochs.append(epoch)
            return report(epoch)

        try:
            architecture = decode(job.architecture)
            with memory_errors():
                network = build(architecture)
            result = train(
                network,
                self.data,
                job.hyperparameters,
                resolution=architecture.resolution,
                seed=job.seed,
                device=device,
                on_epoch=note,
                checkpoint=checkpoint,
            )
        except Diverged as error:
            return failed("diverged", error, epochs)
        except OutOfMemory as error:
            return failed("out of memory", error, epochs)
        except Exception as error:  # a user's block may raise anything; the study goes on, and the trial says where
            return raised(error, epochs)
        return Outcome(
            "stopped" if result.stopped else "complete",
            result.accuracy,
            result.accuracy_top5,
            result.epochs,
            result.seconds,
            result.curve,
        )
