"""Cells as a user of the library would write them, for the tests; two of them come from the benchmarks.

Four of the built-in cells are as unusual, and stand here as well.
"""

from __future__ import annotations

import tinygrad_rnn as tg
from tinygrad_rnn import sigmoid, tanh, where
from tinygrad_rnn.bench.cells import ind_rnn, slstm
from tinygrad_rnn.cells import cell, clockwork_rnn, depth_gated_lstm, minimal_gated, zoneout_lstm


@cell(gates="ifgo", states="hc", inputs="m")
def recurrent_dropout_lstm(a, s, e):
    """Gal and Ghahramani, A theoretically grounded application of dropout (2016): one mask on h for all steps."""
    h = e.m * s.h
    i, f = sigmoid(a.i.x + a.i.recurrent(h)), sigmoid(a.f.x + a.f.recurrent(h))
    g, o = tanh(a.g.x + a.g.recurrent(h)), sigmoid(a.o.x + a.o.recurrent(h))
    c = f * s.c + i * g
    return o * tanh(c), c


@cell(gates=["reset", "update", "candidate"], states=["hidden"], params=["leak"])
def spelled_out(a, s, p):
    """Names of several letters; clip, minimum, abs, sqrt and division in one cell."""
    reset = tg.clip(0.2 * a.reset + 0.5, 0.0, 1.0)
    update = sigmoid(a.update) * tg.minimum(1.2, tg.sqrt(0.5 + p.leak * p.leak))
    candidate = a.candidate.x + reset * a.candidate.h
    return s.hidden + update * (candidate / (1.0 + tg.abs(candidate)) - s.hidden)


@cell(gates="n", states="hab")
def passing(a, s):
    """A state that passes through (a), and one value returned for two states (h and b)."""
    h = tanh(a.n + 0.5 * s.a - 0.25 * s.b)
    return h, s.a, h


@cell(gates="nq", params="w", states="hc")
def several_products(a, s, p):
    """Further products: one asked for twice, of a parameter, of values without a gradient, and of another product."""
    again = a.n.recurrent(s.c) * tanh(a.n.recurrent(s.c))
    inner = tanh(a.q.recurrent(tanh(a.n.recurrent(s.h))))
    stopped = a.q.recurrent(tg.sign(s.h)) + a.q.recurrent(s.c.detach())
    h = tanh(a.n + 0.1 * again + inner * a.q.x + 0.1 * stopped + 0.2 * a.q.recurrent(p.w))
    return h, 0.5 * s.c + h


@cell(gates="n", states="hc")
def flat_state(a, s):
    """No gradient passes through the state c: it is one of two numbers."""
    return tanh(a.n + s.c), where(a.n > 0.1, 1.0, -1.0)


USER_CELLS = {
    c.name: c
    for c in (
        minimal_gated, ind_rnn, zoneout_lstm, depth_gated_lstm, recurrent_dropout_lstm, slstm, clockwork_rnn,
        spelled_out, passing, several_products, flat_state,
    )
}  # fmt: skip
