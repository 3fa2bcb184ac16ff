"""The one place that decides how the blocks of a device share a layer's work.

Groups of blocks share the rows of the batch, and the blocks of a group share the units of a row (see interface.h).
There are four strategies, by size:

  single_block      one block has all units of its rows and all recurrent weights: no block waits for another. Small H.
  cluster           a few blocks that a device runs side by side hold the weights and write to each other's shared
                    memory, so a barrier among them is short. Only on devices with clusters.
  cooperative       the blocks of a group hold the weights of their units, and wait at a barrier in every step.
  streamed_weights  like cooperative, but the weights do not fit: they come from the second-level cache in every step.
                    For any size.

A block that waits for one that cannot start would wait for ever. A device is sure to run one block on each
multiprocessor at the same time, so no more blocks than multiprocessors wait for each other.

Several sequences (the directions of a layer, or the layers of a stack) run at once, each on a part of the blocks, so
that they wait at the same time. Fewer run at once if all blocks could hold the weights of one sequence but a smaller
part of the blocks could not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from ..runtime.rounding import ceil_div
from .tiles import RING, TILES, Tile

DEPTHS = (1024, 512, 256, 128, 64, 32, 16, 8)  # numbers of a row in a part, to try if the whole row does not fit
LEAST_DEPTH = 32  # numbers of a row that a part may have even if it then exceeds PART
PART = 16384  # most bytes of a source in a part: RING - 1 parts on their way keep a multiprocessor busy
PASS_ROWS = 32  # least rows of a group that streams weights: each pass over rows reads the weights again
CLUSTERS = (2, 4, 8)  # the sizes of clusters, in blocks
CLUSTER_BARRIER = 65536  # bytes of shared memory read in about the time of a cluster's barrier: not measured
UNITS_EACH = 8  # a block's units, if there are enough blocks: 32 bytes of float32, the least that memory moves


@dataclass(frozen=True)
class DeviceLimits:
    """The limits of the work that a device runs at once.

    blocks: how many are sure to run at the same time. shared: bytes of shared memory of a block. threads: threads of a
    block. clusters: how many clusters of 2, 4 and 8 blocks run side by side.
    """

    blocks: int
    shared: int
    threads: int
    clusters: tuple[int, ...] = ()

    def part(self, count: int) -> DeviceLimits:
        """Return the limits of each of `count` sequences that run at once."""
        clusters = tuple(number // count for number in self.clusters)
        return replace(self, blocks=self.blocks // count, clusters=clusters)

    def groups(self, group_size: int, cluster: bool) -> int:
        """Return how many groups of `group_size` blocks run at once."""
        return dict(zip(CLUSTERS, self.clusters)).get(group_size, 0) if cluster else self.blocks // group_size


@dataclass(frozen=True)
class StageSize:
    """A stage's size: its units, and for each product (number of results, length of each sum)."""

    units: int
    products: tuple[tuple[int, int], ...]

    @property
    def results(self) -> int:
        return sum(count for count, _ in self.products)


@dataclass(frozen=True, kw_only=True)
class Partition:
    """How blocks share rows and units; see rnn_work of interface.h. tile: the number of the product tile."""

    tile: int
    group_size: int
    group_rows: int
    resident: bool = True
    cluster: bool = False


@dataclass(frozen=True, kw_only=True)
class Strategy(Partition):
    """The chosen partition, and the layout of a block's shared memory; see rnn_work of interface.h.

    weights: for each stage, where its weights begin, in bytes. source_offsets: for each product of all stages, where
    its source begins. shared: bytes in total. sequences: how many run at once.
    """

    tile_bits: int
    row_bits: int
    tile_set_bits: int
    depth: int
    weights: tuple[int, ...]
    source_offsets: tuple[int, ...]
    source_rows: int
    source: int
    sums: int
    shared: int
    sequences: int = 1

    @property
    def name(self) -> str:
        if not self.resident:
            return "streamed_weights"
        if self.cluster:
            return "cluster"
        return "single_block" if self.group_size == 1 else "cooperative"


def choose(limits: DeviceLimits, stages: Sequence[StageSize], rows: int, products: str, sequences: int = 1) -> Strategy:
    """Return the strategy of a function over `rows` rows of the batch, for at most `sequences` at once.

    products: a key of TILES.
    """
    alone = _for_one(limits, stages, rows, products)
    for count in range(min(sequences, limits.blocks), 1, -1):
        part = _for_one(limits.part(count), stages, rows, products)
        if part.resident or not alone.resident:
            return replace(part, sequences=count)
    return alone


def _for_one(limits: DeviceLimits, stages: Sequence[StageSize], rows: int, products: str) -> Strategy:
    """Return the strategy for one sequence."""
    if near := _near(limits, stages, rows, products):
        return near
    units = max(stage.units for stage in stages)
    most_blocks = min(limits.blocks, ceil_div(units, UNITS_EACH))
    for group_size in range(2, most_blocks + 1):
        found = _resident(limits, stages, rows, products, group_size)
        if found is None:
            continue
        # The blocks wait for each other in any case, so all free blocks share the weights: each then reads the fewest.
        groups = ceil_div(rows, found.group_rows)
        more = min(limits.blocks // groups, ceil_div(units, UNITS_EACH))
        partition = Partition(tile=found.tile, group_size=more, group_rows=found.group_rows)
        return layout(limits, stages, products, partition) or found
    return _streamed_weights(limits, stages, rows, products, units)


def _near(limits: DeviceLimits, stages: Sequence[StageSize], rows: int, products: str) -> Strategy | None:
    """Return the single block or the cluster with the least work of a block in a step; None if none fits."""
    size = TILES[products][0].size

    def cost(found: Strategy) -> int:
        """Return the bytes of weights that a block reads in a step, and add a cluster's barrier, expressed in bytes."""
        times = ceil_div(found.group_rows, TILES[products][found.tile].rows)
        numbers = sum(ceil_div(s.units, found.group_size) * count * k for s in stages for count, k in s.products)
        return times * numbers * size + (found.cluster and CLUSTER_BARRIER)

    found = [_resident(limits, stages, rows, products, 1)]
    found += [_resident(limits, stages, rows, products, n, cluster=True) for n in CLUSTERS if limits.groups(n, True)]
    return min((each for each in found if each), key=cost, default=None)


def _resident(
    limits: DeviceLimits, stages: Sequence[StageSize], rows: int, products: str, group_size: int, cluster: bool = False
) -> Strategy | None:
    """Return groups of `group_size` blocks that hold all weights, or None if these do not fit.

    There are as many groups as run at once. A single block or a cluster keeps its sources in shared memory, so it may
    have fewer rows than a tile. There are no more other groups than tiles of rows.
    """
    near = group_size == 1 or cluster
    most = min(limits.groups(group_size, cluster), rows if near else ceil_div(rows, TILES[products][1].rows))
    group_rows = ceil_div(rows, max(1, most))
    tile = _tile(products, group_rows)
    partition = Partition(tile=tile, group_size=group_size, group_rows=group_rows, cluster=cluster)
    return layout(limits, stages, products, partition)


def _streamed_weights(
    limits: DeviceLimits, stages: Sequence[StageSize], rows: int, products: str, units: int
) -> Strategy:
    group_size = min(limits.blocks, ceil_div(units, UNITS_EACH))
    groups = max(1, min(limits.blocks // group_size, ceil_div(rows, PASS_ROWS)))
    tile, group_rows = _tile(products, rows), ceil_div(rows, groups)
    partition = Partition(tile=tile, group_size=group_size, group_rows=group_rows, resident=False)
    found = layout(limits, stages, products, partition)
    if found is None:
        raise ValueError(f"cuda: expected more shared memory for a block, got {limits.shared} bytes")
    return found


def _tile(products: str, rows: int) -> int:
    """Return the number of the tile for a group of `rows` rows."""
    return int(rows > TILES[products][0].enough)


def layout(limits: DeviceLimits, stages: Sequence[StageSize], products: str, partition: Partition) -> Strategy | None:
    """Return the layout of a block's shared memory: weights, sources, sums. None if they do not fit.

    A cluster must hold whole sources. A single block with resident weights holds them if they fit. In all other cases
    sources come in parts.
    """
    memory = _Memory(limits, stages, products, partition)
    if partition.resident and (partition.group_size == 1 or partition.cluster):
        found = memory.with_whole_sources()
        if found is not None or partition.cluster:
            return found
    return memory.with_parts_of_sources()


class _Memory:
    """The sizes of the parts of a block's shared memory, in bytes. resident: the size of the resident weights."""

    def __init__(self, limits: DeviceLimits, stages: Sequence[StageSize], products: str, partition: Partition):
        self.limits, self.stages, self.partition = limits, stages, partition
        self.tile: Tile = TILES[products][partition.tile]
        tile, blocks = self.tile, partition.group_size
        units = max(stage.units for stage in stages)
        wanted = (ceil_div(units, blocks) - 1).bit_length()
        self.tile_bits = min(tile.most_bits(limits.threads), max(tile.least_bits, wanted))
        self.row_bits = tile.row_bits(limits.threads, self.tile_bits, partition.group_rows)
        self.width, self.pass_rows = 1 << self.tile_bits, tile.pass_rows(self.row_bits)
        self.own_tiles = ceil_div(ceil_div(units, self.width), blocks)

        self.weights, self.resident = list[int](), 0
        for stage in stages:
            self.weights.append(self.resident if partition.resident else 0)
            own_units = ceil_div(ceil_div(stage.units, self.width), blocks) * self.width
            numbers = sum(count * own_units * tile.row(k) for count, k in stage.products)
            self.resident += numbers * tile.size
        slices = tile.slices(limits.threads, self.tile_bits, self.row_bits)
        results = max(stage.results for stage in stages)
        number = 8 if products == "float64" else 4
        self.sums = results * self.pass_rows * (self.width + 1) * slices * number
        self.depths = [k for stage in stages for _, k in stage.products]
        self.deepest = tile.filled(max(self.depths, default=1))

    def with_whole_sources(self) -> Strategy | None:
        """Return the layout in which sources stay, for the largest set of tiles that fits."""
        rows = self.partition.group_rows
        source_rows = ceil_div(rows, self.pass_rows) * self.pass_rows
        sizes = [2 * source_rows * self.tile.row(k) * self.tile.size for k in self.depths]
        *offsets, end = itertools.accumulate(sizes, initial=self.resident)
        free_tiles = self.limits.threads // min(self.pass_rows, _power_of_two(rows)) // self.width
        for set_bits in range(min(free_tiles, _power_of_two(self.own_tiles)).bit_length() - 1, -1, -1):
            if end + (self.sums << set_bits) <= self.limits.shared:
                return self.strategy(self.deepest, offsets, source_rows, end, end, set_bits)
        return None

    def with_parts_of_sources(self) -> Strategy | None:
        """Return the layout in which sources, and weights that are not resident, come in the largest parts that fit."""
        tile, streams = self.tile, not self.partition.resident
        gates = max((count for stage in self.stages for count, _ in stage.products), default=0) if streams else 0
        most = max(LEAST_DEPTH, PART // (self.pass_rows * tile.size))
        for depth in (self.deepest, *DEPTHS):
            if depth > most or tile.filled(depth) != depth:
                continue
            part = min(RING, ceil_div(self.deepest, depth)) * tile.row(depth) * tile.size
            source = gates * self.width * part if streams else self.resident
            end = source + self.pass_rows * part
            if end + self.sums <= self.limits.shared:
                return self.strategy(depth, [0] * len(self.depths), 0, source, end)
        return None

    def strategy(
        self, depth: int, offsets: Sequence[int], source_rows: int, source: int, sums: int, set_bits: int = 0
    ) -> Strategy:
        return Strategy(
            **asdict(self.partition),
            tile_bits=self.tile_bits,
            row_bits=self.row_bits,
            tile_set_bits=set_bits,
            depth=depth,
            weights=tuple(self.weights),
            source_offsets=tuple(offsets),
            source_rows=source_rows,
            source=source,
            sums=sums,
            shared=sums + (self.sums << set_bits),
        )


def _power_of_two(n: int) -> int:
    """Return the smallest power of two that is not below n."""
    return 1 << (n - 1).bit_length()
