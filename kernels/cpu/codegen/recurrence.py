"""The recurrent loops: generated code for one cell, forward and backward.

Both are one nest: for each time step, for each block of units, for each few rows, a tile of the matrix product with
the recurrent weights, then the cell's Program on the tile while it lies in the first-level cache.

    forward:   h(t-1) U^T   -> the step's forward  -> states, saved activations
    backward:  dh.(t+1) U   -> the step's adjoint  -> dx.(t), dh.(t), cotangents of the states before

Rows of the batch are independent through all time, so groups of threads that share the rows never wait for each other.
Within a group the members share the blocks of units, and wait at a barrier after each step. A cell with further
products in its step has several such nests, one after the other in each time step.
The order of the sums of one row depends on nothing but the cell and H: not on the batch, nor on the threads.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from ...ir.equations import equations
from ...ir.plan import plan
from ...ir.program import Kind, Step, Value
from ..runtime import cache
from ..runtime.host import VectorUnit
from .layout import (
    TILE,
    Buffer,
    Layout,
    Operand,
    StageLayout,
    TileLayout,
    layout,
)
from .native import Kernel, unpacked
from .pointwise import PROGRAMS
from .tile import span_choice, tile_choice

HEAD = '''"""Generated: the recurrent loops of the cell {name} for {unit}, float{bits}."""

from tinygrad_rnn.kernels.cpu.codegen.native import meet, stack, word
from tinygrad_rnn.kernels.cpu.codegen.pointwise import pointwise
from tinygrad_rnn.kernels.cpu.codegen.tile import tile
'''

LOOP = '''

def {function}(args, thread, threads):
    """H units, P of them in h; W and V: H and P as full vectors; active: for each t how many rows have a step t.

    Threads form groups of `members`; meetings: for each group a counter, 0, in a cache line of its own.
    """
{arguments}
    members = members if threads % members == 0 else 1
    groups = threads // members
    group, member = thread // members, thread % members
    first, last = N * group // groups, N * (group + 1) // groups
    meeting = meetings + group * 64
    {tile} = stack({tile_bytes})
    for i in range(T):
        t = {time}
        end = min(word(active, t), last)
        now, before = (t, t + 1) if reverse else (t + 1, t)
        after = t - 1 if reverse else t + 1
{bases}
{stages}'''

STAGE = """        blocks = ({full} + {block} - 1) // {block}
        b, end_block = blocks * member // members, blocks * (member + 1) // members
        while b < end_block and first < end:
            span = {span}
            r = first
            while r < end:
                left = end - r
{tiles}
                for q in range(span):
                    j = (b + q) * {block}
                    vectors = min({vectors}, ({full} - j) // {lanes})
{equations}
                    pointwise("{key}", {bits}, {lanes}, some, vectors, j, {units}, ({operands},))
                r += some
            b += span
        meet(meeting, members)
"""


class _Text:
    """The text of one loop, from its layout."""

    def __init__(self, found: Layout, unit: VectorUnit, bits: int):
        self.layout, self.unit = found, unit
        self.bits, self.size, self.lanes = bits, bits // 8, unit.lanes(bits // 8)
        self.base = {buffer: f"{buffer.array}_{i}" for i, buffer in enumerate(found.buffers)}

    def text(self) -> str:
        backward = self.layout.function == "backward"
        return LOOP.format(
            function=self.layout.function,
            arguments=unpacked(self.layout.arguments),
            tile=TILE,
            tile_bytes=self.layout.tile_numbers * self.size,
            time="i if reverse else T - 1 - i" if backward else "T - 1 - i if reverse else i",
            bases="\n".join(" " * 8 + self.base_line(buffer) for buffer in self.layout.buffers),
            stages="".join(map(self.stage, self.layout.stages)),
        )

    def base_line(self, buffer: Buffer) -> str:
        """Return the line that computes the address of a buffer's first row at this time step."""
        return f"{self.base[buffer]} = {buffer.array} + ({buffer.first_row}) * ({buffer.width}) * {self.size}"

    def stage(self, stage: StageLayout) -> str:
        key = cache.digest(repr(stage.program))
        PROGRAMS[key] = stage.program
        tiles = "\n".join(map(self.tile, stage.tiles)) or "pass"
        return STAGE.format(
            full="V" if stage.projected else "W",
            units="P" if stage.projected else "H",
            block=stage.vectors * self.lanes,
            vectors=stage.vectors,
            lanes=self.lanes,
            span=span_choice(self.unit, stage.widest, "end - first", "end_block - b") if stage.tiles else "1",
            tiles=tile_choice(self.unit, stage.widest, tiles, " " * 16),
            equations="\n".join(self.equations(stage)),
            key=key,
            bits=self.bits,
            operands=", ".join(map(self.operand, stage.operands)),
        )

    def equations(self, stage: StageLayout) -> Iterator[str]:
        """Yield the equations that the call of `pointwise` below them computes, as comments."""

        def left(value: Value) -> str:
            is_cotangent = self.layout.function == "backward" and value.kind in (Kind.INPUT_PART, Kind.RECURRENT_PART)
            return f"d({value})" if is_cotangent else str(value)

        return (" " * 20 + f"# {line}" for line in equations(stage.program, str, left))

    def tile(self, tile: TileLayout) -> str:
        """Return the line that computes a product's tile."""
        source, depth, width = tile.source, tile.depth, tile.width
        a = f"({self.base[source]} + r * ({source.width}) * {self.size}, {source.width}, 1)"
        panel = f"({tile.panels} + b * ({depth}) * {width * self.size}, {width}, ({depth}) * {width})"
        out = f"({TILE} + {tile.offset * self.size}, {width} * span)"
        sizes = f"{self.bits}, {self.lanes}, ROWS, {width // self.lanes}, SPAN, 0"
        return f"tile({sizes}, {a}, {panel}, {depth}, (0, 0), {out})"

    def operand(self, operand: Operand) -> str:
        """Return the address of an operand at row r and unit j, and the distance between its rows."""
        buffer = operand.buffer
        if buffer.array == TILE:
            return f"{TILE} + ({operand.column}) * {self.size}, {buffer.width}"
        return f"{self.base[buffer]} + (r * ({buffer.width}) + {operand.column}) * {self.size}, {buffer.width}"


def source(step: Step, projected: bool, unit: VectorUnit, bits: int) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Return the text of the module with the loops of a step, and for each function the names of its arguments."""
    p = plan(step, projected)
    text, arguments = HEAD.format(name=step.name, unit=unit.name, bits=bits), {}
    for function in ("train", "infer", "backward"):
        found = layout(p, function, unit, bits)
        text += _Text(found, unit, bits).text()
        arguments[function] = found.arguments
    return text, arguments


@functools.lru_cache(256)  # not `bounded`: code that is compiled again takes memory again
def recurrence(step: Step, projected: bool, unit: VectorUnit, bits: int) -> dict[str, Kernel]:
    """Return the loops of a step: `train`, `infer` and `backward`."""
    text, arguments = source(step, projected, unit, bits)
    module = cache.load(f"{step.name[:80]}_{unit.name}_f{bits}", text)  # file names are limited in length
    return {function: Kernel(getattr(module, function), names) for function, names in arguments.items()}
