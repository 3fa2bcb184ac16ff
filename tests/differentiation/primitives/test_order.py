"""sort, argsort and topk: order, ties, NaN, gradients and errors, as PyTorch has them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from devices import assert_equal, derived
from helpers import apart, leaf, normal, same_as_torch

import tinygrad_rnn as tg

SHAPES = [(1,), (3,), (17,), (100,), (0,), (2, 0), (0, 2), (3, 4), (2, 3, 5), ()]
TIED = np.array([[2.0, 1.0, 2.0, np.nan, 1.0, -np.inf, np.nan, np.inf], [0.0, 0.0, -0.0, 0.0, 1.0, 1.0, 1.0, 0.0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_like_torch(descending: bool, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    for s, d in itertools.product(SHAPES, (0, -1)):
        ours = lambda x, d=d: (*x.sort(d, descending), x.argsort(d, descending))
        theirs = lambda x, d=d: (
            *torch.sort(x, dim=d, descending=descending, stable=True),
            torch.argsort(x, dim=d, descending=descending, stable=True),
        )
        same_as_torch(ours, theirs, [apart(*s)], dtype)
        same_as_torch(ours, theirs, [np.asarray(np.round(normal(*s)))], dtype)
    same_as_torch(ours, theirs, [TIED], dtype)
    same_as_torch(ours, theirs, [TIED.T], dtype)
    same_as_torch(ours, theirs, [np.array([[True, False, True]])], dtype)
    same_as_torch(ours, theirs, [np.array([[3, -1, 3, 0]])], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("largest", [False, True])
def test_topk_like_torch(largest: bool, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    for s, d in itertools.product([*SHAPES, (100, 3)], (0, -1)):
        size = s[d] if s else 1
        for k in {0, 1, 2, size // 8, size} if s else {1}:
            if k <= size:
                same_as_torch(
                    lambda x, k=k, d=d: x.topk(k, d, largest),
                    lambda x, k=k, d=d: torch.topk(x, k, d, largest),
                    [apart(*s)],
                    dtype,
                )


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("k", [0, 1, 3, 5, 40])
def test_topk_is_the_beginning_of_the_sort(k: int, largest: bool) -> None:
    rng = np.random.default_rng(k)
    for step in (1.0, 0.1, 1e-6):  # from many ties to none
        for nan in (False, True):
            x = np.round(rng.standard_normal((4, 100, 3)) / step) * step
            if nan:
                x[:, ::50] = np.nan
            top, whole = tg.tensor(x).topk(k, 1, largest), tg.tensor(x).sort(1, largest)
            assert top.indices.dtype == np.int64
            np.testing.assert_array_equal(top.values.numpy(), whole.values.numpy()[:, :k])
            np.testing.assert_array_equal(top.indices.numpy(), whole.indices.numpy()[:, :k])


def test_equal_elements_among_the_chosen_stay_in_their_order() -> None:
    for seed in range(20):
        x = np.random.default_rng(seed).permutation(np.array([5.0] * 4 + [6.0] * 3 + list(range(-90, 0))))
        assert tg.tensor(x).topk(7).indices.tolist() == np.argsort(-x, kind="stable")[:7].tolist()
        assert tg.tensor(-x).topk(7, largest=False).indices.tolist() == np.argsort(-x, kind="stable")[:7].tolist()


def test_topk_without_a_full_sort_is_taken_where_nothing_is_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[int]()
    usual = np.argsort
    monkeypatch.setattr(np, "argsort", lambda x, *rest, **named: (calls.append(x.size), usual(x, *rest, **named))[1])
    tg.tensor(apart(3, 100)).topk(5)
    assert calls == [15]
    tg.zeros(3, 100).topk(5)
    assert calls == [15, 300]


def test_equal_elements_stay_in_their_order_and_nan_is_the_largest() -> None:
    x = tg.tensor(TIED)
    assert x.argsort().tolist() == [[5, 1, 4, 0, 2, 7, 3, 6], [0, 1, 2, 3, 7, 4, 5, 6]]
    assert x.argsort(descending=True).tolist() == [[3, 6, 7, 0, 2, 1, 4, 5], [4, 5, 6, 0, 1, 2, 3, 7]]
    assert x.topk(3).indices.tolist() == [[3, 6, 7], [4, 5, 6]]
    assert x.topk(2, largest=False).indices.tolist() == [[5, 1], [0, 1]]


def test_results_have_names_and_share_nothing() -> None:
    x = tg.tensor([3.0, 1.0, 2.0])
    values, indices = found = tg.sort(x, axis=0)
    assert found.values is values and found.indices is indices
    values[0] = 9.0
    s = tg.tensor(5.0)
    s.sort().values.fill_(1.0)
    assert x.tolist() == [3.0, 1.0, 2.0] and s.item() == 5.0
    assert tg.topk(x, 2).values.tolist() == [3.0, 2.0] and tg.argsort([3, 1]).tolist() == [1, 0]
    assert tg.topk(s, 0).values.shape == (0,)


def test_gradients() -> None:
    for s in [(1,), (6,), (3, 4), (2, 0), ()]:
        f = lambda x: (x.sort(0, descending=True).values ** 2, x.sort().values * x)
        assert tg.gradcheck(f, [leaf(apart(*s))]) and tg.gradgradcheck(f, [leaf(apart(*s))])
    f = lambda x: (x.topk(2, 1).values ** 2, x.topk(1, 0, largest=False).values)
    assert tg.gradcheck(f, [leaf(apart(3, 40))]) and tg.gradgradcheck(f, [leaf(apart(3, 40))])


def test_on_a_gpu(cupy: Any) -> None:
    def run(device: str) -> Any:
        x = tg.tensor(np.round(normal(3, 40) * 4), requires_grad=True, device=device)
        outs = [x.sort(0), x.sort(1, descending=True), x.topk(3), x.topk(2, 0, largest=False)]
        return [out.indices for out in outs], derived([out.values * out.values for out in outs], [x])

    assert_equal(run)


def test_errors() -> None:
    x = tg.randn(2, 4)
    for k in (-1, 5):
        with pytest.raises(ValueError, match=f"topk: k: expected a whole number from 0 to 4, got {k}"):
            x.topk(k)
    with pytest.raises(TypeError, match=r"topk: k: expected a whole number, got 1.5"):
        x.topk(1.5)
    with pytest.raises(TypeError, match="topk: largest: expected True or False, got 1"):
        x.topk(1, 1, 1)
    with pytest.raises(TypeError, match="topk: sorted: expected True or False, got None"):
        x.topk(1, sorted=None)
    with pytest.raises(TypeError, match="sort: descending: expected True or False, got 'up'"):
        x.sort(0, "up")
    with pytest.raises(TypeError, match="argsort: stable: expected True or False, got 0"):
        x.argsort(stable=0)
    with pytest.raises(IndexError, match="sort: dim: expected a whole number from -2 to 1, got 2"):
        x.sort(2)
    with pytest.raises(TypeError, match="argsort: expected dim or axis, got both"):
        x.argsort(0, axis=1)
