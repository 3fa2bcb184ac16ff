"""The sequence driver in NumPy: one layer, one direction, all time steps. The oracle for every compiled driver.

`forward` and `backward` run a Step's Programs over a Sequence. Both directions and unequal lengths come down to
one loop: each sequence is put in the order in which it is walked, and at step t the rows that are longer than t
are worked on. Products with the input weights are done once for all steps. Shapes as in `Sequence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .program import Op, Step
from .sequence import Sequence

Array = np.ndarray


@dataclass
class Saved:
    """What the forward leaves for the backward, in step order: for each step its kept values and the states before it."""

    kept: list[dict[str, Array]] = field(default_factory=list)
    before: list[tuple[Array, ...]] = field(default_factory=list)
    unprojected: list[Array] = field(default_factory=list)


class _Weights:
    """The recurrent weights cut up by gate: the blocks of rows that direct products and further products use."""

    def __init__(self, step: Step, seq: Sequence, hidden: int):
        self.block = {g: slice(i * hidden, (i + 1) * hidden) for i, g in enumerate(step.recurrent_gates)}
        self.weight, self.bias = seq.weight_hh, seq.bias_hh

    def product(self, op: Op, v: Array) -> Array:
        """Carry out an operation "product" or "product_t" of a Program."""
        assert self.weight is not None
        rows = self.block[op.gate]
        if op.name == "product_t":
            return v @ self.weight[rows]
        out = v @ self.weight[rows].T
        return out if self.bias is None else out + self.bias[rows]

    def direct(self, gates: tuple[str, ...], h: Array) -> dict[str, Array]:
        """h.g for each gate that reads it: one product for all where they are all there are."""
        if not gates or self.weight is None:
            return {}
        if len(gates) < len(self.block):
            return {"h." + g: self.product(Op("product", (), g), h) for g in gates}
        out = h @ self.weight.T
        if self.bias is not None:
            out += self.bias
        return {"h." + g: out[:, self.block[g]] for g in gates}


def _blocks(prefix: str, gates: tuple[str, ...], joined: Array) -> dict[str, Array]:
    """[N, G H] as one [N, H] for each gate, named."""
    return {prefix + g: part for g, part in zip(gates, np.split(joined, len(gates), -1))}


def _side_inputs(step: Step, seq: Sequence, ordered: Mapping[str, Array], t: int, rows: slice | Array) -> dict[str, Array]:
    given = {"p." + name: seq.params[name] for name in step.params}
    return given | {"e." + name: ordered[name][t][rows] for name in step.inputs}


def forward(step: Step, seq: Sequence, keep: bool) -> tuple[tuple[Array, ...], tuple[Array, ...], Saved | None]:
    """Run the step over the sequence.

    Returns the sequence of each state [T, N, P or H] (0 past a sequence's end), each state after the last real step
    [N, P or H], and, if `keep`, what the backward wants.
    """
    hidden = seq.weight_ih.shape[0] // len(step.input_gates)
    time, batch = seq.x.shape[:2]
    weights = _Weights(step, seq, hidden)
    x = seq.in_step_order(seq.x)
    projected = x.reshape(time * batch, -1) @ seq.weight_ih.T
    if seq.bias_ih is not None:
        projected += seq.bias_ih
    projected = projected.reshape(time, batch, -1)
    ordered = {name: seq.in_step_order(e) for name, e in seq.inputs.items()}
    states = seq.initial
    outputs = tuple(np.zeros((time, *state.shape), state.dtype) for state in states)
    saved = Saved() if keep else None

    for t in range(time):
        rows = seq.rows(t)
        before = tuple(state[rows] for state in states)
        given = _blocks("x.", step.input_gates, projected[t][rows])
        given |= weights.direct(step.direct_gates, before[0])
        given |= {"s." + name: state for name, state in zip(step.states, before)}
        given |= _side_inputs(step, seq, ordered, t, rows)
        out = step.forward.run(given, weights.product)
        after = [np.broadcast_to(out[name], (len(before[0]), hidden)) for name in step.states]
        if saved is not None:
            saved.before.append(before)
            saved.kept.append({n: np.asarray(v) for n, v in out.items() if n[0] in "kv" and n[1] == "."})
        if seq.weight_hr is not None:
            if saved is not None:
                saved.unprojected.append(after[0])
            after[0] = after[0] @ seq.weight_hr.T
        for sequence, state in zip(outputs, after):
            sequence[t][rows] = state
        states = tuple(_with_rows(old, rows, new) for old, new in zip(states, after))
    return tuple(seq.in_step_order(o) for o in outputs), states, saved


def _with_rows(old: Array, rows: slice | Array, new: Array) -> Array:
    """`old` with some rows replaced."""
    if isinstance(rows, slice):
        return new
    out = old.copy()
    out[rows] = new
    return out


def backward(
    step: Step, seq: Sequence, saved: Saved, d_outputs: tuple[Array | None, ...], d_final: tuple[Array | None, ...]
) -> Sequence:
    """The cotangents of all arrays of the sequence, as a Sequence, from those of the outputs and the last states.

    None among d_outputs and d_final stands for zero.
    """
    hidden = seq.weight_ih.shape[0] // len(step.input_gates)
    time, batch = seq.x.shape[:2]
    weights = _Weights(step, seq, hidden)
    zero = lambda a: None if a is None else np.zeros_like(a)
    ordered = {name: seq.in_step_order(e) for name, e in seq.inputs.items()}
    d_ordered = [None if d is None else seq.in_step_order(d) for d in d_outputs]
    d_states = [np.zeros_like(s) if d is None else d.copy() for s, d in zip(seq.initial, d_final)]
    d_projected = np.zeros((time, batch, seq.weight_ih.shape[0]), seq.x.dtype)
    d_params = {name: np.zeros_like(p) for name, p in seq.params.items()}
    d_inputs = {name: np.zeros(e.shape, e.dtype) for name, e in seq.inputs.items()}
    d_hh, d_bias, d_hr = zero(seq.weight_hh), zero(seq.bias_hh), zero(seq.weight_hr)

    for t in reversed(range(time)):
        rows = seq.rows(t)
        before, kept = saved.before[t], saved.kept[t]
        d = [ds[rows] if do is None else ds[rows] + do[t][rows] for ds, do in zip(d_states, d_ordered)]
        if seq.weight_hr is not None:
            d_hr += d[0].T @ saved.unprojected[t]
            d[0] = d[0] @ seq.weight_hr
        given = kept | {"s." + name: state for name, state in zip(step.states, before)}
        given |= {"d." + name: cotangent for name, cotangent in zip(step.states, d)}
        given |= _side_inputs(step, seq, ordered, t, rows)
        out = {name: np.asarray(v, seq.x.dtype) for name, v in step.backward.run(given, weights.product).items()}

        for i, g in enumerate(step.input_gates):
            d_projected[t, :, i * hidden : (i + 1) * hidden][rows] = out.get("x." + g, 0)
        d_before = [np.broadcast_to(out.get("s." + n, 0), b.shape) for n, b in zip(step.states, before)]
        into = [("h." + g, g, before[0]) for g in step.direct_gates]
        into += [(f"v.{j}", g, kept[f"v.{j}"]) for j, g in enumerate(step.products)]
        for name, g, source in into:
            if name in out:
                block = weights.block[g]
                d_hh[block] += out[name].T @ source
                if d_bias is not None:
                    d_bias[block] += out[name].sum(0)
                if name[0] == "h":
                    d_before[0] = d_before[0] + out[name] @ seq.weight_hh[block]  # type: ignore[index]
        for name in step.params:
            d_params[name] += out.get("p." + name, np.zeros((1, hidden), seq.x.dtype)).sum(0)
        for name in step.inputs:
            d_inputs[name][t][rows] = out.get("e." + name, 0)
        d_states = [_with_rows(old, rows, new) for old, new in zip(d_states, d_before)]

    x = seq.in_step_order(seq.x).reshape(time * batch, -1)
    flat = d_projected.reshape(time * batch, -1)
    d_x = (flat @ seq.weight_ih).reshape(seq.x.shape)
    return Sequence(
        x=seq.in_step_order(d_x),
        weight_ih=flat.T @ x,
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
