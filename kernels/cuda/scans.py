"""The kernel run over layers: their sizes and arrays, what a walk is told, and several walks at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np

from ..ir.plan import (
    Multiplication,
    Plan,
    Stage,
)
from ..ir.program import Kind, Step, Value
from ..ir.sequence_args import SequenceArgs
from . import build, emit
from . import strategy as regime
from .arrays import SOURCE, Device, Spot, address, device_of, namespace, table
from .tiles import STORED, THREADS, VECTOR, filled, products_of

Array = Any

SHARED_OUT = (
    "team_rows",
    "members",
    "tile_bits",
    "row_bits",
    "group_bits",
    "resident",
    "cluster",
    "kept_rows",
    "depth",
    "source",
    "sums",
)
"""What rnn_work of interface.h has of a Regime."""


@dataclass(eq=False)
class Layer:
    """A sequence with a step's plan: sizes, the array library, the device and what its products are of.

    order: the rows by falling length; lengths: those of all rows; falling: in that order.
    """

    plan: Plan
    seq: SequenceArgs
    xp: Any = field(init=False)
    device: Device = field(init=False)
    products: str = field(init=False)
    order: Array = None
    lengths: Array = None
    falling: Array = None

    def __post_init__(self) -> None:
        seq, self.xp = self.seq, namespace(self.seq.x)
        self.dtype = seq.x.dtype
        if self.dtype.name not in emit.NUMBERS:
            raise TypeError(f"cuda: expected x of {' or '.join(emit.NUMBERS)}, got {self.dtype}")
        self.T, self.N, self.I = seq.x.shape
        self.H = seq.weight_ih.shape[0] // len(self.step.input_gates)
        self.P = seq.initial[0].shape[1]
        self.device, self.products = device_of(seq.x), products_of(self.dtype.name)
        if seq.lengths is not None:
            order = np.argsort(-seq.lengths, kind="stable")
            self.order, self.lengths, self.falling = (
                self.xp.asarray(a.astype(np.int32)) for a in (order, seq.lengths, seq.lengths[order])
            )

    @property
    def step(self) -> Step:
        return self.plan.step

    @property
    def empty(self) -> bool:
        """Whether there is nothing to run over."""
        return self.T == 0 or self.N == 0

    @property
    def code(self) -> build.Library:
        return build.library(self.plan, self.products, self.device.target)

    @property
    def weight_hh(self) -> Array:
        return self.seq.weight_hh

    def width(self, state: int) -> int:
        return self.H if state else self.P

    def units(self, stage: Stage) -> int:
        return self.P if stage.projected else self.H

    def make(self, *shape: int) -> Array:
        """An array that the kernel fills, with zeros where rows have no step."""
        return (self.xp.empty if self.lengths is None else self.xp.zeros)(shape, self.dtype)

    def store(self, matrix: Array, to: Array) -> None:
        """Put a matrix where products read it."""
        if not self.empty:
            self.code.store(self.device, self.xp.ascontiguousarray(matrix), to)

    def stored(self, matrix: Array) -> Array:
        """A matrix as products read it: itself, if it is such a one."""
        kind, row = np.dtype(STORED[self.products]), filled(self.products, matrix.shape[1])
        whole = self.xp.ascontiguousarray(matrix)
        if (kind, row) == (self.dtype, matrix.shape[1]) and address(whole) % VECTOR == 0:
            return whole
        found = self.xp.empty((len(matrix), row), kind)
        self.store(whole, found)
        return found

    def source(self, width: int) -> Array:
        """A source of products, so many numbers wide; see rnn_source of interface.h."""
        return self.xp.zeros((2, self.N, filled(self.products, width)), STORED[self.products])

    def real(self) -> Array:
        """[T, N, 1] whether there is such a step."""
        return (self.xp.arange(self.T)[:, None] < self.lengths)[:, :, None]

    def without_padding(self, a: Array) -> Array:
        """a [T, N, ...] with 0 where there is no step: what stands there may be anything."""
        return a if self.lengths is None else self.xp.where(self.real(), a, self.dtype.type(0))

    def flat(self, a: Array) -> Array:
        return a.reshape(len(a) * self.N, a.shape[2])

    def recurrent_rows(self, gate: str) -> int:
        """Where a gate's rows of weight_hh begin."""
        return self.step.recurrent_gates.index(gate) * self.H

    def at(self, state: Array, last: bool) -> tuple[Any, ...]:
        """The index of each row's first or last place in a state's sequence."""
        if last == self.seq.reverse:
            return (0,)
        if self.lengths is None:
            return (self.T % len(state),)
        return self.lengths % len(state), self.xp.arange(self.N)


@dataclass
class Walk:
    """A function of the kernel over a sequence: where its stages find their values, and the weights of each gate.

    start: the h that its products begin with, if not zeros.
    """

    at: Layer
    function: str
    values: dict[Value, Spot]
    weights: dict[tuple[str, ...], Spot]
    start: InitVar[Array | None] = None
    sources: dict[Value, Array] = field(init=False)

    def __post_init__(self, start: Array | None) -> None:
        at, stages = self.at, self.at.plan.stages(self.function)
        units = {name: at.units(stage) for stage in stages for name, _ in stage.program.outputs}
        self.sources = {
            name: at.source(sum(units[output] for output in source.outputs))
            for name, source in emit.product_sources(at.plan, self.function).items()
        }
        first = self.sources.get(Value(Kind.STATE, at.step.states[0]))
        if start is not None and first is not None:
            at.store(start if at.order is None else start[at.order], first[0])

    def _own_weights(self, product: Multiplication) -> list[Spot]:
        """The weights of each of a product's results."""
        if len(product.results) == 1:
            return [self.weights[product.gates]]
        return [self.weights[gate,] for gate in product.gates]

    def spots(self) -> list[Spot]:
        """In the order of rnn_walk."""
        found = list[Spot]()
        for stage in self.at.plan.stages(self.function):
            for product in stage.products:
                found += self._own_weights(product)
            found += [self.values[name] for name in (*emit.inputs(stage), *(name for name, _ in stage.program.outputs))]
        return found

    def placed(self, kept: Sequence[int]) -> list[tuple[int, ...]]:
        """Its sources as rnn_source; kept: for each product, where the source is in shared memory."""
        products = [product.source for stage in self.at.plan.stages(self.function) for product in stage.products]
        of = {name: self.sources[name] for name in products}
        return [(address(a), a.shape[1] * a.shape[2], a.shape[2], kept[products.index(name)]) for name, a in of.items()]

    def loads(self) -> tuple[regime.Load, ...]:
        """The sizes of its stages."""
        loads = list[regime.Load]()
        for stage in self.at.plan.stages(self.function):
            weights = [self._own_weights(product) for product in stage.products]
            loads.append(regime.Load(self.at.units(stage), tuple((len(own), own[0].row) for own in weights)))
        return tuple(loads)


def run(walks: list[Walk], steps: list[slice] | None = None) -> None:
    """Run the kernel of a function over sequences of the same sizes and lengths, at once where they fit.

    steps: those of each that are run now, of all whose earlier steps have been run (in a backward: later ones).
    """
    at = walks[0].at
    if at.empty:
        return
    code, chosen = _prepared(walks)
    steps = steps or [slice(0, at.T)] * len(walks)
    for i in range(0, len(walks), chosen.ways):
        now = slice(i, i + chosen.ways)
        _launch(walks[now], steps[now], code, chosen)


def at_once(walks: list[Walk]) -> int:
    """How many of the walks would run at once."""
    at = walks[0].at
    return 1 if at.empty else _prepared(walks)[1].ways


def _prepared(walks: list[Walk]) -> tuple[build.Library, regime.Regime]:
    """The code that runs walks, and how it is to share out the work."""
    at = walks[0].at
    code = at.code
    facts = code.facts(at.device.number)
    room = regime.Room(facts.blocks, facts.shared, THREADS[at.products], tuple(facts.clusters))
    return code, _chosen(room, walks[0].loads(), at.N, at.products, min(len(walks), code.most_ways))


def _launch(ways: list[Walk], steps: list[slice], code: build.Library, chosen: regime.Regime) -> None:
    at, function, ffi = ways[0].at, ways[0].function, code.ffi
    units = [at.units(stage) for stage in at.plan.stages(function)]
    stages = ffi.new("rnn_stage[]", list(zip(units, chosen.weights)))
    arrived = at.xp.empty((-(-at.N // chosen.team_rows), len(ways), 32), np.uint32)
    pointers = [ffi.cast("void *", 0 if a is None else address(a)) for a in (at.order, at.falling, arrived)]
    reverse = sum(way.at.seq.reverse << i for i, way in enumerate(ways))
    begin, end = [part.start for part in steps], [part.stop for part in steps]
    work = ffi.new("rnn_work *", (at.T, at.N, len(ways), reverse, begin, end, *pointers))
    for name in SHARED_OUT:
        setattr(work, name, getattr(chosen, name))
    sources = np.array([source for way in ways for source in way.placed(chosen.kept)], SOURCE)
    spots = table(spot for way in ways for spot in way.spots())
    code.walk(at.device, function, chosen.tile, work, stages, sources, spots, chosen.shared)


@functools.lru_cache(256)
def _chosen(room: regime.Room, loads: tuple[regime.Load, ...], rows: int, products: str, ways: int) -> regime.Regime:
    return regime.choose(room, loads, rows, products, ways)
