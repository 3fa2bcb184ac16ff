"""A Program as vector code: an intrinsic that runs it on the rows of a tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...ir.operations import OPERATIONS
from ...ir.program import Constant, Program
from ..runtime.memory import LINE
from .native import require_literals
from .vector import Vectors, declared

PROGRAMS: dict[str, Program] = {}
"""Programs by the key under which generated code refers to them; needed only while that code is compiled."""

LOGICAL = {"logical_and": "and_", "logical_or": "or_", "logical_not": "not_"}


def emit_operation(v: Vectors, name: str, args: list[Any]) -> Any:
    """Emit one operation of a Program on vectors. Comparisons give masks; as numbers, a mask is 1 and 0."""
    if name in LOGICAL:
        return getattr(v.builder, LOGICAL[name])(*map(v.mask, args))
    if name == "where":
        return v.where(v.mask(args[0]), *map(v.number, args[1:]))
    args = list(map(v.number, args))
    if OPERATIONS[name].is_condition:
        return v.compare(OPERATIONS[name].sign, *args)
    if name == "relu":
        return v.maximum(args[0], v.constant(0.0))
    if name == "sign":
        x, zero = args[0], v.constant(0.0)
        signed = v.where(v.compare("==", x, x), v.copysign(v.constant(1.0), x), x)  # NaN stays
        return v.where(v.compare("==", x, zero), zero, signed)
    emit: Callable = getattr(v, name)
    return emit(*args)


def emit_program(v: Vectors, program: Program, inputs: list[Any]) -> list[Any]:
    """Emit a Program: the values of its outputs from its inputs. LLVM may fuse multiplication and addition."""
    values = list(inputs)
    value = lambda ref: v.constant(ref.value) if isinstance(ref, Constant) else values[ref]
    for op in program.ops:
        values.append(emit_operation(v, op.name, [value(ref) for ref in op.args]))
    return [v.number(value(ref)) for _, ref in program.outputs]


@intrinsic
def pointwise(
    typing: Any, key: Any, bits: Any, lanes: Any, rows: Any, vectors: Any, first: Any, width: Any, where: Any
) -> Any:
    """Run a Program on `rows` rows of `vectors` vectors each.

    key, bits, lanes: literals. first: the unit of the first vector. width: the number of units; results past it are
    stored as 0. where: a tuple with the address of the first number and the distance in numbers between rows, for each
    input and then for each output. Inputs are read, outputs written; an output may overwrite an input.
    """
    literals = (key, bits, lanes)
    require_literals(literals)
    program = PROGRAMS[key.literal_value]
    nbits, nlanes = (size.literal_value for size in literals[1:])
    signature = types.void(*literals, types.intp, types.intp, types.intp, types.intp, where)

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        rows, vectors, first, width, where = args[3:]
        v = Vectors(builder, nbits, nlanes)
        word, size = ir.IntType(64), nbits // 8
        numbers = cgutils.unpack_tuple(builder, where)
        operands = list(zip(numbers[::2], numbers[1::2]))
        short = ir.IntType(32)  # half the vectors that a comparison of words would take
        lane = ir.Constant(ir.VectorType(short, nlanes), [short(i) for i in range(nlanes)])
        with cgutils.for_range(builder, rows) as row, cgutils.for_range(builder, vectors) as vector:
            unit = builder.mul(vector.index, word(nlanes))

            def pointer(place: tuple[Any, Any]) -> Any:
                offset = builder.add(builder.mul(row.index, place[1]), unit)
                address = builder.add(place[0], builder.mul(offset, word(size)))
                return builder.inttoptr(address, v.type.as_pointer())

            n = len(program.inputs)
            loaded = [builder.load(pointer(place), align=size) for place in operands[:n]]
            results = emit_program(v, program, loaded)
            left = builder.trunc(builder.sub(width, builder.add(first, unit)), short)
            mask = builder.icmp_signed("<", lane, v.splat(left))
            for result, place in zip(results, operands[n:]):
                builder.store(v.where(mask, result, v.constant(0.0)), pointer(place), align=size)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def prefetch(typing: Any, size: Any, length: Any, rows: Any, where: Any) -> Any:
    """Ask the memory for the first `length` bytes of `rows` rows, which will be read soon.

    size, length: literals; size: of a number, in bytes. where: a tuple with the address of the first number and the
    distance in numbers between rows, for each matrix. The rows must be a matrix's own: a line that another thread
    writes would be taken from it.
    """
    require_literals((size, length))
    signature = types.void(size, length, types.intp, where)

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        byte, number, word = ir.IntType(8), ir.IntType(32), ir.IntType(64)
        kinds = [byte.as_pointer(), number, number, number]
        ask = declared(builder.module, "llvm.prefetch.p0", ir.VoidType(), kinds)
        numbers = cgutils.unpack_tuple(builder, args[3])
        with cgutils.for_range(builder, args[2]) as row:
            for first, distance in zip(numbers[::2], numbers[1::2]):
                offset = builder.mul(builder.mul(row.index, distance), word(size.literal_value))
                for start in range(0, length.literal_value, LINE):
                    address = builder.add(builder.add(first, offset), word(start))
                    pointer = builder.inttoptr(address, byte.as_pointer())
                    builder.call(ask, [pointer, number(0), number(3), number(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return signature, emit
