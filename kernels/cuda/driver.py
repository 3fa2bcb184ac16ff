"""The sequence driver on a GPU: products over all steps by the array library, the recurrence by one kernel.

The interface is `reference`'s. Time runs as in x; a reversed run goes through it from each sequence's end. States, and
cotangents that the next step's product reads, have a place more than there are steps: for the initial state, and for
the zeros that come before the first step of the backward. Work is put on the array library's current stream.
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Any

from ..plan import PROJECTION, plan, source_names
from ..program import Step
from ..sequence import Sequence
from .arrays import Spot
from .walks import Layer, Walk, run

Array = Any


Work = Generator[Walk, None, Any]
"""A forward or a backward: it prepares a walk, gives it away to be run, and goes on with what the walk has left."""


@dataclass
class Saved:
    """What the forward leaves for the backward: sequences of the states, and others under their names in `Plan`."""

    states: list[Array]
    values: dict[str, Spot]


def forward(step: Step, seq: Sequence, keep: bool) -> tuple[list[Array], list[Array], Saved | None]:
    """See `reference.forward`."""
    return _at_once([_forward(step, seq, keep)])[0]


def forward_ways(step: Step, seqs: Ordered[Sequence], keep: bool) -> list[tuple[Any, ...]]:
    """`forward` of each sequence; all have the same sizes and lengths, and run at once where they fit."""
    return _at_once([_forward(step, seq, keep) for seq in seqs])


def _forward(step: Step, seq: Sequence, keep: bool) -> Work:
    at = Layer(plan(step, seq.weight_hr is not None), seq)
    projected = at.xp.matmul(at.flat(seq.x), seq.weight_ih.T).reshape(at.T, at.N, len(seq.weight_ih))
    states = [_state(at, i, at.T + 1 if keep or i == 0 else 2) for i in range(len(step.states))]
    function = "train" if keep else "infer"
    values = _given(at, states) | _forward_values(at, function, states, projected)
    yield Walk(at, function, values, _forward_weights(at))

    final = [state[at.at(state, last=True)].copy() for state in states]
    outputs = [state[:-1] if seq.reverse else state[1:] for state in (states if keep else states[:1])]
    if seq.reverse:  # where a row has no step there may be its initial state
        outputs = [at.without_padding(o) for o in outputs]
    stored = {name: spot for name, spot in values.items() if name.startswith(("k.", "v."))}
    return outputs, final, Saved(states, stored) if keep else None


def _state(at: Layer, i: int, places: int) -> Array:
    """The sequence of a state with the initial one in its place; two places are used in turn."""
    state = at.make(places, at.N, at.width(i))
    state[at.at(state, last=False)] = at.seq.initial[i]
    return state


def _given(at: Layer, states: list[Array]) -> dict[str, Spot]:
    """What both functions read: states before the step, parameters and inputs per step."""
    values = {
        "s." + name: Spot.of_steps(state, shift=int(at.seq.reverse)) for name, state in zip(at.step.states, states)
    }
    values |= {"p." + name: Spot.of_units(at.xp.ascontiguousarray(p)) for name, p in at.seq.params.items()}
    return values | {"e." + name: Spot.of_steps(at.xp.ascontiguousarray(e)) for name, e in at.seq.inputs.items()}


def _forward_values(at: Layer, function: str, states: list[Array], projected: Array) -> dict[str, Spot]:
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


def _forward_weights(at: Layer) -> dict[str, Spot]:
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
    return _at_once([_backward(step, seq, saved, d_outputs, d_final, wants_x, wants_initial)])[0]


def backward_ways(
    step: Step, ways: Ordered[tuple[Any, ...]], wants_x: bool = True, wants_initial: bool = True
) -> list[Sequence]:
    """`backward` of each way of `forward_ways`, as (seq, saved, d_outputs, d_final)."""
    return _at_once(
        [_backward(step, seq, saved, d_out, d_last, wants_x, wants_initial) for seq, saved, d_out, d_last in ways]
    )


def _backward(
    step: Step,
    seq: Sequence,
    saved: Saved,
    d_outputs: Ordered[Array | None],
    d_final: Ordered[Array | None],
    wants_x: bool,
    wants_initial: bool,
) -> Work:
    at = Layer(plan(step, seq.weight_hr is not None), seq)
    values = _given(at, saved.states) | saved.values | _cotangents(at, d_outputs, d_final)
    direct = _direct_weights(at)
    yield Walk(at, "backward", values, _backward_weights(at, direct))

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


def _cotangents(at: Layer, d_outputs: Ordered[Array | None], d_final: Ordered[Array | None]) -> dict[str, Spot]:
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


def _direct_weights(at: Layer) -> Array:
    """The rows of weight_hh that multiply h itself, or None."""
    step, weight = at.step, at.weight_hh
    if not step.direct_gates:
        return None
    if step.direct_gates == step.recurrent_gates:
        return weight
    rows = [weight[at.recurrent_rows(g) : at.recurrent_rows(g) + at.H] for g in step.direct_gates]
    return at.xp.concatenate(rows)


def _backward_weights(at: Layer, direct: Array) -> dict[str, Spot]:
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


def _product(at: Layer, d: Spot, v: Spot) -> Array:
    """The gradient of weights from the cotangents of what they gave and what they multiplied, over all steps."""
    return at.xp.matmul(at.flat(d.array).T, at.flat(v.array))


def _first_step(at: Layer) -> Any:
    """The index of each row's first step among T + 1 places; of a row without one, the place that holds 0."""
    if not at.seq.reverse:
        return 0
    return at.T if at.lengths is None else (at.lengths, at.xp.arange(at.N))


def _recurrent_gradients(at: Layer, saved: Saved, values: dict[str, Spot]) -> tuple[Array | None, Array | None]:
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


def _at_once(works: list[Work]) -> list[Any]:
    """The results of forwards, or of backwards: each goes as far as its walk, and all the walks are run together."""
    run([next(work) for work in works])
    results = []
    for work in works:
        try:
            next(work)
        except StopIteration as end:
            results.append(end.value)
    return results
