"""The product tiles of tile.cuh: their names in C++, and their sizes for the layout of shared memory.

Products of float32 are computed in float32 by default. On request their factors are rounded to tf32 or bf16 and
multiplied by the tensor cores; sums, states and everything pointwise stay float32.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..runtime.rounding import ceil_div, round_up

VARIABLE = "TINYGRAD_RNN_CUDA_PRECISION"
"""Environment variable with the precision until a call sets it."""

PRECISIONS = {"highest": "float32", "high": "tf32", "medium": "bf16"}
"""PyTorch's words for the precision of float32 products, and the type of their factors."""

VECTOR = 16  # bytes
_precision = ""


@dataclass(frozen=True)
class LaneTile:
    """Lanes of a warp share a unit with `rows` rows. size: bytes of a number. enough: the most rows to use it for."""

    number: str
    lanes: int
    rows: int
    size: int
    enough: int
    least_bits = 0

    @property
    def name(self) -> str:
        return f"LaneTile<{self.number}, {self.lanes}, {self.rows}>"

    def most_bits(self, threads: int) -> int:
        """Return log2 of the most units of a tile: one for each group of lanes."""
        return (threads // self.lanes).bit_length() - 1

    def row_bits(self, threads: int, bits: int, rows: int) -> int:
        """Return log2 of the row groups of a pass: as many as have lanes, but no more than the rows need."""
        return min(self.most_bits(threads) - bits, (ceil_div(rows, self.rows) - 1).bit_length())

    def pass_rows(self, row_bits: int) -> int:
        return self.rows << row_bits

    def slices(self, threads: int, bits: int, row_bits: int) -> int:
        """Return how many groups of lanes share the same unit and rows, so that every lane has work."""
        return threads // self.lanes >> bits >> row_bits

    def row(self, width: int) -> int:
        """Return the numbers from one row to the next in shared memory."""
        return self.filled(width)

    def filled(self, width: int) -> int:
        return round_up(width, VECTOR // self.size)


@dataclass(frozen=True)
class MatrixTile:
    """A warp has 16 * blocks rows and eight units. Warps with the same units compute slices of the same sums."""

    number: str
    blocks: int
    size: int
    least_bits = 3

    @property
    def name(self) -> str:
        return f"MatrixTile<{self.number}, {self.blocks}>"

    @property
    def rows(self) -> int:
        return 16 * self.blocks

    enough = rows

    def most_bits(self, threads: int) -> int:
        """Return log2 of the most units of a tile: each thread has one unit in one row."""
        return (threads // self.rows).bit_length() - 1

    def row_bits(self, threads: int, bits: int, rows: int) -> int:
        return 0

    def pass_rows(self, row_bits: int) -> int:
        return self.rows

    def slices(self, threads: int, bits: int, row_bits: int) -> int:
        return threads // 32 >> (bits - 3)

    def row(self, width: int) -> int:
        """Return the numbers from one row to the next: an odd multiple of 64 bytes."""
        filled, step = self.filled(width), 64 // self.size
        return filled if filled // step % 2 else filled + step

    def filled(self, width: int) -> int:
        return round_up(width, 64 // self.size)


Tile = LaneTile | MatrixTile

TILES: dict[str, tuple[Tile, Tile]] = {
    "float32": (LaneTile("float", 8, 1, 4, enough=2), LaneTile("float", 8, 8, 4, enough=8)),
    "float64": (LaneTile("double", 8, 1, 8, enough=2), LaneTile("double", 8, 8, 8, enough=8)),
    "tf32": (MatrixTile("Tf32", 1, 4), MatrixTile("Tf32", 2, 4)),
    "bf16": (MatrixTile("Bf16", 1, 2), MatrixTile("Bf16", 2, 2)),
}
"""For each kind of products, a tile for few rows and one for many."""


THREADS = dict.fromkeys(TILES, 256)
"""Threads of a block, for each kind of products."""

RING = 4
"""Parts of a product's source that shared memory has slots for: one is multiplied while the others come."""

STORED = {"float32": "float32", "float64": "float64", "tf32": "uint32", "bf16": "uint16"}
"""For each kind of products, a dtype of the size of its stored factors."""


def filled(products: str, width: int) -> int:
    """Return the numbers of a row of factors in memory: `width` rounded up to whole vectors."""
    return TILES[products][0].filled(width)


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how the recurrent products of float32 are computed: "highest" (float32), "high" (tf32) or "medium" (bf16).

    CuPy computes the products over all steps, in tf32 if CUPY_TF32=1 is in the environment.
    """
    global _precision
    if precision not in PRECISIONS:
        raise ValueError(f"set_float32_matmul_precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    _precision = precision


def get_float32_matmul_precision() -> str:
    """Return the precision that was set last, or the environment's, or "highest"."""
    if not _precision:
        set_float32_matmul_precision(os.environ.get(VARIABLE, "highest"))
    return _precision


def products_of(dtype: str) -> str:
    """Return the kind of products for arrays of a dtype, a key of TILES."""
    return PRECISIONS[get_float32_matmul_precision()] if dtype == "float32" else dtype
