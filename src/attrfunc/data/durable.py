"""Files that are whole or not there at all, whatever happens to the process or the machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from attrfunc.core.errors import ArgumentError

__all__ = ["sweep", "unwritable", "write_whole"]

_SUFFIX = ".partial"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, onto the disk, and then give it its own.

    Args:
        path: The file.
        write: Writes a file of that name.

    Raises:
        ArgumentError: If it cannot be written: a full disk, say. Nothing is left of it then.
    """
    partial = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}{_SUFFIX}")
    try:
        write(partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        if os.name == "posix":  # elsewhere a folder is not opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise unwritable(path.parent, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def unwritable(folder: Path, error: OSError) -> ArgumentError:
    """What to say where a folder cannot be written to."""
    fix = "Make room, or choose another folder; what was whole is kept, and the next call goes on from there."
    got = f"{folder}, which cannot be written to ({error})"
    return ArgumentError("path", got, "a folder with room that may be written to", fix)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine left half-written that are no more."""
    for partial in folder.glob(f".*{_SUFFIX}"):
        _, host, process = partial.name.removesuffix(_SUFFIX).rsplit(".", 2)
        if host == socket.gethostname() and not _lives(int(process)):
            partial.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
