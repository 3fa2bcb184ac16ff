"""The whole training step of a language model, against PyTorch.

    ids -> embedding of width H -> 1 or 2 layers -> output layer -> cross-entropy -> backward
        -> gradients clipped to norm 1 -> Adam at 1e-3

Both libraries start with the same weights and must have equal losses over the first steps. Every step has the same
text of random ids. PyTorch's Adam has `fused=True`, its fastest form on a CPU; this library has one form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg

from .case import KINDS, OURS, Case, Run
from .problem import GATES, Problem

SIZES = [(1, 25, 100, 1), (50, 50, 128, 2), (32, 64, 256, 2), (64, 100, 512, 1)]  # N, T, H, layers
VOCABULARIES = [96, 10_000]
STEPS = 4  # the number of steps whose losses are compared


def _problem(kind: str, sizes: tuple[int, int, int, int]) -> Problem:
    N, T, H, layers = sizes
    return Problem(kind, T, N, H, H, layers)


def _arrays(p: Problem, vocabulary: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ids and targets [T, N], the embedding [V, H] and the output layer's weight [V, H]."""
    rng = np.random.default_rng(4)
    ids, targets = rng.integers(0, vocabulary, (2, p.T, p.N))
    embedding, readout = rng.standard_normal((2, vocabulary, p.H), np.float32)
    return ids, targets, embedding, readout / np.float32(p.H**0.5)


def _step(library: Any, optim: Any, p: Problem, vocabulary: int, tensor: Any, **options: Any) -> Run:
    """Return the Run of this library or of PyTorch, which have the same names."""
    nn = library.nn
    ids, targets, table, readout = (tensor(a) for a in _arrays(p, vocabulary))
    embedding, output = nn.Embedding(vocabulary, p.H), nn.Linear(p.H, vocabulary)
    layer = getattr(nn, p.kind)(p.H, p.H, p.layers)
    embedding.load_state_dict({"weight": table})
    output.load_state_dict({"weight": readout, "bias": readout[:, 0] * 0})
    layer.load_state_dict({name: tensor(a) for name, a in p.weights().items()})
    parameters = [*embedding.parameters(), *layer.parameters(), *output.parameters()]
    optimizer = optim.Adam(parameters, lr=1e-3, **options)

    def run() -> list[Any]:
        optimizer.zero_grad()
        logits = output(layer(embedding(ids))[0])
        loss = nn.functional.cross_entropy(logits.reshape(-1, vocabulary), targets.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return [loss.item()]

    return run


def ours(p: Problem, vocabulary: int) -> Run:
    return _step(tg, tg.optim, p, vocabulary, tg.tensor)


def with_torch(p: Problem, vocabulary: int) -> Run:
    import torch

    return _step(torch, torch.optim, p, vocabulary, torch.from_numpy, fused=True)


def case(kind: str, sizes: tuple[int, int, int, int], vocabulary: int) -> Case:
    """Return the case of a model."""
    p = _problem(kind, sizes)
    columns, rows = 2 * p.H * p.layers, GATES[kind] * p.H
    flops = 6.0 * p.T * p.N * (rows * columns + p.H * vocabulary)
    weights = sum(a.size for a in p.weights().values()) + vocabulary * (2 * p.H + 1)
    contenders = {OURS: lambda _: ours(p, vocabulary), "torch": lambda _: with_torch(p, vocabulary)}
    shape = {"N": p.N, "T": p.T, "H": p.H, "layers": p.layers, "V": vocabulary}
    # 24 bytes a weight: a read and a write of it and of Adam's two averages.
    return Case("language_model", kind, "train", shape, contenders, flops, 24.0 * weights, calls=STEPS)


def cases() -> list[Case]:
    return [case(kind, sizes, v) for kind in KINDS for v in VOCABULARIES for sizes in SIZES]
