"""norm: every p, dimensions, gradients at zero and in ties, and errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from devices import assert_equal, derived
from helpers import apart, leaf, normal, same_as_torch

import tinygrad_rnn as tg

POWERS = ["fro", 0, 1, 2, 3, 0.5, 1.5, -1, -2, math.inf, -math.inf]


def followed(x: Any, p: Any) -> Any:
    """Return x, without its gradient for p = 0, where PyTorch gives None in place of zeros."""
    return x.detach() if p == 0 else x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", POWERS)
def test_like_torch(p: Any, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    for shape, dim, keep in [((), None, False), ((5,), 0, True), ((3, 4), 1, False), ((2, 3, 4), (0, 2), True)]:
        f = lambda x, d=dim, k=keep: followed(x, p).norm(p, d, k)
        same_as_torch(f, f, [apart(*shape)], dtype)
    ours, theirs = lambda x: tg.norm(followed(x, p), p, -1), lambda x: torch.norm(followed(x, p), p, -1)
    same_as_torch(ours, theirs, [np.array([[1.0, -2.0, 2.0], [-1.0, 1.0, 1.0]])], dtype)
    if p != 0:
        same_as_torch(ours, theirs, [np.array([[0.0, -2.0, 1.0], [0.0, 0.0, 0.0]])], dtype)
    if p == "fro" or 0 <= p < math.inf:
        f = lambda x: followed(x, p).norm(p)
        same_as_torch(f, f, [normal(0)], dtype)


@pytest.mark.parametrize("p", POWERS)
def test_gradients(p: Any) -> None:
    for shape, dim, keep in [((1,), None, False), ((7,), 0, True), ((3, 4), 1, False), ((2, 1, 5), (0, 2), False)]:
        f = lambda x, d=dim, k=keep: x.norm(p, d, k)
        x = leaf(apart(*shape, seed=1))  # no two of one size
        assert tg.gradcheck(f, [x]) and tg.gradgradcheck(f, [x])


@pytest.mark.parametrize("p", POWERS)
def test_the_gradient_of_zeros_is_0(p: Any) -> None:
    x = leaf(np.zeros((2, 3)))
    (g,) = tg.grad(x.norm(p, 1).sum(), x, create_graph=True)
    assert not g.numpy().any()
    (h,) = tg.grad(g.sum(), x, allow_unused=True) if g.requires_grad else (None,)
    assert h is None or not h.numpy().any()


def test_values() -> None:
    x = tg.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert x.norm(axis=1, keepdims=True).tolist() == [[5.0], [0.0]] and x.norm(1).item() == 7.0
    assert x.norm(0, 1).tolist() == [2.0, 0.0] and x.norm(math.inf).item() == 4.0 and x.norm(-1).item() == 0.0
    assert tg.norm([3.0, 4.0]).item() == 5.0
    assert math.isnan(tg.tensor([math.nan, 0.0]).norm().item()) and tg.tensor([math.nan, 0.0]).norm(0).item() == 1.0


def test_on_a_gpu(cupy: Any) -> None:
    def run(device: str) -> Any:
        x = tg.tensor(apart(3, 4), requires_grad=True, device=device)
        return derived([x.norm(p, 1) for p in POWERS] + [(x * 0.0).norm(0)], [x])

    assert_equal(run)


def test_errors() -> None:
    x = tg.randn(2, 3)
    for p in ("nuc", None, True, math.nan, x):
        with pytest.raises(TypeError, match="norm: p: expected a number or 'fro'"):
            x.norm(p)
    with pytest.raises(TypeError, match="norm: x: expected a floating dtype, got int64"):
        tg.arange(3).norm()
    with pytest.raises(IndexError, match="dim: expected a whole number from -2 to 1, got 2"):
        x.norm(2, 2)
    with pytest.raises(TypeError, match="keepdim: expected True or False, got 1"):
        x.norm(2, 1, keepdims=1)
    with pytest.raises(ValueError, match="amax: expected at least one element"):
        tg.zeros(2, 0).norm(math.inf, 1)
