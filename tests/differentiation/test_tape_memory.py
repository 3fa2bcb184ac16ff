"""Deep graphs do not recurse, and the backward pass frees memory as it goes."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
import weakref
from typing import Any

import numpy as np
from helpers import leaf

import tinygrad_rnn as tg


def test_backward_of_a_deep_chain_does_not_recurse() -> None:
    x = leaf([1.0])
    y = x
    for _ in range(100_000):
        y = y + 1
    y.sum().backward()
    assert x.grad.tolist() == [1.0]


def test_a_deep_graph_can_be_dropped() -> None:
    program = "import tinygrad_rnn as tg\nx = y = tg.ones(1, requires_grad=True)\n"
    program += "for _ in range(100_000): y = y * 1.0\ndel y\nz = x\nfor _ in range(50_000): z = z.split(1)[0]\ndel z"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_backward_frees_as_it_goes() -> None:
    """Beyond the 200 arrays of 80 kB that the forward saved, the backward pass never holds more than a few."""
    x = leaf(np.zeros(10_000))
    y = x
    for _ in range(200):
        y = y.exp() - 1.0
    loss = y.sum()
    del y
    gc.collect()
    tracemalloc.start()
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 80_000, f"{peak} bytes more at the peak of the walk"

    kept: list[Any] = []
    alive_at_the_leaf: list[int] = []
    y = x
    for _ in range(50):
        y = y.exp() - 1.0
        kept += [
            weakref.ref(node.saved[0].base if node.saved[0].base is not None else node.saved[0])
            for node in [y.node.parents[0]]
        ]
    x.register_hook(lambda g: alive_at_the_leaf.append(sum(r() is not None for r in kept)))
    loss = y.sum()
    del y
    loss.backward()
    assert alive_at_the_leaf[0] <= 2


def test_sums_save_no_arrays() -> None:
    x = leaf(np.ones(5))
    for y in (x + 1, x - x, -x, x.sum(), x.reshape(1, 5), x[1:], tg.pad(x, (1, 1)), tg.concat([x, x]), x.expand(2, 5)):
        assert not any(isinstance(s, np.ndarray) for s in y.node.saved), y.node.name
