"""Generation of sequences, one id after the other, for a batch of rows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..arrays import random
from ..autograd.grad_modes import no_grad
from ..autograd.primitives.static import whole_number
from ..tensor import Tensor
from .choice import check_choice, checked_end, checked_step, choose, start_ids

Step = Callable[[Tensor, Any], tuple[Any, Any]]


class Generated(NamedTuple):
    """The result of `generate`.

    ids: int64 [N, length]; each row is filled with `end` past its first `end`.
    lengths: int64 [N], the number of ids up to the first `end`, which counts too; without one `length`.
    """

    ids: Tensor
    lengths: Tensor


def generate(
    step: Step,
    state: Any,
    start: Any,
    length: int,
    end: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Generated:
    """Return the sequences that a model continues from `start`, id by id.

    At each step, (logits, state) = step(ids, state); the next id is i with probability softmax(logits / temperature)_i.

    step: a function of the last ids, an int64 tensor [N], and a state. It returns (logits [N, V], next state). An id
        with the logit -inf is never chosen.
    state: the first state. It may be anything: only `step` reads it.
    start: the first ids, N of them, or one id for N = 1. They are not part of the result.
    length: the most ids, from 0 up. end: the id that ends a sequence. When all have ended, the steps stop.
    temperature: below 1 likely ids become more likely; 0 takes the most likely id, the first of equal ones.
    top_k: draw only from the k most likely ids.
    top_p: then draw only from the smallest set of most likely ids whose probabilities add up to top_p of theirs
        (nucleus): Holtzman et al., The curious case of neural text degeneration (2020), section 3.1.

    Draws come from the stream of `tg.manual_seed`, N at each step. Nothing is recorded for a backward. A model with
    dropout needs `eval()` before.
    Raises ValueError or TypeError for an argument or a result of `step` that does not fit, also for NaN in logits.
    """
    name = "generate"
    ids, length = start_ids(name, start), whole_number(f"{name}: length", length, 0)
    end = None if end is None else checked_end(name, end)
    check_choice(name, temperature, top_k, top_p)
    out = np.full((len(ids), length), end or 0, np.int64)
    lengths = np.full(len(ids), length, np.int64)
    ended = np.zeros(len(ids), bool)
    with no_grad():
        for t in range(length):
            logits, state = checked_step(name, step(Tensor(ids), state), len(ids), end)
            ids = choose(logits, temperature, random.generator(), top_k, top_p)
            if end is not None:
                ids = np.where(ended, end, ids)
                lengths[(ids == end) & ~ended] = t + 1
                ended |= ids == end
            out[:, t] = ids
            if ended.all():
                break
    return Generated(Tensor(out), Tensor(lengths))
