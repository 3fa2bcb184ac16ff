"""The tape's cost per primitive, against peers: chains of primitives on 4x4 float32 matrices, forward and backward.

On arrays this small arithmetic takes almost no time, so the measured time is that of each library's own code. The
gradients are those of a and b. All run on one thread, the best setting here. HIPS autograd makes its gradient function
once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .case import OURS, Build, Case, Run

LENGTH = 20
Link = Callable[[Any, Any, Any, Any], Any]  # (a library's functions, x, a, b) -> the next x

# The number of primitives in a link, and the link.
LINKS: dict[str, tuple[int, Link]] = {
    "tanh(x @ b + a)": (3, lambda m, x, a, b: m.tanh(m.matmul(x, b) + a)),
    "x + a": (1, lambda m, x, a, b: x + a),
    "x * a": (1, lambda m, x, a, b: x * a),
    "x @ b": (1, lambda m, x, a, b: m.matmul(x, b)),
    "tanh(x)": (1, lambda m, x, a, b: m.tanh(x)),
    "x.T": (1, lambda m, x, a, b: x.T),
}


def _arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((4, 4)).astype(np.float32) * np.float32(0.5) for _ in range(3)]


def _chain(m: Any, link: Link, x: Any, a: Any, b: Any) -> Any:
    """Return the sum of x after LENGTH links; x starts with a * b added, so that every chain has both gradients."""
    x = x + a * b
    for _ in range(LENGTH):
        x = link(m, x, a, b)
    return x.sum()


def _on_tensors(m: Any, link: Link, tensor: Callable[..., Any]) -> Run:
    """Return the Run of this library or of PyTorch."""
    x, a, b = (tensor(array) for array in _arrays())
    a.requires_grad, b.requires_grad = True, True

    def run() -> list[Any]:
        a.grad = b.grad = None
        _chain(m, link, x, a, b).backward()
        return [a.grad, b.grad]

    return run


def ours(link: Link) -> Run:
    return _on_tensors(tg, link, tg.tensor)


def with_torch(link: Link) -> Run:
    import torch

    return _on_tensors(torch, link, torch.tensor)


def with_autograd(link: Link) -> Run:
    import autograd
    from autograd import numpy as anp

    x, a, b = _arrays()
    gradients = autograd.grad(lambda a, b: _chain(anp, link, x, a, b), (0, 1))
    return lambda: list(gradients(a, b))


def case(name: str) -> Case:
    """Return the case of a chain."""
    each, link = LINKS[name]
    contenders: dict[str, Build] = {
        OURS: lambda _: ours(link),
        "torch": lambda _: with_torch(link),
        "autograd": lambda _: with_autograd(link),
    }
    return Case("tape", name, "train", {"primitives": each * LENGTH}, contenders, threads=1, quick=True)


def cases() -> list[Case]:
    return [case(name) for name in LINKS]
