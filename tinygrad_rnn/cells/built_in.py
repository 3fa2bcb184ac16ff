"""The built-in cells that most people use. Each is written as a user writes one: see `decorator.py`.

`lstm_variants.py` and `further.py` hold the others.
"""

from __future__ import annotations

from typing import Any

from ..autograd.primitives.elementwise import relu, sigmoid, tanh
from .decorator import BUILT_IN, cell, register


@register
@cell(gates="h")
def rnn_tanh(a: Any, s: Any) -> Any:
    """h' = tanh(W x + U h + b). Elman, Finding structure in time (1990)."""
    return tanh(a.h)


@register
@cell(gates="h")
def rnn_relu(a: Any, s: Any) -> Any:
    """h' = max(0, W x + U h + b). Le, Jaitly and Hinton, A simple way to initialize recurrent networks (2015)."""
    return relu(a.h)


@register
@cell(gates="ifgo", states="hc")
def lstm(a: Any, s: Any) -> Any:
    """Input, forget and output gates on a cell that sums. Gers, Schmidhuber and Cummins, Learning to forget (2000)."""
    i, f, g, o = sigmoid(a.i), sigmoid(a.f), tanh(a.g), sigmoid(a.o)
    c = f * s.c + i * g
    return o * tanh(c), c


@register
@cell(gates="rzn")
def gru(a: Any, s: Any) -> Any:
    """Reset and update gates, the reset after the product: Cho et al. (2014), in the form that cuDNN computes."""
    r, z = sigmoid(a.r), sigmoid(a.z)
    n = tanh(a.n.x + r * a.n.h)
    return n + z * (s.h - n)


@register
@cell(gates="rzn")
def gru_reset_before(a: Any, s: Any) -> Any:
    """The reset before the product. Cho et al., Learning phrase representations (2014), eq. 5-8."""
    r, z = sigmoid(a.r), sigmoid(a.z)
    n = tanh(a.n.x + a.n.recurrent(r * s.h))
    return n + z * (s.h - n)


@register
@cell(gates="ifgo", states="hc", params="ifo")
def peephole_lstm(a: Any, s: Any, p: Any) -> Any:
    """An LSTM whose gates see the cell. Gers and Schmidhuber, Recurrent nets that time and count (2000)."""
    i, f = sigmoid(a.i + p.i * s.c), sigmoid(a.f + p.f * s.c)
    c = f * s.c + i * tanh(a.g)
    return sigmoid(a.o + p.o * c) * tanh(c), c


@register
@cell(gates="igo", states="hc")
def cifg_lstm(a: Any, s: Any) -> Any:
    """Coupled input and forget gates, f = 1 - i. Greff et al., LSTM: A search space odyssey (2017), section 3."""
    i = sigmoid(a.i)
    c = s.c + i * (tanh(a.g) - s.c)
    return sigmoid(a.o) * tanh(c), c


STANDARD = tuple(BUILT_IN)
"""The names of the cells above. A wheel may hold their GPU kernels; those of other cells are built at the first use."""
