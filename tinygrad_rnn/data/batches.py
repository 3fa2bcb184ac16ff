"""Ids laid out for training: parallel streams for truncated BPTT, and batches of sequences of similar length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..arrays import random
from ..arrays.device import to_numpy
from ..autograd.primitives.static import whole_number
from .text import TextError


class Chunks:
    """A row of ids laid out for truncated BPTT: `batch` parallel streams, cut into chunks of `bptt` steps.

    ids: whole numbers of any kind, [K]: characters, words, tokens, from `Vocabulary.encode` or elsewhere.

    Stream n is a contiguous piece of the row; chunk k is (inputs, targets), both int64 [T, N], where the targets are
    the inputs one position later. In every stream chunk k + 1 continues where chunk k stops, so a model can carry its
    recurrent state from chunk to chunk. T is `bptt`, or less in the last chunk. At most N - 1 ids at the end of the
    row fit no stream.

    A row too short for `batch` streams of `bptt` ids gets fewer streams; the attribute `batch` has their number.
    The attributes `inputs` and `targets` are views of the row, [length, N], not copies.
    Raises ValueError for batch or bptt below 1, TextError for fewer than 2 ids, TypeError for what is no row of ids.
    """

    def __init__(self, ids: Any, batch: int, bptt: int):
        if batch < 1 or bptt < 1:
            raise ValueError(f"Chunks: expected batch and bptt from 1 up, got {batch} and {bptt}")
        ids = to_numpy(ids, "Chunks: ids", any_dtype=True)
        if ids.ndim != 1 or ids.size and ids.dtype.kind not in "iu":
            raise TypeError(f"Chunks: ids: expected a row of whole numbers, got {ids.dtype} of shape {ids.shape}")
        pairs = len(ids) - 1
        if pairs < 1:
            raise TextError(f"Chunks: expected at least 2 ids, got {len(ids)}")
        self.bptt = bptt
        self.batch = min(batch, max(1, pairs // bptt))
        self.length = pairs // self.batch
        used = self.length * self.batch
        self.inputs = ids[:used].reshape(self.batch, self.length).T
        self.targets = ids[1 : used + 1].reshape(self.batch, self.length).T

    def __len__(self) -> int:
        return -(-self.length // self.bptt)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= k < len(self):
            raise IndexError(f"Chunks: expected a number from 0 to {len(self) - 1}, got {k}")
        rows = slice(k * self.bptt, (k + 1) * self.bptt)
        return np.ascontiguousarray(self.inputs[rows], np.int64), np.ascontiguousarray(self.targets[rows], np.int64)


def batches(
    lengths: Iterable[Any],
    batch_size: int,
    shuffle: bool = True,
    seed: int | None = None,
    pool: int = 100,
    drop_last: bool = False,
) -> list[np.ndarray]:
    """Return the batches of one epoch, each the positions of examples of similar length, int64 [batch_size].

    The examples, in random order, are cut into pools of `pool` batches; each pool is sorted by length and cut into
    batches, and the batches are shuffled. A larger pool leaves less padding, a smaller one more chance. Within a batch
    the longest example comes first, so `pack_padded_sequence` takes it as it is.

    lengths: the length of each example, whole numbers from 0 up, or the examples themselves, which have a `len`.
    shuffle: False keeps the order of the examples, but for the sorting within pools, for evaluation.
    seed: of the random order; None draws it from the stream of `tg.manual_seed`, another one in each call.
    drop_last: leave out the examples that fill no batch; otherwise one batch is smaller.

    Raises ValueError or TypeError for an argument that does not fit.
    """
    sizes = _lengths(lengths)
    batch_size, pool = whole_number("batches: batch_size", batch_size, 1), whole_number("batches: pool", pool, 1)
    generator = random.generator() if seed is None else np.random.default_rng(seed)
    order = generator.permutation(len(sizes)) if shuffle else np.arange(len(sizes))
    pools = [order[at : at + pool * batch_size] for at in range(0, len(order), pool * batch_size)]
    pools = [part[np.argsort(-sizes[part], kind="stable")] for part in pools]
    found = [part[at : at + batch_size] for part in pools for at in range(0, len(part), batch_size)]
    if found and drop_last and len(found[-1]) < batch_size:
        found.pop()
    return [found[k] for k in generator.permutation(len(found))] if shuffle else found


def _lengths(lengths: Iterable[Any]) -> np.ndarray:
    """Return the lengths of examples, given as numbers or as examples."""
    if not hasattr(lengths, "shape"):
        given = list(lengths)
        if given and hasattr(given[0], "__len__"):
            return np.array([len(example) for example in given])
        lengths = given
    found = to_numpy(lengths, "batches: lengths", any_dtype=True)
    if found.ndim > 1:  # examples of one length, stacked
        return np.full(len(found), found.shape[1])
    if found.ndim != 1 or found.size and (found.dtype.kind not in "iu" or found.min() < 0):
        got = f"{found.dtype} of shape {found.shape}" if found.dtype.kind not in "iu" else f"{found.min()}"
        raise ValueError(f"batches: lengths: expected whole numbers from 0 up, or examples, got {got}")
    return found.astype(np.int64)
