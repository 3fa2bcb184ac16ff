"""Helpers of several test files: arrays of several kinds, and the comparison of one operation with PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.autograd.tape import Node

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Return standard normal numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def positive(*shape: int, seed: int = 0) -> np.ndarray:
    """Return numbers from 0.5 to 2.5, away from the edges of log and sqrt."""
    return np.asarray(np.random.default_rng([seed, *shape]).random(shape) * 2 + 0.5)


def apart(*shape: int, seed: int = 0) -> np.ndarray:
    """Return numbers 0.17 apart and at least 0.017 away from 0, so that no finite difference meets a corner."""
    rng = np.random.default_rng([seed, *shape])
    count = int(np.prod(shape))
    return np.asarray((rng.permutation(count) - count // 2 + 0.5 + 0.3 * (seed % 3)).reshape(shape) * 0.17)


def leaf(array: Any) -> tg.Tensor:
    """Return a float64 leaf for the gradient checks."""
    return tg.tensor(np.asarray(array, "float64"), requires_grad=True)


def on_tape(*outputs: Any) -> list[Node]:
    """Return every node that the outputs were computed from."""
    stack = [out.node for out in outputs if out.node is not None]
    seen = set(stack)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return list(seen)


def flat(outputs: Any) -> list[Any]:
    """Return one output or several as a list."""
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def same_as_torch(
    ours: Callable[..., Any], theirs: Callable[..., Any], arrays: Sequence[Any], dtype: str, tolerance: float = 1.0
) -> None:
    """Compare values, dtypes and gradients of `ours` with those of `theirs` on the same arrays.

    Floating arrays are converted to `dtype` and get gradients, from random cotangents; others are passed as they are.
    """
    import torch

    arrays = [a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in arrays]
    floating = [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    mine = [tg.tensor(a, requires_grad=i in floating) if isinstance(a, np.ndarray) else a for i, a in enumerate(arrays)]
    other = [torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a for a in arrays]
    for i in floating:
        other[i].requires_grad_()
    got, wanted = flat(ours(*mine)), flat(theirs(*other))
    assert len(got) == len(wanted)
    limit = TOLERANCE[dtype] * tolerance
    for g, w in zip(got, wanted):
        assert str(g.dtype) == str(w.dtype).removeprefix("torch.")
        assert g.shape == tuple(w.shape)
        np.testing.assert_allclose(g.numpy(), w.detach().numpy(), limit, limit)

    seeds = [normal(*g.shape, seed=7).astype(dtype) for g in got]
    followed = [k for k, w in enumerate(wanted) if w.requires_grad]
    assert [k for k, g in enumerate(got) if g.requires_grad] == followed
    if not followed:
        return
    torch.autograd.backward([wanted[k] for k in followed], [torch.from_numpy(seeds[k]) for k in followed])
    found = tg.grad(
        [got[k] for k in followed],
        [mine[i] for i in floating],
        [tg.tensor(seeds[k]) for k in followed],
        allow_unused=True,
    )
    for i, g in zip(floating, found):
        if g is None:
            assert other[i].grad is None or not other[i].grad.any()
            continue
        assert str(g.dtype) == dtype
        np.testing.assert_allclose(g.numpy(), other[i].grad.numpy(), limit, limit)
