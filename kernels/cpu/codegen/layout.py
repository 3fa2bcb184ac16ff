"""Where a recurrent loop finds everything: the layout of its arrays and tiles, computed before any code is written.

A loop's arguments are FIXED, then the panels of its products, the arrays of its values, and a flag full_<state> for
each array out_<state>. `layout` returns all this as data; `recurrence.py` turns it into text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...ir.plan import Multiplication, Plan, Stage
from ...ir.program import Kind, Program, Value
from ..runtime.host import VectorUnit
from .product import PANEL_VECTORS
from .tile import tile_rows, tile_spans

FIXED = (
    "active", "T", "N", "H", "W", "P", "V", "reverse", "slots", "group_size", "barriers",
    "begin", "end", "x_begin",
)  # fmt: skip
"""The arguments that every loop has. H: units, P: of them in h; W and V: H and P rounded up to full vectors.

A loop runs the steps from `begin` to `end`, counted in its direction. A forward finds in x the rows from x_begin on.
"""


@dataclass(frozen=True)
class Buffer:
    """An array of rows: the first row of a time step, and the width of a row, as expressions of the loop."""

    array: str
    first_row: str
    width: str


@dataclass(frozen=True)
class Operand:
    """An input or output of a Program in memory: a buffer, and the column of unit j, as an expression of the loop."""

    buffer: Buffer
    column: str = "j"


@dataclass(frozen=True)
class TileLayout:
    """A product's tile: its panels, and its part of the stage's tile memory. offset, width: in numbers."""

    product: Multiplication
    panels: str
    source: Buffer
    depth: str
    offset: int
    width: int


@dataclass(frozen=True)
class StageLayout:
    """A stage's tiles, its Program, and where each of the Program's inputs and outputs lies.

    vectors: of units in a block. widest: vectors of the widest tile.
    """

    tiles: list[TileLayout]
    program: Program[Value]
    operands: list[Operand]
    vectors: int
    widest: int
    projected: bool


@dataclass
class Layout:
    """The layout of one loop: `train`, `infer` or `backward`. tile_numbers: the size of the tile memory, in numbers."""

    function: str
    stages: list[StageLayout] = field(default_factory=list)
    tile_numbers: int = 1

    @property
    def buffers(self) -> list[Buffer]:
        """The buffers that the loop uses, each once, in the order of their first use, except the tile memory."""
        found = list[Buffer]()
        for stage in self.stages:
            found += [tile.source for tile in stage.tiles] + [operand.buffer for operand in stage.operands]
        return [buffer for buffer in dict.fromkeys(found) if buffer.array != TILE]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the loop's arguments, in order."""
        panels = [tile.panels for stage in self.stages for tile in stage.tiles]
        arrays = list(dict.fromkeys(buffer.array for buffer in self.buffers))
        flags = ["full_" + array.removeprefix("out_") for array in arrays if array.startswith("out_")]
        return (*FIXED, *panels, *arrays, *flags)


TILE = "tile_memory"
"""The name of the tile memory: the tiles of a block of units, for the Program that runs on them."""


def vectors_of(stage: Stage, backward: bool) -> int:
    """Return how many vectors of units a block of a stage has, so that its widest tile has PANEL_VECTORS if it can."""
    widest = max((len(m.results) for m in stage.products), default=1)
    return PANEL_VECTORS if backward else max(1, PANEL_VECTORS // widest)


def layout(p: Plan, function: str, unit: VectorUnit, bits: int) -> Layout:
    """Return the layout of a function of a plan for a vector unit."""
    found, operands = Layout(function), _operands(p, function)
    for i, stage in enumerate(p.stages(function)):
        found.stages.append(_stage_layout(i, stage, function, operands, unit, bits))
        found.tile_numbers = max(found.tile_numbers, _end(found.stages[-1], unit))
    return found


def _tile_room(widest: int, unit: VectorUnit) -> int:
    """Return the most rows times panels that a tile of so many vectors may have."""
    return max(n * span for n, span in [(tile_rows(unit, widest), 1), *tile_spans(unit, widest).items()])


def _end(stage: StageLayout, unit: VectorUnit) -> int:
    last = stage.tiles[-1] if stage.tiles else None
    return 0 if last is None else last.offset + _tile_room(stage.widest, unit) * last.width


def _stage_layout(
    index: int, stage: Stage, function: str, operands: dict[Value, Operand], unit: VectorUnit, bits: int
) -> StageLayout:
    backward, lanes = function == "backward", unit.lanes(bits // 8)
    vectors = vectors_of(stage, backward)
    widest = max((len(m.results) for m in stage.products), default=1) * vectors
    tiles, results, offset = list[TileLayout](), dict[Value, Operand](), 0
    for k, m in enumerate(stage.products):
        width = len(m.results) * vectors * lanes
        source = _operand(operands, m.source).buffer
        tiles.append(TileLayout(m, f"panels_{index}_{k}", source, _depth(m, backward), offset, width))
        buffer = Buffer(TILE, "", f"{width} * span")
        for i, result in enumerate(m.results):
            results[result] = Operand(buffer, f"{offset} + q * {width} + {i * vectors * lanes}")
        offset += _tile_room(widest, unit) * width
    found = [results.get(value) or _operand(operands, value) for value in stage.program.keys]
    return StageLayout(tiles, stage.program, found, vectors, widest, stage.projected)


def _depth(m: Multiplication, backward: bool) -> str:
    """Return the length of the vector that a product multiplies."""
    if not backward:
        return "P" if m.source.kind is Kind.STATE else "H"
    if m.source.kind is Kind.LATER_COTANGENTS:
        return f"{len(m.gates)} * W"
    return "V" if m.projection else "W"


def _operand(operands: dict[Value, Operand], value: Value) -> Operand:
    """Return where a value lies. One that only passes between stages has an array of its own, used at every step."""
    if value.kind is Kind.PASSED:
        return Operand(Buffer(passed_array(value), "0", "W"))
    return operands[value]


def passed_array(value: Value) -> str:
    """Return the array of a value that passes from a stage to a later one."""
    return f"passed_{value.name}"


def _operands(p: Plan, function: str) -> dict[Value, Operand]:
    """Return where the loops of a step find every value but the results in tiles and the passed values."""
    step, found = p.step, dict[Value, Operand]()
    gates, direct, backward = len(step.input_gates), len(step.direct_gates), function == "backward"

    def add(kind: Kind, name: str, array: str, first_row: str, width: str, column: str = "j") -> None:
        found[Value(kind, name)] = Operand(Buffer(array, first_row, width), column)

    def add_gates(kind: Kind, names: tuple[str, ...], buffer: Buffer) -> None:
        found.update({Value(kind, name): Operand(buffer, f"{i} * W + j" if i else "j") for i, name in enumerate(names)})

    row = "(t + 1) * N" if backward else "(t - x_begin) * N"
    saved = Buffer("saved", "t * N", f"{len(step.saved)} * W")
    inputs = saved if function == "train" and p.in_place else Buffer("x", row, f"{gates} * W")
    add_gates(Kind.INPUT_PART, step.input_gates, inputs)
    add_gates(Kind.RECURRENT_PART, step.direct_gates, Buffer("h", "(t + 1) * N", f"{direct} * W"))
    add_gates(Kind.INPUT_BIAS, step.input_gates, Buffer("bias_x", "0", "0"))
    add_gates(Kind.RECURRENT_BIAS, step.recurrent_gates, Buffer("bias_h", "0", "0"))
    add_gates(Kind.SAVED, tuple(value.name for value in step.saved), saved)
    later = "x" if p.shares else "h"
    add(Kind.LATER_COTANGENTS, step.states[0], later, "(after + 1) * N", f"{direct} * W", "0")
    for i, s in enumerate(step.states):
        width = "V" if i == 0 else "W"
        before, now = ("before * N", "now * N") if i == 0 else ("(before % slots) * N", "(now % slots) * N")
        add(Kind.STATE, s, f"state_{s}", before, width)
        add(Kind.NEW_STATE, s, f"state_{s}", now, width)
        add(Kind.OUTPUT_COTANGENT, s, f"out_{s}", f"t * N * full_{s}", f"{width} * full_{s}", f"j * full_{s}")
        add(Kind.CARRY, s, f"carry_{s}", "0", width)
    for q in step.params:
        add(Kind.PARAM, q, f"p_{q}", "0", "0")
        add(Kind.PARAM_SUM, q, f"sum_{q}", "0", "W")
    for e in step.inputs:
        add(Kind.INPUT, e, f"e_{e}", "t * N", "W")
        add(Kind.INPUT_COTANGENT, e, f"de_{e}", "t * N", "W")
    source_row = "0" if function == "infer" else "t * N"
    for j in map(str, range(len(step.products))):
        add(Kind.SOURCE, j, f"v_{j}", source_row, "W")
        add(Kind.PRODUCT_COTANGENT, j, f"dv_{j}", "t * N", "W")
    add(Kind.UNPROJECTED, step.states[0], "unprojected", source_row, "W")
    add(Kind.PROJECTED_COTANGENT, step.states[0], "d_projected", "t * N", "V")
    return found
