"""Matrix products of any size from the register tile, for a thread team.

    out [M, N] = A [M, K] B [K, N] + start, with B packed in panels (`packing`)

Some rows of A at a time are multiplied by all panels, so that they stay in the second-level cache. A is given as it is,
or as its transpose. A tile would read a transpose down its columns, each number in another page, so the kernel packs
these rows first.

Each element of `out` is summed over k in one fixed order, so results do not depend, to the last bit, on the number of
threads nor on the element's position.
"""

from __future__ import annotations

import functools
import textwrap
from dataclasses import dataclass
from types import ModuleType

from ..runtime import cache
from ..runtime.caches import caches
from ..runtime.host import VectorUnit
from .native import Kernel, unpacked
from .packing import COPY, PACK, packing_text
from .tile import row_choice, span_choice, tile_rows, tile_shapes

PANEL_VECTORS = 4
DEPTH = 384  # numbers along k, about, before the next rows: a panel of 384 x 64 float32, 96 KiB, stays in the cache


def rows_at_once(size: int) -> int:
    """Return how many rows of A, of numbers of `size` bytes, are multiplied by all panels before the next rows.

    They and DEPTH columns take about half of the second-level cache. 48 is a multiple of a tile's rows on every unit.
    """
    fitting = caches().second // 2 // (DEPTH * size)
    return 48 * max(1, min(8, fitting // 48))


PRODUCT = (
    "a", "a_row", "a_column", "room", "panels", "start", "start_row", "out", "out_row", "M", "N", "K",
    "sums",
)  # fmt: skip
SUMS = ("a", "rows", "columns", "out")

TEMPLATE = '''"""Generated: packing and matrix products for {unit}, float{bits}."""

from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import stack, word
from tinygrad_rnn.kernels.cpu.codegen.packing import get, move, move_part, pack_vectors, put, transpose
from tinygrad_rnn.kernels.cpu.codegen.tile import tile


def column_sums(args, thread, threads):
    """out [columns] = the sums of the columns of a [rows, columns], row after row; columns: a multiple of LANES."""
{sums}
    ones = stack({size})
    put({bits}, ones, 1.0)
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


@njit("void({six words})", cache=True, error_model="numpy")
def pack_rows(a, a_column, rows, depth, to, sums):
    """to [blocks][depth][LANES] = A [rows, depth], whose rows lie side by side and whose columns a_column apart.

    The sums of A's rows are added to sums [rows].
    """
    r = 0
    while r < rows:
        source, place = a + r * {size}, to + r * depth * {size}
        if rows - r >= {width}:
            pack_vectors({bits}, {lanes}, {panel vectors}, source, a_column, place, depth, sums + r * {size})
            r += {width}
        elif rows - r >= {lanes}:
            pack_vectors({bits}, {lanes}, 1, source, a_column, place, depth, sums + r * {size})
            r += {lanes}
        else:
            for i in range(rows - r):
                total = get({bits}, source + i * {size})
                put({bits}, place + i * {size}, total)
                for k in range(1, depth):
                    number = get({bits}, source + (i + k * a_column) * {size})
                    put({bits}, place + (i + k * {lanes}) * {size}, number)
                    total += number
                put({bits}, sums + (r + i) * {size}, get({bits}, sums + (r + i) * {size}) + total)
            r = rows


@njit("void(intp, intp, intp)", cache=True, error_model="numpy", inline="always")
def move_row(source, to, columns):
    """Copy `columns` numbers from address to address, and touch no others."""
    c = 0
    while c + {lanes} <= columns:
        move({bits}, {lanes}, source + c * {size}, to + c * {size})
        c += {lanes}
    if c < columns:
        move_part({bits}, {lanes}, source + c * {size}, columns - c, to + c * {size}, columns - c)


@njit("void({strip words})", cache=True, error_model="numpy")
def strip(a, packed, rows, panels, part, start, out, N, edge):
    """Compute `rows` of `product` in some panels: what the numbers from k to k + depth of the common dimension add.

    a: (address, row, column) of A [rows, depth]; packed: A is as `pack_rows` leaves it. rows: (first, count).
    panels: (address, first, count, K). part: (k, depth). start, out: (address, row) of the matrices [M, N].
    edge: memory for the tile of a panel that reaches past N.
    """
    (a, a_row, a_column), (first, rows), (panels, p, span, K), (k, depth) = a, rows, panels, part
    (start, start_row), (out, out_row) = start, out
    columns, next_panel = N - p * {width}, K * {width}
    panel = panels + (p * K + k) * {width * size}
    out += (first * out_row + p * {width}) * {size}
    if k > 0:
        start, start_row = out, out_row
    elif start:
        start += (first * start_row + p * {width}) * {size}
    r = 0
    while r < rows:
        left = rows - r
        at = a + r * a_row * {size}
        if packed:
            left = min(left, {lanes} - r % {lanes})
            at = a + (r // {lanes} * {lanes} * depth + r % {lanes}) * {size}
        to, to_row, begin, begin_row = out + r * out_row * {size}, out_row, start, start_row
        if start:
            begin = start + r * start_row * {size}
        place = to
        if columns < {width}:
            to, to_row = edge, {width}
            for i in range(min(left, {rows}) if start else 0):
                move_row(begin + i * start_row * {size}, edge + i * {width * size}, columns)
            if start:
                begin, begin_row = edge, {width}
        {row choice}
        if columns <= {narrow}:  # the vectors of a last panel of a few columns, one by one
            for c in range(0, columns, {lanes}):
{narrow tile}
        elif columns <= {middle}:
{middle tile}
        else:
{full tile}
        if columns < {width}:
            for i in range(some):
                move_row(edge + i * {width * size}, place + i * out_row * {size}, columns)
        r += some


def product(args, thread, threads):
    """out [M, N] = A B + start, B in panels. A thread takes some panels, or some rows.

    a: A[r, k] at r a_row + k a_column, read. start: [M, N], or [N] if start_row is 0; it may be out; 0: none. room: 0,
    or scratch if a_row is 1: A is packed there, {at once} rows of a thread at a time. sums: [M], written if A is
    packed: the sums of its rows; 0: none.
    """
{arguments}
    edge_at = stack({edge})
    parts = max(1, (K + {depth} // 2) // {depth})
    most = max(1, -(-K // parts))
    packs = room != 0
    room += thread * {at once} * most * {size}
    panels_of_all, tiles_of_all = -(-N // {width}), -(-M // {rows})
    by_panels = -(-panels_of_all // threads) * tiles_of_all <= -(-tiles_of_all // threads) * panels_of_all
    if panels_of_all == 0 or packs and tiles_of_all >= 4 * threads:  # each would pack all rows
        by_panels = False
    low, high, first, last = 0, panels_of_all, 0, M
    if by_panels:
        low, high = panels_of_all * thread // threads, panels_of_all * (thread + 1) // threads
        if low == high:
            return
    else:
        first = tiles_of_all * thread // threads * {rows}
        last = min(M, tiles_of_all * (thread + 1) // threads * {rows})
    full = min(high, N // {width})  # the end of this thread's full panels; later panels are another thread's
    if K == 0 and start != out:
        for r in range(first, last):
            for c in range(low * {width}, min(N, high * {width})):
                number = get({bits}, start + (r * start_row + c) * {size}) if start else 0.0
                put({bits}, out + (r * out_row + c) * {size}, number)
    for top in range(first, last, {at once}):
        rows = min({at once}, last - top)
        row_sums = sums + top * {size} if sums != 0 and low == 0 else edge_at  # one thread has a row's first panel
        for r in range(rows if packs else 0):
            put({bits}, row_sums + r * {size}, 0.0)
        for k in range(0, K, most):
            depth = min(most, K - k)
            at, at_row, at_column = a + (top * a_row + k * a_column) * {size}, a_row, a_column
            if packs:
                pack_rows(at, a_column, rows, depth, room, row_sums)
                at, at_row, at_column = room, 1, {lanes}
            p = low
            while p < high:
                span = {span}
                strip(
                    (at, at_row, at_column), packs, (top, rows), (panels, p, span, K), (k, depth), (start, start_row),
                    (out, out_row), N, edge_at,
                )
                p += span
'''


@dataclass(frozen=True)
class Products:
    """The kernels of dense products."""

    copy: Kernel
    pack: Kernel
    product: Kernel
    column_sums: Kernel


def _tile_call(bits: int, lanes: int, shapes: str, vectors: int, span: str, offset: str, indent: int) -> str:
    """Return lines of `strip` that run a tile, at an offset in bytes from the first column."""
    sizes, width = f'{bits}, {lanes}, "{shapes}", {vectors}', lanes * PANEL_VECTORS
    a_and_b = f"some, {span}, (at, a_row, a_column), (panel{offset}, {width}, next_panel), depth"
    with_start, without = (
        f"tile({sizes}, {n}, {a_and_b}, (begin{offset}, begin_row), (to{offset}, to_row))" for n in (1, 0)
    )
    return textwrap.indent(f"if start:\n    {with_start}\nelse:\n    {without}", " " * indent)


@functools.cache
def product_module(unit: VectorUnit, bits: int) -> ModuleType:
    """Return the generated module for a vector unit and float32 or float64. Other generated modules may import it."""
    lanes, size = unit.lanes(bits // 8), bits // 8
    width = lanes * PANEL_VECTORS
    sums = f'tile({bits}, {lanes}, "1x1", VECTORS, 0, 1, 1, (ones, 0, 0), (at, columns, 0), rows, (0, 0), (to, 0))'
    pair, triple = "UniTuple(intp, 2)", "UniTuple(intp, 3)"
    strip_words = [triple, "intp", pair, "UniTuple(intp, 4)", pair, pair, pair, "intp", "intp"]
    rows, rows_alone = tile_rows(unit, PANEL_VECTORS), tile_shapes(unit, PANEL_VECTORS, spans=False)
    call, at_once = functools.partial(_tile_call, bits, lanes), rows_at_once(size)
    numbers = {
        "unit": unit.name, "bits": bits, "lanes": lanes, "size": size, "width": width, "width * size": width * size,
        "edge": max(at_once, rows * width) * size, "rows": rows, "depth": DEPTH, "at once": at_once,
        "strip words": ", ".join(strip_words), "six words": ", ".join(["intp"] * 6), "panel vectors": PANEL_VECTORS,
        "sums": unpacked(SUMS), "arguments": unpacked(PRODUCT),
        "wide sum": sums.replace("VECTORS", str(PANEL_VECTORS)), "sum": sums.replace("VECTORS", "1"),
        "span": span_choice(unit, PANEL_VECTORS, "rows", "(full - p)"),
        "row choice": row_choice(unit, PANEL_VECTORS),
        "narrow": 2 * lanes, "narrow tile": call(rows_alone, 1, "1", f" + c * {size}", 16),
        "middle": 3 * lanes, "middle tile": call(rows_alone, 3, "1", "", 12),
        "full tile": call(tile_shapes(unit, PANEL_VECTORS), PANEL_VECTORS, "span", "", 12),
    }  # fmt: skip
    text = cache.filled(TEMPLATE, numbers) + packing_text(bits, lanes)
    return cache.load(f"product_{unit.name}_f{bits}", text)


@functools.cache
def products(unit: VectorUnit, bits: int) -> Products:
    """Return the kernels for a vector unit and float32 or float64."""
    module = product_module(unit, bits)
    names = {"copy": COPY, "pack": PACK, "product": PRODUCT, "column_sums": SUMS}
    return Products(**{name: Kernel(getattr(module, name), arguments) for name, arguments in names.items()})
