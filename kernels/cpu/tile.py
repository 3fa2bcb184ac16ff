"""The register tile: the matrix product that all others are made of, in explicit vector code.

`tile(rows, vectors)` multiplies a few rows by a panel of a few vectors' width and keeps the whole result in registers
while it goes along the common dimension. On a host with 32 vector registers 6 rows x 4 vectors reach the
machine's multiply-add peak; the sizes for other hosts and cells are chosen by `tile_rows`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from .host import VectorUnit
from .vector import Vectors


def tile_rows(unit: VectorUnit, vectors: int) -> int:
    """How many rows a tile of so many vectors can have: accumulators, one row of the panel and one number of A."""
    return max(1, min(8 if vectors > 1 else 14, (unit.registers - 1 - vectors) // vectors))


def _pointer(builder: ir.IRBuilder, address: Any, offset: Any, kind: ir.Type, itemsize: int) -> Any:
    moved = builder.add(address, builder.mul(offset, ir.IntType(64)(itemsize)))
    return builder.inttoptr(moved, kind.as_pointer())


def require_literals(given: tuple[Any, ...]) -> None:
    """Have Numba pass the values of these arguments and not just their types."""
    if not all(isinstance(kind, types.Literal) for kind in given):
        raise RequireLiteralValue(str(given))


@intrinsic
def tile(
    typing: Any,
    bits: Any,
    lanes: Any,
    rows: Any,
    vectors: Any,
    adds: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    panel: Any,
    panel_step: Any,
    length: Any,
    out: Any,
    out_row: Any,
) -> Any:
    """out[r, :] = (out[r, :] if adds) + sum over k < length of A[r, k] panel[k, :], r < rows.

    bits, lanes, rows, vectors, adds: literals. Addresses: a, of numbers at a + r a_row + k a_step (in numbers);
    panel [length, vectors lanes], rows panel_step apart; out, rows at out + r out_row, each vectors * lanes wide.
    """
    sizes = (bits, lanes, rows, vectors, adds)
    require_literals(sizes)
    nbits, nlanes, nrows, nvectors, added = (size.literal_value for size in sizes)
    signature = types.void(*sizes, *[types.intp] * 8)

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        a, a_row, a_step, panel, panel_step, length, out, out_row = args[5:]
        v = Vectors(builder, nbits, nlanes)
        size, word = nbits // 8, ir.IntType(64)
        at = lambda base, offset, kind: _pointer(builder, base, offset, kind, size)
        row_of_a = [builder.add(a, builder.mul(builder.mul(a_row, word(r)), word(size))) for r in range(nrows)]
        places = [
            (r, j, at(out, builder.add(builder.mul(out_row, word(r)), word(j * nlanes)), v.type))
            for r in range(nrows)
            for j in range(nvectors)
        ]
        before = builder.block
        start = [builder.load(p, align=size) if added else v.constant(0.0) for _, _, p in places]
        body, after = builder.append_basic_block("tile"), builder.append_basic_block("tiled")
        some = builder.icmp_signed(">", length, word(0))
        builder.cbranch(some, body, after)

        builder.position_at_end(body)
        k = builder.phi(word)
        k.add_incoming(word(0), before)
        totals = [builder.phi(v.type) for _ in places]
        for total, first in zip(totals, start):
            total.add_incoming(first, before)
        columns = [
            builder.load(at(panel, builder.add(builder.mul(k, panel_step), word(j * nlanes)), v.type), align=size)
            for j in range(nvectors)
        ]
        step = builder.mul(k, a_step)
        numbers = [v.broadcast(builder.load(at(base, step, v.scalar), align=size)) for base in row_of_a]
        sums = [v.fma(numbers[r], columns[j], total) for (r, j, _), total in zip(places, totals)]
        following = builder.add(k, word(1))
        k.add_incoming(following, body)
        for total, new in zip(totals, sums):
            total.add_incoming(new, body)
        builder.cbranch(builder.icmp_signed("<", following, length), body, after)

        builder.position_at_end(after)
        results = [builder.phi(v.type) for _ in places]
        for (_, _, place), result, first, new in zip(places, results, start, sums):
            result.add_incoming(first, before)
            result.add_incoming(new, body)
            builder.store(result, place, align=size)
        return context.get_dummy_value()

    return signature, emit
