"""The recurrent loops: generated code for one cell, forward and backward.

Both are one nest: for each time step, for each block of units, for each few rows, a tile of the matrix product with
the recurrent weights, then the cell's Program on it while it lies in the first-level cache.

    forward:   h(t-1) U^T   -> the step's forward  -> states, kept values
    backward:  dh.(t+1) U   -> the step's adjoint  -> dx.(t), dh.(t), cotangents of the states before

Rows of the batch are independent through all time, so a thread takes some rows and never meets another.
The order of the sums of one row depends on nothing but the cell and H: not on the batch, nor on the threads.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType

from ..program import Program, Step
from . import cache
from .host import VectorUnit
from .plan import Plan, plan
from .pointwise import PROGRAMS
from .product import PANEL_VECTORS, choice
from .tile import tile_rows

HEAD = '''"""Generated: the recurrent loops of the cell {name} for {unit}, float{bits}."""

import numpy as np
from numba import njit

from tinygrad_rnn.kernels.cpu.pointwise import pointwise
from tinygrad_rnn.kernels.cpu.tile import tile
'''

LOOP = '''

@njit(cache=True, nogil=True, error_model="numpy")
def {function}(active, offset, T, N, H, W, reverse, first, last, slots, panels, {arrays}):
    """Rows first..last. N rows, H units, W: H as full vectors; active[t] rows have a step t, from row offset[t] on in
    what is stored without padding."""
    tiled = np.empty({rows} * {width}, panels.dtype)
    tiled_at = tiled.ctypes.data
    for i in range(T):
        t = {time}
        end = min(active[t], last)
        now, before = (t, t + 1) if reverse else (t + 1, t)
        after = t - 1 if reverse else t + 1
{bases}
        for j in range(0, W, {block}):
            vectors = min({vectors}, (W - j) // {lanes})
            panel = panels.ctypes.data + (j // {block}) * {depth} * {width} * {size}
            r = first
            while r < end:
                left = end - r
                rows = min(left, {rows})
{product}
                pointwise("{key}", {bits}, {lanes}, rows, vectors, j, H, ({places},))
                r += rows
'''


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


def _places(p: Plan, backward: bool, lanes: int) -> dict[str, Place]:
    """All that the loops of a step may read and write, by its name in the Programs."""
    step, found = p.step, {}
    gates, direct = len(step.input_gates), len(step.direct_gates)

    def in_columns(names: list[str], buffer: Buffer) -> None:
        found.update({name: Place(buffer, f"{i} * W + j") for i, name in enumerate(names)})

    row = "(t + 1) * N" if backward else "offset[t]"
    in_columns(["x." + g for g in step.input_gates], Buffer("x", row, f"{gates} * W"))
    if backward:
        in_columns(["h." + g for g in step.direct_gates], Buffer("h", row, f"{direct} * W"))
        found["tile"] = Place(Buffer("tiled", "", str(PANEL_VECTORS * lanes)), "0")
    else:
        tiled = Buffer("tiled", "", str(direct * p.vectors * lanes))
        found |= {"h." + g: Place(tiled, str(i * p.vectors * lanes)) for i, g in enumerate(step.direct_gates)}
    in_columns(["bx." + g for g in step.input_gates], Buffer("bias_x", "0", "0"))
    in_columns(["bh." + g for g in step.direct_gates], Buffer("bias_h", "0", "0"))
    in_columns(list(step.kept), Buffer("kept", "offset[t]", f"{len(step.kept)} * W"))
    for i, s in enumerate(step.states):
        slot = lambda moment, i=i: f"{moment} * N" if i == 0 else f"({moment} % slots) * N"
        found["s." + s] = Place(Buffer(f"state_{s}", slot("before"), "W"))
        found[s] = Place(Buffer(f"state_{s}", slot("now"), "W"))
        found["out." + s] = Place(Buffer(f"out_{s}", f"t * N * full_{s}", f"W * full_{s}"), f"j * full_{s}")
        found["carry." + s] = Place(Buffer(f"carry_{s}", "0", "W"))
    for q in step.params:
        found["p." + q] = Place(Buffer(f"p_{q}", "0", "0"))
        found["sum." + q] = Place(Buffer(f"sum_{q}", "0", "W"))
    for e in step.inputs:
        found["e." + e] = Place(Buffer(f"e_{e}", "offset[t]", "W"))
        found["de." + e] = Place(Buffer(f"de_{e}", "offset[t]", "W"))
    return found


def arguments(p: Plan, program: Program, backward: bool) -> list[str]:
    """The names of the arrays (and of the flags full_s) that the loop over a Program takes, in order."""
    places = _places(p, backward, 1)
    names = [places[name].buffer.array for name in (*program.inputs, *(name for name, _ in program.outputs))]
    names += ["state_" + p.step.states[0]] if not backward else ["x" if p.shares else "h"] * bool(p.step.direct_gates)
    names = [name for name in dict.fromkeys(names) if name != "tiled"]
    return names + ["full_" + name[4:] for name in names if name.startswith("out_")]


def _loop(p: Plan, program: Program, function: str, unit: VectorUnit, bits: int, key: str) -> str:
    step, lanes, size = p.step, unit.lanes(bits // 8), bits // 8
    backward = function == "backward"
    places = _places(p, backward, lanes)
    vectors = PANEL_VECTORS if backward else p.vectors
    wide = PANEL_VECTORS if backward else max(1, len(step.direct_gates)) * p.vectors
    rows = tile_rows(unit, wide)
    names = [*program.inputs, *(name for name, _ in program.outputs)]

    bases: dict[Buffer, str] = {}
    lines = []
    for buffer in dict.fromkeys(places[name].buffer for name in names):
        if buffer.array == "tiled":
            bases[buffer] = "tiled_at"
            continue
        bases[buffer] = f"{buffer.array}_at{len(bases)}"
        lines.append(f"{bases[buffer]} = {buffer.array}.ctypes.data + ({buffer.start}) * ({buffer.width}) * {size}")
    product = ""
    if step.direct_gates:
        source = Buffer("x" if p.shares else "h", "(after + 1) * N", f"{len(step.direct_gates)} * W")
        source = source if backward else places["s." + step.states[0]].buffer
        lines.append(f"source = {source.array}.ctypes.data + ({source.start}) * ({source.width}) * {size}")
        depth = f"{len(step.direct_gates)} * W" if backward else "H"
        call = f"tile({bits}, {lanes}, ROWS, {wide}, 0, a, 0, 1, panel, {depth}, tiled_at, {wide * lanes})"
        call = call.replace("a, 0, 1", f"source + r * ({source.width}) * {size}, {source.width}, 1")
        product = choice(rows, call, " " * 16)

    def place(name: str) -> str:
        buffer, column = places[name].buffer, places[name].column
        row = "" if buffer.array == "tiled" else f"r * ({buffer.width}) + "
        return f"{bases[buffer]} + ({row}{column}) * {size}, {buffer.width}"

    return LOOP.format(
        function=function,
        arrays=", ".join(arguments(p, program, backward)),
        rows=rows,
        width=wide * lanes,
        time="i if reverse else T - 1 - i" if backward else "T - 1 - i if reverse else i",
        bases="\n".join(" " * 8 + line for line in lines),
        block=vectors * lanes,
        vectors=vectors,
        lanes=lanes,
        depth="0" if not step.direct_gates else f"{len(step.direct_gates)} * W" if backward else "H",
        size=size,
        product=product,
        key=key,
        bits=bits,
        places=", ".join(map(place, names)),
    )


@functools.cache
def recurrence(step: Step, unit: VectorUnit, bits: int) -> ModuleType:
    """The module with the loops of a step: functions `train`, `infer` and `backward`."""
    p = plan(step)
    text = HEAD.format(name=step.name, unit=unit.name, bits=bits)
    for function, program in (("train", p.train), ("infer", p.infer), ("backward", p.adjoint)):
        key = cache.digest(repr(program))
        PROGRAMS[key] = program
        text += _loop(p, program, function, unit, bits, key)
    return cache.load(f"{step.name}_{unit.name}_f{bits}", text)
