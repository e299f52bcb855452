"""Where commands print their tables."""

from rich.console import Console

_PIPE_WIDTH = 120


def make_console() -> Console:
    """The terminal, or a pipe, which has no width: nothing needs to be cut there."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    return console
