"""One run on the CPU and on a GPU, and the comparison of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from helpers import normal

import tinygrad_rnn as tg
from tinygrad_rnn.arrays.device import to_numpy


def on_both(run: Callable[[str], Any]) -> tuple[list[Any], list[Any]]:
    """Return the arrays that a run with one seed gives on the CPU and on a GPU; its tensors must be on that device."""
    found = []
    for name in ("cpu", "cuda"):
        tg.manual_seed(0)
        tensors = [t for t in _leaves(run(name)) if t is not None]
        assert all(t.device.startswith(name) for t in tensors if isinstance(t, tg.Tensor))
        found.append([to_numpy(t) for t in tensors])
    return found[0], found[1]


def _leaves(tree: Any) -> list[Any]:
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


def assert_equal(run: Callable[[str], Any], tolerance: float = 1e-10) -> None:
    wanted, found = on_both(run)
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        assert f.shape == w.shape and f.dtype == w.dtype
        np.testing.assert_allclose(f, w, tolerance, tolerance)


def derived(outputs: Any, leaves: Any) -> list[Any]:
    """Return outputs, gradients, and gradients of those gradients."""
    outs, leaves = [out for out in _leaves(outputs) if out is not None], list(leaves)
    seeds = [tg.tensor(normal(*out.shape).astype(out.dtype), device=out.device) for out in outs]
    first = tg.grad(outs, leaves, seeds, retain_graph=True, allow_unused=True)
    twice = tg.grad(outs, leaves, seeds, create_graph=True, allow_unused=True)
    squares = [(g * g).sum() for g in twice if g is not None and g.requires_grad]
    return [*outs, *first, *twice, *(tg.grad(squares, leaves, allow_unused=True) if squares else [])]
