"""A layer's sequence as ordinary primitives, step by step. This defines what a cell means, with all derivatives.

Each time step records about twenty nodes on the tape, so this is slow, but it needs no kernel. The fused node
(`fused.py`) computes the same. It calls this file when its own backward must be differentiated.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from ..arrays.device import array_like
from ..autograd.primitives.elementwise import cast, where
from ..autograd.primitives.products import matmul
from ..autograd.primitives.shape import (
    new_zeros,
    split,
    stack,
    unbind,
)
from ..autograd.promotion import numbers_as
from ..cells import Cell, Gate
from ..kernels.ir.program import Step
from ..kernels.ir.sequence_args import WEIGHT_NAMES, SequenceArgs
from ..tensor import Tensor


def unrolled(cell: Cell, step: Step, arrays: SequenceArgs) -> tuple[list[Tensor], list[Tensor]]:
    """Return the sequence of each state [T, N, P or H], and each state after the last real step [N, P or H].

    arrays: tensors, or arrays for constants.
    """
    seq = _as_tensors(arrays)
    hidden = seq.weight_ih.shape[0] // len(step.input_gates)
    nothing = Tensor(new_zeros(seq.x, (seq.x.shape[1], hidden)))
    weight = dict(zip(step.recurrent_gates, split(seq.weight_hh, hidden))) if step.recurrent_gates else {}
    bias = dict(zip(step.recurrent_gates, split(seq.bias_hh, hidden))) if seq.bias_hh is not None else {}

    def product(gate: str, v: Tensor) -> Tensor:
        return _affine(v, weight[gate], bias.get(gate)) if gate in weight else nothing

    def gates(x: Tensor, h: Tensor) -> dict[str, Gate]:
        parts = dict(zip(step.input_gates, split(_affine(x, seq.weight_ih, seq.bias_ih), hidden, 1)))
        direct = {g: product(g, h) for g in step.direct_gates}
        return {
            g: Gate(parts.get(g, nothing), direct.get(g, nothing), functools.partial(product, g)) for g in step.gates
        }

    lengths = None if seq.lengths is None else array_like(seq.lengths, seq.x)[:, None]

    def real(t: int, value: Tensor) -> Tensor:
        """Return a value with 0 in the rows that have no step t, so that their numbers reach no gradient."""
        return value if lengths is None else where(lengths > t, value, 0.0)

    inputs = {name: unbind(seq.in_step_order(e)) for name, e in seq.inputs.items()}
    states = list(seq.initial)
    outputs: list[list[Tensor]] = [[] for _ in states]
    for t, x in enumerate(unbind(seq.in_step_order(seq.x))):
        old = [real(t, state) for state in states]
        given = {name: real(t, e[t]) for name, e in inputs.items()}
        with numbers_as(seq.x.dtype):  # `where` of two numbers does not know the layer's dtype
            new = list(cell(gates(real(t, x), old[0]), dict(zip(step.states, old)), seq.params, given))
        new = [cast(state, seq.x.dtype) for state in new]  # a state may be a condition, which is bool
        new = [state + nothing if state.shape != nothing.shape else state for state in new]
        if seq.weight_hr is not None:
            new[0] = matmul(new[0], seq.weight_hr.mT)
        shown = new
        if lengths is not None:
            shown = [real(t, after) for after in new]
            new = [where(lengths > t, after, before) for after, before in zip(new, states)]
        for output, state in zip(outputs, shown):
            output.append(state)
        states = new
    return [_joined(seq, output, state) for output, state in zip(outputs, states)], states


def _as_tensors(seq: SequenceArgs) -> SequenceArgs:
    box = lambda a: a if a is None or isinstance(a, Tensor) else Tensor(a)
    arrays: dict[str, Any] = {name: box(getattr(seq, name)) for name in ("x", *WEIGHT_NAMES)}
    return dataclasses.replace(
        seq,
        **arrays,
        params={name: box(p) for name, p in seq.params.items()},
        inputs={name: box(e) for name, e in seq.inputs.items()},
        initial=[box(state) for state in seq.initial],
    )


def _affine(v: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = matmul(v, weight.mT)
    return out if bias is None else out + bias


def _joined(seq: SequenceArgs, steps: list[Tensor], state: Tensor) -> Tensor:
    if not steps:
        return Tensor(new_zeros(state, (0, *state.shape)))
    return seq.in_step_order(stack(steps))
