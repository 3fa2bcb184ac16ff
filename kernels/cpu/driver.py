"""The sequence driver on the CPU: a command list forward and one backward, each built once for its shapes.

The interface is `kernels.driver.Driver`. Inside, H is padded to full vectors (W) with zeros, so that loops need no
remainder. Time runs as in x; a reversed scan starts at the end. With unequal lengths the rows are sorted by length, so
that the rows with a step t are the first ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..ir.program import Step
from ..ir.sequence_args import WEIGHT_NAMES, SequenceArgs
from ..runtime.bounded import bounded
from . import dense
from .layer_commands import (
    COTANGENTS,
    SAVED,
    STATES,
    WEIGHTS,
    build_backward,
    build_forward,
)
from .layer_shapes import Shapes, shapes_of
from .packed_weights import packed
from .runtime import memory, threads
from .runtime.command_list import array_at
from .runtime.host import vector_unit

Array = Any
runs_together = False


@dataclass
class Saved:
    """The data that the forward leaves for the backward: shapes, the sorted sequence, the sorting order, and blocks."""

    shapes: Shapes
    seq: SequenceArgs
    order: Array | None
    blocks: dict[str, Array]


@bounded(256)
def _names(step: Step) -> tuple[str, ...]:
    """Return the block names of the arrays of a sequence."""
    given = ("x", *WEIGHT_NAMES), ("param_", step.params), ("input_", step.inputs), ("initial_", step.states)
    return (*given[0], *(prefix + name for prefix, names in given[1:] for name in names))


def _active(seq: SequenceArgs) -> Array:
    """Return for each step the number of rows that have it."""
    T, N = seq.x.shape[:2]
    if seq.lengths is None:
        return _all_active(T, N)
    return (seq.lengths > np.arange(T)[:, None]).sum(1, dtype=np.int64)


@bounded(64)
def _all_active(T: int, N: int) -> Array:
    return np.full(T, N, np.int64)


def _sorted(seq: SequenceArgs, keep: bool) -> tuple[SequenceArgs, Array | None]:
    """Return the sequence with its rows by falling length, and that order. keep: a backward will read x."""
    if seq.lengths is None:
        return seq, None
    order = np.argsort(-seq.lengths, kind="stable")
    lengths, x = seq.lengths[order], np.take(seq.x, order, 1)
    if keep:  # padding may hold anything, and 0 adds nothing to a gradient
        x[lengths <= np.arange(len(x))[:, None]] = 0
    inputs = {name: np.take(e, order, 1) for name, e in seq.inputs.items()}
    return replace(seq, x=x, inputs=inputs, initial=tuple(s[order] for s in seq.initial), lengths=lengths), order


def _unsorted(a: Array, order: Array | None, axis: int) -> Array:
    if order is None:
        return a
    return np.take(a, np.argsort(order), axis)


def forward(step: Step, seq: SequenceArgs, keep: bool) -> tuple[list[Array], list[Array], Saved | None]:
    """See `kernels.driver.Driver`."""
    seq, order = _sorted(seq, keep)
    arrays = seq.arrays()
    weights = arrays[1 : 1 + len(WEIGHT_NAMES) + len(step.params)]
    known = tuple([None if a is None else a.shape for a in arrays])
    at = shapes_of(step, vector_unit(), seq.x.dtype, known, seq.lengths is not None, seq.reverse)
    blocks = {name: np.ascontiguousarray(a) for name, a in zip(_names(step), arrays) if a is not None}
    blocks["active"] = _active(seq)
    count = threads.wanted_threads(at.flops)
    packed_weights = None if keep else packed(step, weights)
    if packed_weights is not None:
        blocks[WEIGHTS] = packed_weights.block
    built = build_forward(at, keep, packed_weights is not None, count)
    views, T, N = built.views, at.T, at.N
    h = views["state_" + step.states[0]]
    arenas = built.run.arenas
    make = memory.empty if seq.lengths is None else memory.zeros  # zeros where a row has no step
    found = {step.states[0]: make((T + 1, N, h.columns), at.dtype)}
    blocks["h"] = found[step.states[0]]
    if STATES in arenas:
        blocks[STATES] = make(arenas[STATES], memory.BYTE)
    if SAVED in arenas:
        blocks[SAVED] = memory.empty(arenas[SAVED], memory.BYTE)
    for name in step.states[1:]:
        view = views["state_" + name]
        found[name] = array_at(blocks[STATES], view, (view.rows // N, N, view.columns), at.dtype)
    if seq.lengths is not None:
        _start_ragged(seq, list(found.values()))
    built.run.run(blocks)

    final, outputs = [], []
    for i, state in enumerate(found.values()):
        width = at.width(i)
        final.append(_unsorted(_last(state, seq)[:, :width].copy(), order, 0))
        if i == 0 or keep:
            outputs.append(_outputs(state[:, :, :width], seq, order))
    return outputs, final, Saved(at, seq, order, blocks) if keep else None


def infer(
    step: Step, weights: Sequence[Array | None], x: Array, initial: Sequence[Array], reverse: bool
) -> tuple[Array, list[Array]] | None:
    """Run the forward by the fast path: without lengths, without inputs of the cell, with nothing saved.

    weights: in the order of `WEIGHT_NAMES`, then the cell's parameters. Return h [T, N, P] and the last states, or None
    if `forward` has to do it.
    """
    if 0 in x.shape:
        return None
    found = packed(step, weights)
    return None if found is None else found.infer(x, initial, reverse)


def _outputs(state: Array, seq: SequenceArgs, order: Array | None) -> Array:
    """Return a state's outputs from its T + 1 slots: rows in the caller's order, 0 where a row has no step."""
    output = state[:-1] if seq.reverse else state[1:]
    if order is None or seq.lengths is None:
        return output
    output, lengths = _unsorted(output, order, 1), _unsorted(seq.lengths, order, 0)
    if seq.reverse:  # past its end a row has its initial state
        ended = np.flatnonzero(lengths < len(output))
        output[lengths[ended], ended] = 0
    return output


def _start_ragged(seq: SequenceArgs, states: list[Array]) -> None:
    """Write each row's initial state to the slot that its first step reads."""
    for state, start in zip(states, seq.initial):
        width = start.shape[1]
        if len(state) == 2 < len(seq.x) + 1:  # two slots, used in turn
            state[:, :, :width] = start
        elif seq.reverse:
            state[seq.lengths, np.arange(state.shape[1]), :width] = start
        else:
            state[0, :, :width] = start


def _last(state: Array, seq: SequenceArgs) -> Array:
    """Return the state after the last real step of each row."""
    T, slots = len(seq.x), len(state)
    if seq.reverse:
        return state[0]
    return state[T % slots] if seq.lengths is None else state[seq.lengths % slots, np.arange(state.shape[1])]


def backward(
    step: Step,
    seq: SequenceArgs,
    saved: Saved,
    d_outputs: Sequence[Array | None],
    d_final: Sequence[Array | None],
    wants_x: bool = True,
    wants_initial: bool = True,
) -> SequenceArgs:
    """See `kernels.driver.Driver`."""
    at, order, seq = saved.shapes, saved.order, saved.seq
    outs, lasts = tuple([d is not None for d in d_outputs]), tuple([d is not None for d in d_final])
    built = build_backward(at, outs, lasts, wants_x, wants_initial, threads.wanted_threads(2 * at.flops))
    by_row = lambda a, axis: np.ascontiguousarray(a if order is None else np.take(a, order, axis))
    blocks = saved.blocks.copy()
    if order is not None and step.direct_gates:
        blocks["h"] = _without_ends(at, seq, blocks["h"])
    for names, shapes in built.results:
        blocks |= zip(names, memory.empty_together(shapes, at.dtype))
    for name, d_out, d_last in zip(step.states, d_outputs, d_final):
        if d_out is not None:
            blocks["d_out_" + name] = by_row(d_out, 1)
        if d_last is not None:
            blocks["d_last_" + name] = by_row(d_last, 0)
    if order is not None:
        blocks[COTANGENTS] = memory.empty(built.run.arenas[COTANGENTS], memory.BYTE)
    built.run.run(blocks)

    initial = [blocks["d_initial_" + name][:, : at.width(i)] for i, name in enumerate(step.states)]
    if step.direct_gates and wants_initial and order is not None:
        view = built.views["h"]
        d_h = array_at(blocks[COTANGENTS], view, (at.T + 2, at.N, view.columns), at.dtype)
        initial[0] = initial[0] + _into_first(at, seq, d_h)
    wide = lambda name: blocks["d_input_" + name].reshape(at.T, at.N, -1)[:, :, : at.H]
    return SequenceArgs(
        x=_unsorted(blocks["d_x"].reshape(at.T, at.N, at.I), order, 1) if wants_x else None,
        weight_ih=blocks["d_weight_ih"],
        weight_hh=blocks.get("d_weight_hh"),
        bias_ih=blocks["d_bias_ih"][0] if at.bias_ih else None,
        bias_hh=blocks["d_bias_hh"][0] if at.bias_hh else None,
        weight_hr=blocks.get("d_weight_hr"),
        params={name: blocks["d_param_" + name][0, : at.H] for name in step.params},
        inputs={name: _unsorted(wide(name), order, 1) for name in step.inputs},
        initial=tuple([_unsorted(d, order, 0) for d in initial]),
        lengths=seq.lengths,
        reverse=seq.reverse,
    )


def _without_ends(at: Shapes, seq: SequenceArgs, h: Array) -> Array:
    """Return h [T + 1, N, V] for the product with cotangents, which are 0 where a row has no step.

    There h holds the last state of a row that ends early. 0 times a state that is not finite would be NaN, so such
    states become 0.
    """
    assert seq.lengths is not None
    ended = np.flatnonzero(seq.lengths < at.T)
    where = (seq.lengths[ended], ended)
    if seq.reverse or np.isfinite(h[where]).all():
        return h
    h = h.copy()
    h[where] = 0
    return h


def _into_first(at: Shapes, seq: SequenceArgs, d_h: Array) -> Array:
    """Return the cotangent of the initial h from each row's first step: its recurrent cotangents times the weights."""
    direct = at.step.direct_gates
    lengths: Array = seq.lengths
    first = lengths if seq.reverse else np.ones(at.N, int)
    d_first = d_h[first, np.arange(at.N)].reshape(at.N, len(direct), -1)[:, :, : at.H]
    d_first = np.where((lengths > 0)[:, None, None], d_first, 0).reshape(at.N, len(direct) * at.H)
    rows = [at.step.recurrent_gates.index(gate) * at.H + np.arange(at.H) for gate in direct]
    weight: Array = seq.weight_hh
    return dense.matmul(d_first, weight[np.concatenate(rows)])
