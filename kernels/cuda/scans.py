"""Launches of the kernel: the sizes and arrays of a layer, the arguments of a scan, and several scans at once."""

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
from ..runtime.rounding import ceil_div
from . import build, emit, strategy
from .arrays import SOURCE, Device, Operand, address, device_of, namespace, table
from .tiles import STORED, THREADS, VECTOR, filled, products_of

Array = Any

STRATEGY_FIELDS = (
    "group_rows",
    "group_size",
    "tile_bits",
    "row_bits",
    "tile_set_bits",
    "resident",
    "cluster",
    "source_rows",
    "depth",
    "source",
    "sums",
)
"""The fields that rnn_work of interface.h and a Strategy share."""


@dataclass(eq=False)
class Layer:
    """A sequence with a step's plan: its sizes, array library, device and precision of products.

    order: the rows by falling length. lengths: the lengths in the batch's order. falling: the lengths in `order`.
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
        """Return whether there are no steps or no rows."""
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
        """Return an array that the kernel fills, with zeros where rows have no step."""
        return (self.xp.empty if self.lengths is None else self.xp.zeros)(shape, self.dtype)

    def store(self, matrix: Array, to: Array) -> None:
        """Write a matrix into an array in the form that products read."""
        if not self.empty:
            self.code.store(self.device, self.xp.ascontiguousarray(matrix), to)

    def stored(self, matrix: Array) -> Array:
        """Return a matrix in the form that products read: itself, if it has that form."""
        kind, row = np.dtype(STORED[self.products]), filled(self.products, matrix.shape[1])
        whole = self.xp.ascontiguousarray(matrix)
        if (kind, row) == (self.dtype, matrix.shape[1]) and address(whole) % VECTOR == 0:
            return whole
        found = self.xp.empty((len(matrix), row), kind)
        self.store(whole, found)
        return found

    def source(self, width: int) -> Array:
        """Return a source of products, `width` numbers wide; see rnn_source of interface.h."""
        return self.xp.zeros((2, self.N, filled(self.products, width)), STORED[self.products])

    def real(self) -> Array:
        """Return [T, N, 1]: whether a row has a step."""
        return (self.xp.arange(self.T)[:, None] < self.lengths)[:, :, None]

    def without_padding(self, a: Array) -> Array:
        """Return a [T, N, ...] with 0 where a row has no step: the array may hold anything there."""
        return a if self.lengths is None else self.xp.where(self.real(), a, self.dtype.type(0))

    def flat(self, a: Array) -> Array:
        return a.reshape(len(a) * self.N, a.shape[2])

    def recurrent_rows(self, gate: str) -> int:
        """Return the first of a gate's rows of weight_hh."""
        return self.step.recurrent_gates.index(gate) * self.H

    def at(self, state: Array, last: bool) -> tuple[Any, ...]:
        """Return the index of each row's first or last slot in a state's sequence."""
        if last == self.seq.reverse:
            return (0,)
        if self.lengths is None:
            return (self.T % len(state),)
        return self.lengths % len(state), self.xp.arange(self.N)


@dataclass
class Scan:
    """A function of the kernel over a sequence: the operands of its stages, and the weights of each gate.

    start: the h that the products of the first step multiply, if not zeros.
    """

    at: Layer
    function: str
    values: dict[Value, Operand]
    weights: dict[tuple[str, ...], Operand]
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

    def _own_weights(self, product: Multiplication) -> list[Operand]:
        """Return the weights of each of a product's results."""
        if len(product.results) == 1:
            return [self.weights[product.gates]]
        return [self.weights[gate,] for gate in product.gates]

    def operands(self) -> list[Operand]:
        """Return all operands in the order of rnn_scan."""
        found = list[Operand]()
        for stage in self.at.plan.stages(self.function):
            for product in stage.products:
                found += self._own_weights(product)
            found += [self.values[name] for name in (*emit.inputs(stage), *(name for name, _ in stage.program.outputs))]
        return found

    def source_table(self, offsets: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the sources as rnn_source. offsets: for each product, where its source stays in shared memory."""
        products = [product.source for stage in self.at.plan.stages(self.function) for product in stage.products]
        arrays = {value: (self.sources[value], offsets[products.index(value)]) for value in products}
        return [(address(a), a.shape[1] * a.shape[2], a.shape[2], offset) for a, offset in arrays.values()]

    def stage_sizes(self) -> tuple[strategy.StageSize, ...]:
        """Return the sizes of the stages."""
        sizes = list[strategy.StageSize]()
        for stage in self.at.plan.stages(self.function):
            weights = [self._own_weights(product) for product in stage.products]
            products = tuple((len(own), own[0].row) for own in weights)
            sizes.append(strategy.StageSize(self.at.units(stage), products))
        return tuple(sizes)


def run(scans: list[Scan], steps: list[slice] | None = None) -> None:
    """Launch the kernel of a function over sequences of the same sizes and lengths, as many at once as fit.

    steps: for each sequence, the steps to run now. The steps before them (in a backward: after them) have been run.
    """
    at = scans[0].at
    if at.empty:
        return
    code, chosen = _prepared(scans)
    steps = steps or [slice(0, at.T)] * len(scans)
    for i in range(0, len(scans), chosen.sequences):
        now = slice(i, i + chosen.sequences)
        _launch(scans[now], steps[now], code, chosen)


def count_at_once(scans: list[Scan]) -> int:
    """Return how many of the scans would run at once."""
    at = scans[0].at
    return 1 if at.empty else _prepared(scans)[1].sequences


def _prepared(scans: list[Scan]) -> tuple[build.Library, strategy.Strategy]:
    """Return the code that runs scans, and the strategy by which blocks share the work."""
    at = scans[0].at
    code = at.code
    facts = code.facts(at.device.number)
    limits = strategy.DeviceLimits(facts.blocks, facts.shared, THREADS[at.products], tuple(facts.clusters))
    count = min(len(scans), code.most_sequences)
    return code, _chosen(limits, scans[0].stage_sizes(), at.N, at.products, count)


def _launch(scans: list[Scan], steps: list[slice], code: build.Library, chosen: strategy.Strategy) -> None:
    at, function, ffi = scans[0].at, scans[0].function, code.ffi
    units = [at.units(stage) for stage in at.plan.stages(function)]
    stages = ffi.new("rnn_stage[]", list(zip(units, chosen.weights)))
    arrived = at.xp.empty((ceil_div(at.N, chosen.group_rows), len(scans), 32), np.uint32)
    pointers = [ffi.cast("void *", 0 if a is None else address(a)) for a in (at.order, at.falling, arrived)]
    reverse = sum(scan.at.seq.reverse << i for i, scan in enumerate(scans))
    begin, end = [part.start for part in steps], [part.stop for part in steps]
    work = ffi.new("rnn_work *", (at.T, at.N, len(scans), reverse, begin, end, *pointers))
    for name in STRATEGY_FIELDS:
        setattr(work, name, getattr(chosen, name))
    sources = np.array([source for scan in scans for source in scan.source_table(chosen.source_offsets)], SOURCE)
    operands = table(operand for scan in scans for operand in scan.operands())
    code.scan(at.device, function, chosen.tile, work, stages, sources, operands, chosen.shared)


@functools.lru_cache(256)
def _chosen(
    limits: strategy.DeviceLimits, stages: tuple[strategy.StageSize, ...], rows: int, products: str, sequences: int
) -> strategy.Strategy:
    return strategy.choose(limits, stages, rows, products, sequences)
