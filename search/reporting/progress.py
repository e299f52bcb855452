"""How a search is going, while it runs: a live display on a terminal, plain lines in a pipe or in CI."""

import math
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.objective.costs import BUILT_IN
from search.reporting.console import Terminal
from search.reporting.text import duration, percent, readable_cost
from search.study.progress import Ended, Status


class Progress:
    """Shows a `Status` each time it changes, within a bounded rate; a context manager.

    On a terminal it is a few lines that stay in place, failures scrolling by above them. Elsewhere each finished trial is
    a line; where trials end faster than one per `interval_s`, lines in between are left out (the counts in the next line
    include them), except for failures and for the last trial.
    """

    def __init__(
        self, console: Console | None = None, interval_s: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args:
        console: where to; standard output by default.
        interval_s: the least time between two plain lines.
        clock: seconds, never falling.
        """
        self._console = console or Terminal()
        self._interval_s = interval_s
        self._clock = clock
        self._started: float | None = None
        self._done_before = 0
        self._last_line = -math.inf
        self._live: Live | None = None
        self.status: Status | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=4,
                transient=True,
                # Someone's print() goes above the display instead of through it.
                redirect_stdout=True,
                redirect_stderr=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, status: Status, finished: Ended | None = None) -> None:
        """Takes in where the search stands, and the trial that has just ended, if one has.

        The first call states what earlier runs had done: time left is reckoned from there.
        """
        now = self._clock()
        if self._started is None:
            self._started = now
            self._done_before = status.done - (finished is not None)
        self.status = status
        if finished is None:
            return
        if self._live is not None:
            if finished.state == "failed":
                self._live.console.print(Text(trial_line(finished), style="red"))
            return
        due = now - self._last_line >= self._interval_s
        if due or finished.state == "failed" or status.done >= status.total:
            self._last_line = now
            line = f"{trial_line(finished)} | {status_line(status, self.seconds_left())}"
            # soft_wrap: a line stays a line, however narrow a pipe is said to be
            self._console.print(Text(line), soft_wrap=True)

    def note(self, text: str) -> None:
        """Says what happened besides trials that ended, in a line."""
        console = self._console if self._live is None else self._live.console
        console.print(Text(text, style="yellow"), soft_wrap=True)

    def elapsed_s(self) -> float:
        """Seconds since the first update."""
        return 0.0 if self._started is None else self._clock() - self._started

    def seconds_left(self) -> float | None:
        """What the trials still to come take at the pace of this run; None until one has ended in it."""
        if self.status is None:
            return None
        finished = self.status.done - self._done_before + self.status.confirmed
        if finished <= 0:
            return None
        left = max(0, self.status.total - self.status.done) if not self.status.confirmed else 0
        return self.elapsed_s() / finished * (left + self.status.to_confirm)

    def _render(self) -> Group:
        """The live display: a bar with the counts, and below it what was found."""
        if self.status is None:
            return Group(Text("starting", style="dim"))
        status, left = self.status, self.seconds_left()
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=max(1, status.total), completed=status.done, width=28),
            Text(f"{status.done}/{status.total} trials", style="bold"),
            Text(duration(self.elapsed_s()), style="dim"),
            Text("" if left is None else f"{duration(left)} left", style="dim"),
        )
        counts = [("running", str(status.running), "cyan"), ("failed", str(status.failed), "red" * (status.failed > 0))]
        counts += [("stopped early", str(status.stopped), "yellow")] if status.stopped else []
        counts += [("confirmed", _confirmed(status), "cyan")] if status.confirmed + status.to_confirm else []
        counts += [("seen before", str(status.duplicates), "")] if status.duplicates else []
        found = [
            ("best accuracy", percent(status.best_accuracy), "bold green"),
            ("best reward", _number(status.best_reward), ""),
            ("front", str(status.front_size), ""),
            ("hypervolume", f"{status.hypervolume:.4g}", ""),
        ]
        return Group(bar, _facts(counts), _facts(found))


def _facts(facts: list[tuple[str, str, str]]) -> Text:
    """Names and figures on a line, the figures in their styles."""
    line = Text()
    for name, figure, style in facts:
        line.append(f"{name} ", style="dim").append(figure, style=style).append("   ")
    return line


def trial_line(finished: Ended) -> str:
    """One ended trial: "trial 12 complete: accuracy 91.30%, 1.23 M FLOPs"."""
    parts = [] if math.isnan(finished.accuracy) else [f"accuracy {percent(finished.accuracy)}"]
    parts += [] if math.isnan(finished.flops) else [readable_cost(BUILT_IN["flops"], finished.flops)]
    parts += [" ".join(finished.failure.split())[:200]] if finished.failure else []
    return f"trial {finished.number} {finished.state}" + (f": {', '.join(parts)}" if parts else "")


def status_line(status: Status, seconds_left: float | None) -> str:
    """The whole search: "12/40 done, 2 running, best 93.40%, reward 0.512, front 5, hypervolume 1.23, 1:20 left"."""
    counts = [("running", status.running), ("failed", status.failed), ("stopped", status.stopped)]
    parts = [f"{status.done}/{status.total} done", *(f"{count} {name}" for name, count in counts if count)]
    parts += [f"{_confirmed(status)} confirmed"] if status.confirmed + status.to_confirm else []
    parts += [f"best {percent(status.best_accuracy)}", f"reward {_number(status.best_reward)}"]
    parts += [f"front {status.front_size}", f"hypervolume {status.hypervolume:.4g}"]
    parts += [] if seconds_left is None else [f"{duration(seconds_left)} left"]
    return ", ".join(parts)


def _confirmed(status: Status) -> str:
    return f"{status.confirmed}/{status.confirmed + status.to_confirm}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
