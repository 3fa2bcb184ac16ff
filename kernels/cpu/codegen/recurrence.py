"""The recurrent loops: generated code for one cell, forward and backward.

Both are one nest: for each time step, for each block of units, for each few rows, a tile of the matrix product with
the recurrent weights, then the cell's Program on it while it lies in the first-level cache.

    forward:   h(t-1) U^T   -> the step's forward  -> states, kept values
    backward:  dh.(t+1) U   -> the step's adjoint  -> dx.(t), dh.(t), cotangents of the states before

Rows of the batch are independent through all time, so groups of threads that share them out never meet. Within a
group its members share the blocks of units and meet after each step. A cell with further products in its step has
several such nests, one after the other in each time step.
The order of the sums of one row depends on nothing but the cell and H: not on the batch, nor on the threads.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ...ir.plan import (
    NEXT,
    PROJECTION,
    Multiplication,
    Plan,
    Stage,
    plan,
)
from ...ir.program import Step
from ..runtime import cache
from ..runtime.host import VectorUnit
from .native import Kernel, unpacked
from .pointwise import PROGRAMS
from .product import PANEL_VECTORS
from .tile import (
    span_choice,
    tile_choice,
    tile_rows,
    tile_spans,
)

HEAD = '''"""Generated: the recurrent loops of the cell {name} for {unit}, float{bits}."""

from tinygrad_rnn.kernels.cpu.codegen.native import meet, stack, word
from tinygrad_rnn.kernels.cpu.codegen.pointwise import pointwise
from tinygrad_rnn.kernels.cpu.codegen.tile import tile
'''

FIXED = ("active", "T", "N", "H", "W", "P", "V", "reverse", "slots", "members", "meetings")

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
    tiled_at = stack({tiled})
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
{products}
                for q in range(span):
                    j = (b + q) * {block}
                    vectors = min({vectors}, ({full} - j) // {lanes})
                    pointwise("{key}", {bits}, {lanes}, some, vectors, j, {units}, ({places},))
                r += some
            b += span
        meet(meeting, members)
"""


@dataclass(frozen=True)
class Buffer:
    """An array of rows: the row that a time step's begin at, and the width of a row, as expressions of the loop."""

    array: str
    start: str
    width: str


@dataclass(frozen=True)
class Place:
    """Where an input or output of a Program lies: in a buffer, from a column on."""

    buffer: Buffer
    column: str = "j"


def _places(p: Plan, function: str) -> dict[str, Place]:
    """All that the loops of a step may read and write but for the tiles, by its name in the Programs."""
    step, found = p.step, {}
    gates, direct, backward = len(step.input_gates), len(step.direct_gates), function == "backward"

    def in_columns(names: list[str], buffer: Buffer) -> None:
        found.update({name: Place(buffer, f"{i} * W + j") for i, name in enumerate(names)})

    row = "(t + 1) * N" if backward else "t * N"
    cotangents = "x" if p.shares else "h"
    kept = Buffer("kept", "t * N", f"{len(step.kept)} * W")
    inputs = kept if function == "train" and p.in_place else Buffer("x", row, f"{gates} * W")
    in_columns(["x." + g for g in step.input_gates], inputs)
    in_columns(["h." + g for g in step.direct_gates], Buffer("h", row, f"{direct} * W"))
    in_columns(["bx." + g for g in step.input_gates], Buffer("bias_x", "0", "0"))
    in_columns(["bh." + g for g in step.recurrent_gates], Buffer("bias_h", "0", "0"))
    in_columns(list(step.kept), kept)
    found[NEXT] = Place(Buffer(cotangents, "(after + 1) * N", f"{direct} * W"), "0")
    for i, s in enumerate(step.states):
        width = "V" if i == 0 else "W"
        slot = lambda moment, i=i: f"{moment} * N" if i == 0 else f"({moment} % slots) * N"
        found["s." + s] = Place(Buffer(f"state_{s}", slot("before"), width))
        found[s] = Place(Buffer(f"state_{s}", slot("now"), width))
        found["out." + s] = Place(Buffer(f"out_{s}", f"t * N * full_{s}", f"{width} * full_{s}"), f"j * full_{s}")
        found["carry." + s] = Place(Buffer(f"carry_{s}", "0", width))
    for q in step.params:
        found["p." + q] = Place(Buffer(f"p_{q}", "0", "0"))
        found["sum." + q] = Place(Buffer(f"sum_{q}", "0", "W"))
    for e in step.inputs:
        found["e." + e] = Place(Buffer(f"e_{e}", "t * N", "W"))
        found["de." + e] = Place(Buffer(f"de_{e}", "t * N", "W"))
    for j in [*map(str, range(len(step.products))), PROJECTION]:
        found[f"v.{j}"] = Place(Buffer(f"v_{j}", "0" if function == "infer" else "t * N", "W"))
        found[f"dv.{j}"] = Place(Buffer(f"dv_{j}", "t * N", "V" if j == PROJECTION else "W"))
    return found


class _Loop:
    """The text of one loop: `train`, `infer` or `backward`."""

    def __init__(self, p: Plan, function: str, unit: VectorUnit, bits: int):
        self.function, self.unit = function, unit
        self.bits, self.size, self.lanes = bits, bits // 8, unit.lanes(bits // 8)
        self.backward = function == "backward"
        self.stages = p.stages(function)
        self.places = _places(p, function)
        self.bases: dict[Buffer, str] = {}
        self.numbers = 1  # in the tiles of one stage
        self.panels: list[str] = []

    def base(self, buffer: Buffer) -> str:
        return self.bases.setdefault(buffer, f"{buffer.array}_{len(self.bases)}")

    def found(self, name: str) -> Place:
        """Where a value lies; one that only passes from stage to stage (t.*), in rows of its own."""
        return self.places.get(name) or Place(Buffer(name.replace(".", "_"), "0", "W"))

    def place(self, name: str) -> str:
        """Address and distance between rows of a Program's input or output, for row r and unit j."""
        found = self.found(name)
        buffer = found.buffer
        if buffer.array == "tiled":
            return f"tiled_at + {found.column}, {buffer.width}"
        return f"{self.base(buffer)} + (r * ({buffer.width}) + {found.column}) * {self.size}, {buffer.width}"

    def product(self, stage: int, index: int, m: Multiplication, vectors: int, offset: int) -> str:
        """A line that computes one product's tile, at an offset in `tiled`; its results get their places there."""
        wide = len(m.results) * vectors * self.lanes
        for i, name in enumerate(m.results):
            column = f"({offset} + q * {wide} + {i * vectors * self.lanes}) * {self.size}"
            self.places[name] = Place(Buffer("tiled", "", f"{wide} * span"), column)
        panels = f"panels_{stage}_{index}"
        self.panels.append(panels)
        depth, source = self.depth(m), self.found(m.source).buffer
        at = f"{self.base(source)} + r * ({source.width}) * {self.size}"
        return (
            f"tile({self.bits}, {self.lanes}, ROWS, {wide // self.lanes}, SPAN, 0, {at}, {source.width}, 1, "
            f"{panels} + b * ({depth}) * {wide * self.size}, {wide}, ({depth}) * {wide}, {depth}, 0, 0, "
            f"tiled_at + {offset * self.size}, {wide} * span)"
        )

    def depth(self, m: Multiplication) -> str:
        """The length of what is multiplied."""
        if not self.backward:
            return "P" if m.source.startswith("s.") else "H"
        return f"{len(m.gates)} * W" if m.source == NEXT else "V" if m.gates == (PROJECTION,) else "W"

    def stage(self, index: int, stage: Stage) -> str:
        vectors = vectors_of(stage, self.backward)
        widest = max((len(m.results) for m in stage.products), default=1) * vectors
        room = max(n * s for n, s in [(tile_rows(self.unit, widest), 1), *tile_spans(self.unit, widest).items()])
        calls, offset = [], 0
        for i, m in enumerate(stage.products):
            calls.append(self.product(index, i, m, vectors, offset))
            offset += room * len(m.results) * vectors * self.lanes
        self.numbers = max(self.numbers, offset)
        key = cache.digest(repr(stage.program))
        PROGRAMS[key] = stage.program
        names = [*stage.program.inputs, *(name for name, _ in stage.program.outputs)]
        return STAGE.format(
            full="V" if stage.narrow else "W",
            units="P" if stage.narrow else "H",
            block=vectors * self.lanes,
            vectors=vectors,
            lanes=self.lanes,
            span=span_choice(self.unit, widest, "end - first", "end_block - b") if stage.products else "1",
            products=tile_choice(self.unit, widest, "\n".join(calls) or "pass", " " * 16),
            key=key,
            bits=self.bits,
            places=", ".join(map(self.place, names)),
        )

    def text(self) -> tuple[str, tuple[str, ...]]:
        """The function's text and the names of its arguments: FIXED, arrays, and flags full_s."""
        stages = "".join(self.stage(i, stage) for i, stage in enumerate(self.stages))
        lines = [f"{base} = {b.array} + ({b.start}) * ({b.width}) * {self.size}" for b, base in self.bases.items()]
        arrays = [*FIXED, *dict.fromkeys([*self.panels, *(buffer.array for buffer in self.bases)])]
        arrays += ["full_" + name[4:] for name in arrays if name.startswith("out_")]
        time = "i if reverse else T - 1 - i" if self.backward else "T - 1 - i if reverse else i"
        bases = "\n".join(" " * 8 + line for line in lines)
        body = LOOP.format(
            function=self.function,
            arguments=unpacked(tuple(arrays)),
            tiled=self.numbers * self.size,
            time=time,
            bases=bases,
            stages=stages,
        )
        return body, tuple(arrays)


def source(step: Step, projected: bool, unit: VectorUnit, bits: int) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The text of the module with the loops of a step, and for each function the names of its arguments."""
    p = plan(step, projected)
    text, arguments = HEAD.format(name=step.name, unit=unit.name, bits=bits), {}
    for function in ("train", "infer", "backward"):
        body, arguments[function] = _Loop(p, function, unit, bits).text()
        text += body
    return text, arguments


@functools.lru_cache(256)  # not `bounded`: code that is made again takes memory again
def recurrence(step: Step, projected: bool, unit: VectorUnit, bits: int) -> dict[str, Kernel]:
    """The loops of a step: `train`, `infer` and `backward`."""
    text, arguments = source(step, projected, unit, bits)
    module = cache.load(f"{step.name[:80]}_{unit.name}_f{bits}", text)  # a file's name has an end
    return {function: Kernel(getattr(module, function), names) for function, names in arguments.items()}


def vectors_of(stage: Stage, backward: bool) -> int:
    """How many vectors of units a block of a stage has, so that its widest tile has PANEL_VECTORS if it can."""
    widest = max((len(m.results) for m in stage.products), default=1)
    return PANEL_VECTORS if backward else max(1, PANEL_VECTORS // widest)
