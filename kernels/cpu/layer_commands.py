"""What a layer's forward and backward do, recorded as passes for given shapes.

    forward:   x W^T -> the recurrent loop -> states, kept values
    backward:  cotangents -> the recurrent loop -> dx, dW, dU, db as products over all of time

Both in one list of jobs each, which the team of threads runs without coming back in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ir.plan import (
    Multiplication,
    Plan,
    Stage,
    plan,
    source_names,
)
from ..ir.program import Kind, Step
from ..ir.sequence_args import sizes_of
from ..runtime.bounded import bounded
from .builder import CommandListBuilder
from .codegen.layout import passed_array, vectors_of
from .codegen.product import PANEL_VECTORS
from .codegen.recurrence import recurrence
from .codegen.tile import tile_rows
from .runtime import memory
from .runtime.command_list import SCRATCH, BufferView, CommandList
from .runtime.host import VectorUnit

WEIGHTS, KEPT, VALUES, COTANGENTS = "weights", "kept", "values", "cotangents"
"""Arenas: weights as the forward reads them; states and what further products multiplied; kept values; cotangents of
pre-activations."""

CACHE = 1 << 20  # bytes of a core's second-level cache
MEETING = 1000  # what a meeting of threads costs, in vector multiply-adds: 0.2 to 0.3 us


class Shapes(NamedTuple):
    """What passes are recorded for. P: width of h. ragged: rows have lengths."""

    step: Step
    unit: VectorUnit
    dtype: np.dtype
    T: int
    N: int
    I: int
    H: int
    P: int
    projected: bool
    bias_ih: bool
    bias_hh: bool
    ragged: bool
    reverse: bool

    @property
    def flops(self) -> float:
        """Of the forward's products."""
        inner = len(self.step.recurrent_gates) * self.P
        return 2.0 * self.T * self.N * self.H * (len(self.step.input_gates) * self.I + inner)

    def width(self, state: int) -> int:
        """The width of a state, by its number."""
        return self.P if state == 0 else self.H


@bounded(1024)
def shapes_of(
    step: Step,
    unit: VectorUnit,
    dtype: np.dtype,
    given: tuple[tuple[int, ...] | None, ...],
    ragged: bool = False,
    reverse: bool = False,
) -> Shapes:
    """Shapes from those of the arrays that a step runs over, which must fit each other: see `sequence.sizes_of`."""
    T, N, I, H, P = sizes_of(step, given)
    _, _, _, bias_ih, bias_hh, weight_hr, *_ = given
    flags = weight_hr is not None, bias_ih is not None, bias_hh is not None
    return Shapes(step, unit, dtype, T, N, I, H, P, *flags, ragged, reverse)


Group = tuple[tuple[str, ...], tuple[tuple[int, int], ...]]


class BuiltCommands(NamedTuple):
    """A pass; where its states and all else that is kept lie; names and shapes of its results, to be kept together."""

    run: CommandList
    views: dict[str, BufferView]
    results: list[Group]


class _Layer(CommandListBuilder):
    """Records the passes of one layer and direction."""

    def __init__(self, shapes: Shapes, count: int, arena: str = SCRATCH):
        super().__init__(shapes.dtype, count, shapes.unit, arena)
        self.at, self.step = shapes, shapes.step
        self.plan: Plan = plan(shapes.step, shapes.projected)
        self.loops = recurrence(shapes.step, shapes.projected, self.unit, 8 * shapes.dtype.itemsize)
        self.W, self.V = self.full(shapes.H), self.full(shapes.P)
        self.rows = shapes.T * shapes.N
        self.results: dict[str, tuple[int, int]] = {}
        self.others |= dict.fromkeys((WEIGHTS, KEPT, VALUES, COTANGENTS), memory.BYTE)

    def result(self, name: str, rows: int, columns: int) -> BufferView:
        """An array that the caller makes and gets back."""
        self.results[name] = (rows, columns)
        return self.given(name, rows, columns)

    def bias(self, name: str, gates: int, there: bool) -> BufferView:
        """A bias as the loops read it."""
        if there:
            return self.padded(self.given(name, 1, gates * self.at.H), gates)
        return self.zeros(1, max(gates, 1) * self.W)

    def zeros(self, rows: int, columns: int) -> BufferView:
        view = self.make(rows, columns)
        self.fill(view)
        return view

    def steps(self, columns: int) -> BufferView:
        """Room for rows of all steps; zeros in padding."""
        return self.zeros(self.rows, columns) if self.at.ragged else self.make(self.rows, columns)

    def cotangents(self, gates: int) -> BufferView:
        """Room for the cotangents of some gates: zeros before the first step, after the last and in padding."""
        view = self.make(self.rows + 2 * self.at.N, gates * self.W, COTANGENTS)
        ends = [self.part(view, first, self.at.N) for first in (0, self.rows + self.at.N)]
        for part in [view] if self.at.ragged else ends:
            self.fill(part)
        return view

    def params(self) -> dict[str, BufferView]:
        """The cell's parameters."""
        return {f"p_{name}": self.padded(self.given("param_" + name, 1, self.at.H)) for name in self.step.params}

    def inputs(self) -> dict[str, BufferView]:
        """The cell's inputs per step."""
        return {f"e_{n}": self.padded(self.given("input_" + n, self.rows, self.at.H)) for n in self.step.inputs}

    def weight_ih(self) -> BufferView:
        """The input weights."""
        return self.given("weight_ih", len(self.step.input_gates) * self.at.H, self.at.I)

    def gate_rows(self, view: BufferView, gate: str) -> BufferView:
        """A gate's rows of something laid out as weight_hh."""
        return self.part(view, self.step.recurrent_gates.index(gate) * self.at.H, self.at.H)

    def weights(self, m: Multiplication) -> BufferView:
        """Return the weights of a product: [gates H, P] of weight_hh, or weight_hr [P, H]."""
        if m.projection:
            return self.given("weight_hr", self.at.P, self.at.H)
        weight = self.given("weight_hh", len(self.step.recurrent_gates) * self.at.H, self.at.P)
        if m.gates == self.step.recurrent_gates:
            return weight
        chosen = self.make(len(m.gates) * self.at.H, self.at.P)
        for i, gate in enumerate(m.gates):
            to = self.part(chosen, i * self.at.H, self.at.H)
            self.copy(self.gate_rows(weight, gate), to, 1, self.at.H, self.at.P)
        return chosen

    def pack(self, m: Multiplication, stage: Stage, backward: bool) -> BufferView:
        """The weights of a product in panels as its tiles read them."""
        weight, gates, vectors = self.weights(m), len(m.gates) or 1, vectors_of(stage, backward)
        if backward:
            return self.panels(weight, False, vectors, groups=gates)
        return self.panels(weight, True, vectors, gates)

    def all_panels(self, stages: Sequence[Stage], backward: bool) -> dict[str, BufferView]:
        """The weights of all products of a loop, packed."""
        numbered = [(f"panels_{i}_{k}", m, s) for i, s in enumerate(stages) for k, m in enumerate(s.products)]
        return {name: self.pack(m, stage, backward) for name, m, stage in numbered}

    def loop(self, function: str, slots: int, places: dict[str, Any]) -> None:
        """A generated loop."""
        at, stages = self.at, self.plan.stages(function)
        computed = [value for stage in stages for value, _ in stage.program.outputs]
        places |= {passed_array(v): self.make(at.N, self.W) for v in computed if v.kind is Kind.PASSED}
        places |= {"T": at.T, "N": at.N, "H": at.H, "W": self.W, "P": at.P, "V": self.V, "reverse": at.reverse}
        places |= {"slots": slots, "active": self.given("active", 1, at.T, np.dtype(np.int64))}
        places["members"] = self.members(stages, function == "backward")
        places["meetings"] = self.zeros(self.count, 64 // self.dtype.itemsize)
        self.add(self.loops[function], **places)

    def members(self, stages: Sequence[Stage], backward: bool) -> int:
        """How many threads share the units of the same rows: as many as make the steps shortest.

        A step is estimated in vector multiply-adds. A tile of few rows takes as long as it takes to read its panel,
        which is more where the weights that a thread uses do not stay in its second-level cache.
        """
        costs = {}
        for m in (m for m in range(1, self.count + 1) if self.count % m == 0):
            rows, cost = -(-self.at.N * m // self.count), 0.0
            for stage in stages:
                vectors = vectors_of(stage, backward)
                wide = max(1, sum(len(p.results) for p in stage.products) * vectors)
                depth = self.W * (len(self.step.direct_gates) if backward else 1)
                share = -(-self.W // (vectors * self.lanes * m))
                fits = share * depth * wide * self.lanes * self.dtype.itemsize < CACHE
                tiles = -(-rows // tile_rows(self.unit, wide))
                cost += share * depth * wide * tiles * max(-(-rows // tiles), 2 if fits else 4)
                cost += MEETING if m > 1 else 0
            costs[m] = cost
        return min(costs, key=lambda m: (costs[m], m))

    def recorded(self, views: dict[str, BufferView]) -> BuiltCommands:
        long = [name for name in self.results if name == "d_x" or name.startswith("d_input_")]
        groups = [[name] for name in long] + [[name for name in self.results if name not in long]]
        results = [(tuple(names), tuple(map(self.results.__getitem__, names))) for names in groups if names]
        return BuiltCommands(self.finish(), views, results)


@bounded(512)
def build_weights(at: Shapes, count: int) -> BuiltCommands:
    """The weights, biases and parameters as the forward reads them, in WEIGHTS; spots: where each lies."""
    r, step = _Layer(at, count, WEIGHTS), at.step
    views = {"weight_ih": r.panels(r.weight_ih(), True, groups=len(step.input_gates))}
    views["bias_x"] = r.bias("bias_ih", len(step.input_gates), at.bias_ih)
    views["bias_h"] = r.bias("bias_hh", len(step.recurrent_gates), at.bias_hh)
    views |= r.all_panels(r.plan.train, False) | r.params()
    for name, view in views.items():
        if view.block != WEIGHTS:  # as it was given: copied, so that the arena has all
            views[name] = r.make(view.rows, view.columns)
            r.copy(view, views[name], 1, view.rows, view.columns)
    return r.recorded(views)


@bounded(512)
def build_forward(at: Shapes, keep: bool, packed: bool, count: int) -> BuiltCommands:
    """The forward, with what the backward wants if `keep`, and, but where WEIGHTS is `packed`, `build_weights`.

    Blocks: x, weight_*, bias_*, param_*, input_*, initial_*, active; h, the states h [T + 1, N, V]. With lengths
    the caller fills h and KEPT with zeros and sets the initial states.
    """
    r, step, weights = _Layer(at, count), at.step, build_weights(at, count)
    if not packed:
        r.include(weights.run)
    gates = len(step.input_gates)
    places: dict[str, Any] = dict(weights.views) | r.inputs()
    places["kept"] = kept = r.make(r.rows, len(step.saved) * r.W if keep else 0, VALUES)
    out = kept if keep and r.plan.in_place else None
    places["x"] = r.multiply(r.given("x", r.rows, at.I), False, weights.views["weight_ih"], gates * r.W, out)
    views = {"kept": kept}
    for i, name in enumerate(step.states):
        n = at.T + 1 if i == 0 or keep else 2
        state = r.make(n * at.N, r.W, KEPT) if i else r.given("h", n * at.N, r.V)
        views["state_" + name] = places["state_" + name] = state
        if not at.ragged:
            start = r.part(state, (at.T if at.reverse else 0) % n * at.N, at.N)
            r.copy(r.given("initial_" + name, at.N, at.width(i)), start, 1, at.N, at.width(i))
    sources = [f"v_{value.name}" for value in source_names(step).values()]
    for name in [*sources, *(["unprojected"] if at.projected else [])]:
        views[name] = places[name] = r.make(r.rows if keep else at.N, r.W, KEPT)
    r.loop("train" if keep else "infer", at.T + 1 if keep else 2, places)
    return r.recorded(views)


@bounded(512)
def build_backward(
    at: Shapes, d_outputs: tuple[bool, ...], d_last: tuple[bool, ...], wants_x: bool, wants_initial: bool, count: int
) -> BuiltCommands:
    """The backward, where d_outputs and d_last say which cotangents there are.

    Blocks: those of the forward, d_out_* and d_last_* as the forward's h and initial_*, and the results d_*. With
    lengths the recurrent products into the initial h are left to the caller.
    """
    r, step, forward = _Layer(at, count), at.step, build_forward(at, True, False, count)
    gates, direct = len(step.input_gates), len(step.direct_gates)
    places: dict[str, Any] = {"kept": forward.views["kept"], "x": r.cotangents(gates)}
    places["h"] = places["x"] if r.plan.shares else r.cotangents(direct)
    for i, name in enumerate(step.states):
        width = at.width(i)
        places |= {"state_" + name: forward.views["state_" + name], "full_" + name: d_outputs[i]}
        if d_outputs[i]:
            places["out_" + name] = r.padded(r.given("d_out_" + name, r.rows, width))
        else:
            places["out_" + name] = r.zeros(1, PANEL_VECTORS * r.lanes)
        carry = places["carry_" + name] = r.result("d_initial_" + name, at.N, r.full(width))
        if d_last[i]:
            r.copy(r.given("d_last_" + name, at.N, width), carry, 1, at.N, width)
        else:
            r.fill(carry)
    places |= r.params() | r.inputs() | {f"sum_{name}": r.zeros(at.N, r.W) for name in step.params}
    for name in step.inputs:
        places["de_" + name] = r.result("d_input_" + name, r.rows, r.W)
        if at.ragged:
            r.fill(places["de_" + name])
    places |= {f"dv_{j}": r.steps(r.W) for j in range(len(step.products))}
    if at.projected:
        places["d_projected"] = r.steps(r.V)
    places |= r.all_panels(r.plan.adjoint, True)
    r.loop("backward", at.T + 1, places)
    if direct and wants_initial and not at.ragged:
        first = r.part(places["h"], at.N * (at.T if at.reverse else 1), at.N)
        carry = places["carry_" + step.states[0]]
        r.multiply(first, False, places["panels_0_0"], at.P, carry, start=carry)
    _weight_gradients(r, places, forward.views, wants_x)
    return r.recorded({"h": places["h"]})


def _weight_gradients(r: _Layer, places: dict[str, Any], views: dict[str, BufferView], wants_x: bool) -> None:
    """The results that are sums over all of time."""
    at, step, gates = r.at, r.step, len(r.step.input_gates)
    d_x = r.part(places["x"], at.N, r.rows)
    for name in step.params:
        r.column_sums(places["sum_" + name], r.result("d_param_" + name, 1, r.W))
    x = r.given("x", r.rows, at.I)
    if wants_x:
        panels = r.panels(r.weight_ih(), False, groups=gates)
        r.multiply(d_x, False, panels, at.I, out=r.result("d_x", r.rows, at.I))
    bias = r.result("d_bias_ih", 1, gates * at.H) if at.bias_ih else None
    _product(r, d_x, x, r.result("d_weight_ih", gates * at.H, at.I), gates, bias)
    if at.projected:
        d_weight = r.product(places["d_projected"], True, views["unprojected"], False)
        r.copy(d_weight, r.result("d_weight_hr", at.P, at.H), 1, at.P, at.H)
    _recurrent_gradients(r, places, views)


def _recurrent_gradients(r: _Layer, places: dict[str, Any], views: dict[str, BufferView]) -> None:
    """The cotangents of weight_hh and bias_hh: of the product with h, and added to them those of further products."""
    at, step = r.at, r.step
    if not step.recurrent_gates:
        return
    weight = r.result("d_weight_hh", len(step.recurrent_gates) * at.H, at.P)
    bias = r.result("d_bias_hh", 1, weight.rows) if at.bias_hh else None
    parts: list[tuple[tuple[str, ...], BufferView, BufferView]] = []
    if step.direct_gates:
        before = r.part(views["state_" + step.states[0]], at.N if at.reverse else 0, r.rows)
        parts.append((step.direct_gates, r.part(places["h"], at.N, r.rows), before))
    for j, (gate, source) in enumerate(zip(step.products, source_names(step).values())):
        parts.append(((gate,), places[f"dv_{j}"], views[f"v_{source.name}"]))
    whole = len(parts) == 1 and parts[0][0] == step.recurrent_gates
    if not whole:
        r.fill(weight)
        if bias is not None:
            r.fill(bias)
    for gates, d, multiplied in parts:
        if whole:
            _product(r, d, multiplied, weight, len(gates), bias)
            continue
        sums = r.make(1, d.columns)
        _add_gates(r, r.product(d, True, multiplied, False, sums=sums), weight, gates)
        if bias is not None:
            _add_gates(r, _upright(sums), _upright(bias), gates)


def _upright(view: BufferView) -> BufferView:
    """A row as a column."""
    return BufferView(view.block, view.offset, view.columns, 1)


def _add_gates(r: _Layer, wide: BufferView, to: BufferView, gates: tuple[str, ...]) -> None:
    """Add the rows of some gates, made full vectors, to those of weight_hh or bias_hh."""
    for i, gate in enumerate(gates):
        r.copy(r.part(wide, i * r.W, r.at.H), r.gate_rows(to, gate), 1, r.at.H, to.columns, adds=True)


def _product(r: _Layer, d: BufferView, source: BufferView, to: BufferView, gates: int, bias: BufferView | None) -> None:
    """d^T source, and as `bias` the sums of d's columns, where widths may be full vectors, as they were."""
    sums = None if bias is None else r.make(1, d.columns)
    fits = d.columns == to.rows and source.columns == to.columns
    found = r.product(d, True, source, False, out=to if fits else None, sums=sums)
    if not fits:
        _narrow(r, found, to, gates)
    if sums is not None and bias is not None:
        _narrow(r, _upright(sums), _upright(bias), gates)


def _narrow(r: _Layer, found: BufferView, to: BufferView, gates: int) -> None:
    """Rows made full vectors, and columns, as they were."""
    r.copy(found, to, gates, to.rows // gates, to.columns)
