"""All that can be measured, by group, and the choice among it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from . import cells, cold, dense, growth, language_model, layers, memory, peers, tape
from .record import KINDS, Build, Record, is_peer

GROUPS: dict[str, Callable[[], list[Record]]] = {
    "layers": layers.grid,
    "stacked": layers.stacked,
    "bidirectional": layers.bidirectional,
    "lengths": layers.unequal,
    "step": layers.streaming,
    "cells": cells.records,
    "dense": dense.records,
    "tape": tape.records,
    "language_model": language_model.records,
    "cold": cold.records,
    "memory": memory.records,
    "growth": growth.records,
}
TITLES = {
    "layers": "layers (T, N, I, H)",
    "stacked": "two layers (T, N, I, H, layers)",
    "bidirectional": "bidirectional (T, N, I, H)",
    "lengths": "sequences of unequal length (T, N, I, H)",
    "step": "one streaming step (T, N, I, H)",
    "cells": "cells of one's own (T, N, I, H)",
    "dense": "dense products (M, K, N)",
    "tape": "the tape's cost, 4x4 (primitives in the chain)",
    "language_model": "a language model's training step (N, T, H, layers, vocabulary)",
    "cold": "first training step of a fresh process (T, N, I, H)",
    "memory": "peak memory of a training step (T, N, I, H)",
    "growth": "growth of a training step's cost (T, N, I, H)",
}
USUAL = tuple(name for name in GROUPS if name != "growth")
QUICK = ("layers", "step", "tape")


def select(groups: Collection[str], kinds: Collection[str], wanted: Collection[str], quick: bool) -> list[Record]:
    """The records of groups, of these kinds of layer (other cells always), with these peers alone."""
    records = [record for name in GROUPS if name in groups for record in GROUPS[name]()]
    chosen = [r for r in records if (r.cell in kinds or r.cell not in KINDS) and (r.quick or not quick)]
    return [replace(r, contenders=_among(r, wanted)) for r in chosen]


def _among(record: Record, wanted: Collection[str]) -> dict[str, Build]:
    return {n: b for n, b in record.contenders.items() if not is_peer(n) or peers.peer_of(n) in wanted}
