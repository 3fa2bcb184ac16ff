"""The sequence driver on the CPU: packs, multiplies and calls the generated loops. The interface is `reference`'s.

Everything inside is stored with H made full vectors (W), so that loops need no remainder; what is past H is 0.
Time runs as in x; a reversed run goes through it from the end. With unequal lengths the rows are sorted by
length, so that those that have a step t are the first ones.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ..program import Program, Step
from ..sequence import Sequence
from . import threads
from .host import VectorUnit, vector_unit
from .plan import Plan, compilable, plan
from .product import PANEL_VECTORS, products
from .recurrence import arguments, recurrence

Array = Any
SMALL = 2e6  # flops under which threads cost more than they bring


def refusal(step: Step, seq: Sequence) -> str | None:
    """Why this driver cannot run the step over the sequence: None if it can, "" where there is nothing to run."""
    if 0 in seq.x.shape:
        return ""
    if seq.weight_hr is not None:
        return "a projection of h is not compiled yet"
    if step.products:
        return "a further product within the step is not compiled yet"
    return None if compilable(step) else "an operation of it has no vector code"


@dataclass
class Saved:
    """What the forward leaves for the backward: the sorted sequence, states [T + 1, N, W] and kept values."""

    seq: Sequence
    order: Array | None
    states: list[Array]
    kept: Array


class _Layout:
    """The sizes of one run, and the modules that were generated for it."""

    def __init__(self, step: Step, seq: Sequence):
        self.step, self.plan, self.unit = step, plan(step), vector_unit()
        self.dtype = seq.x.dtype
        self.bits = 8 * self.dtype.itemsize
        self.lanes = self.unit.lanes(self.dtype.itemsize)
        self.T, self.N, self.I = seq.x.shape
        self.H = seq.weight_ih.shape[0] // len(step.input_gates)
        self.W = -(-self.H // self.lanes) * self.lanes
        self.products: ModuleType = products(self.unit, self.bits)
        self.loops: ModuleType = recurrence(step, self.unit, self.bits)
        lengths = seq.lengths
        times = np.arange(self.T)
        self.active = np.full(self.T, self.N) if lengths is None else (lengths > times[:, None]).sum(1)
        self.offset = times * self.N

    def padded(self, a: Array, gates: int = 1) -> Array:
        """[..., gates H] as [..., gates W], 0 past H; contiguous."""
        if self.H == self.W:
            return np.ascontiguousarray(a)
        out = np.zeros((*a.shape[:-1], gates, self.W), self.dtype)
        out[..., : self.H] = a.reshape(*a.shape[:-1], gates, self.H)
        return out.reshape(*a.shape[:-1], gates * self.W)

    def padded_rows(self, a: Array, gates: int) -> Array:
        """[gates H, columns] as [gates W, columns]."""
        if self.H == self.W:
            return np.ascontiguousarray(a)
        out = np.zeros((gates, self.W, a.shape[1]), self.dtype)
        out[:, : self.H] = a.reshape(gates, self.H, -1)
        return out.reshape(gates * self.W, -1)

    def unpadded_rows(self, a: Array, gates: int) -> Array:
        """[gates W, ...] as [gates H, ...]."""
        if self.H == self.W:
            return a
        return a.reshape(gates, self.W, *a.shape[1:])[:, : self.H].reshape(gates * self.H, *a.shape[1:])

    def bias(self, bias: Array | None, gates: int) -> Array:
        return np.zeros(max(gates, 1) * self.W, self.dtype) if bias is None else self.padded(bias, gates)

    def product(self, a: Array, a_strides: tuple[int, int], b: Array, b_strides: tuple[int, int], out: Array, K: int) -> None:
        """out [M, N] = A B, for flat a and b with strides in numbers, on as many threads as it is worth."""
        M, N = out.shape
        width, flat = PANEL_VECTORS * self.lanes, out.reshape(-1)
        parts = threads.get_num_threads() if 2.0 * M * N * K > SMALL else 1
        call = self.products.product
        if N >= parts * width:
            cuts = threads.split(N, parts, width)
            threads.run([partial(call, a, *a_strides, b, *b_strides, flat, N, M, N, K, i, j, False) for i, j in cuts])
        else:
            cuts = threads.split(M, parts, 6)
            threads.run(
                [
                    partial(call, a[i * a_strides[0] :], *a_strides, b, *b_strides, flat[i * N :], N, j - i, N, K, 0, N, False)
                    for i, j in cuts
                ]
            )

    def pack(self, weight: Array | None, transposed: bool) -> Array:
        """The recurrent weights in panels for the forward, [blocks][H][gates][vectors], or for the backward."""
        gates = len(self.step.direct_gates)
        if weight is None or not gates:
            return np.zeros(1, self.dtype)
        weight = np.ascontiguousarray(weight)
        H, W = self.H, self.W
        vectors = PANEL_VECTORS if transposed else self.plan.vectors
        block = vectors * self.lanes
        blocks = -(-H // block)
        if transposed:
            tall = self.padded_rows(weight, gates)
            panels = np.empty(blocks * gates * W * block, self.dtype)
            self.products.pack_blocks(tall.reshape(-1), H, 1, 0, 1, H, gates * W, vectors, panels)
        else:
            panels = np.empty(blocks * H * gates * block, self.dtype)
            self.products.pack_blocks(weight.reshape(-1), 1, H, H * H, gates, H, H, vectors, panels)
        return panels

    def run(self, function: str, program: Program, reverse: bool, panels: Array, slots: int, arrays: dict[str, Any]) -> None:
        """Call a generated loop, rows divided among threads."""
        loop: Callable = getattr(self.loops, function)
        backward = function == "backward"
        given = [arrays[name] for name in arguments(self.plan, program, backward)]
        flops = 2.0 * self.T * self.N * self.H * self.H * max(len(self.step.direct_gates), 1)
        parts = threads.get_num_threads() if flops > SMALL else 1
        fixed = (self.active, self.offset, self.T, self.N, self.H, self.W, reverse)
        threads.run([partial(loop, *fixed, i, j, slots, panels, *given) for i, j in threads.split(self.N, parts)])


def _sorted(seq: Sequence) -> tuple[Sequence, Array | None]:
    """The sequence with its rows by falling length, and the order that did it."""
    if seq.lengths is None:
        return seq, None
    order = np.argsort(-seq.lengths, kind="stable")
    real = seq.lengths[order] > np.arange(len(seq.x))[:, None]
    return (
        replace(
            seq,
            x=np.where(real[:, :, None], seq.x[:, order], 0),  # padding may hold anything; 0 adds nothing to a weight
            inputs={name: e[:, order] for name, e in seq.inputs.items()},
            initial=tuple(s[order] for s in seq.initial),
            lengths=seq.lengths[order],
        ),
        order,
    )


def _unsorted(a: Array, order: Array | None, axis: int) -> Array:
    if order is None:
        return a
    return np.take(a, np.argsort(order), axis)


def forward(step: Step, seq: Sequence, keep: bool) -> tuple[list[Array], list[Array], Saved | None]:
    """See `reference.forward`."""
    seq, order = _sorted(seq)
    at = _Layout(step, seq)
    T, N, H, W, p = at.T, at.N, at.H, at.W, at.plan
    gates = len(step.input_gates)
    x = np.ascontiguousarray(seq.x)
    weight = at.padded_rows(seq.weight_ih, gates)
    projected = np.empty((T * N, gates * W), at.dtype)
    at.product(x.reshape(-1), (at.I, 1), weight.reshape(-1), (1, at.I), projected, at.I)

    slots = T + 1 if keep else 2
    states = [np.zeros((T + 1 if i == 0 or keep else slots, N, W), at.dtype) for i in range(len(step.states))]
    for state, start in zip(states, seq.initial):
        _set_start(state, start, seq, H)
    kept = np.empty((T, N, len(step.kept) * W) if keep else 0, at.dtype)
    arrays = {"x": projected, "kept": kept, "bias_x": at.bias(seq.bias_ih, gates)}
    arrays["bias_h"] = at.bias(seq.bias_hh, len(step.direct_gates))
    arrays |= {"state_" + s: a for s, a in zip(step.states, states)} | _side_arrays(at, seq)
    program = p.train if keep else p.infer
    at.run("train" if keep else "infer", program, seq.reverse, at.pack(seq.weight_hh, False), slots, arrays)

    final = [_unsorted(_last(state, seq, i > 0 and not keep)[:, :H].copy(), order, 0) for i, state in enumerate(states)]
    outputs = []
    for state in states if keep else states[:1]:
        output = state[:T] if seq.reverse else state[1:]
        if seq.lengths is not None:
            output = np.where((seq.lengths > np.arange(T)[:, None])[:, :, None], output, 0)
        outputs.append(_unsorted(output[:, :, :H], order, 1))
    return outputs, final, Saved(seq, order, states, kept) if keep else None


def _set_start(state: Array, start: Array, seq: Sequence, hidden: int) -> None:
    """Put the initial state where the first step of each row looks for it."""
    slots, rows = len(state), np.arange(state.shape[1])
    if slots == 2:
        state[:, :, :hidden] = start
    elif not seq.reverse:
        state[0, :, :hidden] = start
    else:
        state[(slots - 1) if seq.lengths is None else seq.lengths, rows, :hidden] = start


def _last(state: Array, seq: Sequence, rolling: bool) -> Array:
    """The state after the last real step of each row."""
    T, rows = seq.x.shape[0], np.arange(state.shape[1])
    if seq.reverse:
        return state[0]
    moment = np.full(len(rows), T) if seq.lengths is None else seq.lengths
    return state[moment % 2 if rolling else moment, rows]


def _side_arrays(at: _Layout, seq: Sequence) -> dict[str, Array]:
    found = {f"p_{name}": at.padded(p) for name, p in seq.params.items()}
    return found | {f"e_{name}": at.padded(np.ascontiguousarray(e)) for name, e in seq.inputs.items()}


def backward(
    step: Step,
    seq: Sequence,
    saved: Saved,
    d_outputs: Ordered[Array | None],
    d_final: Ordered[Array | None],
    wants_x: bool = True,
) -> Sequence:
    """See `reference.backward`."""
    seq, order = saved.seq, saved.order
    at = _Layout(step, seq)
    T, N, H, W, p = at.T, at.N, at.H, at.W, at.plan
    gates, direct = len(step.input_gates), len(step.direct_gates)
    by_row = lambda a, axis: a if order is None else np.take(a, order, axis)
    arrays: dict[str, Any] = {"kept": saved.kept, "x": np.zeros((T + 2, N, gates * W), at.dtype)}
    if not p.shares:
        arrays["h"] = np.zeros((T + 2, N, direct * W), at.dtype)
    for i, (name, state) in enumerate(zip(step.states, saved.states)):
        d_out, d_last = d_outputs[i], d_final[i]
        arrays["state_" + name] = state
        arrays["full_" + name] = 0 if d_out is None else 1
        arrays["out_" + name] = np.zeros(64, at.dtype) if d_out is None else at.padded(by_row(d_out, 1))
        carry = np.zeros((N, W), at.dtype)
        if d_last is not None:
            carry[:, :H] = by_row(d_last, 0)
        arrays["carry_" + name] = carry
    arrays |= _side_arrays(at, seq)
    arrays |= {f"sum_{name}": np.zeros((N, W), at.dtype) for name in step.params}
    arrays |= {f"de_{name}": np.zeros((T, N, W), at.dtype) for name in step.inputs}
    at.run("backward", p.adjoint, seq.reverse, at.pack(seq.weight_hh, True), T + 1, arrays)

    d_x_part = arrays["x"][1:-1].reshape(T * N, gates * W)
    d_h_part = d_x_part if p.shares else arrays["h"][1:-1].reshape(T * N, direct * W)
    d_initial = []
    for i, name in enumerate(step.states):
        carry = arrays["carry_" + name]
        if i == 0 and direct:
            carry = carry + _into_h(at, seq, arrays["x" if p.shares else "h"])
        d_initial.append(_unsorted(carry[:, :H].copy(), order, 0))
    return Sequence(
        x=_unsorted(_d_x(at, seq, d_x_part), order, 1) if wants_x else None,
        weight_ih=at.unpadded_rows(_d_weight(at, d_x_part, np.ascontiguousarray(seq.x), at.I, at.I), gates),
        weight_hh=_d_weight_hh(at, seq, saved, d_h_part) if direct else None,
        bias_ih=None if seq.bias_ih is None else at.unpadded_rows(_column_sums(at, d_x_part), gates),
        bias_hh=None if seq.bias_hh is None else at.unpadded_rows(_column_sums(at, d_h_part), direct),
        params={name: arrays[f"sum_{name}"].sum(0)[:H] for name in step.params},
        inputs={name: _unsorted(arrays[f"de_{name}"][:, :, :H], order, 1) for name in step.inputs},
        initial=tuple(d_initial),
        lengths=seq.lengths,
        reverse=seq.reverse,
    )


def _into_h(at: _Layout, seq: Sequence, d_h: Array) -> Array:
    """The last product of the backward, into the initial h: the cotangents of each row's first step times the weights."""
    first = np.ones(at.N, int)
    if seq.reverse:
        first = np.full(at.N, at.T) if seq.lengths is None else seq.lengths
    gates = len(at.step.direct_gates)
    d_first = np.ascontiguousarray(d_h[first, np.arange(at.N)])
    if seq.lengths is not None:
        d_first[seq.lengths == 0] = 0
    weight = at.padded_rows(seq.weight_hh, gates)
    out = np.empty((at.N, at.H), at.dtype)
    at.product(d_first.reshape(-1), (gates * at.W, 1), weight.reshape(-1), (at.H, 1), out, gates * at.W)
    return np.pad(out, ((0, 0), (0, at.W - at.H)))


def _d_x(at: _Layout, seq: Sequence, d_part: Array) -> Array:
    gates = len(at.step.input_gates)
    weight = at.padded_rows(seq.weight_ih, gates)
    out = np.empty((at.T * at.N, at.I), at.dtype)
    at.product(d_part.reshape(-1), (gates * at.W, 1), weight.reshape(-1), (at.I, 1), out, gates * at.W)
    return out.reshape(at.T, at.N, at.I)


def _d_weight(at: _Layout, d_part: Array, source: Array, row: int, columns: int) -> Array:
    """d_part^T source, summed over all rows of all steps."""
    width = d_part.shape[1]
    out = np.empty((width, columns), at.dtype)
    at.product(d_part.reshape(-1), (1, width), source.reshape(-1), (row, 1), out, at.T * at.N)
    return out


def _d_weight_hh(at: _Layout, seq: Sequence, saved: Saved, d_part: Array) -> Array:
    before = saved.states[0][1:] if seq.reverse else saved.states[0][:-1]
    return at.unpadded_rows(_d_weight(at, d_part, before, at.W, at.H), len(at.step.direct_gates))


def _column_sums(at: _Layout, a: Array) -> Array:
    rows, columns = a.shape
    out = np.empty(columns, at.dtype)
    parts = threads.get_num_threads() if a.size > SMALL else 1
    flat, call = a.reshape(-1), at.products.column_sums
    threads.run([partial(call, flat, rows, columns, i, j, out) for i, j in threads.split(columns, parts, 16)])
    return out
