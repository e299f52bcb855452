"""A user's own modules, which bring blocks, costs or a trainer."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterable

from spaces.errors import InputError


def import_user_modules(names: Iterable[str]) -> None:
    """Import the modules that bring a user's own blocks and costs. The current directory counts, as with `python -m`.

    Raises:
        InputError: a module that does not exist or cannot be imported, with the reason and the line.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise InputError(
                    f"imports: the module '{name}' needs '{error.name}', which is not installed"
                ) from error
            raise InputError(f"imports: there is no module '{name}' in {os.getcwd()} or on Python's path") from error
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise InputError(
                f"imports: the module '{name}' fails: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
            ) from error
