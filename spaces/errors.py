"""What a user got wrong, said in one sentence."""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches

_MAX_LENGTH = 4000


class InputError(ValueError):
    """A user's mistake: what is wrong, where, the value, and what would be right."""

    def __init__(self, message: str) -> None:
        if len(message) > _MAX_LENGTH:  # a value that is quoted may be a whole file
            message = f"{message[: _MAX_LENGTH - 500]} ... {message[-400:]}"
        super().__init__(message)


BLOCK_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a block may raise when it is given what it cannot take."""


def reason(error: BaseException) -> str:
    """What an exception says; its type and the line that raised it where it says nothing, as an `assert` does."""
    if text := str(error).strip():
        return text
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__ + (f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else "")


def did_you_mean(name: object, valid: Iterable[object]) -> str:
    """The end of an error sentence that leads from a wrong name to the right one.

    Returns:
        "; did you mean 'x'?" where a valid name is near, else "; valid: a, b, c".
    """
    names = [str(option) for option in valid]
    near = get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid: {', '.join(names) or 'none'}"
