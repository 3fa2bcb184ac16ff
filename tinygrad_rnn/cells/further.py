"""Further built-in cells: gated units, independent units, and cells with an input of their own per step."""

from __future__ import annotations

from typing import Any

from ..autograd.primitives.elementwise import relu, sigmoid, tanh, where
from .decorator import cell, register


@register
@cell(gates="fn")
def minimal_gated(a: Any, s: Any) -> Any:
    """One gate, f: h' = (1 - f) h + f n, where n = tanh(W x + U (f h)). Zhou, Wu, Zhang and Zhou, Minimal gated unit
    for recurrent neural networks (2016).
    """
    f = sigmoid(a.f)
    n = tanh(a.n.x + a.n.recurrent(f * s.h))
    return s.h + f * (n - s.h)


@register
@cell(gates="h", params="u")
def ind_rnn_relu(a: Any, s: Any, p: Any) -> Any:
    """h' = max(0, W x + b + u * h). Li et al., Independently recurrent neural network (2018), eq. 2, with ReLU.

    A unit sees only its own past: u is a vector, and there is no weight_hh. Stacked layers mix the units.
    """
    return relu(a.h.x + p.u * s.h)


@register
@cell(gates="h", params="u")
def ind_rnn_tanh(a: Any, s: Any, p: Any) -> Any:
    """h' = tanh(W x + b + u * h). Li et al., Independently recurrent neural network (2018), eq. 2, with tanh."""
    return tanh(a.h.x + p.u * s.h)


@register
@cell(gates="ifgo", states="hc", inputs="keep_h keep_c")
def zoneout_lstm(a: Any, s: Any, e: Any) -> Any:
    """An LSTM whose units keep their state where a mask is 1. Krueger et al., Zoneout (2017), section 3.

    h' = keep_h * h + (1 - keep_h) * o * tanh(f * c + i * g), c' = keep_c * c + (1 - keep_c) * (f * c + i * g). The
    inputs are masks of 0 and 1 per step in training, and the probability of a 1 in evaluation: `nn.ZoneoutLSTM` makes
    them.
    """
    c = sigmoid(a.f) * s.c + sigmoid(a.i) * tanh(a.g)
    h = sigmoid(a.o) * tanh(c)
    return e.keep_h * s.h + (1 - e.keep_h) * h, e.keep_c * s.c + (1 - e.keep_c) * c


@register
@cell(gates="ifgod", states="hc", params="i f o d below", inputs=["c_below"])
def depth_gated_lstm(a: Any, s: Any, p: Any, e: Any) -> Any:
    """A peephole LSTM whose gate d lets in the cell of the layer below. Yao et al., Depth-gated LSTM (2015).

    c' = d * c_below + f * c + i * g, where d = sigmoid(W_d x + b_d + p_d * c + p_below * c_below). The input c_below is
    the cell of the layer below in the same step. `nn.DepthGatedLSTM` stacks such layers.
    """
    i, f = sigmoid(a.i + p.i * s.c), sigmoid(a.f + p.f * s.c)
    d = sigmoid(a.d.x + p.d * s.c + p.below * e.c_below)
    c = d * e.c_below + f * s.c + i * tanh(a.g)
    return sigmoid(a.o + p.o * c) * tanh(c), c


@register
@cell(gates="h", inputs=["tick"])
def clockwork_rnn(a: Any, s: Any, e: Any) -> Any:
    """h' = tanh(W x + U h + b) where the input tick is above 0, elsewhere h' = h.

    Koutnik et al., A clockwork RNN (2014), section 3. `nn.ClockworkRNN` makes the ticks of its blocks, and
    masks U so that a block sees only itself and slower ones.
    """
    return where(e.tick > 0, tanh(a.h), s.h)
