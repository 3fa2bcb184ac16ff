"""The header of a safetensors file, read with distrust: all sizes are compared before any array is made.

    8 bytes   N, little-endian
    N bytes   JSON: {"__metadata__": {name: text}, tensor: {"dtype", "shape", "data_offsets": [start, stop]}}
    the rest  the tensors' numbers, one after the other without a gap

The library safetensors opens a file by its name and returns arrays. This module reads an open file, so that another
file cannot take the name after the checks, and gives the shapes before any array exists.
Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.files import size_of

# Several times the needs of the largest checkpoint: 64 layers, and a vocabulary of all characters of Unicode.
LONGEST_HEADER = 32 * 2**20
MOST_PARTS = 100_000
MOST_DIMENSIONS = 16

DTYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}


@dataclass(frozen=True)
class Entry:
    """One tensor of the file: its dtype code, its shape, and the place of its bytes."""

    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def dtype(self) -> np.dtype:
        """The dtype. Raises ValueError for a code that NumPy has no dtype for."""
        if self.code not in DTYPES:
            raise ValueError(f"{self.name}: expected a dtype of NumPy's, got {self.code!r:.40}")
        return np.dtype(DTYPES[self.code])

    def stand_in(self) -> np.ndarray:
        """Return a read-only array of this shape and dtype. It repeats a single zero, so it takes no memory."""
        size = math.prod(self.shape) * self.dtype.itemsize
        if size != self.stop - self.start:
            raise ValueError(f"{self.name}: expected {size:,} bytes as its shape says, got {self.stop - self.start:,}")
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)

    def read(self, file: io.FileIO) -> np.ndarray:
        """Return the numbers. Raise ValueError if the file has become shorter."""
        array = np.empty(self.shape, self.dtype)
        raw = array.reshape(-1).view(np.uint8)
        file.seek(self.start)
        done = 0
        while done < raw.size:
            got = file.readinto(raw[done:].data)
            if not got:
                raise ValueError(f"{self.name}: expected {raw.size:,} bytes, got {done:,}")
            done += got
        return array


def read_header(file: io.FileIO) -> tuple[dict[str, str], dict[str, Entry]]:
    """Return (metadata, entries by name in the order of the file). Raise ValueError for any breach of the format."""
    size = size_of(file)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"a head of {length:,} bytes in a file of {size:,}")
    if length > LONGEST_HEADER:
        raise ValueError(f"a head of {length:,} bytes, more than {LONGEST_HEADER:,}")
    raw = file.read(length)
    if len(raw) != length:
        raise ValueError("a file that becomes shorter")
    head = strict_json(raw.decode())
    if not isinstance(head, dict):
        raise ValueError("a head that is no JSON object")
    metadata = head.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata that are not texts")
    entries = sorted((_entry(name, given, 8 + length) for name, given in head.items()), key=lambda e: (e.start, e.stop))
    _check_covered(entries, 8 + length, size)
    return metadata, {entry.name: entry for entry in entries}


def strict_json(text: str) -> Any:
    """Return the value of a JSON text. Raise ValueError for wrong JSON, a repeated name, too many or too deep parts."""
    if sum(map(text.count, "[{,")) > MOST_PARTS:  # each part takes about a hundred bytes of memory
        raise ValueError(f"JSON of more than {MOST_PARTS:,} parts")
    try:
        return json.loads(text, object_pairs_hook=_unique_names)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("JSON that names a part twice")
    return found


def _entry(name: str, given: Any, origin: int) -> Entry:
    if not isinstance(given, dict) or given.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r:.40}: expected dtype, shape and data_offsets")
    code, shape, offsets = given["dtype"], given["shape"], given["data_offsets"]
    if not isinstance(code, str) or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r:.40}: expected a dtype, a shape and two offsets, got {str(given)[:80]}")
    return Entry(name, code, tuple(shape), origin + offsets[0], origin + offsets[1])


def _are_sizes(given: Any) -> bool:
    return isinstance(given, list) and len(given) <= MOST_DIMENSIONS and all(type(n) is int and n >= 0 for n in given)


def _check_covered(entries: Iterable[Entry], start: int, size: int) -> None:
    for entry in entries:
        if entry.start != start or entry.stop < start:
            raise ValueError(f"{entry.name!r:.40}: expected numbers that begin where those before it end")
        start = entry.stop
    if start != size:
        raise ValueError(f"expected {start:,} bytes as the tensors' shapes say, got a file of {size:,}")
