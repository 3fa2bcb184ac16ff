"""The sizes of the host's caches, from which the kernels choose the sizes of their blocks.

Linux tells them in files, macOS by `sysctlbyname`. Elsewhere, and where a system hides them, sizes that nearly every
processor has are assumed: too small a block costs a little, too large a one costs much.
"""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
MACOS = ("hw.perflevel0.l1dcachesize", "hw.perflevel0.l2cachesize", "hw.l3cachesize")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Caches(NamedTuple):
    """Bytes of the caches that hold data, as one core sees them. third: 0 if there is none."""

    first: int = 32 << 10
    second: int = 256 << 10
    third: int = 0

    def __str__(self) -> str:
        return ", ".join(f"level {i}: {size >> 10} KiB" for i, size in enumerate(self, 1) if size)


@functools.cache
def caches() -> Caches:
    """Return the sizes of this host's caches. They are read once."""
    found = _from_files(FOLDER) if sys.platform == "linux" else _from_macos() if sys.platform == "darwin" else {}
    sizes = {name: size for name, size in found.items() if size > 0}
    return Caches(**sizes) if "first" in sizes and "second" in sizes else Caches()


def _from_files(folder: Path) -> dict[str, int]:
    """Return the sizes that Linux tells, by their names in Caches."""
    sizes = dict[str, int]()
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        matched = re.fullmatch(r"(\d+)([KMG]?)", size)
        if matched and kind in ("Data", "Unified") and level in ("1", "2", "3"):
            sizes[Caches._fields[int(level) - 1]] = int(matched[1]) * UNITS[matched[2]]
    return sizes


def _from_macos() -> dict[str, int]:
    """Return the sizes that macOS tells, of its fast cores where it has two kinds, by their names in Caches."""
    sizes = dict[str, int]()
    for field, name in zip(Caches._fields, MACOS):
        one_kind = name.replace("perflevel0.", "")  # the name on processors with one kind of core
        sizes[field] = _macos_number(name) or _macos_number(one_kind)
    return sizes


def _macos_number(name: str) -> int:
    """Return a number that macOS knows by a name; 0 if it does not."""
    number, length = ctypes.c_uint64(), ctypes.c_size_t(8)
    try:
        read = ctypes.CDLL(None).sysctlbyname
    except (OSError, TypeError, AttributeError):  # another system
        return 0
    failed = read(name.encode(), ctypes.byref(number), ctypes.byref(length), None, ctypes.c_size_t(0))
    return 0 if failed else number.value
