"""The register tile: the matrix product that all others are made of, in explicit vector code.

`tile` multiplies a few rows by a panel of a few vectors' width, and keeps the whole result in registers along the
common dimension. The registers of a vector unit decide the largest sizes that do not spill; `tile_rows` chooses them
for products and for recurrent loops:

    16 registers:  3 rows x 4 vectors, 4 x 3, 6 x 2, 12 x 1
    32 registers:  6 rows x 4 vectors, 8 x 3, 12 x 2, 12 x 1

With operands in the first cache, AMD Zen 1 (AVX2) runs 3 x 4, 4 x 3 and 6 x 2 at its multiply-add peak, and 12 x 1 at
0.8 of it. NEON has not been timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime.host import VectorUnit
from .native import require_literals
from .vector import Vectors

MOST_ROWS = 12  # of a tile: enough to keep the multiply-add units busy, and few enough for the addresses of the rows


def _fits(unit: VectorUnit, rows: int, vectors: int) -> bool:
    """Return whether registers hold a tile: its sums, its shorter side, and one vector of its longer side."""
    return rows * vectors + min(rows, vectors) + 1 <= unit.tile_registers


def tile_rows(unit: VectorUnit, vectors: int) -> int:
    """Return the most rows of a tile of so many vectors."""
    return max(n for n in range(1, MOST_ROWS + 1) if n == 1 or _fits(unit, n, vectors))


def tile_spans(unit: VectorUnit, vectors: int) -> dict[int, int]:
    """Return, for 1, 2 and 3 rows, how many panels at once (4, 2 or 1) keep the multiply-add units busy."""
    return {n: max(s for s in (4, 2, 1) if s == 1 or _fits(unit, n, vectors * s)) for n in (1, 2, 3)}


def tile_shapes(unit: VectorUnit, vectors: int, spans: bool = True) -> str:
    """Return the shapes that `tile` is compiled for, as text: "6x1 ... 1x4" is 6 rows and 1 panel to 1 row and 4."""
    widest = tile_spans(unit, vectors) if spans else {}
    found = [(n, 1) for n in range(tile_rows(unit, vectors), 0, -1)]
    found += [(n, s) for n in widest for s in (2, 4) if s <= widest[n]]
    return " ".join(f"{n}x{s}" for n, s in found)


def row_choice(unit: VectorUnit, vectors: int) -> str:
    """Return a line that sets `some` to the rows of the next tile, of the `left` rows.

    Rows are cut into tiles of nearly one size: a tile of one or two rows takes nearly as long as one of four.
    """
    most = tile_rows(unit, vectors)
    return f"some = -(-left // -(-left // {most}))"


def span_choice(unit: VectorUnit, vectors: int, rows: str, panels: str) -> str:
    """Return an expression for the number of panels at once, from the rows of a part and the panels left."""
    spans = tile_spans(unit, vectors)
    upto = lambda s: max((n for n in spans if spans[n] >= s), default=0)
    four, two = (f"{s} if {rows} <= {upto(s)} and {panels} >= {s} else" for s in (4, 2))
    return f"{four} {two} 1"


def pointer(builder: ir.IRBuilder, address: Any, offset: Any, kind: ir.Type, itemsize: int) -> Any:
    """Return a pointer to the number at an offset from an address."""
    moved = builder.add(address, builder.mul(offset, ir.IntType(64)(itemsize)))
    return builder.inttoptr(moved, kind.as_pointer())


@intrinsic
def tile(
    typing: Any,
    bits: Any,
    lanes: Any,
    shapes: Any,
    vectors: Any,
    starts: Any,
    rows: Any,
    span: Any,
    a: Any,
    panel: Any,
    length: Any,
    start: Any,
    out: Any,
) -> Any:
    """out[r, :] = (start[r, :] if starts) + sum over k < length of A[r, k] panel[k, :], r < rows.

    bits, lanes, shapes, vectors, starts: literals. shapes: see `tile_shapes`; rows x span is one of them. The matrices
    are views, an address and distances in numbers:
    a:     (address, row, step): A[r, k] lies at r * row + k * step
    panel: (address, step, next): `span` panels [length, vectors * lanes], read as one matrix: the panels stand side by
           side, `next` apart, their rows `step` apart
    start, out: (address, row): rows of span * vectors * lanes numbers
    """
    literals = (bits, lanes, shapes, vectors, starts)
    require_literals(literals)
    nbits, nlanes, text, nvectors, started = (literal.literal_value for literal in literals)
    signature = types.void(*literals, types.intp, types.intp, a, panel, types.intp, start, out)
    choices = [tuple(map(int, shape.split("x"))) for shape in text.split()]

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        rows, span, a, panel, length, start, out = args[5:]
        unpacked = [cgutils.unpack_tuple(builder, view) for view in (a, panel, start, out)]
        v, word = Vectors(builder, nbits, nlanes), ir.IntType(64)
        end = builder.append_basic_block("tiles_end")
        chosen = builder.switch(builder.add(builder.mul(rows, word(8)), span), end)
        for nrows, nspan in choices:
            block = builder.append_basic_block(f"tile_{nrows}x{nspan}")
            chosen.add_case(word(8 * nrows + nspan), block)
            builder.position_at_end(block)
            _emit_tile(v, nrows, nvectors, nspan, started, length, *unpacked)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, emit


def _emit_tile(
    v: Vectors, rows: int, vectors: int, span: int, started: int, length: Any, a: Any, panel: Any, start: Any, out: Any
) -> None:
    """Emit a tile of `rows` rows and `span` panels: the sums stay in registers along the whole of `length`."""
    builder, size, word, wide = v.builder, v.bits // 8, ir.IntType(64), vectors * span
    (a, a_row, a_step), (panel, panel_step, next_panel), (start, start_row), (out, out_row) = a, panel, start, out
    at = lambda base, offset, kind: pointer(builder, base, offset, kind, size)
    moved = lambda base, numbers: builder.add(base, builder.mul(numbers, word(size)))
    place = lambda base, row, r, j: at(base, builder.add(builder.mul(row, word(r)), word(j * v.lanes)), v.type)
    positions = [(r, j) for r in range(rows) for j in range(wide)]
    row_of_a = [moved(a, builder.mul(a_row, word(r))) for r in range(rows)]
    panels = [moved(panel, builder.mul(next_panel, word(q))) for q in range(span)]

    before, zero = builder.block, v.constant(0.0)
    first_of = lambda r, j: builder.load(place(start, start_row, r, j), align=size) if started else zero
    firsts = [first_of(r, j) for r, j in positions]
    body, after = builder.append_basic_block("tile"), builder.append_basic_block("tiled")
    builder.cbranch(builder.icmp_signed(">", length, word(0)), body, after)

    builder.position_at_end(body)
    k = builder.phi(word)
    k.add_incoming(word(0), before)
    totals = [builder.phi(v.type) for _ in positions]
    for total, first in zip(totals, firsts):
        total.add_incoming(first, before)
    line = builder.mul(k, panel_step)
    step = builder.mul(k, a_step)
    columns = [(base, builder.add(line, word(j * v.lanes))) for base in panels for j in range(vectors)]
    column = lambda j: builder.load(at(*columns[j], v.type), align=size)
    number = lambda r: v.splat(builder.load(at(row_of_a[r], step, v.scalar), align=size))
    new = _multiply_adds(v, rows, wide, dict(zip(positions, totals)), number, column)
    sums = [new[position] for position in positions]
    following = builder.add(k, word(1))
    k.add_incoming(following, body)
    for total, new in zip(totals, sums):
        total.add_incoming(new, body)
    builder.cbranch(builder.icmp_signed("<", following, length), body, after)

    builder.position_at_end(after)
    results = [builder.phi(v.type) for _ in positions]
    for result, first, total in zip(results, firsts, sums):
        result.add_incoming(first, before)
        result.add_incoming(total, body)
    for (r, j), result in zip(positions, results):
        builder.store(result, place(out, out_row, r, j), align=size)


def _multiply_adds(
    v: Vectors,
    rows: int,
    wide: int,
    totals: dict[tuple[int, int], Any],
    number: Callable[[int], Any],
    column: Callable[[int], Any],
) -> dict[tuple[int, int], Any]:
    """Emit totals[r, j] + number(r) * column(j) in an order that needs few registers.

    All vectors of the shorter side are loaded first. The vectors of the longer side are loaded one after the other, so
    that only one of them occupies a register. AVX2 has too few registers for both sides of a tile of 3 x 4: it would
    run at half its speed.
    """
    sums = {}
    if rows <= wide:
        numbers = list(map(number, range(rows)))
        for j in range(wide):
            one = column(j)
            for r in range(rows):
                sums[r, j] = v.fma(numbers[r], one, totals[r, j])
    else:
        columns = list(map(column, range(wide)))
        for r in range(rows):
            one = number(r)
            for j in range(wide):
                sums[r, j] = v.fma(one, columns[j], totals[r, j])
    return sums
