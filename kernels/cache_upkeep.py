"""Lists the files of the cache folder, says which of them this version of the library can use, and removes the others.

It touches only files with a name that this or an earlier version of the library gives: the folder may hold other files.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENTRY = re.compile(r"\w+_[0-9a-f]{16}[\w.]*\.(?P<version>[0-9a-f]{12})\.(code|so)")
UNFINISHED = re.compile(ENTRY.pattern.replace("?P<version>", "") + r"\.[0-9a-f]{16}\.tmp|tmp\w{8}\.tmp")
EARLIER = re.compile(r".+_[0-9a-f]{16}(_\w+)?\.(py|so)")  # generated modules and libraries of earlier layouts
EARLIER_COMPILED = re.compile(r".+_[0-9a-f]{16}\..*(nbi|nbc|pyc)(\.tmp\.\w+)?")  # in __pycache__
PATIENCE = 3600  # seconds after which the writer of an unfinished file is assumed to have died


@dataclass(frozen=True)
class File:
    """A file of the cache folder. current: this version of the library would read it on this machine."""

    path: Path
    size: int
    current: bool


def files(folder: Path) -> list[File]:
    """Return all files of this library, except those that another process may be writing."""
    versions = _versions()
    return [*_found(folder, versions), *_found(folder / "__pycache__", versions, EARLIER_COMPILED)]


def remove(found: list[File]) -> None:
    """Remove files. Skip a file that is gone already or that this process may not remove."""
    for file in found:
        with contextlib.suppress(OSError):
            file.path.unlink()
    for parent in {file.path.parent for file in found if file.path.parent.name == "__pycache__"}:
        with contextlib.suppress(OSError):  # it holds other files too
            parent.rmdir()


def _versions() -> set[str | None]:
    from .cpu.runtime.cache import version
    from .cuda.build import sources_version

    return {version(), sources_version()}


def _found(folder: Path, versions: set[str | None], earlier: re.Pattern = EARLIER) -> Iterator[File]:
    with contextlib.suppress(OSError):  # there is no such folder
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(OSError):  # another process has removed it
                status = path.lstat()
                entry = ENTRY.fullmatch(path.name)
                abandoned = UNFINISHED.fullmatch(path.name) and time.time() - status.st_mtime > PATIENCE
                if path.is_file() and (entry or abandoned or earlier.fullmatch(path.name)):
                    yield File(path, status.st_size, bool(entry and entry["version"] in versions))
