"""Attention: a weighted mean of a memory's places, with weights from a query."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arrays.device import array_like, numbers, to_numpy
from ..autograd.primitives.elementwise import log, masked_fill, tanh, where
from ..autograd.primitives.index import getitem, take_along
from ..autograd.primitives.products import matmul
from ..autograd.primitives.reduce import argmax, softmax
from ..autograd.primitives.sampling import multinomial
from ..autograd.primitives.shape import reshape, transpose, unsqueeze
from ..tensor import Tensor
from ..tensor.creation import own_tensor
from .layers import Linear, check_sizes
from .module import Module

SCORES = ("additive", "dot", "general", "scaled_dot")
_MASKED = -1e30  # finite, so that a row whose places are all masked gives no NaN


class Memory(NamedTuple):
    """The places that queries attend to, prepared once for all queries: see `Attention.memorize`."""

    values: Any  # [N, S, M]
    keys: Any  # [N, S, A], or the values themselves for score="dot"
    bias: Any = None  # [N, 1, S], 0 or a large negative number that is added to the scores; None: all places count
    nowhere: Any = None  # [N, 1, 1], True for rows whose places are all masked; None: there is no such row


class Attended(NamedTuple):
    """The result of `Attention`."""

    context: Any
    weights: Any


class AttendedHard(NamedTuple):
    """The result of `Attention` with hard=True."""

    context: Any
    weights: Any
    log_prob: Any


class Attention(Module):
    """context = sum over places s of weights[s] m_s, with weights = softmax over s of score(q, m_s).

    score: "additive":   v . tanh(W q + b + U m), Bahdanau, Cho and Bengio (2015), appendix A.1.2;
           "dot":        q . m, Luong, Pham and Manning (2015), section 3.1;
           "general":    q . W m, the same section;
           "scaled_dot": (W q) . (U m) / sqrt(A), Vaswani et al., Attention is all you need (2017), eq. 1.
    attention_size: A, the size of the projections of "additive" and "scaled_dot" (default: query_size).
    hard: attend to one place. Training draws it with the probabilities `weights`, evaluation takes the likeliest.
        Xu et al., Show, attend and tell (2015), section 4.1. No gradient reaches the weights through the context: the
        result has also the log-probability of the place, for REINFORCE.
    batch_first: memory and several queries are [N, S, M] and [N, T, Q] (default: [S, N, M] and [T, N, Q]).

    Raises ValueError for a score or size that is not allowed.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        score: str = "additive",
        attention_size: int | None = None,
        *,
        hard: bool = False,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        size = query_size if attention_size is None else attention_size
        check_sizes("Attention", query_size=query_size, memory_size=memory_size, attention_size=size)
        if score not in SCORES:
            raise ValueError(f"Attention: score: expected one of {', '.join(SCORES)}, got {score!r}")
        if score == "dot" and query_size != memory_size:
            raise ValueError(
                f"Attention: expected equal query_size and memory_size with score='dot', got {query_size} and "
                f"{memory_size}"
            )
        self.query_size, self.memory_size, self.attention_size = query_size, memory_size, size
        self.score, self.hard, self.batch_first = score, hard, batch_first
        kind: dict[str, Any] = {"device": device, "dtype": dtype}
        if score in ("additive", "scaled_dot"):
            self.query = Linear(query_size, size, bias=score == "additive", **kind)
            self.key = Linear(memory_size, size, bias=False, **kind)
        if score == "general":
            self.key = Linear(memory_size, query_size, bias=False, **kind)
        if score == "additive":
            self.energy = Linear(size, 1, bias=False, **kind)

    def reset_parameters(self) -> None:
        """Draw all weights again."""
        for layer in self.children():
            layer.reset_parameters()

    def memorize(self, values: Any, lengths: Any = None, mask: Any = None) -> Memory:
        """Return the memory of a batch, its keys projected and its mask prepared: do it once for all queries.

        values: [S, N, M] ([N, S, M] with batch_first). lengths: the number of real places in each row, N whole numbers
        from 0 to S. mask: booleans [N, S], False for a place that no query may attend to. No number of a masked place
        reaches a result, not even NaN. A row whose places are all masked has weights and context 0, and hard attention
        refuses it. Raises ValueError for shapes that do not fit, TypeError for a mask that is not boolean.
        """
        values = own_tensor(values, "Attention: values")
        if values.ndim != 3 or values.shape[2] != self.memory_size:
            raise ValueError(f"Attention: values: expected shape [S, N, {self.memory_size}], got {values.shape}")
        values = values if self.batch_first else transpose(values, 0, 1)
        seen = _seen(values.shape[:2], lengths, mask)
        if seen.all():
            return Memory(values, self._keys(values))
        # 0 times NaN is NaN: no number of a masked place may reach the context
        values = where(Tensor(array_like(seen[..., None], values.array)), values, 0.0)
        return Memory(values, self._keys(values), *_masks(seen, values))

    def _keys(self, values: Any) -> Any:
        return values if self.score == "dot" else self.key(values)

    def forward(self, query: Any, memory: Memory) -> Attended | AttendedHard:
        """Return (context, weights), with hard=True (context, weights, log_prob).

        query: [N, Q] -> context [N, M], weights [N, S], log_prob [N]; or several queries a row, [T, N, Q] -> [T, N, M],
        [T, N, S], [T, N] ([N, T, ...] with batch_first). memory: the result of `memorize`.
        """
        if not isinstance(memory, Memory):
            raise TypeError(f"Attention: memory: expected the result of memorize, got {type(memory).__name__}")
        query = query if type(query) is Tensor else own_tensor(query, "Attention: query")
        rows, several = memory.values.shape[0], query.ndim == 3
        batch = query.shape[0 if self.batch_first or not several else 1] if query.ndim in (2, 3) else -1
        if batch != rows or query.shape[-1] != self.query_size:
            raise ValueError(
                f"Attention: query: expected shape [{rows}, {self.query_size}] or [T, {rows}, {self.query_size}], "
                f"got {query.shape}"
            )
        time_first = several and not self.batch_first
        q = transpose(query, 0, 1) if time_first else query if several else unsqueeze(query, 1)
        weights = self._weights(q, memory)
        found = self._choose(weights, memory) if self.hard else (matmul(weights, memory.values), weights)
        given = [self._in_layout(part, several, time_first) for part in found]
        return AttendedHard(*given) if self.hard else Attended(*given)

    @staticmethod
    def _in_layout(part: Any, several: bool, time_first: bool) -> Any:
        """Return [N, T, ...] in the layout of the query."""
        if not several:
            return reshape(part, (part.shape[0], *part.shape[2:]))
        return transpose(part, 0, 1) if time_first else part

    def _weights(self, q: Any, memory: Memory) -> Any:
        """Return the weights of all places, [N, T, S], for queries [N, T, Q]."""
        n, t = q.shape[:2]
        places = memory.keys.shape[1]
        if self.score == "additive":
            q = reshape(self.query(q), (n, t, 1, self.attention_size))
            keys = reshape(memory.keys, (n, 1, places, self.attention_size))
            scores = reshape(self.energy(tanh(q + keys)), (n, t, places))
        else:
            q = self.query(q) * (1.0 / math.sqrt(self.attention_size)) if self.score == "scaled_dot" else q
            scores = matmul(q, memory.keys.mT)
        weights = softmax(scores if memory.bias is None else scores + memory.bias)
        return weights if memory.nowhere is None else masked_fill(weights, memory.nowhere, 0.0)

    def _choose(self, weights: Any, memory: Memory) -> tuple[Any, ...]:
        """Return the chosen place's value [N, T, M], the weights, and the log-probability of the place [N, T]."""
        if memory.nowhere is not None:
            raise ValueError("Attention: expected a place in every row to choose from, got a row with all masked")
        if not weights.shape[2]:
            raise ValueError("Attention: expected a place in every row to choose from, got a memory of 0 places")
        index = _drawn(weights.array) if self.training else argmax(weights.detach(), -1).array
        log_prob = log(reshape(take_along(weights, 2, index[..., None]), index.shape))
        rows = np.arange(index.shape[0], like=index)[:, None]
        return getitem(memory.values, (rows, index)), weights, log_prob

    def extra_repr(self) -> str:
        hard = ", hard=True" if self.hard else ""
        return (
            f"{self.query_size}, {self.memory_size}, score={self.score!r}, attention_size={self.attention_size}{hard}"
        )


def _seen(shape: tuple[int, int], lengths: Any, mask: Any) -> np.ndarray:
    """Return which places of each row may be attended to, [N, S]."""
    seen = np.ones(shape, bool) if mask is None else _checked_mask(mask, shape)
    return seen if lengths is None else seen & (np.arange(shape[1]) < _checked_lengths(lengths, *shape)[:, None])


def _masks(seen: np.ndarray, values: Any) -> tuple[Any, Any]:
    """Return `bias` and `nowhere` of a Memory with these values [N, S, M], some of which are masked."""
    bias = np.where(seen, 0.0, _MASKED).astype(values.dtype)[:, None]
    nowhere = np.logical_not(seen.any(axis=1, keepdims=True))[:, None]
    on_device = [Tensor(array_like(a, values.array)) for a in (bias, nowhere)]
    return on_device[0], on_device[1] if nowhere.any() else None


def _checked_mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    found = to_numpy(mask, "Attention: mask", any_dtype=True)
    if found.dtype != bool:
        raise TypeError(f"Attention: mask: expected booleans, got {found.dtype}")
    if found.shape != shape:
        raise ValueError(f"Attention: mask: expected shape {shape}, got {found.shape}")
    return found


def _checked_lengths(lengths: Any, rows: int, places: int) -> np.ndarray:
    ends = np.atleast_1d(to_numpy(lengths, "Attention: lengths", any_dtype=True))
    ends = ends if ends.size else ends.astype(np.int64)
    whole = ends.shape == (rows,) and ends.dtype.kind in "iu"
    if not whole or ends.size and not 0 <= ends.min() <= ends.max() <= places:
        raise ValueError(f"Attention: lengths: expected {rows} whole numbers from 0 to {places}, got {lengths!r}")
    return ends


def _drawn(weights: Any) -> Any:
    """Return an index for each row [..., S], drawn with its weights as probabilities."""
    if not all(map(math.isfinite, numbers(weights.sum()))):
        raise ValueError("Attention: expected finite scores to draw a place with, got inf or NaN")
    return multinomial(weights.reshape(-1, weights.shape[-1]), 1).array.reshape(weights.shape[:-1])
