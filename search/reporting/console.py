"""Where commands print: a terminal or a pipe, which obeys nothing that stands in a name."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from search.system.printable import printable

_PIPE_WIDTH = 120


class Terminal(Console):
    """Rich's console. Of what is printed, only its own colours and movements reach the terminal as control characters."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, without anybody else's control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def make_console() -> Console:
    """The terminal, or a pipe, which has no width: nothing needs to be cut there."""
    console = Terminal()
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    return console
