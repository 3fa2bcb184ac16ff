"""A lock by which one process has a folder for itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..arrays.writing import TEMPORARY_NAME

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class InUseError(RuntimeError):
    """Another process has locked the folder."""


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for the block; raise InUseError if another process, or another block, has locked it.

    Another process may have written until the lock: read the files to continue from inside of the block. The lock
    removes temporary files of killed processes. Where folders cannot be locked (on Windows, on some network drives)
    the block runs without a lock.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _locked(descriptor):
            for file in folder.glob("*.part"):
                if TEMPORARY_NAME.fullmatch(file.name):
                    with contextlib.suppress(OSError):  # a folder of that name, or another user's file: leave it
                        file.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Lock a folder. Return whether that is possible; raise InUseError where another has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUseError from None
    except OSError:
        return False
    return True
