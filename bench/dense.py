"""Dense products against NumPy and PyTorch: C = A B, and its training step with both gradients.

NumPy's training step consists of the three products. Its BLAS chooses its own number of threads, the number of cores
unless OPENBLAS_NUM_THREADS is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .case import OURS, Build, Case, Run

# M, K, N: squares, the input projection of a layer, its weights' gradient, and an output layer.
SHAPES = [(64, 64, 64), (256, 256, 256), (1024, 1024, 1024), (1600, 256, 1024), (1024, 1600, 256), (800, 128, 10000)]


def _arrays(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    m, k, n = shape
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(size, np.float32) for size in ((m, k), (k, n), (m, n)))  # type: ignore[return-value]


def _on_tensors(tensors: Iterable[Any], task: str, no_grad: Callable[[], Any]) -> Run:
    """Return the Run of this library or PyTorch. no_grad: the context manager that turns recording off."""
    a, b, u = tensors

    def step() -> list[Any]:
        a.grad = b.grad = None
        c = a @ b
        c.backward(u)
        return [c.detach(), a.grad, b.grad]

    def product() -> list[Any]:
        with no_grad():
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


def case(shape: tuple[int, int, int], task: str) -> Case:
    """Return the case of a product."""
    m, k, n = shape
    contenders: dict[str, Build] = {
        OURS: lambda _: ours(shape, task),
        "torch": lambda _: with_torch(shape, task),
        "numpy": lambda _: with_numpy(shape, task),
    }
    flops, moved = 2.0 * m * k * n, 4.0 * (m * k + k * n + m * n)
    if task == "train":
        flops, moved = 3 * flops, 2 * moved
    return Case("dense", "product", task, {"M": m, "K": k, "N": n}, contenders, flops, moved)


def cases() -> list[Case]:
    return [case(shape, task) for shape in SHAPES for task in ("infer", "train")]
