"""The tape's cost per primitive: chains of primitives on 4x4 float32, forward and backward, beside its peers.

On arrays this small, arithmetic is next to nothing: what is timed is what each library does around it. Gradients are
taken of both a and b, where the chain has them. All run on one thread, the best setting here. HIPS autograd has its
function of the gradients made once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .record import OURS, Build, Record, Run

LENGTH = 20
Link = Callable[[Any, Any, Any, Any], Any]  # from a library's functions, x, a and b, the next x

# Each with the number of primitives of a link.
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
    """The sum of x after so many links; the first adds a and b, so that every chain has gradients."""
    x = x + a * b
    for _ in range(LENGTH):
        x = link(m, x, a, b)
    return x.sum()


def _on_tensors(m: Any, link: Link, tensor: Callable[..., Any]) -> Run:
    """For this library and for PyTorch."""
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


def record(name: str) -> Record:
    """A chain as a record."""
    each, link = LINKS[name]
    contenders: dict[str, Build] = {
        OURS: lambda _: ours(link),
        "torch": lambda _: with_torch(link),
        "autograd": lambda _: with_autograd(link),
    }
    return Record("tape", name, "train", {"primitives": each * LENGTH}, contenders, threads=1, quick=True)


def records() -> list[Record]:
    return [record(name) for name in LINKS]
