"""Progress in a pipe and on a terminal, with a clock of its own."""

import io

import pytest
from rich.console import Console

from search.reporting.progress import Progress, status_line, trial_line
from search.study.progress import Ended, Status


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make(terminal: bool) -> tuple[Progress, Clock, io.StringIO]:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, width=80, force_terminal=terminal, color_system=None)
    return Progress(console, interval_s=1.0, clock=clock), clock, stream


def test_a_pipe_gets_one_plain_line_a_trial() -> None:
    progress, clock, stream = make(terminal=False)
    with progress:
        progress.update(Status(total=4, running=2))
        for number in range(3):
            clock.now_s += 10
            status = Status(4, number + 1, 2, best_accuracy=0.9, best_reward=0.5, front_size=1, hypervolume=1.25)
            progress.update(status, Ended(number, "complete", 0.9, 1_234_567))
    assert stream.getvalue().splitlines()[2] == (
        "trial 2 complete: accuracy 90.00%, 1.23 M FLOPs | "
        "3/4 done, 2 running, best 90.00%, reward 0.500, front 1, hypervolume 1.25, 0:10 left"
    )
    assert len(stream.getvalue().splitlines()) == 3


def test_the_rate_of_lines_is_bounded_but_failures_and_the_end_are_told() -> None:
    progress, clock, stream = make(terminal=False)
    progress.update(Status(total=100))
    for number in range(100):
        clock.now_s += 0.1
        state = "failed" if number == 55 else "complete"
        progress.update(Status(100, number + 1, failed=number >= 55), Ended(number, state, failure="boom"))
    lines = stream.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert sum(line.startswith("trial 55 failed: boom") for line in lines) == 1
    assert lines[-1].startswith("trial 99 ")


def test_hostile_text_is_not_markup_and_keeps_to_its_line() -> None:
    progress, _, stream = make(terminal=False)
    progress.update(Status(total=9, done=1, failed=1), Ended(0, "failed", failure="[bold]x[/nope]\nsecond line"))
    assert stream.getvalue().startswith("trial 0 failed: [bold]x[/nope] second line | 1/9 done")
    assert stream.getvalue().count("\n") == 1


def test_time_left_is_reckoned_from_this_run() -> None:
    progress, clock, _ = make(terminal=False)
    assert progress.seconds_left() is None
    progress.update(Status(total=40, done=30))  # resumed
    assert progress.seconds_left() is None
    clock.now_s += 20
    progress.update(Status(total=40, done=32), Ended(31, "complete"))
    assert progress.seconds_left() == pytest.approx(80)
    progress.update(Status(total=40, done=40), Ended(39, "complete"))
    assert progress.seconds_left() == 0


def test_a_terminal_shows_everything_and_tells_failures_above() -> None:
    progress, clock, stream = make(terminal=True)
    with progress:
        progress.update(Status(total=40, running=2))
        clock.now_s += 30
        status = Status(40, 10, 2, 1, 3, 4, best_accuracy=0.934, best_reward=0.512, front_size=5, hypervolume=2.345)
        progress.update(status, Ended(9, "failed", failure="loss became NaN"))
    shown = stream.getvalue()
    assert "trial 9 failed: loss became NaN" in shown
    for part in ("10/40 trials", "0:30", "left", "running 2", "failed 1", "stopped early 3", "seen before 4"):
        assert part in shown
    for part in ("best accuracy 93.40%", "best reward 0.512", "front 5", "hypervolume 2.345"):
        assert part in shown


def test_an_error_leaves_the_terminal_as_it_was() -> None:
    progress, _, stream = make(terminal=True)

    def interrupted() -> None:
        with progress:
            progress.update(Status(total=4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")  # the cursor is back


def test_lines_leave_out_what_is_not_known() -> None:
    assert trial_line(Ended(3, "stopped")) == "trial 3 stopped"
    assert status_line(Status(total=5), None) == "0/5 done, best -, reward -, front 0, hypervolume 0"
