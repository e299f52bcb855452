"""Writing a file so that a reader never sees half of it."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes a file by replacing it whole, text as UTF-8; its folder is made where it is missing.

    Whoever reads, or interrupts, finds the old content or the new one. No file of another name stays behind.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    written = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(written)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private; a result is as readable as any other
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    """The process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def replace_folder(folder: Path, files: Mapping[str, str], pattern: str) -> None:
    """Makes a folder hold these text files, by name, and no others that match the pattern; what a user put beside them stays.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        replace_file(folder / name, text)
    for path in folder.glob(pattern):
        if path.name not in files:
            path.unlink()
