"""Atomic writes of files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from pathlib import Path

_NAMES = ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EACCES", "EPERM", "EISDIR", "EROFS")
CANNOT_SYNC = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
TEMPORARY_NAME = re.compile(r".+\.\d+-\d+\.part", re.DOTALL)  # names that `_temporary_path` and earlier versions give


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the folder of the path, wait until it is on the disk, then rename it to the path.

    At any moment, even after a kill or on a full disk, the path is the whole old file or the whole new one. Raise
    OSError, with the path, if the file cannot be written; then no temporary file stays behind.
    """
    temporary = _temporary_path(path)
    try:
        with open(temporary, "xb", opener=_open_without_links) as file:
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


def _temporary_path(path: Path) -> Path:
    """Return a random name for a temporary file, so that nobody can place a link there in advance."""
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.randbits(64)}.part")


def _open_without_links(path: str, flags: int) -> int:
    """Open a new file and follow no link. `open` passes the flags of its mode "x": O_CREAT and O_EXCL."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _sync(descriptor: int) -> None:
    """Wait until a file or a folder is on the disk. A file system that does not support this is no error."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Wait until a rename in the folder is on the disk, on systems that can open folders (not Windows)."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # the user may write to the folder but not read it
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
