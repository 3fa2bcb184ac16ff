"""Recurrent layers: a grid of shapes, then stacked and bidirectional layers, unequal lengths, and a single step.

A training step is a forward, and a backward of the output's product with u; it returns the output and all gradients.
Inference returns the output, and with `state` the final states.

PyTorch runs its own layers, inference under `inference_mode`; it packs and pads sequences of unequal length within the
step, as its users do. `exchange` and `scan` describe the other peers' settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import nn

from . import exchange, scan
from .case import KINDS, OURS, Build, Case, Run
from .problem import Problem

GRID = [
    (25, 1, 64, 64), (50, 1, 128, 128), (100, 16, 64, 64), (50, 32, 128, 128), (50, 32, 256, 256), (100, 64, 256, 256),
    (50, 64, 512, 512), (35, 20, 650, 650), (100, 1, 512, 512), (25, 128, 1024, 1024), (40, 10, 39, 100),
    (30, 7, 13, 50),
]  # fmt: skip
QUICK = [GRID[i] for i in (0, 2, 3, 4, 10)]
BASE_SHAPES = [(100, 16, 64, 64), (50, 32, 256, 256)]
STREAMED = [64, 256, 512]


def training_step(layer: Any, x: Any, u: Any, call: Callable[[Any], Any]) -> Run:
    """Return the Run of a training step of this library or of PyTorch, which have the same names."""

    def step() -> list[Any]:
        layer.zero_grad()
        x.grad = None
        output = call(x)
        output.backward(u)
        return [output.detach(), x.grad, *(p.grad for p in layer.parameters())]

    return step


def _flat(output: Any, state: Any) -> list[Any]:
    return [output, *(state if isinstance(state, tuple) else (state,))]


def _our_layer(p: Problem, **options: Any) -> Any:
    layer = getattr(nn, p.kind)(p.I, p.H, p.layers, bidirectional=p.bidirectional, **options)
    layer.load_state_dict(p.weights())
    return layer


def _their_layer(p: Problem) -> Any:
    import torch

    layer = getattr(torch.nn, p.kind)(p.I, p.H, p.layers, bidirectional=p.bidirectional)
    layer.load_state_dict({name: torch.from_numpy(a) for name, a in p.weights().items()})
    return layer


def our_training(p: Problem, **options: Any) -> Run:
    layer, (x, u) = _our_layer(p, **options), p.inputs()
    lengths = p.steps() if p.lengths else None
    return training_step(layer, tg.tensor(x, requires_grad=True), tg.tensor(u), lambda x: layer(x, lengths=lengths)[0])


def our_inference(p: Problem) -> Run:
    layer, x, lengths = _our_layer(p), tg.tensor(p.inputs()[0]), p.steps() if p.lengths else None
    states = [tg.tensor(s) for s in p.states()]
    state: Any = None if not p.state else tuple(states) if len(states) > 1 else states[0]

    def run() -> list[Any]:
        with tg.no_grad():
            output, last = layer(x, state, lengths)
        return _flat(output, last) if p.state else [output]

    return run


def _torch_call(p: Problem, layer: Any) -> Callable[..., Any]:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    if not p.lengths:
        return lambda x, state=None: layer(x, state)
    lengths = torch.from_numpy(p.steps())

    def call(x: Any, state: Any = None) -> Any:
        output, last = layer(pack_padded_sequence(x, lengths, enforce_sorted=False), state)
        return pad_packed_sequence(output, total_length=p.T)[0], last

    return call


def torch_training(p: Problem) -> Run:
    import torch

    layer, (x, u) = _their_layer(p), map(torch.from_numpy, p.inputs())
    call = _torch_call(p, layer)
    return training_step(layer, x.requires_grad_(), u, lambda x: call(x)[0])


def torch_inference(p: Problem) -> Run:
    import torch

    layer, x = _their_layer(p).eval(), torch.from_numpy(p.inputs()[0])
    call, states = _torch_call(p, layer), [torch.from_numpy(s) for s in p.states()]
    state: Any = None if not p.state else tuple(states) if len(states) > 1 else states[0]

    def run() -> list[Any]:
        with torch.inference_mode():
            output, last = call(x, state)
        return _flat(output, last) if p.state else [output]

    return run


def contenders(p: Problem, task: str) -> dict[str, Build]:
    """Return all contenders for a task."""
    if task == "train":
        found: dict[str, Build] = {OURS: lambda _: our_training(p), "torch": lambda _: torch_training(p)}
        return found if p.lengths else found | {"jax": lambda _: scan.training(p)}
    found = {
        OURS: lambda _: our_inference(p),
        "torch": lambda _: torch_inference(p),
        "onnxruntime": lambda threads: exchange.onnxruntime(p, threads),
        "openvino": lambda threads: exchange.openvino(p, threads),
    }
    return found if p.lengths else found | {"jax": lambda _: scan.inference(p)}


def case(group: str, p: Problem, task: str, quick: bool = False) -> Case:
    """Return the case of a problem."""
    shape = {"T": p.T, "N": p.N, "I": p.I, "H": p.H} | ({"layers": p.layers} if p.layers > 1 else {})
    return Case(group, p.kind, task, shape, contenders(p, task), p.flops(task), p.bytes(task), quick=quick)


def grid() -> list[Case]:
    """Return the cases of one layer in one direction, at every shape."""
    problems = [(Problem(kind, *shape), shape in QUICK) for kind in KINDS for shape in GRID]
    return [case("layers", p, task, quick) for p, quick in problems for task in ("train", "infer")]


def _variants(group: str, **options: Any) -> list[Case]:
    problems = [Problem(kind, *shape, **options) for kind in KINDS for shape in BASE_SHAPES]
    return [case(group, p, task) for p in problems for task in ("train", "infer")]


def stacked() -> list[Case]:
    """Return the cases of two layers."""
    return _variants("stacked", layers=2)


def bidirectional() -> list[Case]:
    """Return the cases of bidirectional layers."""
    return _variants("bidirectional", bidirectional=True)


def unequal() -> list[Case]:
    """Return the cases of sequences with lengths from about T / 4 to T."""
    return _variants("lengths", lengths=True)


def streaming() -> list[Case]:
    """Return the cases of one inference step of one sequence, from a state to the next."""
    return [case("step", Problem(kind, 1, 1, H, H, state=True), "infer", True) for kind in KINDS for H in STREAMED]
