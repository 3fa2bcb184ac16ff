"""The recurrent loops: generated code for one cell, forward and backward.

Both are one nest: for each time step, for each block of units, for each few rows, a tile of the matrix product with
the recurrent weights, then the cell's Program on it while it lies in the first-level cache.

    forward:   h(t-1) U^T   -> the step's forward  -> states, kept values
    backward:  dh.(t+1) U   -> the step's adjoint  -> dx.(t), dh.(t), cotangents of the states before

Rows of the batch are independent through all time, so a thread takes some rows and never meets another.
A cell with further products in its step has several such nests, one after the other in each time step.
The order of the sums of one row depends on nothing but the cell and H: not on the batch, nor on the threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from ..program import Step
from . import cache
from .host import VectorUnit
from .plan import PROJECTION, Multiplication, Plan, Stage, plan, vectors_of
from .pointwise import PROGRAMS
from .product import choice
from .tile import tile_rows

HEAD = '''"""Generated: the recurrent loops of the cell {name} for {unit}, float{bits}."""

import numpy as np
from numba import njit

from tinygrad_rnn.kernels.cpu.pointwise import pointwise
from tinygrad_rnn.kernels.cpu.tile import tile
'''

LOOP = '''

@njit(cache=True, nogil=True, error_model="numpy")
def {function}(active, offset, T, N, H, W, P, V, reverse, first, last, slots, {arrays}):
    """Rows first..last of N. H units, P of them in h; W and V: H and P as full vectors; active[t] rows have a step t,
    from row offset[t] on in what is stored without padding."""
    tiled = np.empty({numbers}, {dtype})
    tiled_at = tiled.ctypes.data
    for i in range(T):
        t = {time}
        end = min(active[t], last)
        now, before = (t, t + 1) if reverse else (t + 1, t)
        after = t - 1 if reverse else t + 1
{bases}
{stages}'''

STAGE = """        for j in range(0, {full}, {block}):
            vectors = min({vectors}, ({full} - j) // {lanes})
            r = first
            while r < end:
                left = end - r
                rows = min(left, {rows})
{products}
                pointwise("{key}", {bits}, {lanes}, rows, vectors, j, {units}, ({places},))
                r += rows
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

    row = "(t + 1) * N" if backward else "offset[t]"
    cotangents = "x" if p.shares else "h"
    in_columns(["x." + g for g in step.input_gates], Buffer("x", row, f"{gates} * W"))
    in_columns(["h." + g for g in step.direct_gates], Buffer("h", row, f"{direct} * W"))
    in_columns(["bx." + g for g in step.input_gates], Buffer("bias_x", "0", "0"))
    in_columns(["bh." + g for g in step.recurrent_gates], Buffer("bias_h", "0", "0"))
    in_columns(list(step.kept), Buffer("kept", "offset[t]", f"{len(step.kept)} * W"))
    found["next"] = Place(Buffer(cotangents, "(after + 1) * N", f"{direct} * W"), "0")
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
        found["e." + e] = Place(Buffer(f"e_{e}", "offset[t]", "W"))
        found["de." + e] = Place(Buffer(f"de_{e}", "offset[t]", "W"))
    for j in [*map(str, range(len(step.products))), PROJECTION]:
        found[f"v.{j}"] = Place(Buffer(f"v_{j}", "0" if function == "infer" else "offset[t]", "W"))
        found[f"dv.{j}"] = Place(Buffer(f"dv_{j}", "offset[t]", "V" if j == PROJECTION else "W"))
    return found


class _Loop:
    """The text of one loop: `train`, `infer` or `backward`."""

    def __init__(self, p: Plan, function: str, unit: VectorUnit, bits: int):
        self.function, self.unit = function, unit
        self.bits, self.size, self.lanes = bits, bits // 8, unit.lanes(bits // 8)
        self.backward = function == "backward"
        self.stages = getattr(p, "adjoint" if self.backward else function)
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

    def product(self, stage: int, index: int, m: Multiplication, vectors: int, rows: int, offset: int) -> list[str]:
        """Lines that compute one product's tile, at an offset in `tiled`; its results get their places there."""
        wide = len(m.results) * vectors
        for i, name in enumerate(m.results):
            column = (offset + i * vectors * self.lanes) * self.size
            self.places[name] = Place(Buffer("tiled", "", str(wide * self.lanes)), str(column))
        panels = f"panels_{stage}_{index}"
        self.panels.append(panels)
        depth = self.depth(m)
        source = self.found(m.source).buffer
        at = f"{self.base(source)} + r * ({source.width}) * {self.size}"
        call = (
            f"tile({self.bits}, {self.lanes}, ROWS, {wide}, 0, {at}, {source.width}, 1, panel, {wide * self.lanes}, "
            f"{depth}, tiled_at + {offset * self.size}, {wide * self.lanes})"
        )
        block = f"(j // {vectors * self.lanes}) * ({depth}) * {wide * self.lanes * self.size}"
        return [" " * 16 + f"panel = {panels}.ctypes.data + {block}", choice(rows, call, " " * 16)]

    def depth(self, m: Multiplication) -> str:
        """The length of what is multiplied."""
        if not self.backward:
            return "P" if m.source.startswith("s.") else "H"
        return f"{len(m.gates)} * W" if m.source == "next" else "V" if m.gates == (PROJECTION,) else "W"

    def stage(self, index: int, stage: Stage) -> str:
        vectors = vectors_of(stage, self.backward)
        wide = sum(len(m.results) for m in stage.products) * vectors
        rows = tile_rows(self.unit, max((len(m.results) for m in stage.products), default=1) * vectors)
        self.numbers = max(self.numbers, rows * wide * self.lanes)
        lines, offset = [], 0
        for i, m in enumerate(stage.products):
            lines += self.product(index, i, m, vectors, rows, offset)
            offset += rows * len(m.results) * vectors * self.lanes
        key = cache.digest(repr(stage.program))
        PROGRAMS[key] = stage.program
        names = [*stage.program.inputs, *(name for name, _ in stage.program.outputs)]
        return STAGE.format(
            full="V" if stage.narrow else "W",
            units="P" if stage.narrow else "H",
            block=vectors * self.lanes,
            vectors=vectors,
            lanes=self.lanes,
            rows=rows,
            products="\n".join(lines),
            key=key,
            bits=self.bits,
            places=", ".join(map(self.place, names)),
        )

    def text(self) -> tuple[str, tuple[str, ...]]:
        """The function's text and the names of the arrays (and flags full_s) that it takes."""
        stages = "".join(self.stage(i, stage) for i, stage in enumerate(self.stages))
        lines = [
            f"{base} = {b.array}.ctypes.data + ({b.start}) * ({b.width}) * {self.size}"
            for b, base in self.bases.items()
        ]
        arrays = list(dict.fromkeys([*self.panels, *(buffer.array for buffer in self.bases)]))
        arrays += ["full_" + name[4:] for name in arrays if name.startswith("out_")]
        time = "i if reverse else T - 1 - i" if self.backward else "T - 1 - i if reverse else i"
        bases = "\n".join(" " * 8 + line for line in lines)
        body = LOOP.format(
            function=self.function,
            arrays=", ".join(arrays),
            numbers=self.numbers,
            dtype=f"np.float{self.bits}",
            time=time,
            bases=bases,
            stages=stages,
        )
        return body, tuple(arrays)


@dataclass(frozen=True)
class Loops:
    """The generated functions of a step by name, and the arrays that each takes."""

    functions: dict[str, Callable]
    arrays: dict[str, tuple[str, ...]]


def source(step: Step, projected: bool, unit: VectorUnit, bits: int) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The text of the module with the loops of a step, and for each function the arrays that it takes."""
    p = plan(step, projected)
    text, arrays = HEAD.format(name=step.name, unit=unit.name, bits=bits), {}
    for function in ("train", "infer", "backward"):
        body, arrays[function] = _Loop(p, function, unit, bits).text()
        text += body
    return text, arrays


@functools.cache
def recurrence(step: Step, projected: bool, unit: VectorUnit, bits: int) -> Loops:
    """The loops of a step: `train`, `infer` and `backward`."""
    text, arrays = source(step, projected, unit, bits)
    module = cache.load(f"{step.name}_{unit.name}_f{bits}", text)
    return Loops({function: getattr(module, function) for function in arrays}, arrays)
