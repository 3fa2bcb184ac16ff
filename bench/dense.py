"""Dense products, beside NumPy's and PyTorch's: C = A B, and its training step with both gradients.

NumPy's training step is the three products that the gradients are; its BLAS sets its own number of threads, which is
that of the cores unless OPENBLAS_NUM_THREADS says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .record import OURS, Build, Record, Run

# M, K, N: squares, the input projection of a layer, its weights' gradient, and an output layer.
SHAPES = [(64, 64, 64), (256, 256, 256), (1024, 1024, 1024), (1600, 256, 1024), (1024, 1600, 256), (800, 128, 10000)]


def _arrays(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    m, k, n = shape
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(size, np.float32) for size in ((m, k), (k, n), (m, n)))  # type: ignore[return-value]


def _on_tensors(tensors: Iterable[Any], task: str, unrecorded: Callable[[], Any]) -> Run:
    """For this library and for PyTorch; unrecorded: the block in which nothing is recorded."""
    a, b, u = tensors

    def step() -> list[Any]:
        a.grad = b.grad = None
        c = a @ b
        c.backward(u)
        return [c.detach(), a.grad, b.grad]

    def product() -> list[Any]:
        with unrecorded():
            return [a @ b]

    if task == "infer":
        return product
    a.requires_grad_()
    b.requires_grad_()
    return step


def ours(shape: tuple[int, int, int], task: str) -> Run:
    return _on_tensors(map(tg.tensor, _arrays(shape)), task, tg.no_grad)


def with_torch(shape: tuple[int, int, int], task: str) -> Run:
    import torch

    return _on_tensors(map(torch.from_numpy, _arrays(shape)), task, torch.inference_mode)


def with_numpy(shape: tuple[int, int, int], task: str) -> Run:
    a, b, u = _arrays(shape)
    return (lambda: [a @ b, u @ b.T, a.T @ u]) if task == "train" else lambda: [a @ b]


def record(shape: tuple[int, int, int], task: str) -> Record:
    """A product as a record."""
    m, k, n = shape
    contenders: dict[str, Build] = {
        OURS: lambda _: ours(shape, task),
        "torch": lambda _: with_torch(shape, task),
        "numpy": lambda _: with_numpy(shape, task),
    }
    flops, moved = 2.0 * m * k * n, 4.0 * (m * k + k * n + m * n)
    if task == "train":
        flops, moved = 3 * flops, 2 * moved
    return Record("dense", "product", task, {"M": m, "K": k, "N": n}, contenders, flops, moved)


def records() -> list[Record]:
    return [record(shape, task) for shape in SHAPES for task in ("infer", "train")]
