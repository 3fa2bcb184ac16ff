"""Custom cells against the same equations as a loop in PyTorch: a training step of one layer.

The loop is the one that users of PyTorch write: one product of all inputs with W before it, and in each step one
recurrent product and the cell's pointwise operations. `torch.compile` compiles the whole unrolled loop, which takes
minutes, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import exp, maximum, nn, sigmoid, softplus, tanh
from tinygrad_rnn.cells import cell, minimal_gated

from .case import OURS, Build, Case, Run, Unavailable
from .layers import training_step

SHAPES = [(100, 16, 64, 64), (50, 32, 256, 256)]
COMPILED = ["peephole_lstm"]  # a minute or two each


@cell(gates="h", params="u")
def ind_rnn(a, s, p):  # type: ignore[no-untyped-def]
    """Li et al., Independently recurrent neural network (2018), eq. 1, with tanh."""
    return tanh(a.h.x + p.u * s.h)


@cell(gates="zifo", states="hcnm")
def slstm(a, s):  # type: ignore[no-untyped-def]
    """Beck et al., xLSTM (2024), eq. 8-17: exponential input gate, normaliser n, stabiliser m."""
    log_f = -softplus(-a.f)
    m = maximum(log_f + s.m, a.i)
    i, f = exp(a.i - m), exp(log_f + s.m - m)
    c = f * s.c + i * tanh(a.z)
    n = f * s.n + i
    return sigmoid(a.o) * (c / n), c, n, m


# The same cells in PyTorch: step(torch, w, x, state) -> state, where x is the step's part of W x + b_ih.


def torch_peephole(torch: Any, w: dict[str, Any], x: Any, state: Any) -> Any:
    h, c = state
    i, f, g, o = (x + torch.addmm(w["bias_hh"], h, w["weight_hh"].T)).chunk(4, 1)
    i, f = torch.sigmoid(i + w["p_i"] * c), torch.sigmoid(f + w["p_f"] * c)
    c = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + w["p_o"] * c) * torch.tanh(c), c


def torch_minimal_gated(torch: Any, w: dict[str, Any], x: Any, state: Any) -> Any:
    (h,) = state
    (x_f, x_n), (b_f, b_n), (u_f, u_n) = x.chunk(2, 1), w["bias_hh"].chunk(2), w["weight_hh"].chunk(2)
    f = torch.sigmoid(x_f + torch.addmm(b_f, h, u_f.T))
    n = torch.tanh(x_n + torch.addmm(b_n, f * h, u_n.T))
    return (h + f * (n - h),)


def torch_ind_rnn(torch: Any, w: dict[str, Any], x: Any, state: Any) -> Any:
    return (torch.tanh(x + w["p_u"] * state[0]),)


def torch_slstm(torch: Any, w: dict[str, Any], x: Any, state: Any) -> Any:
    h, c, n, m_before = state
    z, i, f, o = (x + torch.addmm(w["bias_hh"], h, w["weight_hh"].T)).chunk(4, 1)
    log_f = torch.nn.functional.logsigmoid(f)
    m = torch.maximum(log_f + m_before, i)
    i, f = torch.exp(i - m), torch.exp(log_f + m_before - m)
    c, n = f * c + i * torch.tanh(z), f * n + i
    return torch.sigmoid(o) * (c / n), c, n, m


CELLS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "peephole_lstm": ("peephole_lstm", torch_peephole),
    "minimal_gated": (minimal_gated, torch_minimal_gated),
    "ind_rnn": (ind_rnn, torch_ind_rnn),
    "slstm": (slstm, torch_slstm),
}


def _layer(name: str, shape: tuple[int, int, int, int]) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the layer, always with the same weights, x, and the output's cotangent."""
    T, N, I, H = shape
    rng, layer = np.random.default_rng(0), nn.Recurrent(CELLS[name][0], I, H)
    drawn = {n: (2 * rng.random(p.shape, np.float32) - 1) / H**0.5 for n, p in layer.named_parameters()}
    layer.load_state_dict({n: array.astype(np.float32) for n, array in drawn.items()})
    return layer, rng.standard_normal((T, N, I), np.float32), rng.standard_normal((T, N, H), np.float32)


def ours(name: str, shape: tuple[int, int, int, int]) -> Run:
    layer, x, u = _layer(name, shape)
    return training_step(layer, tg.tensor(x, requires_grad=True), tg.tensor(u), lambda x: layer(x)[0])


def with_torch(name: str, shape: tuple[int, int, int, int], compiled: bool) -> Run:
    import torch

    layer, x, u = _layer(name, shape)
    theirs = {n.removesuffix("_l0"): torch.tensor(p.numpy(), requires_grad=True) for n, p in layer.named_parameters()}
    theirs_x, theirs_u = torch.from_numpy(x).requires_grad_(), torch.from_numpy(u)
    cell, states, (N, H) = CELLS[name][1], len(layer.step.states), u.shape[1:]

    def loop(x: Any) -> Any:
        projected = torch.nn.functional.linear(x, theirs["weight_ih"], theirs["bias_ih"])
        state, outputs = tuple(torch.zeros(N, H) for _ in range(states)), []
        for t in range(len(u)):
            state = cell(torch, theirs, projected[t], state)
            outputs.append(state[0])
        return torch.stack(outputs)

    run = torch.compile(loop) if compiled else loop

    def step() -> list[Any]:
        for p in (theirs_x, *theirs.values()):
            p.grad = None
        output = run(theirs_x)
        output.backward(theirs_u)
        return [output.detach(), theirs_x.grad, *(p.grad for p in theirs.values())]

    return step


def _compiled(name: str, shape: tuple[int, int, int, int]) -> Run:
    """Return the compiled loop. Raise Unavailable if `torch.compile` fails, for example without a C++ compiler."""
    try:
        run = with_torch(name, shape, True)
        run()
    except Exception as error:  # of many kinds, errors of the C++ compiler among them
        raise Unavailable(f"torch.compile: {type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
    return run


def case(name: str, shape: tuple[int, int, int, int]) -> Case:
    """Return the case of a cell."""
    T, N, I, H = shape
    contenders: dict[str, Build] = {
        OURS: lambda _: ours(name, shape),
        "torch loop": lambda _: with_torch(name, shape, False),
    }
    if name in COMPILED:
        contenders["torch.compile"] = lambda _: _compiled(name, shape)
    layer = _layer(name, (1, 1, I, H))[0]
    gates, products = len(layer.step.input_gates), len(layer.step.direct_gates) + len(layer.step.products)
    flops = 6.0 * T * N * H * (I * gates + H * products)
    moved = 8.0 * (sum(p.numel() for p in layer.parameters()) + T * N * (I + H))
    return Case("cells", name, "train", {"T": T, "N": N, "I": I, "H": H}, contenders, flops, moved)


def cases() -> list[Case]:
    return [case(name, shape) for name in CELLS for shape in SHAPES]
