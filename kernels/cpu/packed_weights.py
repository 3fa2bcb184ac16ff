"""Packed weights kept from call to call: in inference the same weights come again and again.

They are known by their arrays. Arrays whose packed form is kept are made read-only, so that a change in place raises
an error instead of going unseen; a tensor that is changed gets a new array. Weights that are views of other arrays are
packed anew in each call, for they could be changed through those.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..ir.program import Step
from ..ir.sequence_args import WEIGHT_NAMES
from ..runtime.bounded import on_release
from .layer_commands import (
    KEPT,
    WEIGHTS,
    build_forward,
    build_weights,
    shapes_of,
)
from .runtime import memory, threads
from .runtime.command_list import SCRATCH, BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit


class _Place(NamedTuple):
    """Where an array lies in a block: shape, offset and strides in bytes."""

    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]


class _Prepared(NamedTuple):
    """Inference recorded for shapes: the pass, to be run on room for what it makes, x and the initial states.

    size: of the room, in bytes; h, last: where the results lie in it; active: an array that the pass reads.
    """

    run: CommandList
    size: int
    h: _Place
    last: tuple[_Place, ...]
    active: np.ndarray


class Packed:
    """The weights of a layer and direction as the forward reads them, and what is recorded of inference with them."""

    def __init__(self, step: Step, unit: VectorUnit, weights: Sequence[np.ndarray | None]):
        shapes = tuple([None if a is None else a.shape for a in weights])
        names = [*WEIGHT_NAMES, *("param_" + name for name in step.params)]
        given = {name: a for name, a in zip(names, weights) if a is not None}
        weight = given["weight_ih"]
        self.step, self.dtype = step, weight.dtype
        known = ((1, 1, weight.shape[1]), *shapes, *[None] * (len(step.inputs) + len(step.states)))
        self.shapes = shapes_of(step, unit, weight.dtype, known)
        self.width, self.flops = self.shapes.I, self.shapes.flops
        self.widths = [self.shapes.width(i) for i in range(len(step.states))]
        forget = functools.partial(_forget, id(weights[0]))
        self.arrays = [_nothing if a is None else weakref.ref(a, forget) for a in weights]
        for a in given.values():
            a.flags.writeable = False
        recorded = build_weights(self.shapes, 1)
        self.block = memory.empty(recorded.run.arenas[WEIGHTS], memory.BYTE)
        recorded.run.run(given | {WEIGHTS: self.block})
        self.prepared: dict[tuple[int, int, bool, int], _Prepared] = {}

    def infer(
        self, x: np.ndarray, initial: Sequence[np.ndarray], reverse: bool
    ) -> tuple[np.ndarray, list[np.ndarray]] | None:
        """h [T, N, P] and the last states, for x [T, N, I] and initial states, all contiguous; None if they misfit."""
        T, N, width = x.shape
        if width != self.width:
            return None
        for a, fits in zip(initial, self.widths):
            if a.shape[1] != fits:
                return None
        key = T, N, reverse, threads.wanted_threads(self.flops * T * N)
        found = self.prepared.get(key) or self._prepare(*key)
        room = memory.empty(found.size, memory.BYTE)
        if SCRATCH in found.run.blocks:
            scratch = memory.borrow(found.run.arenas[SCRATCH])
            found.run.run_on([room, x, *initial, scratch])
            memory.give_back(scratch)
        else:
            found.run.run_on([room, x, *initial])
        dtype, (shape, offset, strides) = self.dtype, found.h
        h = np.ndarray(shape, dtype, room, offset, strides)
        # The last states are copied: whoever keeps them is not to keep all of the room.
        return h, [np.ndarray(shape, dtype, room, offset, strides).copy() for shape, offset, strides in found.last]

    def _prepare(self, T: int, N: int, reverse: bool, count: int) -> _Prepared:
        if len(self.prepared) >= 256:  # there is no end to lengths
            self.prepared.clear()
        recorded = build_forward(self.shapes._replace(T=T, N=N, reverse=reverse), False, True, count)
        run, states = recorded.run, self.step.states
        h = recorded.views["state_" + states[0]]
        sizes = {"h": h.rows * h.columns * self.dtype.itemsize}
        sizes |= {name: run.arenas[name] for name in (KEPT, SCRATCH) if name in run.arenas}
        if sizes.get(SCRATCH, 0) > memory.SMALLEST:  # whoever keeps a result would keep it too
            del sizes[SCRATCH]
        ends = itertools.accumulate(-(-size // memory.LINE) * memory.LINE for size in sizes.values())
        room = dict(zip(sizes, [0, *ends]))
        rest = ["x", *("initial_" + name for name in states)]
        rest += [SCRATCH] if SCRATCH in run.arenas.keys() - room.keys() else []
        active = np.full(T, N, np.int64)
        size = sum(sizes.values()) + memory.LINE * len(sizes)
        bound = run.bound({WEIGHTS: self.block, "active": active}, room, size, rest)

        def place(view: BufferView, first: int, shape: tuple[int, ...]) -> _Place:
            row = view.columns * self.dtype.itemsize
            return _Place(shape, room[view.block] + view.offset + first * N * row, (N * row, row, self.dtype.itemsize))

        last = []
        for name, width in zip(states, self.widths):
            view = recorded.views["state_" + name]
            where = place(view, 0 if reverse else T % (view.rows // N), (N, width))
            last.append(where._replace(strides=where.strides[1:]))
        found = _Prepared(bound, size, place(h, 0 if reverse else 1, (T, N, self.widths[0])), tuple(last), active)
        self.prepared[T, N, reverse, count] = found
        return found


_packed: dict[int, Packed] = {}
on_release(_packed.clear)


def packed(step: Step, weights: Sequence[np.ndarray | None]) -> Packed | None:
    """The packed form of weights, WEIGHT_NAMES and then the cell's parameters; None where it cannot be kept."""
    found = _packed.get(id(weights[0]))
    if found is not None and found.step is step:
        for known, a in zip(found.arrays, weights):
            if known() is not a:
                break
        else:
            return found
    dtype = weights[0].dtype  # type: ignore[union-attr]
    for a in weights:
        if a is not None and (a.base is not None or not a.flags.c_contiguous or a.dtype != dtype):
            return None
    found = _packed[id(weights[0])] = Packed(step, vector_unit(), weights)
    return found


def _nothing() -> None:
    return None


def _forget(key: int, gone: weakref.ref) -> None:
    found = _packed.get(key)
    if found is not None and any(known is gone for known in found.arrays):
        _packed.pop(key, None)
