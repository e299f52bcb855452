"""How far the measuring of latencies is, while it goes on: a bar on a terminal, a line at the start and the end elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from search.latency.profiler import Progress
from search.reporting.text import duration


class MeasuringBar:
    """Shows how far a measuring is; a context manager. Says nothing where nothing was measured.

    Args:
        console: where to.
        what: is measured: "blocks and networks".
        where: in words, the device.
        budget_s: seconds after which it ends by itself; None: when all is done.
    """

    def __init__(self, console: Console, what: str, where: str, budget_s: float | None = None) -> None:
        self._console, self._what, self._where = console, what, where
        self._bound = "" if budget_s is None else f" (up to {duration(budget_s)})"
        self._start = time.monotonic()
        self._bar = ProgressBar(
            TextColumn(f"measuring {what}{self._bound}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._last: Progress | None = None

    def __enter__(self) -> MeasuringBar:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()
        if self._last is not None:
            self._console.print(self._end(self._last), highlight=False, soft_wrap=True)

    def update(self, progress: Progress) -> None:
        """Takes in how far it is; before the first measurement, what there is to do."""
        if progress.done >= progress.total and self._last is None:
            return
        if self._last is None and not self._console.is_terminal:
            self._console.print(
                f"Measuring {self._what} on {self._where}{self._bound}", highlight=False, soft_wrap=True
            )
        self._last = progress
        self._bar.update(self._task, completed=progress.done, total=progress.total, visible=True)

    def _end(self, last: Progress) -> str:
        spent = duration(time.monotonic() - self._start)
        text = f"Measured {last.done} of {last.total} {self._what} on {self._where}, {spent}."
        if last.done < last.total:
            text += " The next search goes on there; what is left is predicted from these."
        if last.unsteady:
            text += f" {last.unsteady} differ from run to run by more than a tenth: something else was running."
        return text
