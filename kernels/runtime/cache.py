"""The cache folder keeps compiled code between processes. Two conditions decide whether a file of it is trusted.

1. The folder and the file belong to the user or to root, and nobody else may write to them. This keeps out code that
   another user plants.
2. The file ends with the SHA-256 of its name and content. `read` compares it before any use. This finds damage.

If a file fails, its code is compiled and written again. If the folder fails, it is not used. Neither is an error: a
process gives one warning, at the first such problem.
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
    """Return a short hash of a text: 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_files(files: Iterable[Traversable]) -> str:
    """Return a short hash, 12 hexadecimal digits, of the contents of files in the order of their names."""
    hashed = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        hashed.update(file.read_bytes())
    return hashed.hexdigest()[:12]


def sources(package: str, *suffixes: str) -> list[Traversable]:
    """Return the files of a package with these suffixes, whether it was imported from a folder or a zip file."""
    found = [file for file in importlib.resources.files(package).iterdir() if file.name.endswith(suffixes)]
    if not found:
        raise FileNotFoundError(f"{package}: found no file that ends with {' or '.join(suffixes)}")
    return found


# The folder


@functools.cache
def folder() -> Path | None:
    """Return the absolute cache folder, created if needed. Return None, with a warning, if it cannot be used.

    The first call decides, because the process may change its working folder later. The folder need not be writable.
    """
    wanted = wanted_folder()
    try:
        if isinstance(wanted, str):
            raise RuntimeError("HOME names no home folder, or there is no working folder")
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = wanted.resolve(strict=True)
        reason = distrust(found.stat())
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links raises RuntimeError, too
        found, reason = None, _reason(error)
    if reason:
        warn_once(f"the cache folder {wanted} is not used: {reason}")
        return None
    return found


def wanted_folder() -> Path | str:
    """Return the absolute folder that the environment asks for, or its text as written if it names no folder."""
    try:
        return _wanted()
    except (OSError, RuntimeError):
        return os.environ.get(VARIABLE) or "~/.cache/tinygrad_rnn"


def _wanted() -> Path:
    if named := os.environ.get(VARIABLE):
        path = Path(named)
        return (_in_home(path) if named.startswith("~") else path).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")  # XDG's rules: a path that is not absolute is ignored
    return (base if base.is_absolute() else _in_home(Path("~/.cache"))) / "tinygrad_rnn"


def _in_home(path: Path) -> Path:
    """Return the path with ~ expanded. Raise RuntimeError if there is no home: HOME is unset and the user unknown."""
    found = path.expanduser()
    if not found.is_absolute() or os.environ.get("HOME") == "":
        raise RuntimeError("HOME names no home folder")
    return found


def distrust(status: os.stat_result) -> str:
    """Return the reason why others than the user and root could have written a file or folder, or "" if none could."""
    if not hasattr(os, "geteuid"):  # on Windows a user's folders belong to that user alone
        return ""
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to another user (number {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o}), and the code in it would be run"
    return ""


def warn_once(problem: str) -> None:
    """Warn that a problem keeps the cache from being used. A process gives only the first such warning."""
    global _warned
    if not _warned:
        _warned = True
        text = f"{problem}; each process compiles its kernels again; {VARIABLE} names another folder"
        warnings.warn_explicit(text, RuntimeWarning, "tinygrad_rnn", 1, module=__name__)


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@functools.cache
def temporary() -> Path:
    """Return a folder for files that need a path. Only this user can enter it. The process removes it at its end."""
    made = tempfile.mkdtemp(prefix="tinygrad_rnn_")  # mode 0700
    atexit.register(_remove, made, os.getpid())
    return Path(made)


def _remove(folder: str, process: int) -> None:
    """Remove the folder, unless this process is a fork of the process that made it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


# Its files


def read(path: Path, trusted: bool = False) -> bytes | None:
    """Return the content that `write` stored; None if the file is missing or damaged, or another user could write it.

    trusted: the file is a part of the installed package, which is trusted no matter who owns it.
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
    """Write a file in one step, so that processes that write it at the same time do not harm each other.

    Return False, with a warning, if that fails, for example because the disk is full or the folder is not writable.
    """
    try:
        replace(path, content + _seal(path.name, content))
        return True
    except OSError as error:
        warn_once(f"the cache folder {path.parent} cannot be written to: {_reason(error)}")
        return False


def replace(path: Path, data: bytes) -> None:
    """Replace a file by one with these bytes, in one step. The temporary file never follows a link planted there."""
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    handle = os.open(unfinished, _WRITE, 0o644)  # readable for all: a user may fill a folder ahead for other users
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def _seal(name: str, content: bytes) -> bytes:
    hashed = hashlib.sha256(name.encode() + b"\0")
    hashed.update(content)
    return hashed.digest() + MAGIC
