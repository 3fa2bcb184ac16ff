"""The sequence driver on the CPU: packs, multiplies and calls the generated loops. The interface is `reference`'s.

Everything inside is stored with H made full vectors (W), so that loops need no remainder; what is past H is 0.
Time runs as in x; a reversed run goes through it from the end. With unequal lengths the rows are sorted by
length, so that those that have a step t are the first ones.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ..program import Step
from ..sequence import Sequence
from . import memory, threads
from .dense import SMALL, multiply
from .host import vector_unit
from .plan import PROJECTION, Multiplication, Stage, compilable, plan, source_names, vectors_of
from .product import products
from .recurrence import recurrence

Array = Any


def refusal(step: Step, seq: Sequence) -> str | None:
    """Why this driver cannot run the step over the sequence: None if it can, "" where there is nothing to run."""
    if 0 in seq.x.shape:
        return ""
    return None if compilable(step) else "an operation of it has no vector code"


class _Layout:
    """The sizes of one run, what was generated for it, and ways to its layout: H and P made full vectors, W and V."""

    def __init__(self, step: Step, seq: Sequence):
        self.step, self.seq = step, seq
        projected = seq.weight_hr is not None
        self.plan = plan(step, projected)
        self.dtype = seq.x.dtype
        unit, bits = vector_unit(), 8 * self.dtype.itemsize
        self.lanes = unit.lanes(self.dtype.itemsize)
        self.T, self.N, self.I = seq.x.shape
        self.H = seq.weight_ih.shape[0] // len(step.input_gates)
        self.P = self.H if seq.weight_hr is None else seq.weight_hr.shape[0]
        self.W, self.V = self.full(self.H), self.full(self.P)
        self.products: ModuleType = products(unit, bits)
        self.loops = recurrence(step, projected, unit, bits)
        times = np.arange(self.T)
        self.active = np.full(self.T, self.N) if seq.lengths is None else (seq.lengths > times[:, None]).sum(1)
        self.offset = times * self.N

    def full(self, n: int) -> int:
        """A width made full vectors."""
        return -(-n // self.lanes) * self.lanes

    def padded(self, a: Array, gates: int = 1) -> Array:
        """[..., gates n] with each gate made full vectors by zeros; contiguous."""
        n = a.shape[-1] // gates
        wide = self.full(n)
        if n == wide:
            return np.ascontiguousarray(a)
        out = np.zeros((*a.shape[:-1], gates, wide), self.dtype)
        out[..., :n] = a.reshape(*a.shape[:-1], gates, n)
        return out.reshape(*a.shape[:-1], gates * wide)

    def padded_rows(self, a: Array, gates: int = 1) -> Array:
        """[gates n, columns] with each gate made full vectors by zeros; contiguous."""
        n = a.shape[0] // gates
        wide = self.full(n)
        if n == wide:
            return np.ascontiguousarray(a)
        out = np.zeros((gates, wide, a.shape[1]), self.dtype)
        out[:, :n] = a.reshape(gates, n, -1)
        return out.reshape(gates * wide, -1)

    def unpadded_rows(self, a: Array, gates: int, n: int) -> Array:
        """[gates full(n), ...] as [gates n, ...]."""
        wide = self.full(n)
        return a if n == wide else a.reshape(gates, wide, *a.shape[1:])[:, :n].reshape(gates * n, *a.shape[1:])

    def bias(self, bias: Array | None, gates: int) -> Array:
        """A bias as the loops read it."""
        return np.zeros(max(gates, 1) * self.W, self.dtype) if bias is None else self.padded(bias, gates)

    def weights(self, gates: tuple[str, ...]) -> Array:
        """The recurrent weights of some gates, [gates H, P], or those of the projection, [P, H]."""
        if gates == (PROJECTION,):
            return self.seq.weight_hr
        weight: Array = self.seq.weight_hh
        if gates == self.step.recurrent_gates:
            return weight
        return np.concatenate([weight[self.rows(g)] for g in gates])

    def rows(self, gate: str) -> slice:
        """The rows of a gate in weight_hh."""
        i = self.step.recurrent_gates.index(gate)
        return slice(i * self.H, (i + 1) * self.H)

    def cotangents(self, gates: int) -> Array:
        """Room for the cotangents of some gates: zeros before the first step, after the last and in padding."""
        shape = (self.T + 2, self.N, gates * self.W)
        if self.seq.lengths is not None:
            return memory.zeros(shape, self.dtype)
        out = memory.empty(shape, self.dtype)
        out[0] = out[-1] = 0
        return out

    def column_sums(self, a: Array) -> Array:
        """The sums of the columns of a matrix, row after row."""
        rows, columns = a.shape
        out, flat, call = np.empty(columns, self.dtype), a.reshape(-1), self.products.column_sums
        parts = threads.get_num_threads() if a.size > SMALL else 1
        cuts = threads.split(columns, parts, self.lanes)
        threads.run([partial(call, flat, rows, columns, i, j, out) for i, j in cuts])
        return out

    def pack(self, m: Multiplication, stage: Stage, backward: bool) -> Array:
        """The weights of a product in panels as its tiles read them."""
        weight = np.ascontiguousarray(self.weights(m.gates))
        gates, (rows, columns) = len(m.gates), weight.shape
        vectors = vectors_of(stage, backward)
        block = vectors * self.lanes
        if backward:
            tall = self.padded_rows(weight, gates)
            panels = np.empty(-(-columns // block) * block * len(tall), self.dtype)
            self.products.pack_blocks(tall.reshape(-1), columns, 1, 0, 1, columns, len(tall), vectors, panels)
        else:
            units = rows // gates
            panels = np.empty(-(-units // block) * block * gates * columns, self.dtype)
            self.products.pack_blocks(
                weight.reshape(-1), 1, columns, units * columns, gates, units, columns, vectors, panels
            )
        return panels

    def run(self, function: str, slots: int, arrays: dict[str, Any]) -> None:
        """Call a generated loop, rows divided among threads."""
        backward = function == "backward"
        stages = self.plan.adjoint if backward else self.plan.train if function == "train" else self.plan.infer
        for i, stage in enumerate(stages):
            arrays |= {f"panels_{i}_{k}": self.pack(m, stage, backward) for k, m in enumerate(stage.products)}
        passing = {name.replace(".", "_") for stage in stages for name, _ in stage.program.outputs if name[0] == "t"}
        arrays |= {name: np.empty((self.N, self.W), self.dtype) for name in passing}
        given = [arrays[name] for name in self.loops.arrays[function]]
        flops = 2.0 * self.T * self.N * self.H * self.P * max(len(self.step.recurrent_gates), 1)
        parts = threads.get_num_threads() if flops > SMALL else 1
        fixed = (self.active, self.offset, self.T, self.N, self.H, self.W, self.P, self.V, self.seq.reverse)
        loop = self.loops.functions[function]
        threads.run([partial(loop, *fixed, i, j, slots, *given) for i, j in threads.split(self.N, parts)])


@dataclass
class Saved:
    """What the forward leaves for the backward: its layout, with the sorted sequence, and the order that sorted it;
    states [T + 1, N, W], kept values, and what further products multiplied."""

    layout: _Layout
    order: Array | None
    states: list[Array]
    kept: Array
    sources: dict[str, Array]


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
    T, N, gates = at.T, at.N, len(step.input_gates)
    weight = at.padded_rows(seq.weight_ih, gates)
    projected = memory.empty((T * N, gates * at.W), at.dtype)
    arrays = {"x": multiply(np.ascontiguousarray(seq.x).reshape(T * N, at.I), False, weight, True, projected)}
    arrays |= {"bias_x": at.bias(seq.bias_ih, gates), "bias_h": at.bias(seq.bias_hh, len(step.recurrent_gates))}

    states = []
    for i, (name, start) in enumerate(zip(step.states, seq.initial)):
        shape = (T + 1 if i == 0 or keep else 2, N, at.full(start.shape[1]))
        state = (memory.empty if seq.lengths is None else memory.zeros)(shape, at.dtype)
        _set_start(state, start, seq)
        states.append(state)
        arrays["state_" + name] = state
    kept = memory.empty((T, N, len(step.kept) * at.W) if keep else 0, at.dtype)
    sources = [*source_names(step).values(), *(["v." + PROJECTION] if at.plan.projected else [])]
    multiplied = {name: memory.zeros((T if keep else 1, N, at.W), at.dtype) for name in dict.fromkeys(sources)}
    arrays |= {"kept": kept} | {name.replace(".", "_"): a for name, a in multiplied.items()} | _side_arrays(at)
    at.run("train" if keep else "infer", T + 1 if keep else 2, arrays)

    final, outputs = [], []
    for i, (state, start) in enumerate(zip(states, seq.initial)):
        width = start.shape[1]
        final.append(_unsorted(_last(state, seq, i > 0 and not keep)[:, :width].copy(), order, 0))
        if i == 0 or keep:
            output = state[:T] if seq.reverse else state[1:]
            if seq.lengths is not None:
                output = np.where((seq.lengths > np.arange(T)[:, None])[:, :, None], output, 0)
            outputs.append(_unsorted(output[:, :, :width], order, 1))
    return outputs, final, Saved(at, order, states, kept, multiplied) if keep else None


def _set_start(state: Array, start: Array, seq: Sequence) -> None:
    """Put the initial state where the first step of each row looks for it."""
    slots, width = len(state), start.shape[1]
    state[:, :, width:] = 0
    if slots == 2 and seq.x.shape[0] > 1:
        state[:, :, :width] = start
    elif not seq.reverse:
        state[0, :, :width] = start
    else:
        state[-1 if seq.lengths is None else seq.lengths, np.arange(state.shape[1]), :width] = start


def _last(state: Array, seq: Sequence, rolling: bool) -> Array:
    """The state after the last real step of each row."""
    T, rows = seq.x.shape[0], np.arange(state.shape[1])
    if seq.reverse:
        return state[0]
    moment = np.full(len(rows), T) if seq.lengths is None else seq.lengths
    return state[moment % 2 if rolling else moment, rows]


def _side_arrays(at: _Layout) -> dict[str, Array]:
    """The cell's parameters and inputs per step."""
    found = {f"p_{name}": at.padded(p) for name, p in at.seq.params.items()}
    return found | {f"e_{name}": at.padded(np.ascontiguousarray(e)) for name, e in at.seq.inputs.items()}


def backward(
    step: Step,
    seq: Sequence,
    saved: Saved,
    d_outputs: Ordered[Array | None],
    d_final: Ordered[Array | None],
    wants_x: bool = True,
) -> Sequence:
    """See `reference.backward`."""
    at, order = saved.layout, saved.order
    seq = at.seq
    T, N, gates, direct = at.T, at.N, len(step.input_gates), len(step.direct_gates)
    by_row = lambda a, axis: a if order is None else np.take(a, order, axis)
    arrays: dict[str, Any] = {"kept": saved.kept, "x": at.cotangents(gates)}
    if not at.plan.shares:
        arrays["h"] = at.cotangents(direct)
    for name, state, d_out, d_last in zip(step.states, saved.states, d_outputs, d_final):
        arrays |= {"state_" + name: state, "full_" + name: 0 if d_out is None else 1}
        arrays["out_" + name] = np.zeros(64, at.dtype) if d_out is None else at.padded(by_row(d_out, 1))
        arrays["carry_" + name] = np.zeros(state.shape[1:], at.dtype)
        if d_last is not None:
            arrays["carry_" + name][:, : d_last.shape[1]] = by_row(d_last, 0)
    arrays |= _side_arrays(at)
    arrays |= {f"sum_{name}": np.zeros((N, at.W), at.dtype) for name in step.params}
    arrays |= {f"de_{name}": memory.zeros((T, N, at.W), at.dtype) for name in step.inputs}
    arrays |= {f"dv_{j}": memory.zeros((T, N, at.W), at.dtype) for j in range(len(step.products))}
    arrays["dv_" + PROJECTION] = memory.zeros((T, N, at.V) if at.plan.projected else 0, at.dtype)
    at.run("backward", T + 1, arrays)

    d_x = arrays["x"][1:-1].reshape(T * N, gates * at.W)
    weight_hh, bias_hh = _d_recurrent(at, saved, arrays)
    x = np.ascontiguousarray(seq.x).reshape(T * N, at.I)
    initial = [arrays["carry_" + name] for name in step.states]
    if direct:
        initial[0] = initial[0] + _into_first(at, arrays["x" if at.plan.shares else "h"])
    return Sequence(
        x=_unsorted(_d_input(at, d_x), order, 1) if wants_x else None,
        weight_ih=at.unpadded_rows(multiply(d_x, True, x, False), gates, at.H),
        weight_hh=weight_hh,
        bias_ih=None if seq.bias_ih is None else at.unpadded_rows(at.column_sums(d_x), gates, at.H),
        bias_hh=bias_hh,
        weight_hr=_d_projection(at, saved, arrays) if at.plan.projected else None,
        params={name: arrays[f"sum_{name}"].sum(0)[: at.H] for name in step.params},
        inputs={name: _unsorted(arrays[f"de_{name}"][:, :, : at.H], order, 1) for name in step.inputs},
        initial=tuple(_unsorted(d[:, : s.shape[1]].copy(), order, 0) for d, s in zip(initial, seq.initial)),
        lengths=seq.lengths,
        reverse=seq.reverse,
    )


def _d_input(at: _Layout, d_x: Array) -> Array:
    weight = at.padded_rows(at.seq.weight_ih, len(at.step.input_gates))
    out = memory.empty((at.T * at.N, at.I), at.dtype)
    return multiply(d_x, False, weight, False, out).reshape(at.T, at.N, at.I)


def _into_first(at: _Layout, d_h: Array) -> Array:
    """The last product of the backward, for the initial h: cotangents of each row's first step times the weights."""
    lengths, gates = at.seq.lengths, len(at.step.direct_gates)
    first = np.ones(at.N, int)
    if at.seq.reverse:
        first = np.full(at.N, at.T) if lengths is None else lengths
    d_first = np.ascontiguousarray(d_h[first, np.arange(at.N)])
    if lengths is not None:
        d_first[lengths == 0] = 0
    out = multiply(d_first, False, at.padded_rows(at.weights(at.step.direct_gates), gates), False)
    return np.pad(out, ((0, 0), (0, at.V - at.P)))


def _d_recurrent(at: _Layout, saved: Saved, arrays: dict[str, Any]) -> tuple[Array | None, Array | None]:
    """The cotangents of weight_hh and bias_hh: of the product with h, and of further products."""
    step, seq, rows = at.step, at.seq, at.T * at.N
    if not step.recurrent_gates:
        return None, None
    before = (saved.states[0][1:] if seq.reverse else saved.states[0][:-1]).reshape(rows, at.V)
    parts: list[tuple[tuple[str, ...], Array, Array]] = []
    if step.direct_gates:
        d_h = arrays["x" if at.plan.shares else "h"][1:-1].reshape(rows, len(step.direct_gates) * at.W)
        parts.append((step.direct_gates, d_h, before))
    for j, (gate, source) in enumerate(zip(step.products, source_names(step).values())):
        parts.append(((gate,), arrays[f"dv_{j}"].reshape(rows, at.W), saved.sources[source].reshape(rows, at.W)))
    if len(parts) == 1 and parts[0][0] == step.recurrent_gates:
        return _d_affine(at, *parts[0])
    weight: Array = np.zeros_like(seq.weight_hh)
    bias: Array | None = None if seq.bias_hh is None else np.zeros_like(seq.bias_hh)
    for gates, d, source in parts:
        d_weight, d_bias = _d_affine(at, gates, d, source)
        for i, gate in enumerate(gates):
            weight[at.rows(gate)] += d_weight[i * at.H : (i + 1) * at.H]
            if bias is not None and d_bias is not None:
                bias[at.rows(gate)] += d_bias[i * at.H : (i + 1) * at.H]
    return weight, bias


def _d_affine(at: _Layout, gates: tuple[str, ...], d: Array, source: Array) -> tuple[Array, Array | None]:
    weight = at.unpadded_rows(multiply(d, True, source, False), len(gates), at.H)[:, : at.P]
    bias = None if at.seq.bias_hh is None else at.unpadded_rows(at.column_sums(d), len(gates), at.H)
    return np.ascontiguousarray(weight), bias


def _d_projection(at: _Layout, saved: Saved, arrays: dict[str, Any]) -> Array:
    rows = at.T * at.N
    d, source = arrays["dv_" + PROJECTION].reshape(rows, at.V), saved.sources["v." + PROJECTION].reshape(rows, at.W)
    return np.ascontiguousarray(multiply(d, True, source, False)[: at.P, : at.H])
