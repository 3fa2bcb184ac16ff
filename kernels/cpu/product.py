"""Matrix products of any size from the register tile: panels packed, blocks that fit the caches, threads over columns.

    out [M, N] = A [M, K] B [K, N], or added to out; A and B in any layout (row and column strides).

Each element of `out` is summed over k in one order, block after block, whatever the number of threads and
wherever it stands: results do not depend on either to the last bit.
"""

from __future__ import annotations

import functools
from types import ModuleType

from . import cache
from .host import VectorUnit
from .tile import tile_rows

PANEL_VECTORS = 4
DEPTH = 256  # of a block along k: a panel of B of 256 x 64 float32 is 64 KiB, and stays in the second-level cache

TEMPLATE = '''"""Generated: matrix products for {unit}, float{bits}."""

import numpy as np
from numba import njit

from tinygrad_rnn.kernels.cpu.tile import tile


@njit(cache=True, nogil=True, error_model="numpy")
def pack(b, b_row, b_column, depth, columns, panel):
    """panel [depth, WIDTH] = some columns of B, 0 past the last."""
    for k in range(depth):
        for j in range(columns):
            panel[k * {width} + j] = b[k * b_row + j * b_column]
        for j in range(columns, {width}):
            panel[k * {width} + j] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def pack_blocks(b, b_row, b_column, b_gate, gates, units, depth, vectors, panels):
    """panels [blocks][depth][gates][vectors * LANES] = B of each gate, which lie b_gate apart; 0 past the last."""
    block = vectors * {lanes}
    at = 0
    for j in range(0, units, block):
        for k in range(depth):
            for g in range(gates):
                for u in range(j, j + block):
                    panels[at] = b[g * b_gate + k * b_row + u * b_column] if u < units else 0.0
                    at += 1


@njit(cache=True, nogil=True, error_model="numpy")
def column_sums(a, rows, columns, first, last, out):
    """out = the sums of the columns first..last of a [rows, columns], row after row; both multiples of LANES."""
    one = np.ones(1, a.dtype)
    for c in range(first, last, {lanes}):
        at, to = a.ctypes.data + c * {size}, out.ctypes.data + c * {size}
        tile({bits}, {lanes}, 1, 1, 0, one.ctypes.data, 0, 0, at, columns, rows, to, {lanes})


@njit(cache=True, nogil=True, error_model="numpy")
def tiles(a, a_row, a_step, panel, depth, rows, out, out_row, adds):
    """out [rows, WIDTH] = A panel (+ out), for addresses a, panel and out."""
    r = 0
    while r < rows:
        left = rows - r
        at, to = a + r * a_row * {size}, out + r * out_row * {size}
{choice}
        r += {rows}


@njit(cache=True, nogil=True, error_model="numpy")
def product(a, a_row, a_column, b, b_row, b_column, out, out_row, M, N, K, first, last, adds):
    """Columns first..last, in panels of WIDTH, of out (+)= A B. Flat arrays of numbers, with strides in numbers."""
    panel = np.empty({depth} * {width}, a.dtype)
    edge = np.empty(M * {width}, a.dtype)
    for j in range(first, last, {width}):
        columns = min({width}, N - j)
        for k in range(0, K, {depth}):
            depth = min({depth}, K - k)
            pack(b[k * b_row + j * b_column:], b_row, b_column, depth, columns, panel)
            start = a.ctypes.data + k * a_column * {size}
            if columns == {width}:
                place = out.ctypes.data + j * {size}
                tiles(start, a_row, a_column, panel.ctypes.data, depth, M, place, out_row, adds or k > 0)
            else:
                tiles(start, a_row, a_column, panel.ctypes.data, depth, M, edge.ctypes.data, {width}, k > 0)
        if columns < {width}:
            for r in range(M):
                for c in range(columns):
                    value = edge[r * {width} + c]
                    out[r * out_row + j + c] = out[r * out_row + j + c] + value if adds else value
        if K == 0 and not adds:
            for r in range(M):
                for c in range(columns):
                    out[r * out_row + j + c] = 0.0
'''


def choice(rows: int, call: str, indent: str) -> str:
    """Lines that call a tile of as many rows as are left, up to `rows`; ROWS stands for that number."""
    lines = []
    for n in range(rows, 0, -1):
        lines += [f"{'if' if n == rows else 'elif'} left >= {n}:"]
        lines += ["    " + line for line in call.replace("ROWS", str(n)).splitlines()]
    return "\n".join(indent + line for line in lines)


@functools.cache
def products(unit: VectorUnit, bits: int) -> ModuleType:
    """The module of products for a vector unit and float32 or float64."""
    lanes = unit.lanes(bits // 8)
    rows, width = tile_rows(unit, PANEL_VECTORS), lanes * PANEL_VECTORS
    call = f"tile({bits}, {lanes}, ROWS, {PANEL_VECTORS}, ADDS, at, a_row, a_step, panel, {width}, depth, to, out_row)"
    both = f"if adds:\n    {call.replace('ADDS', '1')}\nelse:\n    {call.replace('ADDS', '0')}"
    lines = choice(rows, both, " " * 8)
    text = TEMPLATE.format(
        unit=unit.name, bits=bits, lanes=lanes, width=width, size=bits // 8, rows=rows, depth=DEPTH, choice=lines
    )
    return cache.load(f"product_{unit.name}_f{bits}", text)
