"""Packed weights kept from call to call: in inference the same weights come again and again.

They are known by their arrays. Arrays whose packed form is kept are made read-only, so that a change in place raises
an error instead of going unseen; a tensor that is changed gets a new array. Weights that are views of other arrays are
packed anew in each call, for they could be changed through those.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence as Ordered

import numpy as np

from ..program import Step
from ..sequence import WEIGHT_NAMES
from . import memory, threads
from .host import VectorUnit, vector_unit
from .passes import Pass, view
from .record import KEPT, WEIGHTS, Recorded, record_forward, record_weights, shapes_of

_BYTE = np.dtype(np.uint8)


class Packed:
    """The weights of a layer and direction as the forward reads them, and what is recorded of inference with them."""

    def __init__(self, step: Step, unit: VectorUnit, weights: Ordered[np.ndarray | None]):
        self.shapes = shapes_of(step, unit, weights)
        forget = functools.partial(_forget, id(weights[0]))
        self.arrays = [_nothing if a is None else weakref.ref(a, forget) for a in weights]
        names = [*WEIGHT_NAMES, *("param_" + name for name in step.params)]
        given = {name: a for name, a in zip(names, weights) if a is not None}
        for a in given.values():
            a.flags.writeable = False
        recorded = record_weights(self.shapes, 1)
        self.block = memory.empty(recorded.run.arenas[WEIGHTS], _BYTE)
        recorded.run.run(given | {WEIGHTS: self.block})
        self.recorded: dict[tuple[int, int, bool, int], tuple[Recorded, Pass, np.ndarray]] = {}

    def infer(self, x: np.ndarray, initial: Ordered[np.ndarray], reverse: bool) -> tuple[np.ndarray, list[np.ndarray]]:
        """h [T, N, P] and the last states, for x [T, N, I] and initial states, all contiguous."""
        T, N, _ = x.shape
        count = threads.wanted_threads(self.shapes.flops * T * N)
        found = self.recorded.get((T, N, reverse, count))
        if found is None:
            found = self._record(T, N, reverse, count)
        recorded, bound, _ = found
        spots, step, dtype = recorded.spots, self.shapes.step, self.shapes.dtype
        h = memory.empty((T + 1, N, spots[step.states[0]].columns), dtype)
        blocks = {"x": x, "h": h}
        for name, start in zip(step.states, initial):
            blocks["initial_" + name] = start
        if KEPT in recorded.run.arenas:
            blocks[KEPT] = memory.empty(recorded.run.arenas[KEPT], _BYTE)
        bound.run(blocks)
        width = self.shapes.P
        last = [h[0 if reverse else T, :, :width].copy()]
        for name in step.states[1:]:
            spot = spots[name]
            state = view(blocks[KEPT], spot, (2, N, spot.columns), dtype)
            last.append(state[0 if reverse else T % 2, :, : self.shapes.H])
        return (h[:T] if reverse else h[1:])[:, :, :width], last

    def _record(self, T: int, N: int, reverse: bool, count: int) -> tuple[Recorded, Pass, np.ndarray]:
        if len(self.recorded) >= 256:  # there is no end to lengths
            self.recorded.clear()
        recorded = record_forward(self.shapes._replace(T=T, N=N, reverse=reverse), False, True, count)
        active = np.full(T, N, np.int64)
        found = recorded, recorded.run.bound({WEIGHTS: self.block, "active": active}), active
        self.recorded[T, N, reverse, count] = found
        return found


_packed: dict[int, Packed] = {}


def packed(step: Step, weights: Ordered[np.ndarray | None]) -> Packed | None:
    """The packed form of weights, WEIGHT_NAMES and then the cell's parameters; None where it cannot be kept."""
    found = _packed.get(id(weights[0]))
    if found is not None and found.shapes.step is step:
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
