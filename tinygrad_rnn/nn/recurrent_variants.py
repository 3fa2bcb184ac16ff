"""Recurrent layers whose cells need more than x: masks, clocks, the cell of the layer below, an output fed back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.box import boxed
from ..arrays.random import uniform
from ..autograd.primitives.shape import concat
from ..tensor import Tensor
from ..tensor.creation import tensor
from .containers import ModuleList
from .functional import dropout as drop
from .recurrent import Recurrent
from .recurrent_call import LayerCall, states_of
from .settings import SettingsModule


class JordanRNN(Recurrent):
    """Jordan network: h_t = tanh(W x_t + b_ih + U y_(t-1) + b_hh), y_t = V h_t. The output is fed back, not h.

    output_size: the size P of y, below hidden_size. V is weight_hr_l0 [P, H] and U is weight_hh_l0 [H, P]. The output
    and the state are y; y_0 = 0 by default. nonlinearity: "tanh" or "relu". options: see `Recurrent`. Raises ValueError
    for an output_size that is not allowed. Jordan, Serial order (1986), section 3, with linear outputs.

    This is `Recurrent("rnn_tanh", ..., proj_size=output_size)`. For outputs of hidden_size with a nonlinearity, write
    a cell: `return sigmoid(a.y.recurrent(tanh(a.h)))`, with gates="hy".
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int, nonlinearity: str = "tanh", **options: Any):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"JordanRNN: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
        if type(output_size) is bool or not isinstance(output_size, (int, np.integer)) or output_size < 1:
            raise ValueError(
                f"JordanRNN: output_size: expected a number from 1 to hidden_size - 1, got {output_size!r}"
            )
        super().__init__(f"rnn_{nonlinearity}", input_size, hidden_size, proj_size=output_size, **options)
        self.nonlinearity = nonlinearity


class ZoneoutLSTM(Recurrent):
    """An LSTM that keeps random units of h and c unchanged in each step while it trains; see `cells.zoneout_lstm`.

    zoneout_h, zoneout_c: the probability with which a unit of h and of c keeps its value. Training draws a mask for
    every unit, step and sequence from the stream of `tinygrad_rnn.manual_seed`. Evaluation takes the expected value:
    h_t = zoneout_h h_(t-1) + (1 - zoneout_h) o * tanh(c), and c_t alike. Masks of one's own: inputs={"keep_h": ...,
    "keep_c": ...}. options: see `Recurrent`. Raises ValueError for a probability outside [0, 1].
    Krueger et al., Zoneout: Regularizing RNNs by randomly preserving hidden activations (2017), section 3.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *args: Any,
        zoneout_h: float = 0.05,
        zoneout_c: float = 0.5,
        **options: Any,
    ):
        super().__init__("zoneout_lstm", input_size, hidden_size, *args, **options)
        self.zoneout_h, self.zoneout_c = zoneout_h, zoneout_c

    def _own_inputs(self, call: LayerCall) -> dict[str, Any]:
        return {"keep_h": self._keep(self.zoneout_h, call), "keep_c": self._keep(self.zoneout_c, call)}

    def _keep(self, p: float, call: LayerCall) -> Any:
        """Return a mask for each layer and direction, or the expected value of all masks."""
        like = call.weight
        if not self.training or p == 0.0:
            return boxed(np.full((self.hidden_size,), p, like.dtype, like=like.array))
        return [boxed((uniform(call.per_step, like) < p).astype(like.dtype)) for _ in self.suffixes]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, zoneout_h={self.zoneout_h}, zoneout_c={self.zoneout_c}"


class ClockworkRNN(Recurrent):
    """Clockwork RNN: equal blocks of units, of which block k moves only in every periods[k]-th step.

    h_t = tanh(W x_t + b_ih + (M * U) h_(t-1) + b_hh) for the units whose period divides t = 0, 1, ..., elsewhere
    h_t = h_(t-1). The mask M [H, H] lets a block see itself and the slower blocks: entries of weight_hh where it is 0
    have no effect, and their gradient is 0.

    periods: one for each block, rising; hidden_size is a multiple of their number. options: see `Recurrent`; both
    directions share the clock of x. A later part of a sequence takes up the clock where the first part of `first` steps
    ended with inputs={"tick": layer.ticks(T, first)[:, None]}. Raises ValueError for periods that are not allowed.
    Koutnik et al., A clockwork RNN (2014), section 3.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *args: Any, periods: Sequence[int] = (1, 2, 4, 8), **options: Any
    ):
        super().__init__("clockwork_rnn", input_size, hidden_size, *args, **options)
        self.periods = tuple(periods)
        whole = all(isinstance(n, (int, np.integer)) and type(n) is not bool and n > 0 for n in self.periods)
        if not whole or not self.periods or list(self.periods) != sorted(set(self.periods)):
            raise ValueError(f"ClockworkRNN: periods: expected rising whole numbers from 1 up, got {periods!r}")
        if self.hidden_size % len(self.periods):
            raise ValueError(
                f"ClockworkRNN: hidden_size: expected a multiple of the {len(self.periods)} periods, got {hidden_size}"
            )
        own = self._unit_periods()
        weight = self._read("weight_hh_l0")
        sees = (own[:, None] <= own).astype(weight.dtype)
        self.register_buffer("mask", tensor(sees, device=weight.device), persistent=False)

    def _unit_periods(self) -> np.ndarray:
        """Return the period of each unit [H]."""
        return np.repeat(self.periods, self.hidden_size // len(self.periods))

    def ticks(self, steps: int, first: int = 0) -> Tensor:
        """Return [steps, H]: 1 where a unit moves in the steps first, first + 1, ..., else 0."""
        at = np.arange(first, first + steps)[:, None] % self._unit_periods() == 0
        weight = self._read("weight_hh_l0")
        return tensor(at.astype(weight.dtype), device=weight.device)

    def _own_inputs(self, call: LayerCall) -> dict[str, Any]:
        ticks = self.ticks(call.time)
        if not call.batched:
            return {"tick": ticks}
        return {"tick": ticks[None] if self.batch_first else ticks[:, None]}

    def _weights(self, k: int) -> list[Any]:
        weight_ih, weight_hh, *rest = super()._weights(k)
        return [weight_ih, weight_hh * self.mask, *rest]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, periods={self.periods}"


class DepthGatedLSTM(SettingsModule):
    """Layers of LSTMs where a gate lets the cell of the layer below into the cell of the layer above.

    The lowest layer is a `peephole_lstm`; each other layer is a `depth_gated_lstm`: see `cells` for the equations.
    A call is `layer(x, state=None, lengths=None) -> (output, (h_n, c_n))`, with the shapes of `Recurrent`: h_n and
    c_n are [layers, N, H]. dropout: the probability with which training sets a layer's outputs to 0 before the next
    layer reads them. The layers are `layers.0`, `layers.1`, ..., each with the parameters of one `Recurrent` layer.
    Raises ValueError or TypeError for a setting or an argument that does not fit. Yao et al., Depth-gated LSTM (2015).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 2,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        *,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        options: dict[str, Any] = {"bias": bias, "return_states": True, "device": device, "dtype": dtype}
        first = Recurrent("peephole_lstm", input_size, hidden_size, **options)
        above = [Recurrent("depth_gated_lstm", hidden_size, hidden_size, **options) for _ in range(num_layers - 1)]
        self.layers = ModuleList([first, *above])

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Return (output, (h_n, c_n))."""
        below: dict[str, Any] | None = None
        finals, starts = [], self._starts(state)
        for layer, start in zip(self.layers, starts):
            layer.batch_first = self.batch_first
            if below is not None:
                x = drop(x, self.dropout, self.training)
            x, final, (_, cells) = layer(x, start, lengths, below)
            finals.append(final)
            below = {"c_below": cells[0]}
        h, c = zip(*finals)
        return x, (concat(h), concat(c))

    def _starts(self, state: Any) -> list[Any]:
        """Return the state that each layer starts from."""
        if state is None:
            return [None] * self.num_layers
        given = states_of(state, 2)
        if len(given) != 2 or any(getattr(s, "shape", (0,))[:1] != (self.num_layers,) for s in given):
            got = ", ".join(str(getattr(s, "shape", type(s).__name__)) for s in given)
            expected = f"(h_0, c_0), each [{self.num_layers}, N, {self.hidden_size}]"
            raise ValueError(f"DepthGatedLSTM: state: expected {expected}, got {got}")
        return [tuple(s[k : k + 1] for s in given) for k in range(self.num_layers)]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"
