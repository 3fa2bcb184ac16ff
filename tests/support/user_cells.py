"""Cells as a user of the library would write them, for the tests; three of them come from the benchmarks."""

from __future__ import annotations

import tinygrad_rnn as tg
from tinygrad_rnn import sigmoid, tanh, where
from tinygrad_rnn.bench.cells import ind_rnn, minimal_gated, slstm
from tinygrad_rnn.cells import cell


@cell(gates="ifgo", states="hc", inputs="keep_h keep_c")
def zoneout_lstm(a, s, e):
    """Krueger et al., Zoneout (2017): a unit keeps its state where its mask is 1."""
    c = sigmoid(a.f) * s.c + sigmoid(a.i) * tanh(a.g)
    h = sigmoid(a.o) * tanh(c)
    return e.keep_h * s.h + (1 - e.keep_h) * h, e.keep_c * s.c + (1 - e.keep_c) * c


@cell(gates="ifgod", states="hc", inputs=["lower"], params=["wc", "wl"])
def depth_gated_lstm(a, s, p, e):
    """Yao et al., Depth-gated LSTM (2015), eq. 12-14: d lets the lower layer's cell state, an input per step, in."""
    i, f, g, o = sigmoid(a.i), sigmoid(a.f), tanh(a.g), sigmoid(a.o)
    d = sigmoid(a.d.x + p.wc * s.c + p.wl * e.lower)
    c = d * e.lower + f * s.c + i * g
    return o * tanh(c), c


@cell(gates="ifgo", states="hc", inputs="m")
def recurrent_dropout_lstm(a, s, e):
    """Gal and Ghahramani, A theoretically grounded application of dropout (2016): one mask on h for all steps."""
    h = e.m * s.h
    i, f = sigmoid(a.i.x + a.i.recurrent(h)), sigmoid(a.f.x + a.f.recurrent(h))
    g, o = tanh(a.g.x + a.g.recurrent(h)), sigmoid(a.o.x + a.o.recurrent(h))
    c = f * s.c + i * g
    return o * tanh(c), c


@cell(gates="h", inputs=["tick"])
def clockwork(a, s, e):
    """After Koutnik et al., A clockwork RNN (2014): a unit moves only in the steps at which its clock ticks."""
    return where(e.tick > 0, tanh(a.h), s.h)


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
        minimal_gated, ind_rnn, zoneout_lstm, depth_gated_lstm, recurrent_dropout_lstm, slstm, clockwork, spelled_out,
        passing, several_products, flat_state,
    )
}  # fmt: skip
