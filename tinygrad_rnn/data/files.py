"""Files that somebody names: opened without waiting, and read only where they are regular, whatever the name says."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys

_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):  # no system has all of them
    _FLAGS |= getattr(os, _name, 0)

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: str | os.PathLike[str], pipes: bool = False) -> io.FileIO:
    """Open a regular file for reading; with `pipes` a pipe too, which does not block yet.

    Raise OSError, with the path, for all else: a folder, a device, a socket, a name that no file can have. Nothing is
    waited for, and no device is opened.
    """
    name = os.fspath(path)
    try:
        _check_kind(os.stat(name).st_mode, name, pipes)  # first, as a device may act when it is opened
        descriptor = os.open(name, _FLAGS)
    except ValueError:  # a NUL, or a character that file names cannot have
        raise OSError(errno.EINVAL, "expected a path that a file can have", name) from None
    try:
        _check_kind(os.fstat(descriptor).st_mode, name, pipes)  # again, as another file may have taken the name
        return io.FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_kind(mode: int, name: str, pipes: bool) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(mode) and not (pipes and stat.S_ISFIFO(mode)):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"expected a regular file, got {kind}", name)


def size_of(file: io.FileIO) -> int:
    """The number of bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a regular file, or of a pipe that somebody writes to. Raise OSError as `open_regular` does."""
    with open_regular(path, pipes=True) as file:
        if not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            return file.readall()
        first = file.read(1)  # None: somebody is there who has not written yet; nothing: nobody is there
        if first == b"":
            raise OSError(errno.EINVAL, "expected a regular file, got a pipe that nobody writes to", os.fspath(path))
        os.set_blocking(file.fileno(), True)
        return (first or b"") + file.readall()


def read_standard_input(name: str) -> bytes:
    """All bytes of standard input. Raise OSError, under the name, where it is closed or a terminal."""
    stream = sys.stdin
    if stream is None or stream.closed:
        raise OSError(errno.EBADF, "expected a file or a pipe on standard input, which is closed", name)
    if stream.isatty():
        raise OSError(errno.EINVAL, "expected a file or a pipe on standard input, got a terminal", name)
    try:
        raw = stream.buffer.read() if hasattr(stream, "buffer") else stream.read().encode()
    except OSError as error:
        raise OSError(error.errno, f"standard input: {error.strerror or error}", name) from error
    return raw
