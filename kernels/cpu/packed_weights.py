"""Packed weights that stay in memory between calls, because inference uses the same weights again and again.

They are found by their arrays. The arrays become read-only, so that a change in place raises an error instead of going
unnoticed; a tensor that is changed gets a new array. Weights that are views of other arrays are packed in each call,
because they could change through the other arrays.
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
    STATES,
    WEIGHTS,
    build_forward,
    build_weights,
)
from .layer_shapes import shapes_of
from .runtime import memory, threads
from .runtime.command_list import SCRATCH, BufferView, CommandList
from .runtime.host import VectorUnit, vector_unit


class _View(NamedTuple):
    """An array in a block: its shape, and its offset and strides in bytes."""

    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]


class _Prepared(NamedTuple):
    """Inference built for shapes: a command list that runs on a block for its results, x and the initial states.

    size: of the block, in bytes. h, last: the results in it. active: an array that the list reads.
    """

    run: CommandList
    size: int
    h: _View
    last: tuple[_View, ...]
    active: np.ndarray


class Packed:
    """The packed weights of a layer and direction, and the command lists of inference with them."""

    def __init__(self, step: Step, unit: VectorUnit, weights: Sequence[np.ndarray | None]):
        shapes = tuple([None if a is None else a.shape for a in weights])
        names = [*WEIGHT_NAMES, *("param_" + name for name in step.params)]
        given = {name: a for name, a in zip(names, weights) if a is not None}
        weight = given["weight_ih"]
        self.step, self.dtype = step, weight.dtype
        known = ((1, 1, weight.shape[1]), *shapes, *[None] * (len(step.inputs) + len(step.states)))
        self.shapes = shapes_of(step, unit, weight.dtype, known)
        self.width, (self.row_flops, self.least_rows) = self.shapes.I, self.shapes.work
        self.widths = [self.shapes.width(i) for i in range(len(step.states))]
        forget = functools.partial(_forget, _packed, id(weights[0]))
        self.arrays = [_nothing if a is None else weakref.ref(a, forget) for a in weights]
        for a in given.values():
            a.flags.writeable = False
        built = build_weights(self.shapes, 1)
        self.block = memory.empty(built.run.arenas[WEIGHTS], memory.BYTE)
        built.run.run(given | {WEIGHTS: self.block})
        self.prepared: dict[tuple[int, int, bool, int], _Prepared] = {}

    def infer(
        self, x: np.ndarray, initial: Sequence[np.ndarray], reverse: bool
    ) -> tuple[np.ndarray, list[np.ndarray]] | None:
        """Return h [T, N, P] and the last states for contiguous x [T, N, I] and states; None if they do not fit."""
        T, N, width = x.shape
        if width != self.width:
            return None
        for a, fits in zip(initial, self.widths):
            if a.shape[1] != fits:
                return None
        flops = self.row_flops * T * max(N, self.least_rows)
        key = T, N, reverse, threads.wanted_threads(flops)
        found = self.prepared.get(key) or self._prepare(*key)
        block = memory.empty(found.size, memory.BYTE)
        if SCRATCH in found.run.blocks:
            scratch = memory.borrow(found.run.arenas[SCRATCH])
            found.run.run_on([block, x, *initial, scratch])
            memory.give_back(scratch)
        else:
            found.run.run_on([block, x, *initial])
        dtype, (shape, offset, strides) = self.dtype, found.h
        h = np.ndarray(shape, dtype, block, offset, strides)
        # The last states are copied, so that a caller who keeps them does not keep the whole block.
        return h, [np.ndarray(shape, dtype, block, offset, strides).copy() for shape, offset, strides in found.last]

    def _prepare(self, T: int, N: int, reverse: bool, count: int) -> _Prepared:
        if len(self.prepared) >= 256:  # sequences may have any number of lengths
            self.prepared.clear()
        built = build_forward(self.shapes._replace(T=T, N=N, reverse=reverse), False, True, count)
        run, states = built.run, self.step.states
        h = built.views["state_" + states[0]]
        sizes = {"h": h.rows * h.columns * self.dtype.itemsize}
        sizes |= {name: run.arenas[name] for name in (STATES, SCRATCH) if name in run.arenas}
        if sizes.get(SCRATCH, 0) > memory.SMALLEST:  # a caller who keeps a result would keep it, too
            del sizes[SCRATCH]
        ends = itertools.accumulate(-(-size // memory.LINE) * memory.LINE for size in sizes.values())
        parts = dict(zip(sizes, [0, *ends]))
        rest = ["x", *("initial_" + name for name in states)]
        rest += [SCRATCH] if SCRATCH in run.arenas.keys() - parts.keys() else []
        active = np.full(T, N, np.int64)
        size = sum(sizes.values()) + memory.LINE * len(sizes)
        bound = run.bound({WEIGHTS: self.block, "active": active}, parts, size, rest)

        def place(view: BufferView, first: int, shape: tuple[int, ...]) -> _View:
            row = view.columns * self.dtype.itemsize
            return _View(shape, parts[view.block] + view.offset + first * N * row, (N * row, row, self.dtype.itemsize))

        last = []
        for name, width in zip(states, self.widths):
            view = built.views["state_" + name]
            where = place(view, 0 if reverse else T % (view.rows // N), (N, width))
            last.append(where._replace(strides=where.strides[1:]))
        found = _Prepared(bound, size, place(h, 0 if reverse else 1, (T, N, self.widths[0])), tuple(last), active)
        self.prepared[T, N, reverse, count] = found
        return found


_packed: dict[int, Packed] = {}
on_release(_packed.clear)


def packed(step: Step, weights: Sequence[np.ndarray | None]) -> Packed | None:
    """Return the packed form of weights, WEIGHT_NAMES and then the cell's parameters; None if it cannot stay."""
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


def _forget(table: dict[int, Packed], key: int, gone: weakref.ref) -> None:
    """Remove the packed form of an array that is gone. At the interpreter's end this module's globals may be gone, too.

    So the table is an argument.
    """
    found = table.get(key)
    if found is not None and any(known is gone for known in found.arrays):
        table.pop(key, None)
