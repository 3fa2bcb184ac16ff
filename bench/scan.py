"""Recurrent layers in JAX: `lax.scan` over the steps, after one product of all inputs with W, all under `jit`.

The weights are arguments of the compiled function, as they change in training. The first call compiles; it is the one
whose numbers are compared, and is not timed. The scan is unrolled by 4 in inference and not at all in training: of 1,
4 and 8 these were fastest. JAX's thread pool keeps its size through the process (`peers.prepare`).
"""

from __future__ import annotations

from typing import Any

from .case import Run
from .problem import GATES, Problem


def _layer(kind: str, w: dict[str, Any], x: Any, state: Any, reverse: bool, unroll: int) -> tuple[Any, Any]:
    """Return (outputs [T, N, H], last state) of one layer and direction."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    sigmoid = jax.nn.sigmoid

    def step(state: Any, a: Any) -> tuple[Any, Any]:
        h = state[0]
        q = jnp.split(h @ w["weight_hh"].T + w["bias_hh"], GATES[kind], 1)
        a = jnp.split(a, GATES[kind], 1)
        if kind == "LSTM":
            i, f, g, o = (a + q for a, q in zip(a, q))
            c = sigmoid(f) * state[1] + sigmoid(i) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(c)
            return (h, c), h
        if kind == "GRU":
            r, z = sigmoid(a[0] + q[0]), sigmoid(a[1] + q[1])
            n = jnp.tanh(a[2] + r * q[2])
            h = n + z * (h - n)
        else:
            h = jnp.tanh(a[0] + q[0])
        return (h,), h

    last, outputs = lax.scan(step, state, x @ w["weight_ih"].T + w["bias_ih"], reverse=reverse, unroll=unroll)
    return outputs, last


def _forward(p: Problem, weights: dict[str, Any], x: Any, states: Any, unroll: int = 1) -> list[Any]:
    """Return [output, *final states], from JAX's arrays."""
    from jax import numpy as jnp

    finals = []
    for k in range(p.layers):
        outputs = []
        for j in range(k * p.directions, (k + 1) * p.directions):
            suffix = p.suffixes[j]
            w = {name: weights[name + suffix] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            out, last = _layer(p.kind, w, x, tuple(s[j] for s in states), suffix.endswith("_reverse"), unroll)
            outputs.append(out)
            finals.append(last)
        x = jnp.concatenate(outputs, 2)
    return [x, *(jnp.stack(s) for s in zip(*finals))]


def _arrays(p: Problem) -> tuple[Any, Any, Any, Any]:
    from jax import numpy as jnp

    x, u = map(jnp.asarray, p.inputs())
    states = [jnp.asarray(s) if p.state else jnp.zeros_like(s) for s in p.states()]
    return x, u, {name: jnp.asarray(a) for name, a in p.weights().items()}, states


def training(p: Problem) -> Run:
    """Return a Run of `value_and_grad` of the output's product with u."""
    import jax

    x, u, weights, states = _arrays(p)

    def loss(x: Any, weights: Any) -> tuple[Any, Any]:
        output = _forward(p, weights, x, states)[0]
        return (output * u).sum(), output

    step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))

    def run() -> list[Any]:
        (_, output), (dx, dw) = jax.block_until_ready(step(x, weights))
        return [output, dx, *(dw[name] for name in weights)]

    return run


def inference(p: Problem) -> Run:
    """Return a Run of the forward alone."""
    import jax

    x, _, weights, states = _arrays(p)
    forward = jax.jit(lambda weights, x, states: _forward(p, weights, x, states, 4)[: None if p.state else 1])

    def run() -> list[Any]:
        return list(jax.block_until_ready(forward(weights, x, states)))

    return run
