"""The state of a training on disk: whole or not there, and never more than data when it is read."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from search.system.files import replace_file
from spaces.errors import InputError


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a state of tensors, numbers, texts, lists and dicts in place of an older one.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace_file(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """What `save` wrote, on the CPU; None where there is no file. A file that holds anything but data is refused, not run.

    Raises:
        InputError: the file is damaged, or no checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise InputError(f"{path} is not a checkpoint that can be read ({reason}); delete it to begin anew") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} is not a checkpoint of a training; delete it to begin anew")
    return state
