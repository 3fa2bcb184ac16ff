"""How a layer's work is shared out among the blocks of a device: the one place that decides it.

The rows of the batch fall to teams of blocks and the units of a row to the members of a team (see interface.h). Four
regimes come of that, by size:

  alone     one block has all units of its rows and keeps all recurrent weights: no block waits for another. Small H.
  cluster   a few blocks that a device runs side by side keep them, and write to each other's shared memory: what they
            wait for is near. Where the device has clusters.
  together  the members of a team keep the weights of their units, and meet in every step.
  streamed  as together, but the weights are too many to be kept, and come from the second-level cache in every step.
            Any size.

One block on each multiprocessor is what the device is sure to run at once, so there are never more that meet.

Several ways, a layer's directions or a stack's layers, have a part of the blocks each and run at once: so they wait at
the same time. Fewer of them do, or one after the other, where all blocks could keep the weights of one, but a smaller
part of the blocks could not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from .tiles import RING, TILES, Tile

DEPTHS = (1024, 512, 256, 128, 64, 32, 16, 8)  # numbers of a row that come at a time, where not all come at once
LEAST_DEPTH = 32  # of them, if there is room
PART = 16384  # bytes of a source that come at a time, about: RING - 1 of them on their way keep a multiprocessor busy
PASS_ROWS = 32  # rows of a team at least that streams weights: they are read again for each pass
CLUSTERS = (2, 4, 8)  # blocks
CLUSTER_MEETING = 65536  # as long as it takes, about, to read so many bytes of shared memory; not measured yet
UNITS_EACH = 8  # a member's units, where there are blocks enough: 32 bytes of float32, what memory moves at least


@dataclass(frozen=True)
class Room:
    """What a device has: blocks that run at once for certain, bytes of shared memory and threads of each.

    clusters: how many of 2, 4 and 8 blocks run side by side.
    """

    blocks: int
    shared: int
    threads: int
    clusters: tuple[int, ...] = ()

    def part(self, count: int) -> Room:
        """What each of so many ways has that run at once."""
        clusters = tuple(number // count for number in self.clusters)
        return replace(self, blocks=self.blocks // count, clusters=clusters)

    def teams(self, members: int, cluster: bool) -> int:
        """How many teams of so many blocks run at once."""
        return dict(zip(CLUSTERS, self.clusters)).get(members, 0) if cluster else self.blocks // members


@dataclass(frozen=True)
class Load:
    """A stage's size: units, and for each product how many results it has and how many numbers each is a sum over."""

    units: int
    products: tuple[tuple[int, int], ...]

    @property
    def results(self) -> int:
        return sum(count for count, _ in self.products)


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How rows and units are shared out. See rnn_work of interface.h; tile: its number."""

    tile: int
    members: int
    team_rows: int
    resident: bool = True
    cluster: bool = False


@dataclass(frozen=True, kw_only=True)
class Regime(Sharing):
    """The choice, and where things lie in a block's shared memory. See rnn_work of interface.h; shared: in bytes.

    weights: for each stage. kept: for each product of all stages, where its source lies. ways: that run at once.
    """

    tile_bits: int
    row_bits: int
    group_bits: int
    depth: int
    weights: tuple[int, ...]
    kept: tuple[int, ...]
    kept_rows: int
    source: int
    sums: int
    shared: int
    ways: int = 1

    @property
    def name(self) -> str:
        if not self.resident:
            return "streamed"
        if self.cluster:
            return "cluster"
        return "alone" if self.members == 1 else "together"


def choose(room: Room, loads: Sequence[Load], rows: int, products: str, ways: int = 1) -> Regime:
    """The regime of a function over so many rows of the batch, in at most so many ways; products: a key of TILES."""
    whole = _of_one_way(room, loads, rows, products)
    for count in range(min(ways, room.blocks), 1, -1):
        part = _of_one_way(room.part(count), loads, rows, products)
        if part.resident or not whole.resident:
            return replace(part, ways=count)
    return whole


def _of_one_way(room: Room, loads: Sequence[Load], rows: int, products: str) -> Regime:
    if near := _near(room, loads, rows, products):
        return near
    units = max(load.units for load in loads)
    for members in range(2, min(room.blocks, _up(units, UNITS_EACH)) + 1):
        found = _resident(room, loads, rows, products, members)
        if found is None:
            continue
        # Members meet in any case: as many as there are blocks for have the fewest weights to go through each.
        teams = _up(rows, found.team_rows)
        more = min(room.blocks // teams, _up(units, UNITS_EACH))
        shared_out = Sharing(tile=found.tile, members=more, team_rows=found.team_rows)
        return laid_out(room, loads, products, shared_out) or found
    return _streamed(room, loads, rows, products, units)


def _near(room: Room, loads: Sequence[Load], rows: int, products: str) -> Regime | None:
    """Alone or a cluster: where a member has the fewest bytes of weights to go through, and to wait, in a step."""
    size = TILES[products][0].size

    def cost(found: Regime) -> int:
        times = _up(found.team_rows, TILES[products][found.tile].rows)
        numbers = sum(_up(load.units, found.members) * count * k for load in loads for count, k in load.products)
        return times * numbers * size + (found.cluster and CLUSTER_MEETING)

    found = [_resident(room, loads, rows, products, 1)]
    found += [_resident(room, loads, rows, products, n, cluster=True) for n in CLUSTERS if room.teams(n, True)]
    return min((each for each in found if each), key=cost, default=None)


def _resident(
    room: Room, loads: Sequence[Load], rows: int, products: str, members: int, cluster: bool = False
) -> Regime | None:
    """All weights kept by so many members, and as many teams as there are blocks for."""
    near = members == 1 or cluster  # and so rows that share a tile need not share a team: nobody brings them
    most = min(room.teams(members, cluster), rows if near else _up(rows, TILES[products][1].rows))
    team_rows = _up(rows, max(1, most))
    shared_out = Sharing(tile=_tile(products, team_rows), members=members, team_rows=team_rows, cluster=cluster)
    return laid_out(room, loads, products, shared_out)


def _streamed(room: Room, loads: Sequence[Load], rows: int, products: str, units: int) -> Regime:
    members = min(room.blocks, _up(units, UNITS_EACH))
    teams = max(1, min(room.blocks // members, _up(rows, PASS_ROWS)))
    shared_out = Sharing(tile=_tile(products, rows), members=members, team_rows=_up(rows, teams), resident=False)
    found = laid_out(room, loads, products, shared_out)
    if found is None:
        raise ValueError(f"cuda: expected more shared memory for a block, got {room.shared} bytes")
    return found


def _tile(products: str, rows: int) -> int:
    """The number of the tile for so many rows of a team."""
    return int(rows > TILES[products][0].enough)


def laid_out(room: Room, loads: Sequence[Load], products: str, sharing: Sharing) -> Regime | None:
    """The layout of a block's shared memory: weights, sources, sums. None where there is too little of it.

    Sources are kept by a cluster, and by a team of one that keeps its weights, if there is room; if not they come in
    parts.
    """
    shape: Tile = TILES[products][sharing.tile]
    units, members = max(load.units for load in loads), sharing.members
    bits = min(shape.most_bits(room.threads), max(shape.least_bits, (_up(units, members) - 1).bit_length()))
    row_bits = shape.row_bits(room.threads, bits, sharing.team_rows)
    width, pass_rows = 1 << bits, shape.pass_rows(row_bits)

    weights, resident, own_tiles = [], 0, _up(_up(units, width), members)
    for load in loads:
        weights.append(resident if sharing.resident else 0)
        own = _up(_up(load.units, width), members) * width
        resident += sum(count * own * shape.row(k) for count, k in load.products) * shape.size
    sums = max(load.results for load in loads) * pass_rows * (width + 1) * shape.slices(room.threads, bits, row_bits)
    sums *= 8 if products == "float64" else 4  # bytes of a number
    widths = [k for load in loads for _, k in load.products]
    deepest = shape.filled(max(widths, default=1))

    def regime(depth: int, kept: Sequence[int], kept_rows: int, source: int, end: int, group_bits: int = 0) -> Regime:
        return Regime(
            **asdict(sharing),
            tile_bits=bits,
            row_bits=row_bits,
            group_bits=group_bits,
            depth=depth,
            weights=tuple(weights),
            kept=tuple(kept),
            kept_rows=kept_rows,
            source=source,
            sums=end,
            shared=end + (sums << group_bits),
        )

    if sharing.resident and (members == 1 or sharing.cluster):
        kept_rows = _up(sharing.team_rows, pass_rows) * pass_rows
        *kept, end = itertools.accumulate((2 * kept_rows * shape.row(k) * shape.size for k in widths), initial=resident)
        free = room.threads // min(pass_rows, _power_of_two(sharing.team_rows)) // width  # tiles that threads are for
        for group in range(min(free, _power_of_two(own_tiles)).bit_length() - 1, -1, -1):
            if end + (sums << group) <= room.shared:
                return regime(deepest, kept, kept_rows, end, end, group)
        if sharing.cluster:
            return None

    gates = 0 if sharing.resident else max((count for load in loads for count, _ in load.products), default=0)
    most = max(LEAST_DEPTH, PART // (pass_rows * shape.size))
    for depth in (depth for depth in (deepest, *DEPTHS) if depth <= most and shape.filled(depth) == depth):
        part = min(RING, _up(deepest, depth)) * shape.row(depth) * shape.size
        source = resident if sharing.resident else gates * width * part
        end = source + pass_rows * part
        if end + sums <= room.shared:
            return regime(depth, [0] * len(widths), 0, source, end)
    return None


def _up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def _power_of_two(n: int) -> int:
    """n, rounded up to one."""
    return 1 << (n - 1).bit_length()
