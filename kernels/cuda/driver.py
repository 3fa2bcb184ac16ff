"""The sequence driver on a GPU: products over all steps by the array library, the recurrence by one kernel.

The interface is `reference`'s. Time runs as in x; a reversed run goes through it from each sequence's end. States, and
cotangents that the next step's product reads, have a place more than there are steps: for the initial state, and for
the zeros that come before the first step of the backward. Work is put on the array library's current stream.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..plan import PROJECTION, Plan, Stage, plan, source_names
from ..program import Step
from ..sequence import Sequence
from . import build, emit, regime
from .arrays import Device, Spot, address, device_of, namespace, table
from .tiles import THREADS, products_of

Array = Any


@dataclass(eq=False)
class _Layer:
    """A sequence with a step's plan: sizes, the array library, and the rows by falling length."""

    plan: Plan
    seq: Sequence
    xp: Any = field(init=False)
    order: Array = None
    lengths: Array = None

    def __post_init__(self) -> None:
        seq, self.xp = self.seq, namespace(self.seq.x)
        self.dtype = seq.x.dtype
        if self.dtype.name not in emit.NUMBERS:
            raise TypeError(f"cuda: expected x of {' or '.join(emit.NUMBERS)}, got {self.dtype}")
        self.T, self.N, self.I = seq.x.shape
        self.H = seq.weight_ih.shape[0] // len(self.step.input_gates)
        self.P = seq.initial[0].shape[1]
        if seq.lengths is not None:
            self.order = self.xp.asarray(np.argsort(-seq.lengths, kind="stable").astype(np.int32))
            self.lengths = self.xp.asarray(seq.lengths.astype(np.int32))

    @property
    def step(self) -> Step:
        return self.plan.step

    @property
    def weight_hh(self) -> Array:
        return self.seq.weight_hh

    def width(self, state: int) -> int:
        return self.H if state else self.P

    def units(self, stage: Stage) -> int:
        return self.P if stage.narrow else self.H

    def make(self, *shape: int) -> Array:
        """An array that the kernel fills, with zeros where rows have no step."""
        return (self.xp.empty if self.lengths is None else self.xp.zeros)(shape, self.dtype)

    def steps_of_zeros(self, columns: int) -> Array:
        """[T + 1, N, columns] for what is read at the next step too: the place before the first to be written is 0."""
        found = self.make(self.T + 1, self.N, columns)
        found[0 if self.seq.reverse else self.T] = 0
        return found

    def written(self, array: Array) -> Array:
        """Of T + 1 places those that steps write."""
        return array[1:] if self.seq.reverse else array[:-1]

    def real(self) -> Array:
        """[T, N, 1] whether there is such a step."""
        return (self.xp.arange(self.T)[:, None] < self.lengths)[:, :, None]

    def without_padding(self, a: Array) -> Array:
        """a [T, N, ...] with 0 where there is no step: what stands there may be anything."""
        return a if self.lengths is None else self.xp.where(self.real(), a, self.dtype.type(0))

    def flat(self, a: Array) -> Array:
        return a.reshape(self.T * self.N, a.shape[2])

    def recurrent_rows(self, gate: str) -> int:
        """Where a gate's rows of weight_hh begin."""
        return self.step.recurrent_gates.index(gate) * self.H

    def at(self, state: Array, last: bool) -> tuple[Any, ...]:
        """The index of each row's first or last place in a state's sequence."""
        if last == self.seq.reverse:
            return (0,)
        if self.lengths is None:
            return (self.T % len(state),)
        return self.lengths % len(state), self.xp.arange(self.N)


@dataclass
class Saved:
    """What the forward leaves for the backward: sequences of the states, and others under their names in `Plan`."""

    states: list[Array]
    values: dict[str, Spot]


def forward(step: Step, seq: Sequence, keep: bool) -> tuple[list[Array], list[Array], Saved | None]:
    """See `reference.forward`."""
    at = _Layer(plan(step, seq.weight_hr is not None), seq)
    projected = at.xp.matmul(at.flat(seq.x), seq.weight_ih.T).reshape(at.T, at.N, len(seq.weight_ih))
    states = [_state(at, i, at.T + 1 if keep or i == 0 else 2) for i in range(len(step.states))]
    function = "train" if keep else "infer"
    values = _given(at, states) | _forward_values(at, function, states, projected)
    _walk(at, function, values, _forward_weights(at))

    final = [state[at.at(state, last=True)].copy() for state in states]
    outputs = [state[:-1] if seq.reverse else state[1:] for state in (states if keep else states[:1])]
    if seq.reverse:  # where a row has no step there may be its initial state
        outputs = [at.without_padding(o) for o in outputs]
    stored = {name: spot for name, spot in values.items() if name.startswith(("k.", "v."))}
    return outputs, final, Saved(states, stored) if keep else None


def _state(at: _Layer, i: int, places: int) -> Array:
    """The sequence of a state with the initial one in its place; two places are used in turn."""
    state = at.make(places, at.N, at.width(i))
    state[at.at(state, last=False)] = at.seq.initial[i]
    return state


def _given(at: _Layer, states: list[Array]) -> dict[str, Spot]:
    """What both functions read: states before the step, parameters and inputs per step."""
    values = {
        "s." + name: Spot.of_steps(state, shift=int(at.seq.reverse)) for name, state in zip(at.step.states, states)
    }
    values |= {"p." + name: Spot.of_units(at.xp.ascontiguousarray(p)) for name, p in at.seq.params.items()}
    return values | {"e." + name: Spot.of_steps(at.xp.ascontiguousarray(e)) for name, e in at.seq.inputs.items()}


def _forward_values(at: _Layer, function: str, states: list[Array], projected: Array) -> dict[str, Spot]:
    """Where the forward finds pre-activations and biases, and puts states and what it keeps."""
    step, seq, H = at.step, at.seq, at.H
    values = {name: Spot.of_steps(state, shift=int(not seq.reverse)) for name, state in zip(step.states, states)}
    for prefix, gates, bias in (("bx.", step.input_gates, seq.bias_ih), ("bh.", step.recurrent_gates, seq.bias_hh)):
        whole = at.xp.zeros(len(gates) * H, at.dtype) if bias is None else at.xp.ascontiguousarray(bias)
        values |= {prefix + gate: Spot.of_units(whole, i * H) for i, gate in enumerate(gates)}
    columns = [Spot.of_steps(projected, i * H) for i in range(len(step.input_gates))]
    values |= {"x." + gate: spot for gate, spot in zip(step.input_gates, columns)}
    names = [name for stage in at.plan.stages(function) for name, _ in stage.program.outputs]
    if at.plan.in_place:
        values |= dict(zip(step.kept, columns))
    for name in names:
        if name not in values:
            places = 2 if name.startswith("t.") or function == "infer" else at.T
            values[name] = Spot.of_steps(at.make(places, at.N, H))
    return values


def _forward_weights(at: _Layer) -> dict[str, Spot]:
    """The weights that each gate's results are sums with."""
    weight = None if at.weight_hh is None else at.xp.ascontiguousarray(at.weight_hh)
    found = {gate: Spot.of_weights(weight, at.recurrent_rows(gate)) for gate in at.step.recurrent_gates}
    if at.plan.projected:
        found[PROJECTION] = Spot.of_weights(at.xp.ascontiguousarray(at.seq.weight_hr))
    return found


def backward(
    step: Step,
    seq: Sequence,
    saved: Saved,
    d_outputs: Ordered[Array | None],
    d_final: Ordered[Array | None],
    wants_x: bool = True,
    wants_initial: bool = True,
) -> Sequence:
    """See `reference.backward`."""
    at = _Layer(plan(step, seq.weight_hr is not None), seq)
    values = _given(at, saved.states) | saved.values | _cotangents(at, d_outputs, d_final)
    direct = _direct_weights(at)
    _walk(at, "backward", values, _backward_weights(at, direct))

    d_projected = at.flat(at.written(values["x." + step.input_gates[0]].array))
    initial = [values["carry." + name].array for name in step.states]
    if direct is not None and wants_initial:
        d_direct = values["h." + step.direct_gates[0]].array
        initial[0] = initial[0] + at.xp.matmul(d_direct[_first_step(at)], direct)
    d_hh, d_bias = _recurrent_gradients(at, saved, values)
    projection = "v." + PROJECTION
    return Sequence(
        x=at.xp.matmul(d_projected, seq.weight_ih).reshape(seq.x.shape) if wants_x else None,
        weight_ih=at.xp.matmul(d_projected.T, at.flat(at.without_padding(seq.x))),
        weight_hh=d_hh,
        bias_ih=None if seq.bias_ih is None else d_projected.sum(0),
        bias_hh=d_bias,
        weight_hr=_product(at, values["d" + projection], values[projection]) if at.plan.projected else None,
        params={
            name: values["sum." + name].array.sum(0) if "sum." + name in values else at.xp.zeros_like(p)
            for name, p in seq.params.items()
        },
        inputs={name: values["de." + name].array for name in step.inputs},
        initial=tuple(initial),
        lengths=seq.lengths,
        reverse=seq.reverse,
    )


def _cotangents(at: _Layer, d_outputs: Ordered[Array | None], d_final: Ordered[Array | None]) -> dict[str, Spot]:
    """Where the backward finds the cotangents that it is given, and puts those that it computes."""
    step, seq, xp, values = at.step, at.seq, at.xp, dict[str, Spot]()
    for i, (name, d_out, d_last) in enumerate(zip(step.states, d_outputs, d_final)):
        width = at.width(i)
        none = d_out is None
        values["out." + name] = (
            Spot.of_units(xp.zeros(width, at.dtype)) if none else Spot.of_steps(xp.ascontiguousarray(d_out))
        )
        carry = xp.zeros((at.N, width), at.dtype) if d_last is None else xp.array(d_last, at.dtype, order="C")
        values["carry." + name] = Spot.of_rows(carry)
    for prefix, gates in (("x.", step.input_gates), ("h.", step.direct_gates)):
        if prefix == "h." and at.plan.shares:
            values |= {"h." + gate: values["x." + gate] for gate in gates}
        elif gates:
            joined = at.steps_of_zeros(len(gates) * at.H)
            spots = [Spot.of_steps(joined, i * at.H, shift=int(seq.reverse)) for i in range(len(gates))]
            values |= {prefix + gate: spot for gate, spot in zip(gates, spots)}
    if step.direct_gates:
        values["next"] = Spot.of_steps(values["h." + step.direct_gates[0]].array, shift=int(not seq.reverse))
    for stage in at.plan.adjoint:
        for name, _ in stage.program.outputs:
            if name.startswith("sum."):
                values[name] = Spot.of_rows(xp.zeros((at.N, at.H), at.dtype))
            elif name not in values:
                places = 2 if name.startswith("t.") else at.T
                values[name] = Spot.of_steps(at.make(places, at.N, at.units(stage)))
    return values


def _direct_weights(at: _Layer) -> Array:
    """The rows of weight_hh that multiply h itself, or None."""
    step, weight = at.step, at.weight_hh
    if not step.direct_gates:
        return None
    if step.direct_gates == step.recurrent_gates:
        return weight
    rows = [weight[at.recurrent_rows(g) : at.recurrent_rows(g) + at.H] for g in step.direct_gates]
    return at.xp.concatenate(rows)


def _backward_weights(at: _Layer, direct: Array) -> dict[str, Spot]:
    """The same weights the other way: transposed, so that what is summed over lies side by side here too."""
    turned = lambda weight: Spot.of_weights(at.xp.ascontiguousarray(weight.T))
    found, weight = dict[str, Spot](), at.weight_hh
    for gate in dict.fromkeys(at.step.products):
        first = at.recurrent_rows(gate)
        found[gate] = turned(weight[first : first + at.H])
    if direct is not None:
        found["next"] = turned(direct)
    if at.plan.projected:
        found[PROJECTION] = turned(at.seq.weight_hr)
    return found


def _product(at: _Layer, d: Spot, v: Spot) -> Array:
    """The gradient of weights from the cotangents of what they gave and what they multiplied, over all steps."""
    return at.xp.matmul(at.flat(d.array).T, at.flat(v.array))


def _first_step(at: _Layer) -> Any:
    """The index of each row's first step among T + 1 places; of a row without one, the place that holds 0."""
    if not at.seq.reverse:
        return 0
    return at.T if at.lengths is None else (at.lengths, at.xp.arange(at.N))


def _recurrent_gradients(at: _Layer, saved: Saved, values: dict[str, Spot]) -> tuple[Array | None, Array | None]:
    """The gradients of weight_hh and bias_hh: one product over all steps for each source."""
    step, seq, xp = at.step, at.seq, at.xp
    if seq.weight_hh is None:
        return None, None
    d_hh = xp.zeros_like(seq.weight_hh)
    d_bias = None if seq.bias_hh is None else xp.zeros_like(seq.bias_hh)
    found = list[tuple[tuple[str, ...], Array, Array]]()
    if step.direct_gates:
        d_direct = at.written(values["h." + step.direct_gates[0]].array)
        h_before = saved.states[0][1:] if seq.reverse else saved.states[0][:-1]
        found.append((step.direct_gates, d_direct, h_before))
    named, reached = source_names(step), dict(step.backward.outputs)
    for j, gate in enumerate(step.products):
        if f"v.{j}" in reached:
            found.append(((gate,), values[f"dv.{j}"].array, values[named[f"v.{j}"]].array))
    for gates, d, v in found:
        gradient, sums = xp.matmul(at.flat(d).T, at.flat(v)), at.flat(d).sum(0)
        for i, gate in enumerate(gates):
            to, start = slice(at.recurrent_rows(gate), at.recurrent_rows(gate) + at.H), i * at.H
            d_hh[to] += gradient[start : start + at.H]
            if d_bias is not None:
                d_bias[to] += sums[start : start + at.H]
    return d_hh, d_bias


def _walk(at: _Layer, function: str, values: dict[str, Spot], weights: dict[str, Spot]) -> None:
    """Run the kernel of a function over the sequence."""
    if at.T == 0 or at.N == 0:
        return
    device = device_of(at.seq.x)
    code = build.library(at.plan, products_of(at.dtype.name), device.target)
    stages = at.plan.stages(function)
    spots, loads = list[Spot](), list[regime.Load]()
    for stage in stages:
        sums = list[tuple[int, int]]()
        for product in stage.products:
            own = [weights["next"]] if product.source == "next" else [weights[gate] for gate in product.gates]
            spots += [values[product.source], *own]
            sums.append((len(own), own[0].row))
        spots += [values[name] for name in (*emit.inputs(stage), *(name for name, _ in stage.program.outputs))]
        loads.append(regime.Load(at.units(stage), tuple(sums)))
    _launch(at, code, device, function, tuple(loads), table(spots))


def _launch(
    at: _Layer, code: build.Library, device: Device, function: str, loads: tuple[regime.Load, ...], spots: np.ndarray
) -> None:
    facts, ffi, products = code.facts(device.number), code.ffi, products_of(at.dtype.name)
    room = regime.Room(facts.blocks, facts.shared, THREADS[products])
    chosen = _chosen(room, loads, at.N, products)
    stages = ffi.new("rnn_stage[]", [(load.units, first) for load, first in zip(loads, chosen.weights)])
    teams = -(-at.N // chosen.team_rows)
    arrived = at.xp.empty((teams, 32), np.uint32)
    pointers = [ffi.cast("void *", 0 if a is None else address(a)) for a in (at.order, at.lengths, arrived)]
    shared_out = chosen.team_rows, chosen.members, chosen.tile_bits, chosen.row_bits, chosen.resident, chosen.depth
    numbers = at.T, at.N, at.seq.reverse, *pointers, *shared_out, chosen.source, chosen.sums
    work = ffi.new("rnn_work *", numbers)
    code.walk(device, function, chosen.tile, work, stages, spots, chosen.shared)


@functools.lru_cache(256)
def _chosen(room: regime.Room, loads: tuple[regime.Load, ...], rows: int, products: str) -> regime.Regime:
    return regime.choose(room, loads, rows, products)
