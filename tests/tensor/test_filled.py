"""eye, full_like and their like, and the methods new_zeros, new_ones and new_full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_like_torch() -> None:
    torch = pytest.importorskip("torch")
    for name in ("float32", "float64", "int64", "int8", "bool"):
        x, y = tg.zeros(2, 3, dtype=name), torch.zeros(2, 3, dtype=getattr(torch, name))
        for ours, theirs in (
            (x.new_zeros(3), y.new_zeros(3)),
            (x.new_zeros(3, 0), y.new_zeros(3, 0)),
            (x.new_ones((2, 1)), y.new_ones((2, 1))),
            (x.new_full((2, 2), 1), y.new_full((2, 2), 1)),
            (x.new_zeros(()), y.new_zeros(())),
            (x.new_ones(2, dtype="float64"), y.new_ones(2, dtype=torch.float64)),
            (tg.full_like(x, 1), torch.full_like(y, 1)),
            (tg.full_like(x, 2.5, dtype="float32"), torch.full_like(y, 2.5, dtype=torch.float32)),
            (tg.ones_like(x, dtype="float32"), torch.ones_like(y, dtype=torch.float32)),
            (tg.zeros_like(x), torch.zeros_like(y)),
            (tg.eye(3, dtype=name), torch.eye(3, dtype=y.dtype)),
            (tg.eye(2, 4, dtype=name), torch.eye(2, 4, dtype=y.dtype)),
            (tg.eye(0, 2, dtype=name), torch.eye(0, 2, dtype=y.dtype)),
        ):
            assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
            assert ours.shape == tuple(theirs.shape) and ours.tolist() == theirs.tolist()


def test_gradients_may_be_asked_for() -> None:
    x = tg.tensor([1.0], requires_grad=True) * 2.0
    assert not x.new_ones(2).requires_grad and not tg.full_like(x, 1.0).requires_grad
    for y in (x.new_zeros(2, requires_grad=True), tg.eye(2, requires_grad=True), tg.full_like(x, 3.0, None, True)):
        assert y.requires_grad and y.is_leaf
    with pytest.raises(TypeError, match="requires_grad: expected a floating dtype, got int64"):
        tg.arange(3).new_full((1,), 2, requires_grad=True)


def test_devices(cupy: Any) -> None:
    x = tg.tensor([1.0], device="cuda")
    for y in (x.new_zeros(2), x.new_ones(2), x.new_full(2, 1.0), tg.full_like(x, 1.0), tg.eye(2, device="cuda")):
        assert y.device == x.device and y.dtype == np.float32
    for y in (x.new_zeros(2, device="cpu"), tg.ones_like(x, device="cpu")):
        assert y.device == "cpu"


def test_errors() -> None:
    with pytest.raises(ValueError, match="eye: expected sizes from 0 up, got 2 and -1"):
        tg.eye(2, -1)
    with pytest.raises(TypeError, match=r"eye: n: expected a whole number, got 1\.5"):
        tg.eye(1.5)
    with pytest.raises(ValueError, match="new_zeros: device: expected 'cpu', 'cuda' or 'cuda:N', got 'tpu'"):
        tg.ones(1).new_zeros(2, device="tpu")
    with pytest.raises(TypeError, match="dtype: expected one of float32"):
        tg.ones(1).new_full(2, 1.0, "complex64")
    with pytest.raises(TypeError, match="shape: expected whole numbers, got"):
        tg.ones(1).new_ones("2")
