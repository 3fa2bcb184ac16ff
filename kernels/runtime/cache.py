"""The cache folder: compiled code is kept there between processes, and it is trusted under two conditions.

The folder and each file that is read from it must belong to the user or to root, and nobody else may write to them:
that keeps out code that others plant. Each file ends with a SHA-256 of its name and content, which is compared before
the file is used: that finds damage. A file that does not hold is made anew, a folder that does not hold is not used;
neither is an error, and the first such trouble of a process is said in one warning.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib.resources
import os
import secrets
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from pathlib import Path

VARIABLE = "TINYGRAD_RNN_CACHE"
"""Environment variable that names the cache folder."""

MAGIC = b"\ntinygrad_rnn cache, layout 1\n"
SEAL = hashlib.sha256().digest_size + len(MAGIC)  # bytes at the end of a file

_READ = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | sum(getattr(os, f, 0) for f in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))

_warned = False


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_files(files: Iterable[Traversable]) -> str:
    """A short name for the contents of files, in the order of their names."""
    found = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


def sources(package: str, *suffixes: str) -> list[Traversable]:
    """The files of a package with these suffixes, wherever it was imported from: a folder or a zip file."""
    found = [file for file in importlib.resources.files(package).iterdir() if file.name.endswith(suffixes)]
    if not found:
        raise FileNotFoundError(f"{package}: no file {' or '.join(suffixes)} is there")
    return found


# The folder


@functools.cache
def folder() -> Path | None:
    """The cache folder, absolute, made if need be; None, with a warning, where it cannot be used.

    It is settled at the first call: the process may change its working folder afterwards. It need not be writable.
    """
    wanted = wanted_folder()
    try:
        if isinstance(wanted, str):
            raise RuntimeError("HOME names no home folder, or there is no working folder")
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = wanted.resolve(strict=True)
        reason = distrust(found.stat())
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: also of links that go in a circle
        found, reason = None, _reason(error)
    if reason:
        warn_once(f"the cache folder {wanted} is not used: {reason}")
        return None
    return found


def wanted_folder() -> Path | str:
    """The folder that the environment asks for, absolute; as it is written there, where that names none."""
    try:
        return _wanted()
    except (OSError, RuntimeError):
        return os.environ.get(VARIABLE) or "~/.cache/tinygrad_rnn"


def _wanted() -> Path:
    if named := os.environ.get(VARIABLE):
        path = Path(named)
        return (_in_home(path) if named.startswith("~") else path).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")  # one that is not absolute is to be ignored, by XDG's rules
    return (base if base.is_absolute() else _in_home(Path("~/.cache"))) / "tinygrad_rnn"


def _in_home(path: Path) -> Path:
    """The path with ~ expanded. RuntimeError where it leads nowhere: HOME unset, and the user unknown to the system."""
    found = path.expanduser()
    if not found.is_absolute() or os.environ.get("HOME") == "":
        raise RuntimeError("HOME names no home folder")
    return found


def distrust(status: os.stat_result) -> str:
    """Why others than the user and root could have put code into a file or folder; empty where they could not."""
    if not hasattr(os, "geteuid"):  # Windows: its user folders are the user's own
        return ""
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to another user (number {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o}), and what lies there is run"
    return ""


def warn_once(trouble: str) -> None:
    """Say what keeps the cache from being used, unless this process has already said such a thing."""
    global _warned
    if not _warned:
        _warned = True
        text = f"{trouble}; kernels are compiled anew in each process; {VARIABLE} names another folder"
        warnings.warn_explicit(text, RuntimeWarning, "tinygrad_rnn", 1, module=__name__)


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@functools.cache
def temporary() -> Path:
    """A folder that only this user can enter and that goes with this process, for files that must have a place."""
    made = tempfile.mkdtemp(prefix="tinygrad_rnn_")  # mode 0700
    atexit.register(_remove, made, os.getpid())
    return Path(made)


def _remove(folder: str, process: int) -> None:
    """At the end of the process that made it, and not of one forked from it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


# Its files


def read(path: Path, trusted: bool = False) -> bytes | None:
    """The content that `write` was given; None where the file is not there, damaged, or could be another user's.

    trusted: the file is a part of the installed package, which is trusted whoever it belongs to.
    """
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            if not trusted and (reason := distrust(status)):
                warn_once(f"{path} is not used: {reason}")
                return None
            data = file.read()
    except OSError:
        return None
    content, seal = data[:-SEAL], data[-SEAL:]
    return content if seal == _seal(path.name, content) else None


def write(path: Path, content: bytes) -> bool:
    """Put a file in place whole, so that processes that write it at once do each other no harm.

    False, with a warning, where that fails: the disk is full, the folder cannot be written to.
    """
    try:
        replace(path, content + _seal(path.name, content))
        return True
    except OSError as error:
        warn_once(f"the cache folder {path.parent} cannot be written to: {_reason(error)}")
        return False


def replace(path: Path, data: bytes) -> None:
    """Put a file of these bytes in place, in one step. Its temporary name follows no link that was planted there."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    handle = os.open(unfinished, _WRITE, 0o644)  # readable: a folder that is filled ahead may be for other users
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def _seal(name: str, content: bytes) -> bytes:
    found = hashlib.sha256(name.encode() + b"\0")
    found.update(content)
    return found.digest() + MAGIC
