"""The variants of the LSTM that Greff et al. compare: LSTM: A search space odyssey (2017).

The paper changes its vanilla LSTM, here `peephole_lstm`, in one point at a time. NP, without peepholes, is `lstm`. The
other variants stand below, under the paper's short names.
"""

from __future__ import annotations

from typing import Any

from ..autograd.primitives.elementwise import sigmoid, tanh
from .decorator import cell, register


@register
@cell(gates="fgo", states="hc", params="fo")
def nig_lstm(a: Any, s: Any, p: Any) -> Any:
    """No input gate, i = 1: c' = f * c + tanh(a_g), with peepholes. Greff et al. (2017), variant NIG."""
    c = sigmoid(a.f + p.f * s.c) * s.c + tanh(a.g)
    return sigmoid(a.o + p.o * c) * tanh(c), c


@register
@cell(gates="igo", states="hc", params="io")
def nfg_lstm(a: Any, s: Any, p: Any) -> Any:
    """No forget gate, f = 1: c' = c + i * tanh(a_g), with peepholes. Greff et al. (2017), variant NFG."""
    c = s.c + sigmoid(a.i + p.i * s.c) * tanh(a.g)
    return sigmoid(a.o + p.o * c) * tanh(c), c


@register
@cell(gates="ifg", states="hc", params="if")
def nog_lstm(a: Any, s: Any, p: Any) -> Any:
    """No output gate, o = 1: h' = tanh(c'), with peepholes. Greff et al. (2017), variant NOG."""
    c = sigmoid(a.f + p.f * s.c) * s.c + sigmoid(a.i + p.i * s.c) * tanh(a.g)
    return tanh(c), c


@register
@cell(gates="ifgo", states="hc", params="ifo")
def niaf_lstm(a: Any, s: Any, p: Any) -> Any:
    """No input activation function: c' = f * c + i * a_g, with peepholes. Greff et al. (2017), variant NIAF."""
    c = sigmoid(a.f + p.f * s.c) * s.c + sigmoid(a.i + p.i * s.c) * a.g
    return sigmoid(a.o + p.o * c) * tanh(c), c


@register
@cell(gates="ifgo", states="hc", params="ifo")
def noaf_lstm(a: Any, s: Any, p: Any) -> Any:
    """No output activation function: h' = o * c', with peepholes. Greff et al. (2017), variant NOAF."""
    c = sigmoid(a.f + p.f * s.c) * s.c + sigmoid(a.i + p.i * s.c) * tanh(a.g)
    return sigmoid(a.o + p.o * c) * c, c


@register
@cell(gates="igo", states="hc", params="io")
def cifg_peephole_lstm(a: Any, s: Any, p: Any) -> Any:
    """Coupled input and forget gates, f = 1 - i, with peepholes. Greff et al. (2017), variant CIFG."""
    i = sigmoid(a.i + p.i * s.c)
    c = s.c + i * (tanh(a.g) - s.c)
    return sigmoid(a.o + p.o * c) * tanh(c), c


_BETWEEN = [f"{seen}2{by}" for by in "ifo" for seen in "ifo"]
"""f2i: the recurrent weights through which the gate i sees the previous value of f."""


@register
@cell(gates=[*"ifgo", *_BETWEEN], states="hcifo", params="ifo")
def fgr_lstm(a: Any, s: Any, p: Any) -> Any:
    """Full gate recurrence: i, f and o also see all three gates of the previous step. Greff et al. (2017), variant FGR.

    i' = sigmoid(a_i + p_i * c + R_i2i i + R_f2i f + R_o2i o); f' and o' alike, o' with c' in place of c. The gates are
    states, zeros at first. Their nine square matrices R stand in weight_hh below those of i, f, g and o, each with its
    own part of bias_hh; weight_ih has no rows for them.
    """
    i = sigmoid(a.i + p.i * s.c + a.i2i.recurrent(s.i) + a.f2i.recurrent(s.f) + a.o2i.recurrent(s.o))
    f = sigmoid(a.f + p.f * s.c + a.i2f.recurrent(s.i) + a.f2f.recurrent(s.f) + a.o2f.recurrent(s.o))
    c = f * s.c + i * tanh(a.g)
    o = sigmoid(a.o + p.o * c + a.i2o.recurrent(s.i) + a.f2o.recurrent(s.f) + a.o2o.recurrent(s.o))
    return o * tanh(c), c, i, f, o
