"""The command lists of a layer's forward and backward, built for given shapes.

    forward:   for each chunk of time: x W^T -> the recurrent loop -> states, saved activations
    backward:  cotangents -> the recurrent loop -> dx, dW, dU, db as products over all of time

Each is one list, which the thread team runs without coming back to Python in between.
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
from ..ir.program import Kind
from ..runtime.bounded import bounded
from .builder import CommandListBuilder
from .codegen.layout import passed_array, vectors_of
from .codegen.product import PANEL_VECTORS
from .codegen.recurrence import recurrence
from .codegen.tile import tile_rows
from .layer_shapes import Shapes
from .runtime import memory
from .runtime.caches import caches
from .runtime.command_list import SCRATCH, BufferView, CommandList

WEIGHTS, STATES, SAVED, COTANGENTS = "weights", "states", "saved", "cotangents"
"""Arenas: packed weights; states and sources of further products; saved activations; pre-activations' cotangents."""

BARRIER = 1000  # the cost of a barrier, in vector multiply-adds: 0.2 to 0.3 us
CHUNK = 4  # the size of a chunk's projected x, at least, in second-level caches

Group = tuple[tuple[str, ...], tuple[tuple[int, int], ...]]
"""Results that are allocated together: their names and shapes."""


class BuiltCommands(NamedTuple):
    """A command list, the buffer views of its states, saved activations and sources, and its results by group."""

    run: CommandList
    views: dict[str, BufferView]
    results: list[Group]


class _Layer(CommandListBuilder):
    """Builds the command lists of one layer and direction. W, V: H and P rounded up to full vectors."""

    def __init__(self, shapes: Shapes, count: int, arena: str = SCRATCH):
        super().__init__(shapes.dtype, count, shapes.unit, arena)
        self.at, self.step = shapes, shapes.step
        self.plan: Plan = plan(shapes.step, shapes.projected)
        self.loops = recurrence(shapes.step, shapes.projected, self.unit, 8 * shapes.dtype.itemsize)
        self.W, self.V = self.full(shapes.H), self.full(shapes.P)
        self.rows = shapes.T * shapes.N
        self.results: dict[str, tuple[int, int]] = {}
        self.others |= dict.fromkeys((WEIGHTS, STATES, SAVED, COTANGENTS), memory.BYTE)

    def result(self, name: str, rows: int, columns: int) -> BufferView:
        """Return the view of an array that the caller allocates and gets back."""
        self.results[name] = (rows, columns)
        return self.given(name, rows, columns)

    def bias(self, name: str, gates: int, there: bool) -> BufferView:
        """Return a bias in padded width; zeros if there is none."""
        if there:
            return self.padded(self.given(name, 1, gates * self.at.H), gates)
        return self.zeros(1, max(gates, 1) * self.W)

    def zeros(self, rows: int, columns: int) -> BufferView:
        view = self.make(rows, columns)
        self.fill(view)
        return view

    def steps(self, columns: int) -> BufferView:
        """Allocate rows for all steps; zeros in padding."""
        return self.zeros(self.rows, columns) if self.at.ragged else self.make(self.rows, columns)

    def cotangents(self, gates: int) -> BufferView:
        """Allocate cotangents of some gates, with zeros before the first step, after the last one and in padding."""
        view = self.make(self.rows + 2 * self.at.N, gates * self.W, COTANGENTS)
        ends = [self.part(view, first, self.at.N) for first in (0, self.rows + self.at.N)]
        for part in [view] if self.at.ragged else ends:
            self.fill(part)
        return view

    def params(self) -> dict[str, BufferView]:
        """Return the cell's parameters in padded width."""
        return {f"p_{name}": self.padded(self.given("param_" + name, 1, self.at.H)) for name in self.step.params}

    def inputs(self) -> dict[str, BufferView]:
        """Return the cell's inputs per step in padded width."""
        return {f"e_{n}": self.padded(self.given("input_" + n, self.rows, self.at.H)) for n in self.step.inputs}

    def weight_ih(self) -> BufferView:
        """Return the view of the input weights."""
        return self.given("weight_ih", len(self.step.input_gates) * self.at.H, self.at.I)

    def gate_rows(self, view: BufferView, gate: str) -> BufferView:
        """Return a gate's rows of a matrix laid out as weight_hh."""
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
        """Pack the weights of a product in panels."""
        weight, gates, vectors = self.weights(m), len(m.gates) or 1, vectors_of(stage, backward)
        if backward:
            return self.panels(weight, False, vectors, groups=gates)
        return self.panels(weight, True, vectors, gates)

    def all_panels(self, stages: Sequence[Stage], backward: bool) -> dict[str, BufferView]:
        """Pack the weights of all products of a loop."""
        numbered = [(f"panels_{i}_{k}", m, s) for i, s in enumerate(stages) for k, m in enumerate(s.products)]
        return {name: self.pack(m, stage, backward) for name, m, stage in numbered}

    def loop(self, function: str, slots: int, operands: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a generated loop over all steps. operands: by their names. slots: of the states."""
        at, stages = self.at, self.plan.stages(function)
        computed = [value for stage in stages for value, _ in stage.program.outputs]
        operands |= {passed_array(v): self.make(at.N, self.W) for v in computed if v.kind is Kind.PASSED}
        operands |= {"T": at.T, "N": at.N, "H": at.H, "W": self.W, "P": at.P, "V": self.V, "reverse": at.reverse}
        operands |= {"slots": slots, "active": self.given("active", 1, at.T, np.dtype(np.int64))}
        operands["group_size"] = self.group_size(stages, function == "backward")
        operands["barriers"] = self.zeros(self.count, 64 // self.dtype.itemsize)
        return operands | {"begin": 0, "end": at.T, "x_begin": 0}

    def chunk(self, weight_ih: BufferView) -> int:
        """Return how many steps are projected at once, so that their x is still in a cache when the loop reads it.

        Each chunk reads the packed weights again, so its x is as large as they are, or CHUNK. A last chunk of few steps
        would not be worth it: a sequence of less than two chunks is one.
        """
        itemsize, gates = self.dtype.itemsize, len(self.step.input_gates)
        wanted = max(CHUNK * caches().second, weight_ih.rows * weight_ih.columns * itemsize)
        steps = -(-wanted // max(1, self.at.N * gates * self.W * itemsize))
        return steps if 2 * steps < self.at.T else max(1, self.at.T)

    def group_size(self, stages: Sequence[Stage], backward: bool) -> int:
        """Return how many threads share the units of the same rows: the number that makes the steps shortest.

        A step is estimated in vector multiply-adds. A tile of few rows takes as long as reading its panel, which takes
        longer if a thread's weights do not stay in its second-level cache.
        """
        costs = {}
        for m in (m for m in range(1, self.count + 1) if self.count % m == 0):
            rows, cost = -(-self.at.N * m // self.count), 0.0
            for stage in stages:
                vectors = vectors_of(stage, backward)
                wide = max(1, sum(len(p.results) for p in stage.products) * vectors)
                depth = self.W * (len(self.step.direct_gates) if backward else 1)
                share = -(-self.W // (vectors * self.lanes * m))
                fits = share * depth * wide * self.lanes * self.dtype.itemsize < caches().second
                tiles = -(-rows // tile_rows(self.unit, wide))
                cost += share * depth * wide * tiles * max(-(-rows // tiles), 2 if fits else 4)
                cost += BARRIER if m > 1 else 0
            costs[m] = cost
        return min(costs, key=lambda m: (costs[m], m))

    def built(self, views: dict[str, BufferView]) -> BuiltCommands:
        long = [name for name in self.results if name == "d_x" or name.startswith("d_input_")]
        groups = [[name] for name in long] + [[name for name in self.results if name not in long]]
        results = [(tuple(names), tuple(map(self.results.__getitem__, names))) for names in groups if names]
        return BuiltCommands(self.finish(), views, results)


@bounded(512)
def build_weights(at: Shapes, count: int) -> BuiltCommands:
    """Build the list that packs weights, biases and parameters into WEIGHTS. views: each by its argument's name."""
    r, step = _Layer(at, count, WEIGHTS), at.step
    views = {"weight_ih": r.panels(r.weight_ih(), True, groups=len(step.input_gates))}
    views["bias_x"] = r.bias("bias_ih", len(step.input_gates), at.bias_ih)
    views["bias_h"] = r.bias("bias_hh", len(step.recurrent_gates), at.bias_hh)
    views |= r.all_panels(r.plan.train, False) | r.params()
    for name, view in views.items():
        if view.block != WEIGHTS:  # read as it is given: copied, so that the arena holds all
            views[name] = r.make(view.rows, view.columns)
            r.copy(view, views[name], 1, view.rows, view.columns)
    return r.built(views)


@bounded(512)
def build_forward(at: Shapes, keep: bool, packed: bool, count: int) -> BuiltCommands:
    """Build the forward. keep: it saves activations for a backward. packed: WEIGHTS is given, by `build_weights`.

    Blocks: x, weight_*, bias_*, param_*, input_*, initial_*, active: read. h [T + 1, N, V], the states h: written. With
    lengths the caller fills h and STATES with zeros and sets the initial states.
    """
    r, step, weights = _Layer(at, count), at.step, build_weights(at, count)
    if not packed:
        r.include(weights.run)
    gates = len(step.input_gates)
    operands: dict[str, Any] = dict(weights.views) | r.inputs()
    operands["saved"] = saved = r.make(r.rows, len(step.saved) * r.W if keep else 0, SAVED)
    weight_ih = weights.views["weight_ih"]
    chunk = r.chunk(weight_ih)
    in_place = keep and r.plan.in_place
    operands["x"] = saved if in_place else r.make(chunk * at.N, gates * r.W)
    views = {"saved": saved}
    for i, name in enumerate(step.states):
        n = at.T + 1 if i == 0 or keep else 2
        state = r.make(n * at.N, r.W, STATES) if i else r.given("h", n * at.N, r.V)
        views["state_" + name] = operands["state_" + name] = state
        if not at.ragged:
            start = r.part(state, (at.T if at.reverse else 0) % n * at.N, at.N)
            r.copy(r.given("initial_" + name, at.N, at.width(i)), start, 1, at.N, at.width(i))
    sources = [f"v_{value.name}" for value in source_names(step).values()]
    for name in [*sources, *(["unprojected"] if at.projected else [])]:
        views[name] = operands[name] = r.make(r.rows if keep else at.N, r.W, STATES)
    function = "train" if keep else "infer"
    arguments = r.loop(function, at.T + 1 if keep else 2, operands)
    for begin in range(0, at.T, chunk):
        end = min(begin + chunk, at.T)
        x_begin = at.T - end if at.reverse else begin
        first, rows = x_begin * at.N, (end - begin) * at.N
        x = r.part(r.given("x", r.rows, at.I), first, rows)
        r.multiply(x, False, weight_ih, gates * r.W, r.part(operands["x"], first if in_place else 0, rows))
        r.add(r.loops[function], **arguments | {"begin": begin, "end": end, "x_begin": x_begin})
    return r.built(views)


@bounded(512)
def build_backward(
    at: Shapes, d_outputs: tuple[bool, ...], d_last: tuple[bool, ...], wants_x: bool, wants_initial: bool, count: int
) -> BuiltCommands:
    """Build the backward. d_outputs, d_last: which cotangents are given.

    Blocks: those of the forward, and d_out_* [T, N, width], d_last_* [N, width]: read. The results d_*: written. With
    lengths the caller computes the recurrent products into the initial h.
    """
    r, step, forward = _Layer(at, count), at.step, build_forward(at, True, False, count)
    gates, direct = len(step.input_gates), len(step.direct_gates)
    operands: dict[str, Any] = {"saved": forward.views["saved"], "x": r.cotangents(gates)}
    operands["h"] = operands["x"] if r.plan.shares else r.cotangents(direct)
    for i, name in enumerate(step.states):
        width = at.width(i)
        operands |= {"state_" + name: forward.views["state_" + name], "full_" + name: d_outputs[i]}
        if d_outputs[i]:
            operands["out_" + name] = r.padded(r.given("d_out_" + name, r.rows, width))
        else:
            operands["out_" + name] = r.zeros(1, PANEL_VECTORS * r.lanes)
        carry = operands["carry_" + name] = r.result("d_initial_" + name, at.N, r.full(width))
        if d_last[i]:
            r.copy(r.given("d_last_" + name, at.N, width), carry, 1, at.N, width)
        else:
            r.fill(carry)
    operands |= r.params() | r.inputs() | {f"sum_{name}": r.zeros(at.N, r.W) for name in step.params}
    for name in step.inputs:
        operands["de_" + name] = r.result("d_input_" + name, r.rows, r.W)
        if at.ragged:
            r.fill(operands["de_" + name])
    operands |= {f"dv_{j}": r.steps(r.W) for j in range(len(step.products))}
    if at.projected:
        operands["d_projected"] = r.steps(r.V)
    operands |= r.all_panels(r.plan.adjoint, True)
    r.add(r.loops["backward"], **r.loop("backward", at.T + 1, operands))
    if direct and wants_initial and not at.ragged:
        first = r.part(operands["h"], at.N * (at.T if at.reverse else 1), at.N)
        carry = operands["carry_" + step.states[0]]
        r.multiply(first, False, operands["panels_0_0"], at.P, carry, start=carry)
    _weight_gradients(r, operands, forward.views, wants_x)
    return r.built({"h": operands["h"]})


def _weight_gradients(r: _Layer, operands: dict[str, Any], views: dict[str, BufferView], wants_x: bool) -> None:
    """Add the products and sums over all of time."""
    at, step, gates = r.at, r.step, len(r.step.input_gates)
    d_x = r.part(operands["x"], at.N, r.rows)
    for name in step.params:
        r.column_sums(operands["sum_" + name], r.result("d_param_" + name, 1, r.W))
    x = r.given("x", r.rows, at.I)
    if wants_x:
        panels = r.panels(r.weight_ih(), False, groups=gates)
        r.multiply(d_x, False, panels, at.I, out=r.result("d_x", r.rows, at.I))
    bias = r.result("d_bias_ih", 1, gates * at.H) if at.bias_ih else None
    _product(r, d_x, x, r.result("d_weight_ih", gates * at.H, at.I), gates, bias)
    if at.projected:
        d_weight = r.product(operands["d_projected"], True, views["unprojected"], False)
        r.copy(d_weight, r.result("d_weight_hr", at.P, at.H), 1, at.P, at.H)
    _recurrent_gradients(r, operands, views)


def _recurrent_gradients(r: _Layer, operands: dict[str, Any], views: dict[str, BufferView]) -> None:
    """Add the gradients of weight_hh and bias_hh: of the product with h, plus those of further products."""
    at, step = r.at, r.step
    if not step.recurrent_gates:
        return
    weight = r.result("d_weight_hh", len(step.recurrent_gates) * at.H, at.P)
    bias = r.result("d_bias_hh", 1, weight.rows) if at.bias_hh else None
    parts: list[tuple[tuple[str, ...], BufferView, BufferView]] = []
    if step.direct_gates:
        before = r.part(views["state_" + step.states[0]], at.N if at.reverse else 0, r.rows)
        parts.append((step.direct_gates, r.part(operands["h"], at.N, r.rows), before))
    for j, (gate, source) in enumerate(zip(step.products, source_names(step).values())):
        parts.append(((gate,), operands[f"dv_{j}"], views[f"v_{source.name}"]))
    single = len(parts) == 1 and parts[0][0] == step.recurrent_gates
    if not single:
        r.fill(weight)
        if bias is not None:
            r.fill(bias)
    for gates, d, multiplied in parts:
        if single:
            _product(r, d, multiplied, weight, len(gates), bias)
            continue
        sums = r.make(1, d.columns)
        _add_gates(r, r.product(d, True, multiplied, False, sums=sums), weight, gates)
        if bias is not None:
            _add_gates(r, _upright(sums), _upright(bias), gates)


def _upright(view: BufferView) -> BufferView:
    """Return a row viewed as a column."""
    return BufferView(view.block, view.offset, view.columns, 1)


def _add_gates(r: _Layer, padded: BufferView, to: BufferView, gates: tuple[str, ...]) -> None:
    """Add the rows of some gates, in padded width, to their rows of weight_hh or bias_hh."""
    for i, gate in enumerate(gates):
        r.copy(r.part(padded, i * r.W, r.at.H), r.gate_rows(to, gate), 1, r.at.H, to.columns, adds=True)


def _product(r: _Layer, d: BufferView, source: BufferView, to: BufferView, gates: int, bias: BufferView | None) -> None:
    """Write d^T source to `to`, and the sums of d's columns to `bias`, without the padding of widths."""
    sums = None if bias is None else r.make(1, d.columns)
    fits = d.columns == to.rows and source.columns == to.columns
    found = r.product(d, True, source, False, out=to if fits else None, sums=sums)
    if not fits:
        _without_padding(r, found, to, gates)
    if sums is not None and bias is not None:
        _without_padding(r, _upright(sums), _upright(bias), gates)


def _without_padding(r: _Layer, found: BufferView, to: BufferView, gates: int) -> None:
    """Copy a result without the padding of its rows and columns."""
    r.copy(found, to, gates, to.rows // gates, to.columns)
