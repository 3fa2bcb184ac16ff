"""Matrices packed for the tile: panels of a few vectors' width, which it reads from first number to last.

    panels [blocks][depth][gates][vectors * LANES]:  B[g][k, u], u from block * vectors * LANES on; 0 past the last u

`gates` matrices of one shape lie side by side in a panel, so that a tile has all inputs of a unit's Program. Units, or
the numbers along depth, may come in groups of `real` numbers that are padded to `wide` by zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .native import require_literals, unpacked
from .tile import pointer
from .vector import Vectors, declared

PACK = (
    "b", "b_row", "b_column", "b_gate", "gates", "units", "unit_real", "unit_wide", "depth", "depth_real", "depth_wide",
    "vectors", "panels",
)  # fmt: skip

CHUNK = 64  # rows of B packed at a time: with more, each number of a row would miss the page table's cache

COPY = (
    "source", "source_gate", "source_row", "to", "to_gate", "to_row", "gates", "rows", "columns", "wide", "adds"
)  # fmt: skip

TEMPLATE = '''

def copy(args, thread, threads):
    """to [gates][rows][wide] = source [gates][rows][columns], then zeros. adds: to += source."""
{copy arguments}
    n = gates * rows
    for i in range(n * thread // threads, n * (thread + 1) // threads):
        g, r = i // rows, i % rows
        at = source + (g * source_gate + r * source_row) * {size}
        place = to + (g * to_gate + r * to_row) * {size}
        c = 0
        while c < wide and not adds:
            if c + {lanes} <= columns:
                move({bits}, {lanes}, at + c * {size}, place + c * {size})
            else:
                move_part({bits}, {lanes}, at + c * {size}, columns - c, place + c * {size}, wide - c)
            c += {lanes}
        while c < columns:
            put({bits}, place + c * {size}, get({bits}, place + c * {size}) + get({bits}, at + c * {size}))
            c += 1


@njit("intp(intp, intp, intp, intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def pack_part(source, b_row, b_column, to, step, left, k, stop):
    """Pack one vector of each row from k to stop: `left` numbers, then zeros. Return stop."""
    if left >= {lanes} and b_column == 1:
        while k < stop:
            move({bits}, {lanes}, source + k * b_row * {size}, to + k * step)
            k += 1
    elif b_column == 1:
        while k < stop:
            move_part({bits}, {lanes}, source + k * b_row * {size}, max(left, 0), to + k * step, {lanes})
            k += 1
    elif left >= {lanes} and b_row == 1:
        while k + {lanes} <= stop:
            transpose({bits}, {lanes}, source + k * {size}, b_column * {size}, to + k * step, step)
            k += {lanes}
    while k < stop:
        for j in range({lanes}):
            number = get({bits}, source + (k * b_row + j * b_column) * {size}) if j < left else 0.0
            put({bits}, to + k * step + j * {size}, number)
        k += 1
    return k


def pack(args, thread, threads):
    """panels = B [gates][depth, units] at b, without padding: its numbers lie b_row, b_column and b_gate apart.

    A thread packs the blocks that it will most likely read: data that another core has just written comes slowly.
    """
{arguments}
    step = gates * vectors * {lanes} * {size}
    blocks, chunks = -(-units // (vectors * {lanes})), -(-depth // {lanes})
    start, end, first, last = 0, blocks, 0, depth
    if blocks >= threads:
        start, end = blocks * thread // threads, blocks * (thread + 1) // threads
    else:
        first, last = chunks * thread // threads * {lanes}, min(depth, chunks * (thread + 1) // threads * {lanes})
    chunk_length = {chunk} if b_column == 1 else max(depth, 1)
    for chunk in range(first, last, chunk_length):
        for block in range(start, end):
            for i in range(gates * vectors):
                g, u = i // vectors, (block * vectors + i % vectors) * {lanes}
                unit, left = u // unit_wide * unit_real + u % unit_wide, unit_real - u % unit_wide if u < units else 0
                source = b + (g * b_gate + unit * b_column) * {size}
                to = panels + block * depth * step + i * {lanes * size}
                k, stop = chunk, min(last, chunk + chunk_length)
                while k < stop:
                    part, within = k // depth_wide, k % depth_wide
                    at = source + (part * depth_real + within - k) * b_row * {size}  # where row 0 would be
                    if within < depth_real:
                        k = pack_part(
                            at, b_row, b_column, to, step, left, k, min(stop, part * depth_wide + depth_real)
                        )
                    else:
                        k = pack_part(at, 0, 1, to, step, 0, k, min(stop, (part + 1) * depth_wide))
'''


def packing_text(bits: int, lanes: int) -> str:
    """Return the text of the kernels `copy` and `pack`."""
    text = TEMPLATE.replace("{lanes * size}", str(lanes * bits // 8)).replace("{arguments}", unpacked(PACK))
    text = text.replace("{chunk}", str(CHUNK)).replace("{copy arguments}", unpacked(COPY))
    return text.replace("{bits}", str(bits)).replace("{lanes}", str(lanes)).replace("{size}", str(bits // 8))


@intrinsic
def get(typing: Any, bits: Any, address: Any) -> Any:
    """Load the number at an address."""
    require_literals((bits,))
    kind = types.float32 if bits.literal_value == 32 else types.float64

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[1], context.get_value_type(kind).as_pointer()))

    return kind(bits, types.intp), emit


@intrinsic
def put(typing: Any, bits: Any, address: Any, number: Any) -> Any:
    """Store a number at an address."""
    require_literals((bits,))
    kind = types.float32 if bits.literal_value == 32 else types.float64

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        value = context.cast(builder, args[2], number, kind)
        builder.store(value, builder.inttoptr(args[1], value.type.as_pointer()))
        return context.get_dummy_value()

    return types.void(bits, types.intp, number), emit


@intrinsic
def move(typing: Any, bits: Any, lanes: Any, source: Any, to: Any) -> Any:
    """Copy one vector from address to address."""
    require_literals((bits, lanes))

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        v = Vectors(builder, bits.literal_value, lanes.literal_value)
        vector = builder.load(builder.inttoptr(args[2], v.type.as_pointer()), align=4)
        builder.store(vector, builder.inttoptr(args[3], v.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(bits, lanes, types.intp, types.intp), emit


def _masked(builder: ir.IRBuilder, bits: int, n: int) -> tuple[Callable, Callable, Callable]:
    """Return emitters: load(address, mask), zeros elsewhere; store(vector, address, mask); first(count), a mask."""
    v, short, nothing = Vectors(builder, bits, n), ir.IntType(32), ir.VoidType()
    lane = ir.Constant(ir.VectorType(short, n), [short(i) for i in range(n)])
    suffix, align = f"v{n}f{v.bits}.p0v{n}f{v.bits}", short(v.bits // 8)
    at, flags = v.type.as_pointer(), ir.VectorType(ir.IntType(1), n)
    masked_load = declared(builder.module, "llvm.masked.load." + suffix, v.type, [at, short, flags, v.type])
    masked_store = declared(builder.module, "llvm.masked.store." + suffix, nothing, [v.type, at, short, flags])
    load = lambda source, mask: builder.call(masked_load, [builder.inttoptr(source, at), align, mask, v.constant(0.0)])
    store = lambda vector, to, mask: builder.call(masked_store, [vector, builder.inttoptr(to, at), align, mask])
    first = lambda count: builder.icmp_signed("<", lane, v.splat(builder.trunc(count, short)))
    return load, store, first


@intrinsic
def move_part(typing: Any, bits: Any, lanes: Any, source: Any, count: Any, to: Any, room: Any) -> Any:
    """Copy `count` numbers, then zeros, into the first `room` numbers of a vector. The others stay untouched."""
    require_literals((bits, lanes))
    n = lanes.literal_value

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        load, store, first = _masked(builder, bits.literal_value, n)
        source, count, to, room = args[2:]
        store(load(source, first(count)), to, first(room))
        return context.get_dummy_value()

    return types.void(bits, lanes, *[types.intp] * 4), emit


@intrinsic
def add_part(typing: Any, bits: Any, lanes: Any, source: Any, count: Any, to: Any) -> Any:
    """Add the first `count` numbers of a vector to those at another address. The others stay untouched."""
    require_literals((bits, lanes))
    n = lanes.literal_value

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        v, masked = Vectors(builder, bits.literal_value, n), _masked(builder, bits.literal_value, n)
        source, count, to = args[2:]
        load, store, first = masked
        total = v.add(load(to, first(count)), load(source, first(count)))
        store(total, to, first(count))
        return context.get_dummy_value()

    return types.void(bits, lanes, types.intp, types.intp, types.intp), emit


@intrinsic
def pack_vectors(
    typing: Any, bits: Any, lanes: Any, vectors: Any, a: Any, a_step: Any, to: Any, depth: Any, sums: Any
) -> Any:
    """to [vectors][depth][lanes] = `depth` rows of `vectors` vectors at a, numbers a_step apart; depth at least 1.

    Their sums are added to sums [vectors * lanes]. bits, lanes, vectors: literals.
    """
    require_literals((bits, lanes, vectors))
    n = lanes.literal_value

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        a, a_step, to, depth, sums = args[3:]
        v, word = Vectors(builder, bits.literal_value, n), ir.IntType(64)
        at = lambda base, offset: pointer(builder, base, offset, v.type, v.bits // 8)
        before, body, after = builder.block, builder.append_basic_block("pack"), builder.append_basic_block("packed")
        builder.branch(body)
        builder.position_at_end(body)
        k, totals = builder.phi(word), [builder.phi(v.type) for _ in range(vectors.literal_value)]
        k.add_incoming(word(0), before)
        line = builder.mul(k, a_step)
        following = builder.add(k, word(1))
        k.add_incoming(following, body)
        for j, total in enumerate(totals):
            number = builder.load(at(a, builder.add(line, word(j * n))), align=4)
            place = builder.mul(builder.add(builder.mul(depth, word(j)), k), word(n))
            builder.store(number, at(to, place), align=4)
            total.add_incoming(v.constant(0.0), before)
            total.add_incoming(v.add(total, number), body)
        builder.cbranch(builder.icmp_signed("<", following, depth), body, after)
        builder.position_at_end(after)
        for j, total in enumerate(totals):
            place = at(sums, word(j * n))
            builder.store(v.add(builder.load(place, align=4), total.incomings[1][0]), place, align=4)
        return context.get_dummy_value()

    return types.void(bits, lanes, vectors, *[types.intp] * 5), emit


@intrinsic
def transpose(typing: Any, bits: Any, lanes: Any, source: Any, source_row: Any, to: Any, to_row: Any) -> Any:
    """Copy a square of `lanes` rows and columns, rows so many bytes apart, and swap rows with columns."""
    require_literals((bits, lanes))
    n = lanes.literal_value

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        v = Vectors(builder, bits.literal_value, n)
        source, source_row, to, to_row = args[2:]
        place = lambda base, row, i: pointer(builder, base, builder.mul(row, ir.IntType(64)(i)), v.type, 1)
        rows = [builder.load(place(source, source_row, i), align=4) for i in range(n)]
        half = n // 2
        while half:  # swap the upper right and the lower left quarter of each square of 2 * half rows
            rows = _swapped(builder, rows, half)
            half //= 2
        for i, row in enumerate(rows):
            builder.store(row, place(to, to_row, i), align=4)
        return context.get_dummy_value()

    return types.void(bits, lanes, *[types.intp] * 4), emit


def _swapped(builder: ir.IRBuilder, rows: list[Any], half: int) -> list[Any]:
    n, out = len(rows), list(rows)
    mask = lambda numbers: ir.Constant(ir.VectorType(ir.IntType(32), n), numbers)
    lower = [i if not i & half else n + i - half for i in range(n)]
    upper = [i + half if not i & half else n + i for i in range(n)]
    for i in range(n):
        if not i & half:
            out[i] = builder.shuffle_vector(rows[i], rows[i + half], mask(lower))
            out[i + half] = builder.shuffle_vector(rows[i], rows[i + half], mask(upper))
    return out
