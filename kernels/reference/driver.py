"""The sequence driver in NumPy: one layer, one direction, all time steps. The oracle for every compiled driver.

`forward` and `backward` run a Step's Programs over SequenceArgs. One loop serves both directions and unequal lengths:
each sequence is put in the order of its scan, and step t works on the rows that are longer than t. The products with
the input weights are computed for all steps at once. Shapes are those of `SequenceArgs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ir.program import Kind, Op, Step, Value
from ..ir.sequence_args import SequenceArgs

Array = Any
runs_together = False


@dataclass
class Saved:
    """The values that the forward leaves for the backward, for each step in step order, of the rows that have the step.

    These are the step's SAVED, SOURCE and STATE values, and UNPROJECTED, h before its projection.
    """

    steps: list[dict[Value, Array]] = field(default_factory=list)


class _Weights:
    """The recurrent weights cut by gate: the blocks of rows that direct and further products use."""

    def __init__(self, step: Step, seq: SequenceArgs):
        hidden = seq.weight_ih.shape[0] // len(step.input_gates)
        self.block = {g: slice(i * hidden, (i + 1) * hidden) for i, g in enumerate(step.recurrent_gates)}
        self.weight: Array = seq.weight_hh
        self.bias: Array = seq.bias_hh
        mask = np.repeat([g in step.direct_gates for g in step.recurrent_gates], hidden)
        self.direct_rows: Any = slice(None) if mask.all() else np.flatnonzero(mask)
        self.direct = None if self.weight is None else self.weight[self.direct_rows]
        self.direct_bias = None if self.bias is None else self.bias[self.direct_rows]

    def product(self, op: Op, v: Array) -> Array:
        """Compute an operation "product" or "product_t" of a Program."""
        rows = self.block[op.gate]
        if op.name == "product_t":
            return v @ self.weight[rows]
        return _affine(v, self.weight[rows], None if self.bias is None else self.bias[rows])


def _affine(v: Array, weight: Array, bias: Array | None) -> Array:
    out = v @ weight.T
    if bias is not None:
        out += bias
    return out


def _blocks(kind: Kind, gates: tuple[str, ...], joined: Array) -> dict[Value, Array]:
    """Cut [N, G H] into a value [N, H] for each gate."""
    return {Value(kind, g): part for g, part in zip(gates, np.split(joined, len(gates), -1))} if gates else {}


def _zeros(a: Array) -> Array:
    return None if a is None else np.zeros(a.shape, a.dtype)


def _gather(into: Array, rows: Any, kind: Kind, gates: tuple[str, ...], out: Mapping[Value, Array]) -> None:
    """Write each gate's [N, H] into its block of some rows of [N, G H]: the reverse of `_blocks`."""
    for value, part in _blocks(kind, gates, into).items():
        part[rows] = out.get(value, 0)


def _side_inputs(step: Step, seq: SequenceArgs, ordered: Mapping[str, Array], t: int, rows: Any) -> dict[Value, Array]:
    given = {Value(Kind.PARAM, name): seq.params[name] for name in step.params}
    return given | {Value(Kind.INPUT, name): ordered[name][t][rows] for name in step.inputs}


def _full(value: Array, shape: tuple[int, int]) -> Array:
    """Return a value of a step with a number for every row and unit. `value` may be one for all rows, or a constant."""
    return value if value.shape == shape else np.broadcast_to(value, shape).copy()


def _without_padding(seq: SequenceArgs) -> Array:
    """Return x in step order, with 0 past the end of each sequence: x may hold NaN there, and 0 times NaN is NaN."""
    x = seq.in_step_order(seq.x)
    if seq.lengths is None:
        return x
    return np.where((np.arange(len(x))[:, None] < seq.lengths)[:, :, None], x, x.dtype.type(0))


def _with_rows(old: Array, rows: slice | Array, new: Array) -> Array:
    """Return `old` with some rows replaced."""
    if isinstance(rows, slice):
        return new
    out = old.copy()
    out[rows] = new
    return out


def forward(step: Step, seq: SequenceArgs, keep: bool) -> tuple[list[Array], list[Array], Saved | None]:
    """Run the step over the sequence.

    Return the sequence of each state [T, N, P or H] (0 past a sequence's end), each state after the last real step
    [N, P or H], and, if `keep`, the values for the backward.
    """
    time, batch = seq.x.shape[:2]
    weights = _Weights(step, seq)
    x = seq.in_step_order(seq.x).reshape(time * batch, seq.x.shape[2])
    projected = _affine(x, seq.weight_ih, seq.bias_ih).reshape(time, batch, len(seq.weight_ih))
    hidden = len(seq.weight_ih) // len(step.input_gates)
    ordered = {name: seq.in_step_order(e) for name, e in seq.inputs.items()}
    states, h = list(seq.initial), Value(Kind.STATE, step.states[0])
    outputs = [np.zeros((time, *state.shape), state.dtype) for state in states]
    saved = Saved() if keep else None

    for t in range(time):
        rows = seq.rows(t)
        before = {Value(Kind.STATE, name): state[rows] for name, state in zip(step.states, states)}
        given = before | _blocks(Kind.INPUT_PART, step.input_gates, projected[t][rows])
        if step.direct_gates:
            direct = _affine(before[h], weights.direct, weights.direct_bias)
            given |= _blocks(Kind.RECURRENT_PART, step.direct_gates, direct)
        given |= _side_inputs(step, seq, ordered, t, rows)
        out = step.forward.run(given, weights.product)
        shape = (projected[t][rows].shape[0], hidden)
        after = [_full(out[Value(Kind.NEW_STATE, name)], shape) for name in step.states]
        if saved is not None:
            activations = {v: a for v, a in out.items() if v.kind is not Kind.NEW_STATE}
            saved.steps.append(before | activations | {Value(Kind.UNPROJECTED, h.name): after[0]})
        if seq.weight_hr is not None:
            after[0] = after[0] @ seq.weight_hr.T
        for sequence, state in zip(outputs, after):
            sequence[t][rows] = state
        states = [_with_rows(old, rows, new) for old, new in zip(states, after)]
    return [seq.in_step_order(o) for o in outputs], states, saved


def backward(
    step: Step,
    seq: SequenceArgs,
    saved: Saved,
    d_outputs: Sequence[Array | None],
    d_final: Sequence[Array | None],
    wants_x: bool = True,
    wants_initial: bool = True,
) -> SequenceArgs:
    """Return the cotangents of all arrays of the sequence from those of the outputs and the last states.

    None in d_outputs and d_final stands for zero. Without `wants_x` the x of the result is None.
    """
    time, batch = seq.x.shape[:2]
    hidden = seq.weight_ih.shape[0] // len(step.input_gates)
    h = Value(Kind.STATE, step.states[0])
    weights = _Weights(step, seq)
    ordered = {name: seq.in_step_order(e) for name, e in seq.inputs.items()}
    d_ordered = [None if d is None else seq.in_step_order(d) for d in d_outputs]
    d_states = [_zeros(s) if d is None else d for s, d in zip(seq.initial, d_final)]
    # The cotangents of pre-activations, and h before each step, are kept for one product over all steps at the end.
    d_projected = np.zeros((time, batch, len(step.input_gates) * hidden), seq.x.dtype)
    d_direct = np.zeros((time, batch, len(step.direct_gates) * hidden), seq.x.dtype)
    h_before = np.zeros((time, *seq.initial[0].shape), seq.x.dtype)
    d_params = {name: _zeros(p) for name, p in seq.params.items()}
    d_inputs = {name: _zeros(e) for name, e in seq.inputs.items()}
    d_hh, d_bias, d_hr = _zeros(seq.weight_hh), _zeros(seq.bias_hh), _zeros(seq.weight_hr)

    for t in reversed(range(time)):
        rows, known = seq.rows(t), saved.steps[t]
        d = [ds[rows] if do is None else ds[rows] + do[t][rows] for ds, do in zip(d_states, d_ordered)]
        if seq.weight_hr is not None:
            d_hr += d[0].T @ known[Value(Kind.UNPROJECTED, h.name)]
            d[0] = d[0] @ seq.weight_hr
        given = known | {Value(Kind.COTANGENT, name): cotangent for name, cotangent in zip(step.states, d)}
        given |= _side_inputs(step, seq, ordered, t, rows)
        out = step.backward.run(given, weights.product)

        _gather(d_projected[t], rows, Kind.INPUT_PART, step.input_gates, out)
        _gather(d_direct[t], rows, Kind.RECURRENT_PART, step.direct_gates, out)
        h_before[t][rows] = known[h]
        for j, g in enumerate(step.products):
            block, source = weights.block[g], Value(Kind.SOURCE, str(j))
            cotangent = out.get(source)
            if cotangent is None:
                continue
            d_hh[block] += cotangent.T @ np.broadcast_to(known[source], cotangent.shape)
            if d_bias is not None:
                d_bias[block] += cotangent.sum(0)
        for name in d_params:
            if (value := Value(Kind.PARAM, name)) in out:
                d_params[name] += out[value].sum(0)
        for name in d_inputs:
            d_inputs[name][t][rows] = out.get(Value(Kind.INPUT, name), 0)
        before = {value: known[value] for value in (Value(Kind.STATE, name) for name in step.states)}
        d_before = [_full(out[v], s.shape) if v in out else _zeros(s) for v, s in before.items()]
        if step.direct_gates:
            d_before[0] = d_before[0] + d_direct[t][rows] @ weights.direct
        d_states = [_with_rows(old, rows, new) for old, new in zip(d_states, d_before)]

    flatten = lambda a: a.reshape(time * batch, a.shape[2])
    flat = flatten(d_projected)
    if step.direct_gates:
        flat_direct = flatten(d_direct)
        d_hh[weights.direct_rows] += flat_direct.T @ flatten(h_before)
        if d_bias is not None:
            d_bias[weights.direct_rows] += flat_direct.sum(0)
    return SequenceArgs(
        x=seq.in_step_order((flat @ seq.weight_ih).reshape(seq.x.shape)) if wants_x else None,
        weight_ih=flat.T @ flatten(_without_padding(seq)),
        weight_hh=d_hh,
        bias_ih=None if seq.bias_ih is None else flat.sum(0),
        bias_hh=d_bias,
        weight_hr=d_hr,
        params=d_params,
        inputs={name: seq.in_step_order(d) for name, d in d_inputs.items()},
        initial=tuple(np.array(d) for d in d_states),
        lengths=seq.lengths,
        reverse=seq.reverse,
    )
