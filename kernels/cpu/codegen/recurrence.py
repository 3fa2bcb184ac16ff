"""The recurrent loops: generated code for one cell, forward and backward.

Both are one nest: for each time step, for each block of units, for each few rows, a tile of the matrix product with
the recurrent weights, then the cell's Program on the tile while it lies in the first-level cache.

    forward:   h(t-1) U^T   -> the step's forward  -> states, saved activations
    backward:  dh.(t+1) U   -> the step's adjoint  -> dx.(t), dh.(t), cotangents of the states before

Rows of the batch are independent through all time, so groups of threads that share the rows never wait for each other.
Within a group the threads share the blocks of units, and wait at a barrier after each step. A cell with further
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
from .tile import row_choice, span_choice, tile_shapes

HEAD = '''"""Generated: the recurrent loops of the cell {name} for {unit}, float{bits}."""

from tinygrad_rnn.kernels.cpu.codegen.native import barrier, stack, word
from tinygrad_rnn.kernels.cpu.codegen.pointwise import pointwise, prefetch
from tinygrad_rnn.kernels.cpu.codegen.tile import tile
'''

LOOP = '''

def {function}(args, thread, threads):
    """H units, P of them in h; W and V: H and P as full vectors; active: for each t how many rows have a step t.

    Threads form groups of `group_size`. barriers: a counter for each group, 0, in a cache line of its own.
    """
{arguments}
    group_size = group_size if threads % group_size == 0 else 1
    groups = threads // group_size
    group, rank = thread // group_size, thread % group_size
    first, last = N * group // groups, N * (group + 1) // groups
    arrivals = barriers + group * 64
    {tile} = stack({tile_bytes})
    for i in range(begin, end):
        t = {time}
        rows_end = min(word(active, t), last)
        now, before = (t, t + 1) if reverse else (t + 1, t)
        after = t - 1 if reverse else t + 1
{bases}
{stages}'''

STAGE = """        blocks = ({full} + {block} - 1) // {block}
        b, end_block = blocks * rank // group_size, blocks * (rank + 1) // group_size
        while b < end_block and first < rows_end:
            span = {span}
            r = first
            while r < rows_end:
                left = rows_end - r
                {rows}
{row_lines}{prefetch}
{views}
{tiles}
                for q in range(span):
                    j = (b + q) * {block}
                    vectors = min({vectors}, ({full} - j) // {lanes})
{equations}
                    pointwise("{key}", {bits}, {lanes}, some, vectors, j, {units}, ({operands},))
                r += some
            b += span
        barrier(arrivals, group_size)
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
        shapes = tile_shapes(self.unit, stage.widest)
        views = [" " * 16 + line for tile in stage.tiles for line in self.views(tile)]
        tiles = [" " * 16 + self.tile(tile, shapes) for tile in stage.tiles]
        return STAGE.format(
            full="V" if stage.projected else "W",
            units="P" if stage.projected else "H",
            block=stage.vectors * self.lanes,
            vectors=stage.vectors,
            lanes=self.lanes,
            span=span_choice(self.unit, stage.widest, "rows_end - first", "end_block - b") if stage.tiles else "1",
            rows=row_choice(self.unit, stage.widest),
            row_lines="\n".join(map(self.row_line, self.in_memory(stage))),
            prefetch=self.prefetch(stage),
            views="\n".join(views),
            tiles="\n".join(tiles),
            equations="\n".join(self.equations(stage)),
            key=key,
            bits=self.bits,
            operands=", ".join(map(self.operand, stage.operands)),
        )

    def in_memory(self, stage: StageLayout) -> list[Buffer]:
        """Return the buffers of a stage's operands, each once, except the tile memory."""
        return [buffer for buffer in dict.fromkeys(o.buffer for o in stage.operands) if buffer.array != TILE]

    def row_line(self, buffer: Buffer) -> str:
        """Return the line that computes the address of row r of a buffer at this time step."""
        return f"{' ' * 16}{self.base[buffer]}_r = {self.base[buffer]} + r * ({buffer.width}) * {self.size}"

    def prefetch(self, stage: StageLayout) -> str:
        """Return the lines that ask for the rows of x before the tile is computed, which takes as long as they need.

        Only `infer` has them: in `train` x has just been written in place, and they cost more than they gain.
        """
        read = [o for o in stage.operands if o.buffer.array == "x"] if self.layout.function == "infer" else []
        if not read or not stage.tiles:
            return ""
        block, where = stage.vectors * self.lanes, ", ".join(map(self.operand, read))
        lines = [f"j = b * {block}", f"prefetch({self.size}, {block * self.size}, some, ({where},))"]
        return "".join(f"\n{' ' * 16}{line}" for line in lines)

    def equations(self, stage: StageLayout) -> Iterator[str]:
        """Yield the equations that the call of `pointwise` below them computes, as comments."""

        def left(value: Value) -> str:
            is_cotangent = self.layout.function == "backward" and value.kind in (Kind.INPUT_PART, Kind.RECURRENT_PART)
            return f"d({value})" if is_cotangent else str(value)

        return (" " * 20 + f"# {line}" for line in equations(stage.program, str, left))

    def views(self, tile: TileLayout) -> list[str]:
        """Return the lines that compute the views of a product's matrices: rows from r on, panels from b on."""
        source, depth, width = tile.source, tile.depth, tile.width
        return [
            f"{tile.panels}_a = ({self.base[source]} + r * ({source.width}) * {self.size}, {source.width}, 1)",
            f"{tile.panels}_b = ({tile.panels} + b * ({depth}) * {width * self.size}, {width}, ({depth}) * {width})",
            f"{tile.panels}_out = ({TILE} + {tile.offset * self.size}, {width} * span)",
        ]

    def tile(self, tile: TileLayout, shapes: str) -> str:
        """Return the line that computes a product's tile."""
        sizes = f'{self.bits}, {self.lanes}, "{shapes}", {tile.width // self.lanes}, 0, some, span'
        matrices = f"{tile.panels}_a, {tile.panels}_b, {tile.depth}, (0, 0), {tile.panels}_out"
        return f"tile({sizes}, {matrices})"

    def operand(self, operand: Operand) -> str:
        """Return the address of an operand at row r and unit j, and the distance between its rows."""
        buffer = operand.buffer
        if buffer.array == TILE:
            return f"{TILE} + ({operand.column}) * {self.size}, {buffer.width}"
        return f"{self.base[buffer]}_r + ({operand.column}) * {self.size}, {buffer.width}"


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
