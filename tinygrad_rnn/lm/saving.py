"""Files that are always whole: written beside their place and renamed to it, in a folder that one process has."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NAMES = ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EACCES", "EPERM", "EISDIR", "EROFS")
CANNOT_SYNC = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
PART = re.compile(r".+\.\d+-\d+\.part", re.DOTALL)  # the names of `_part`, and of earlier versions


class InUseError(RuntimeError):
    """Somebody else is at work in a folder."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside the path, wait until the disk has it, then rename it to the path.

    At any moment, also of a kill or a full disk, the path is the old file or the new one. Raise OSError, with the
    path, where it cannot be written; then no temporary file is left behind.
    """
    temporary = _part(path)
    try:
        with open(temporary, "xb", opener=_without_links) as file:
            file.write(content)
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error
        raise
    _sync_folder(path.parent)


def _part(path: Path) -> Path:
    """The name of a temporary file: of this process, and such that nobody can put a link there beforehand."""
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.randbits(64)}.part")


def _without_links(path: str, flags: int) -> int:
    """Open a file that `open` must make, with the flags of its mode "x": O_CREAT and O_EXCL."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _sync(descriptor: int) -> None:
    """Wait until the disk has a file or a folder. Where a file system cannot say, there is nothing to wait for."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the renaming too, where folders can be opened (not on Windows)."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written to and not be read
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within the block nobody else is in a folder by this function, of whatever process: InUseError if one is.

    The block should read what it goes on from: before it, another may still have been writing. What a process that
    was killed has left half-written in the folder is removed. Does nothing where folders cannot be locked (not on
    Windows, nor on some network drives).
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _locked(descriptor):
            for part in folder.glob("*.part"):
                if PART.fullmatch(part.name):
                    with contextlib.suppress(OSError):  # a folder of that name, or another user's file: no obstacle
                        part.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether a folder could be locked; InUseError where another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUseError from None
    except OSError:
        return False
    return True
