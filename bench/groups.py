"""All cases of the benchmark, by group, and the selection among them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from . import cells, cold, dense, growth, language_model, layers, memory, peers, tape
from .case import KINDS, Build, Case, is_peer

GROUPS: dict[str, Callable[[], list[Case]]] = {
    "layers": layers.grid,
    "stacked": layers.stacked,
    "bidirectional": layers.bidirectional,
    "lengths": layers.unequal,
    "step": layers.streaming,
    "cells": cells.cases,
    "dense": dense.cases,
    "tape": tape.cases,
    "language_model": language_model.cases,
    "cold": cold.cases,
    "memory": memory.cases,
    "growth": growth.cases,
}
TITLES = {
    "layers": "layers (T, N, I, H)",
    "stacked": "two layers (T, N, I, H, layers)",
    "bidirectional": "bidirectional (T, N, I, H)",
    "lengths": "sequences of unequal length (T, N, I, H)",
    "step": "one streaming step (T, N, I, H)",
    "cells": "custom cells (T, N, I, H)",
    "dense": "dense products (M, K, N)",
    "tape": "the tape's cost, 4x4 (primitives in the chain)",
    "language_model": "a language model's training step (N, T, H, layers, vocabulary)",
    "cold": "first training step of a fresh process (T, N, I, H)",
    "memory": "peak memory of a training step (T, N, I, H)",
    "growth": "growth of a training step's cost (T, N, I, H)",
}
DEFAULT = tuple(name for name in GROUPS if name != "growth")
QUICK = ("layers", "step", "tape")


def select(groups: Collection[str], kinds: Collection[str], wanted: Collection[str], quick: bool) -> list[Case]:
    """Return the cases of groups with these kinds of layer (and all other cells), with the wanted peers only.

    quick: only the cases for `--quick`.
    """
    cases = [case for name in GROUPS if name in groups for case in GROUPS[name]()]
    selected = [c for c in cases if (c.cell in kinds or c.cell not in KINDS) and (c.quick or not quick)]
    return [replace(c, contenders=_with_peers(c, wanted)) for c in selected]


def _with_peers(case: Case, wanted: Collection[str]) -> dict[str, Build]:
    return {n: b for n, b in case.contenders.items() if not is_peer(n) or peers.peer_of(n) in wanted}
