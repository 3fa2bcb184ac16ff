"""The reading of files that a user or a checkpoint names: only regular ones, and without blocking on any other."""

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
    """Open a regular file for reading; with pipes=True also a pipe, in non-blocking mode.

    Raise OSError, with the path, for anything else: a folder, a device, a socket, a name that no file can have. The
    call never blocks and never opens a device.
    """
    name = os.fspath(path)
    try:
        _check_kind(os.stat(name).st_mode, name, pipes)  # before the opening, which can make a device act
        descriptor = os.open(name, _FLAGS)
    except ValueError:  # a NUL, or a character that no file name can have
        raise OSError(errno.EINVAL, "expected a path that a file can have", name) from None
    try:
        _check_kind(os.fstat(descriptor).st_mode, name, pipes)  # again, because another file may have got the name
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
    """Return the number of bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return all bytes of a regular file, or of a pipe with a writer. Raise OSError as `open_regular` does."""
    with open_regular(path, pipes=True) as file:
        if not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            return file.readall()
        first = file.read(1)  # None: a writer that has not written yet; empty: no writer
        if first == b"":
            raise OSError(errno.EINVAL, "expected a regular file, got a pipe that nobody writes to", os.fspath(path))
        os.set_blocking(file.fileno(), True)
        return (first or b"") + file.readall()


def read_standard_input(name: str) -> bytes:
    """Return all bytes of standard input. Raise OSError, with the name, where it is closed or a terminal."""
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
