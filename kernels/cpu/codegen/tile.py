"""The register tile: the matrix product that all others are made of, in explicit vector code.

`tile(rows, vectors)` multiplies a few rows by a panel of a few vectors' width and keeps the whole result in registers
while it goes along the common dimension. On a host with 32 vector registers 6 rows x 4 vectors reach the
machine's multiply-add peak; the sizes for other hosts and cells are chosen by `tile_rows`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime.host import VectorUnit
from .native import require_literals
from .vector import Vectors


def tile_rows(unit: VectorUnit, vectors: int) -> int:
    """How many rows a tile of so many vectors can have: accumulators, one row of the panel and one number of A."""
    return max(1, min(8 if vectors > 1 else 14, (unit.registers - 1 - vectors) // vectors))


def tile_spans(unit: VectorUnit, vectors: int) -> dict[int, int]:
    """For 1, 2 ... rows how many panels at once keep the multiply-adds busy where rows are too few to: 4, 2 or 1."""
    most = unit.registers * 3 // 4
    return {n: max(s for s in (4, 2, 1) if s == 1 or n * vectors * s <= most) for n in (1, 2, 3)}


def tile_choice(unit: VectorUnit, vectors: int, call: str, indent: str, spans: bool = True) -> str:
    """Lines that set `some` to how many of the `left` rows come next and run a tile of so many rows and `span` panels.

    Rows are cut into tiles of nearly one size: a tile of one or two rows takes nearly as long as one of four.
    spans: False where `span` is always 1.
    """
    most, lines = tile_rows(unit, vectors), []
    lines += [f"tiles = (left + {most - 1}) // {most}", "some = (left + tiles - 1) // tiles"]
    widest = tile_spans(unit, vectors) if spans else {}
    kinds = [(n, s) for n in widest for s in (4, 2) if s <= widest[n]]
    kinds += [(n, 1) for n in range(most, 0, -1)]
    for n, s in kinds:
        lines += [f"{'if' if (n, s) == kinds[0] else 'elif'} some == {n}{f' and span == {s}' if spans else ''}:"]
        lines += ["    " + line for line in call.replace("ROWS", str(n)).replace("SPAN", str(s)).splitlines()]
    return "\n".join(indent + line for line in lines)


def span_choice(unit: VectorUnit, vectors: int, rows: str, panels: str) -> str:
    """An expression for how many panels to take at once, for all rows of a part and the panels that are left."""
    spans = tile_spans(unit, vectors)
    upto = lambda s: max((n for n in spans if spans[n] >= s), default=0)
    four, two = (f"{s} if {rows} <= {upto(s)} and {panels} >= {s} else" for s in (4, 2))
    return f"{four} {two} 1"


def pointer(builder: ir.IRBuilder, address: Any, offset: Any, kind: ir.Type, itemsize: int) -> Any:
    """What lies some numbers behind an address."""
    moved = builder.add(address, builder.mul(offset, ir.IntType(64)(itemsize)))
    return builder.inttoptr(moved, kind.as_pointer())


@intrinsic
def tile(
    typing: Any,
    bits: Any,
    lanes: Any,
    rows: Any,
    vectors: Any,
    span: Any,
    starts: Any,
    a: Any,
    panel: Any,
    length: Any,
    start: Any,
    out: Any,
) -> Any:
    """out[r, :] = (start[r, :] if starts) + sum over k < length of A[r, k] panel[k, :], r < rows.

    bits, lanes, rows, vectors, span, starts: literals. The matrices are views, an address and distances in numbers:
    a:     (address, row, step): A[r, k] lies at r * row + k * step
    panel: (address, step, next): `span` panels [length, vectors * lanes], read as one matrix: the panels stand side by
           side, `next` apart, their rows `step` apart
    start, out: (address, row): rows of span * vectors * lanes numbers
    """
    sizes = (bits, lanes, rows, vectors, span, starts)
    require_literals(sizes)
    nbits, nlanes, nrows, nvectors, nspan, started = (size.literal_value for size in sizes)
    signature = types.void(*sizes, a, panel, types.intp, start, out)
    wide = nvectors * nspan

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        length = args[8]
        a, a_row, a_step = cgutils.unpack_tuple(builder, args[6])
        panel, panel_step, next_panel = cgutils.unpack_tuple(builder, args[7])
        start, start_row = cgutils.unpack_tuple(builder, args[9])
        out, out_row = cgutils.unpack_tuple(builder, args[10])
        v = Vectors(builder, nbits, nlanes)
        size, word = nbits // 8, ir.IntType(64)
        at = lambda base, offset, kind: pointer(builder, base, offset, kind, size)
        moved = lambda base, numbers: builder.add(base, builder.mul(numbers, word(size)))
        row_of_a = [moved(a, builder.mul(a_row, word(r))) for r in range(nrows)]
        place = lambda base, row, r, j: at(base, builder.add(builder.mul(row, word(r)), word(j * nlanes)), v.type)
        places = [(r, j) for r in range(nrows) for j in range(wide)]
        panels = [moved(panel, builder.mul(next_panel, word(q))) for q in range(nspan)]
        before = builder.block
        first = lambda r, j: builder.load(place(start, start_row, r, j), align=size) if started else v.constant(0.0)
        firsts = [first(r, j) for r, j in places]
        body, after = builder.append_basic_block("tile"), builder.append_basic_block("tiled")
        some = builder.icmp_signed(">", length, word(0))
        builder.cbranch(some, body, after)

        builder.position_at_end(body)
        k = builder.phi(word)
        k.add_incoming(word(0), before)
        totals = [builder.phi(v.type) for _ in places]
        for total, number in zip(totals, firsts):
            total.add_incoming(number, before)
        line = builder.mul(k, panel_step)
        columns = [
            builder.load(at(base, builder.add(line, word(j * nlanes)), v.type), align=size)
            for base in panels
            for j in range(nvectors)
        ]
        step = builder.mul(k, a_step)
        numbers = [v.splat(builder.load(at(base, step, v.scalar), align=size)) for base in row_of_a]
        sums = [v.fma(numbers[r], columns[j], total) for (r, j), total in zip(places, totals)]
        following = builder.add(k, word(1))
        k.add_incoming(following, body)
        for total, new in zip(totals, sums):
            total.add_incoming(new, body)
        builder.cbranch(builder.icmp_signed("<", following, length), body, after)

        builder.position_at_end(after)
        results = [builder.phi(v.type) for _ in places]
        for (r, j), result, number, new in zip(places, results, firsts, sums):
            result.add_incoming(number, before)
            result.add_incoming(new, body)
            builder.store(result, place(out, out_row, r, j), align=size)
        return context.get_dummy_value()

    return signature, emit
