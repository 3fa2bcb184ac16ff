"""How a layer's work is shared out among the blocks of a device: the one place that decides it.

The rows of the batch fall to teams of blocks and the units of a row to the members of a team (see interface.h). Three
ways come of that, by size:

  alone     one block has all units of its rows and keeps all recurrent weights: no block waits for another. Small H.
  together  the members of a team keep the weights of their units, and meet in every step.
  streamed  as together, but the weights are too many to be kept, and come from the second-level cache in every step.
            Any size.

One block on each multiprocessor is what the device is sure to run at once, so there are never more that meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TILES = ((32, 1), (8, 8))
"""Shapes of the product tile, lanes and rows, as launch.cuh has them."""

VECTOR = 16  # bytes
STREAM_DEPTH = 256  # numbers of a row that come at a time where weights are streamed
FEW_ROWS = 2  # rows of a team up to which the tile of one row is used
UNITS_EACH = 8  # a member's units, where there are blocks enough: 32 bytes of float32, what memory moves at least


@dataclass(frozen=True)
class Room:
    """What a device has: blocks that run at once for certain, bytes of shared memory and threads of each."""

    blocks: int
    shared: int
    threads: int


@dataclass(frozen=True)
class Load:
    """A stage's size: units, and for each product how many results it has and how many numbers each is a sum over."""

    units: int
    products: tuple[tuple[int, int], ...]

    @property
    def results(self) -> int:
        return sum(count for count, _ in self.products)


@dataclass(frozen=True)
class Regime:
    """The choice, and where things lie in a block's shared memory. See rnn_work; shared: in bytes."""

    tile: tuple[int, int]
    members: int
    team_rows: int
    tile_bits: int
    resident: bool
    depth: int
    weights: tuple[int, ...]
    source: int
    sums: int
    shared: int

    @property
    def name(self) -> str:
        if not self.resident:
            return "streamed"
        return "alone" if self.members == 1 else "together"


def choose(room: Room, loads: Sequence[Load], rows: int, itemsize: int) -> Regime:
    """The regime of a function over so many rows of the batch."""
    units = max(load.units for load in loads)
    for members in range(1, room.blocks + 1):
        if members > 1 and members > _up(units, UNITS_EACH):
            break
        found = _resident(room, loads, rows, itemsize, members)
        if found is None:
            continue
        if members == 1:
            return found
        # Members meet in any case: as many as there are blocks for have the fewest weights to go through each.
        teams = _up(rows, found.team_rows)
        more = min(room.blocks // teams, _up(units, UNITS_EACH))
        return laid_out(room, loads, itemsize, found.tile, more, found.team_rows, resident=True) or found
    return _streamed(room, loads, rows, itemsize, units)


def _resident(room: Room, loads: Sequence[Load], rows: int, itemsize: int, members: int) -> Regime | None:
    """All weights kept by so many members, and as many teams as there are blocks for."""
    most = min(room.blocks // members, rows if members == 1 else _up(rows, TILES[1][1]))
    team_rows = _up(rows, max(1, most))
    tile = TILES[0] if team_rows <= FEW_ROWS else TILES[1]
    return laid_out(room, loads, itemsize, tile, members, team_rows, resident=True)


def _streamed(room: Room, loads: Sequence[Load], rows: int, itemsize: int, units: int) -> Regime:
    tile = TILES[0] if rows <= FEW_ROWS else TILES[1]
    members = min(room.blocks, _up(units, UNITS_EACH))
    pass_rows = room.threads // tile[0] // UNITS_EACH * tile[1]
    teams = max(1, min(room.blocks // members, _up(rows, max(1, pass_rows))))
    found = laid_out(room, loads, itemsize, tile, members, _up(rows, teams), resident=False)
    if found is None:
        raise ValueError(f"cuda: expected at least 32 KiB of shared memory a block, got {room.shared} bytes")
    return found


def laid_out(
    room: Room,
    loads: Sequence[Load],
    itemsize: int,
    tile: tuple[int, int],
    members: int,
    team_rows: int,
    resident: bool,
) -> Regime | None:
    """The layout of a block's shared memory: weights, rows of a source, sums. None where there is too little of it."""
    lanes, tile_rows = tile
    tasks, vector = room.threads // lanes, VECTOR // itemsize
    whole = lambda n: _up(n, vector) * vector
    units = max(load.units for load in loads)
    bits = min(tasks.bit_length() - 1, (_up(units, members) - 1).bit_length())
    width, pass_rows = 1 << bits, (tasks >> bits) * tile_rows

    weights, kept = [], 0
    for load in loads:
        weights.append(kept)
        own_tiles = _up(_up(load.units, width), members)
        kept += sum(count * own_tiles * width * whole(k) for count, k in load.products)
    sums = max(load.results for load in loads) * pass_rows * (width + 1)
    gates = max((count for load in loads for count, _ in load.products), default=0)
    deepest = whole(max((k for load in loads for _, k in load.products), default=vector))
    depth = deepest if resident else min(deepest, STREAM_DEPTH)
    while depth >= vector:
        source = kept if resident else gates * width * depth
        total = (source + pass_rows * depth + sums) * itemsize
        if total <= room.shared:
            at = source, source + pass_rows * depth
            return Regime(tile, members, team_rows, bits, resident, depth, tuple(weights), *at, total)
        depth = whole(depth // 2) if depth > vector else 0
    return None


def _up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)
