"""Random layers, products and models give the same bits on any number of threads, on every vector unit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cases import generators, log_uniform, one_of

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells import BUILT_IN
from tinygrad_rnn.kernels.cpu import dense
from tinygrad_rnn.kernels.cpu.runtime import threads
from tinygrad_rnn.kernels.cpu.runtime.host import VARIABLE, vector_unit

THREADS = (1, 2, 3, 5)
COMPILED = ("rnn_tanh", "lstm", "gru", "gru_reset_before")
"""The cells of a long run. A quick run takes one of them, in float32: each takes seconds to compile."""

share = pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.long)], ids=["quick", "long"])


@pytest.fixture(params=["128", "256", "512"])
def unit(request, monkeypatch):
    """Run a test on a vector unit of this width."""
    if int(request.param) > vector_unit().bits:
        pytest.skip(f"this processor has no {request.param}-bit vectors")
    monkeypatch.setenv(VARIABLE, request.param)
    vector_unit.cache_clear()
    request.addfinalizer(vector_unit.cache_clear)
    return request.param


def same_for_all_threads(label: str, compute: Any) -> None:
    """Check that `compute` returns the same arrays, by name, on several threads as on one."""
    found = {}
    for count in THREADS:
        threads.set_num_threads(count)
        found[count] = compute()
    for count in THREADS[1:]:
        assert found[count].keys() == found[1].keys()
        for name, array in found[1].items():
            other = found[count][name]
            differ = np.count_nonzero(array.view(f"u{array.itemsize}") != other.view(f"u{array.itemsize}"))
            assert not differ, f"{label}: {name}: {differ} of {array.size} numbers differ on {count} threads"


def arrays_of(model: nn.Module, results: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the results and the gradients of a model's parameters as arrays."""
    found = {name: np.ascontiguousarray(t.detach().numpy()) for name, t in results.items()}
    grads = {name: p.grad for name, p in model.named_parameters()}
    return found | {f"d {name}": np.ascontiguousarray(g.numpy()) for name, g in grads.items() if g is not None}


def random_layer(rng: np.random.Generator, cells: Sequence[str], dtypes: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """Draw a layer's options, and a function that runs it forward and backward from new leaves."""
    N, T, I, H = (log_uniform(rng, 1, high) for high in (32, 150, 1200, 320))
    if rng.random() < 0.4:
        N = int(rng.integers(1, 4))  # with few rows a kernel computes several panels at once
    if N * T * H * (I + H) > 4e8:
        T = max(1, int(4e8 / (N * H * (I + H))))
    flag = lambda p: bool(rng.random() < p)
    cell = str(rng.choice(cells))
    options = {
        "cell": cell, "input_size": I, "hidden_size": H, "num_layers": 1 + flag(0.2), "bias": flag(0.8),
        "bidirectional": flag(0.3), "learn_initial_state": flag(0.2), "return_states": flag(0.2),
        "recompute_every": int(rng.integers(1, T + 2)) if flag(0.3) else 0,
        "proj_size": int(rng.integers(1, H)) if H > 1 and cell in ("lstm", "rnn_tanh") and flag(0.3) else 0,
        "dtype": str(rng.choice(dtypes)),
    }  # fmt: skip
    tg.manual_seed(int(rng.integers(2**31)))
    layer = nn.Recurrent(**options)
    states = len(BUILT_IN[cell].states)
    draw = lambda *shape: rng.standard_normal(shape).astype(options["dtype"])
    x, runs = draw(T, N, I), len(layer.suffixes)
    starts = [draw(runs, N, layer.state_size(i)) for i in range(states)] if flag(0.5) else None
    lengths = rng.integers(0, T + 1, N) if flag(0.4) else None

    def compute() -> dict[str, np.ndarray]:
        layer.zero_grad()
        leaves = {"x": tg.tensor(x, requires_grad=True)}
        state = None
        if starts is not None:
            leaves |= {f"start {i}": tg.tensor(s, requires_grad=True) for i, s in enumerate(starts)}
            state = tuple(leaves[f"start {i}"] for i in range(states))
        output, last, *every = layer(leaves["x"], state, lengths)
        last = last if isinstance(last, tuple) else (last,)
        results = {"output": output} | {f"last {i}": s for i, s in enumerate(last)}
        results |= {f"every {i}": s for i, s in enumerate(every[0])} if every else {}
        total = sum((tg.sin(r) * (i + 1)).sum() for i, r in enumerate(results.values()))
        total.backward()
        results |= {f"d {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        with tg.no_grad():
            output, _ = layer(leaves["x"], state, lengths)[:2]
        return arrays_of(layer, results | {"inference": output})

    return options | {"T": T, "N": N, "lengths": lengths is not None, "starts": starts is not None}, compute


@share
def test_random_layers(unit, quick, every_size_is_worth_threads):
    cells = [one_of(COMPILED)] if quick else COMPILED
    dtypes = ("float32",) if quick else ("float32",) * 3 + ("float64",)
    for label, rng in generators(4 if quick else 24):
        options, compute = random_layer(rng, cells, dtypes)
        same_for_all_threads(f"{label}, {unit} bits: {options}", compute)


@share
def test_random_products(unit, quick, every_size_is_worth_threads):
    for label, rng in generators(16 if quick else 120):
        M, K, N = (log_uniform(rng, 1, high) for high in (600, 4096, 600))
        if rng.random() < 0.5:
            M = int(rng.integers(1, 5))
        dtype = "float64" if rng.random() < 0.25 else "float32"
        x, y, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N), (N,)))
        g = rng.standard_normal((M, N)).astype(dtype)

        def compute(x=x, y=y, bias=bias, g=g):
            product, sums = dense.matmul_and_sums(g, x)
            turned = dense.matmul(np.asfortranarray(x), np.asfortranarray(y))
            return {"product": dense.matmul(x, y, bias), "turned": turned, "gradient": product, "sums": sums}

        same_for_all_threads(f"{label}, {unit} bits: {M} x {K} x {N} {dtype}", compute)
        exact = x.astype("float64") @ y + bias
        limit = 1e-12 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(compute()["product"], exact, limit, limit * np.sqrt(K), err_msg=label)


class Reader(nn.Module):
    """A language model with every kind of layer that its training step has kernels for."""

    def __init__(self, vocabulary: int, width: int, hidden: int, layers: int, outputs: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.recurrent = nn.LSTM(width, hidden, layers)
        self.readout = nn.Linear(hidden, outputs)

    def forward(self, ids: Any, state: Any = None) -> Any:
        output, state = self.recurrent(self.embedding(ids), state)
        return self.readout(output), state


@pytest.mark.long
def test_random_models(unit, every_size_is_worth_threads):
    for label, rng in generators(8):
        V, W, H, T, N = (log_uniform(rng, 2, high) for high in (300, 200, 200, 60, 20))
        if rng.random() < 0.4:
            N = 1
        outputs = V if rng.random() < 0.7 else 1
        tg.manual_seed(int(rng.integers(2**31)))
        start = Reader(V, W, H, int(rng.integers(1, 3)), outputs)
        ids = rng.integers(0, V, (3, T, N))

        def compute(start=start, ids=ids, outputs=outputs):
            model = copy.deepcopy(start)
            optimiser, state, losses = tg.optim.Adam(model.parameters(), 0.01), None, []
            for chunk in ids:
                model.zero_grad()
                logits, state = model(tg.tensor(chunk), state)
                target = tg.tensor(chunk if outputs > 1 else chunk * 0)
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
                loss = loss + (logits * logits).mean()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimiser.step()
                state = tuple(s.detach() for s in state)
                losses.append(loss.detach().reshape(1))
            results = dict(model.named_parameters())
            return arrays_of(model, results | {"losses": tg.concat(losses)})

        same_for_all_threads(f"{label}, {unit} bits: {V, W, H, T, N, outputs}", compute)
