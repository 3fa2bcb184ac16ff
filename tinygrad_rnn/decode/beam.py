"""Beam search: the sequences to which a model gives the highest scores, for a batch of rows at once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..autograd.grad_modes import no_grad
from ..autograd.primitives.reduce import log_softmax
from ..autograd.primitives.static import whole_number
from ..tensor import Tensor
from .choice import checked_end, checked_step, largest, start_ids
from .sampling import Step
from .state import select


class Hypotheses(NamedTuple):
    """The result of `beam_search`: `width` sequences for each row, the best first.

    ids: int64 [N, width, length]; each sequence is filled with `end` past its own `end`.
    lengths: int64 [N, width], the number of ids with the `end`; 0 where a model has fewer sequences than `width`.
    scores: float64 [N, width], log p(sequence) / length^length_penalty; -inf where a model has fewer.
    """

    ids: Tensor
    lengths: Tensor
    scores: Tensor


def beam_search(
    step: Step,
    state: Any,
    start: Any,
    length: int,
    end: int,
    width: int = 4,
    length_penalty: float = 1.0,
    *,
    batch_dim: Any = None,
) -> Hypotheses:
    """Return the `width` sequences of highest score that a search finds from `start`.

    score = log p(ids) / |ids|^length_penalty, with log p the sum of log softmax(logits) over the ids, and |ids| their
    number with the `end`. 1 ranks by the mean over the ids, 0 by the probability of the sequence; above 0 long
    sequences gain. (Wu et al., Google's neural machine translation system (2016), eq. 14, divide by
    ((5 + |ids|) / 6)^alpha instead.)

    Each row holds `width` hypotheses. At each step all extensions of the open ones compete with the finished ones, by
    score, and the best `width` stay. The search stops when all are finished or have `length` ids. With width 1 it is
    greedy; it is exact where `width` is at least the number of all sequences. Graves, Sequence transduction with
    recurrent neural networks (2012), section 2.6; Sutskever, Vinyals and Le (2014), section 3.2.

    step: as in `generate`, for any number of rows. After the first step it sees N * width rows (fewer where V^t is
        smaller), those of one row of the batch side by side.
    state: the first state, tensors in tuples, lists, dicts; None. The search selects the rows of its hypotheses.
    start: the first ids, N of them, or one id for N = 1. They are not part of the result.
    length: the most ids, from 1 up. end: the id that ends a sequence. width: from 1 up, also beyond V.
    batch_dim: the dimension of the batch in the tensors of the states. None: 1 in tensors of three dimensions or more,
        as in a recurrent layer's state [layers, N, H], and 0 in others. An integer holds for all. A tuple, list or
        dict holds one for each part: (1, 0) for (state of a layer, memory [N, S, H]).

    Nothing is recorded for a backward. A model with dropout needs `eval()` before.
    Raises ValueError or TypeError for an argument, a state or a result of `step` that does not fit, also for NaN.
    """
    name = "beam_search"
    tokens = start_ids(name, start)[:, None]
    length, end = whole_number(f"{name}: length", length, 1), checked_end(name, end)
    width = whole_number(f"{name}: width", width, 1)
    if not isinstance(length_penalty, (int, float, np.number)) or not 0 <= length_penalty < math.inf:
        raise ValueError(f"{name}: length_penalty: expected a finite number from 0 up, got {length_penalty!r}")
    batch = len(tokens)
    beam = _Beam(batch, length, end)
    with no_grad():
        for t in range(length):
            rows = tokens.size
            logits, state = checked_step(name, step(Tensor(tokens.reshape(-1)), state), rows, end)
            log_p = log_softmax(logits.astype(np.float64)).reshape(batch, -1, logits.shape[1])
            parents, tokens = beam.extend(t, log_p, width, length_penalty)
            if beam.finished.all() or t + 1 == length:
                break
            index = (np.arange(batch)[:, None] * (rows // batch) + parents).reshape(-1)
            state = select(state, index, rows, batch_dim)
    return beam.result(width)


class _Beam:
    """The hypotheses of all rows, K for each: ids [N, K, length], and log p, lengths and scores [N, K].

    A hypothesis of log p = -inf is none: it fills a place while there are fewer than `width`.
    """

    def __init__(self, batch: int, length: int, end: int):
        self.end = end
        self.ids = np.full((batch, 1, length), end, np.int64)
        self.log_p, self.scores = np.zeros((batch, 1)), np.zeros((batch, 1))
        self.lengths = np.zeros((batch, 1), np.int64)
        self.finished = np.zeros((batch, 1), bool)

    def extend(self, t: int, log_p: np.ndarray, width: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Keep the best extensions by the id t, of log p [N, K, V]. Return their parents and their ids, each [N, K]."""
        batch, _, vocabulary = log_p.shape
        log_p[self.finished] = -np.inf  # the only extension of a finished hypothesis is itself
        log_p[self.finished, self.end] = 0
        sums = (self.log_p[..., None] + log_p).reshape(batch, -1)
        lengths = self.lengths + ~self.finished
        scores = sums / np.repeat(np.maximum(lengths, 1) ** float(penalty), vocabulary, 1)
        best = largest(scores, min(width, scores.shape[1]))
        parents, tokens = np.divmod(best, vocabulary)
        of = lambda a, where: np.take_along_axis(a, where, 1)
        self.log_p, self.scores, self.lengths = of(sums, best), of(scores, best), of(lengths, parents)
        none = np.isneginf(self.log_p)
        self.finished = of(self.finished, parents) | (tokens == self.end) | none
        self.ids = np.take_along_axis(self.ids, parents[..., None], 1)
        self.ids[:, :, t] = tokens
        self.ids[none], self.lengths[none] = self.end, 0
        return parents, tokens

    def result(self, width: int) -> Hypotheses:
        """Return the hypotheses, with places that hold none up to `width`."""
        more = [(0, 0), (0, width - self.scores.shape[1])]
        ids = np.pad(self.ids, [*more, (0, 0)], constant_values=self.end)
        scores = np.pad(self.scores, more, constant_values=-np.inf)
        return Hypotheses(Tensor(ids), Tensor(np.pad(self.lengths, more)), Tensor(scores))
