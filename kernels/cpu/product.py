"""Matrix products of any size from the register tile, for a team of threads.

    out [M, N] = A [M, K] B [K, N], or added to out; B packed in panels (`packing`), A as it is or its transpose packed,
    in panels of one vector: a tile goes down their lines, which wider ones would put into too few places of the cache

A transpose is packed because a tile reads its numbers down the columns: each in another page, without that.

Each element of `out` is summed over k in one order, whatever the number of threads and wherever it stands:
results do not depend on either to the last bit.
"""

from __future__ import annotations

import functools
import textwrap
from dataclasses import dataclass

from . import cache
from .host import VectorUnit
from .native import Kernel, unpacked
from .packing import COPY, PACK, packing_text
from .tile import span_choice, tile_choice, tile_rows

PANEL_VECTORS = 4
DEPTH = 384  # about, along k before the next rows' turn: a panel of 384 x 64 float32, 96 KiB, stays in the second cache

PRODUCT = ("a", "a_row", "a_column", "a_packed", "panels", "out", "out_row", "M", "N", "K", "adds")
SUMS = ("a", "rows", "columns", "out")

TEMPLATE = '''"""Generated: packing and matrix products for {unit}, float{bits}."""

import numpy as np

from tinygrad_rnn.kernels.cpu.native import word
from tinygrad_rnn.kernels.cpu.packing import get, move, put, transpose
from tinygrad_rnn.kernels.cpu.tile import tile


def column_sums(args, thread, threads):
    """out [columns] = the sums of the columns of a [rows, columns], row after row; columns: a multiple of LANES."""
{sums}
    one = np.ones(1, np.float{bits})
    ones = one.ctypes.data
    vectors = columns // {lanes}
    c, end = vectors * thread // threads * {lanes}, vectors * (thread + 1) // threads * {lanes}
    while c < end:
        at, to = a + c * {size}, out + c * {size}
        if end - c >= {width}:
            {wide sum}
            c += {width}
        else:
            {sum}
            c += {lanes}


def product(args, thread, threads):
    """out [M, N] = A B (+ out), B in panels. A thread takes some panels, or some rows.

    A[r, k] at a, numbers a_row and a_column apart; or a_packed, and at a the panels, a vector wide, of A transposed.
    """
{arguments}
    edge = np.empty({rows} * {width} + {lanes}, np.float{bits})
    edge_at = -(-edge.ctypes.data // {vector}) * {vector}
    panels_of_all, tiles_of_all = -(-N // {width}), -(-M // {rows})
    by_panels = -(-panels_of_all // threads) * tiles_of_all <= -(-tiles_of_all // threads) * panels_of_all
    p, end, first, last = 0, panels_of_all, 0, M
    if by_panels:
        p, end = panels_of_all * thread // threads, panels_of_all * (thread + 1) // threads
    else:
        first = tiles_of_all * thread // threads * {rows}
        last = min(M, tiles_of_all * (thread + 1) // threads * {rows})
    parts = max(1, (K + {depth} // 2) // {depth})
    most = -(-K // parts)
    if K == 0 and not adds:
        for r in range(first, last):
            for c in range(p * {width}, min(N, end * {width})):
                put({bits}, out + (r * out_row + c) * {size}, 0.0)
    while p < end and first < last:
        columns = N - p * {width}
        whole = columns // {width}
        span = {span}
        for k in range(0, K, max(most, 1)):
            depth = min(most, K - k)
            panel, next_panel = panels + (p * K + k) * {width * size}, K * {width}
            more = adds or k > 0
            r = first
            while r < last:
                left = last - r
                at = a + (r * a_row + k * a_column) * {size}
                if a_packed:
                    left = min(left, {lanes} - r % {lanes})
                    at = a + ((r // {lanes} * K + k) * {lanes} + r % {lanes}) * {size}
                to, to_row = out + (r * out_row + p * {width}) * {size}, out_row
                if whole == 0:
                    place, to, to_row = to, edge_at, {width}
                    for i in range(min(left, {rows}) if more else 0):
                        for c in range(columns):
                            number = get({bits}, place + (i * out_row + c) * {size})
                            put({bits}, to + (i * {width} + c) * {size}, number)
                if whole == 0 and columns <= {narrow}:
{narrow choice}
                elif whole == 0 and columns <= {middle}:
{middle choice}
                else:
{choice}
                if whole == 0:
                    for i in range(rows):
                        for c in range(columns):
                            number = get({bits}, to + (i * {width} + c) * {size})
                            put({bits}, place + (i * out_row + c) * {size}, number)
                r += rows
        p += span
'''


@dataclass(frozen=True)
class Products:
    """The kernels of dense products."""

    copy: Kernel
    pack: Kernel
    product: Kernel
    column_sums: Kernel


def _tile_call(bits: int, lanes: int, vectors: int, span: str, panel: str, to: str, indent: int) -> str:
    """Lines that run a tile of `product`."""
    sizes, width = f"{bits}, {lanes}, ROWS, {vectors}, {span}", lanes * PANEL_VECTORS
    addresses = f"at, a_row, a_column, {panel}, {width}, next_panel, depth, {to}, to_row"
    both = f"if more:\n    tile({sizes}, 1, {addresses})\nelse:\n    tile({sizes}, 0, {addresses})"
    return textwrap.indent(both, " " * indent)


@functools.cache
def products(unit: VectorUnit, bits: int) -> Products:
    """The kernels for a vector unit and float32 or float64."""
    lanes, size = unit.lanes(bits // 8), bits // 8
    width = lanes * PANEL_VECTORS
    sums = f"tile({bits}, {lanes}, 1, VECTORS, 1, 0, ones, 0, 0, at, columns, 0, rows, to, 0)"
    call = functools.partial(_tile_call, bits, lanes)
    # A last panel of a few columns: its vectors one by one.
    narrow = f"for c in range(0, columns, {lanes}):\n" + call(1, "1", f"panel + c * {size}", f"to + c * {size}", 4)
    numbers = {
        "unit": unit.name, "bits": bits, "lanes": lanes, "size": size, "width": width, "width * size": width * size,
        "vector": lanes * size, "rows": tile_rows(unit, PANEL_VECTORS), "depth": DEPTH,
        "sums": unpacked(SUMS), "arguments": unpacked(PRODUCT),
        "wide sum": sums.replace("VECTORS", str(PANEL_VECTORS)), "sum": sums.replace("VECTORS", "1"),
        "span": span_choice(unit, PANEL_VECTORS, "last - first", "whole"),
        "choice": tile_choice(unit, PANEL_VECTORS, call(PANEL_VECTORS, "SPAN", "panel", "to", 0), " " * 20),
        "middle": 3 * lanes, "middle choice":
        tile_choice(unit, PANEL_VECTORS, call(3, "1", "panel", "to", 0), " " * 20, spans=False),
        "narrow": width // 2, "narrow choice": tile_choice(unit, PANEL_VECTORS, narrow, " " * 20, spans=False),
    }  # fmt: skip
    text = TEMPLATE
    for name, value in numbers.items():
        text = text.replace("{" + name + "}", str(value))
    module = cache.load(f"product_{unit.name}_f{bits}", text + packing_text(bits, lanes))
    names = {"copy": COPY, "pack": PACK, "product": PRODUCT, "column_sums": SUMS}
    return Products(**{name: Kernel(getattr(module, name), arguments) for name, arguments in names.items()})
