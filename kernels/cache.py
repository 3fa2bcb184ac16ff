"""The cache folder: where generated code and what compilers make of it are kept between processes."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "TINYGRAD_RNN_CACHE"
"""Environment variable that names the cache folder."""


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_files(paths: Iterable[Path]) -> str:
    """A short name for the contents of files, in the order of their names."""
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


@functools.cache
def folder() -> Path:
    """The cache folder, made if need be; a temporary one, with a warning, where it cannot be written to."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    wanted = Path(os.environ.get(VARIABLE) or os.path.join(home, "tinygrad_rnn"))
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError as error:
        warnings.warn(
            f"the cache folder {wanted} cannot be written to ({error.strerror}): kernels are compiled anew in each "
            f"process; {VARIABLE} names another folder",
            RuntimeWarning,
            stacklevel=2,
        )
        temporary = tempfile.mkdtemp(prefix="tinygrad_rnn_")
        atexit.register(_remove, temporary, os.getpid())
        return Path(temporary)


def _remove(folder: str, process: int) -> None:
    """At the end of the process that made it, and not of one forked from it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
