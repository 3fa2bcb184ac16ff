"""Recurrent layers: a cell run over sequences, in layers and directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.box import boxed
from ..arrays.device import resolve_device
from ..autograd.grad_modes import is_grad_enabled
from ..autograd.primitive import primitive
from ..autograd.primitives.shape import concat, stack
from ..cells import Cell, find_cell
from ..kernels.ir.sequence_args import SequenceArgs
from ..sequence import fused
from ..tensor import Tensor
from ..tensor.conversion import as_dtype
from .functional import dropout as drop
from .recurrent_call import Call
from .recurrent_parameters import Parametrised, Place, plain_states


class Recurrent(Parametrised):
    """Any cell over sequences, stacked in layers, in one direction or both.

    For each layer and direction and t = 1..T: state_t = cell(W x_t + b_ih, U h_(t-1) + b_hh, state_(t-1)); a layer's
    outputs h are the next layer's x, those of both directions side by side.

    cell: a function under `@cell`, or a built-in's name: rnn_tanh, rnn_relu, lstm, gru, gru_reset_before,
        peephole_lstm, cifg_lstm.
    bias: with b_ih and b_hh. batch_first: x and output are [N, T, ...]. dropout: probability that an output of any
        layer but the last is dropped in training. bidirectional: a second run from each sequence's end, its
        output beside the first's. proj_size: h is multiplied by weight_hr and has that size (0: not).
    learn_initial_state: the initial states are parameters (h_0_l0, ...) where none are given.
    return_states: also return the sequences of all states.
    recompute_every: for very long sequences: between forward and backward keep the states of every so many steps
        only, and in the backward compute the rest again: a third more arithmetic (0: keep everything).

    Parameters, for layer l and G gates (suffix _reverse for the second direction): weight_ih_l [G H, I],
    weight_hh_l [G H, P], bias_ih_l, bias_hh_l [G H], weight_hr_l [P, H], p_<name>_l [H] for a cell's params; all
    drawn from U(-1/sqrt(H), 1/sqrt(H)). A gate has rows only in those weights that the cell's equations use.
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        learn_initial_state: bool = False,
        return_states: bool = False,
        recompute_every: int = 0,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        device, dtype = resolve_device(type(self).__name__, device) or "cpu", as_dtype(dtype)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.proj_size, self.dropout, self.cell = proj_size, dropout, find_cell(cell)
        self.learn_initial_state, self.return_states = learn_initial_state, return_states
        self.recompute_every = recompute_every
        if self.proj_size and (self.step.reads_h or self.step.products or not self.step.recurrent_gates):
            raise ValueError(
                f"{type(self).__name__}: proj_size: expected 0, as {self.cell.name} needs an h of hidden_size, "
                f"got {proj_size}"
            )
        self.output_size = self.proj_size or self.hidden_size
        self._ways = ("", "_reverse") if self.bidirectional else ("",)
        self.suffixes = [f"_l{k}{way}" for k in range(self.num_layers) for way in self._ways]
        names = (*fused.WEIGHT_NAMES, *(f"p_{name}" for name in self.step.params))
        self._weight_names = [[name + suffix for name in names] for suffix in self.suffixes]
        self._widths = [self.state_size(i) for i in range(len(self.step.states))]
        self._make_parameters(dtype, device)

    def state_size(self, i: int) -> int:
        """Numbers of the i-th state of each sequence."""
        return self.output_size if i == 0 else self.hidden_size

    def _places(self) -> Iterator[Place]:
        for suffix in self.suffixes:
            below = self.input_size if suffix.startswith("_l0") else self.output_size * len(self._ways)
            yield from self._places_of(suffix, below, self.proj_size)
            if self.learn_initial_state:
                for i, state in enumerate(self.step.states):
                    yield Place(f"{state}_0{suffix}", (self.state_size(i),), 0.0)

    def extra_repr(self) -> str:
        parts = [] if type(self) is not Recurrent else [self.cell.name]
        parts += [str(self.input_size), str(self.hidden_size)]
        shown = (("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0), ("bidirectional", False))
        rare = (("learn_initial_state", False), ("return_states", False), ("recompute_every", 0))
        for name, default in (*shown, ("proj_size", 0), *rare):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)

    def forward(
        self,
        x: Any,
        state: Any = None,
        lengths: Any = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> tuple[Any, ...]:
        """Run over sequences.

        x [T, N, I], or [N, T, I] with batch_first, or one sequence [T, I].
        state: the initial states [layers * directions, N, size], one tensor, or a tuple for a cell of several;
            None: 0.
        lengths: the real length of each sequence, N whole numbers from 0 to T in any order. Outputs past the end are
            0, and the last state is that of the last real step, in both directions.
        inputs: what the cell asks for by name, [T, N, H] (or [N, T, H]) for each step, [N, H] for each sequence or
            [H]; a list holds one for each layer and direction.

        Returns (output, state): output [T, N, P * directions], state shaped as the argument; with return_states a
        third, a tuple with the sequence of each state, [layers * directions, T, N, size], T and N as in x.
        """
        if not is_grad_enabled() and lengths is None and inputs is None:
            found = self._infer(x, state)
            if found is not None:
                return found
        call = Call(self, x, lengths)
        initial = call.initial(state)
        runs = self._runs(call, initial, self._side_inputs(inputs, call))
        sequences, finals = zip(*runs)
        output = _side_by_side(runs[-len(self._ways) :])
        last = tuple(map(_stacked, zip(*finals)))
        every = tuple(map(_stacked, zip(*sequences))) if self.return_states else None
        return call.results(output, last, every)

    def _runs(self, call: Call, initial: Sequence[Any], inputs: Sequence[Any]) -> list[fused.Run]:
        """For each layer and direction the sequences and the last states, as `fused.run` returns them."""
        ways, options = len(self._ways), (self.return_states, self.recompute_every)

        def arguments(k: int, x: Any) -> SequenceArgs:
            return self._arguments(k, x, initial[k], inputs[k], call.lengths, k % ways == 1)

        if self.num_layers > 1 and ways == 1 and not (self.dropout and self.training):
            stack = [arguments(k, None if k else call.x) for k in range(self.num_layers)]
            return fused.run_stack(self.cell, stack, *options)
        found, below = list[fused.Run](), call.x
        for first in range(0, len(self.suffixes), ways):
            if first:
                below = drop(_side_by_side(found[-ways:]), self.dropout, self.training)
            found += fused.run_directions(self.cell, [arguments(first + way, below) for way in range(ways)], *options)
        return found

    def _infer(self, x: Any, state: Any) -> tuple[Any, ...] | None:
        """`forward` in the plain case, by the short way; None in any other, for errors too."""
        step, runs = self.step, len(self.suffixes)
        if type(x) is not Tensor or self.batch_first or self.return_states or step.inputs or self.learn_initial_state:
            return None
        below = x.array
        if type(below) is not np.ndarray or self.dropout and self.training and self.num_layers > 1:
            return None
        weights = self._weights(0)
        shape, dtype, first = below.shape, below.dtype, weights[0].array
        if len(shape) != 3 or shape[2] != self.input_size or dtype != first.dtype or type(first) is not np.ndarray:
            return None
        batch, finals, ways, given = shape[1], [], len(self._ways), None
        if state is None:
            starts = [np.zeros((batch, width), dtype) for width in self._widths]
        else:
            given = plain_states(state, (runs, batch), self._widths, dtype)
            if given is None:
                return None
        for layer in range(self.num_layers):
            outs = []
            for k in range(layer * ways, (layer + 1) * ways):
                if given:
                    starts = [np.ascontiguousarray(start[k]) for start in given]
                weights = self._weights(k) if k else weights
                found = fused.infer(step, weights, np.ascontiguousarray(below), starts, k % ways == 1)
                if found is None:
                    return None
                outs.append(found[0])
                finals.append(found[1])
            below = outs[0] if ways == 1 else np.concatenate(outs, 2)
        if runs == 1:
            last = [boxed(s[None]) for s in finals[0]]
        else:
            last = [boxed(np.stack(s)) for s in zip(*finals)]
        return boxed(below), last[0] if len(last) == 1 else tuple(last)

    def _weights(self, k: int) -> list[Any]:
        """The weights of a layer and direction, then the cell's parameters; None for one that it does not have."""
        return self._weights_named(self._weight_names[k])

    def _arguments(self, k: int, x: Any, initial: Any, inputs: Any, lengths: Any, reverse: bool) -> SequenceArgs:
        found = self._weights(k)
        weights = dict(zip(fused.WEIGHT_NAMES, found))
        params = dict(zip(self.step.params, found[len(weights) :]))
        return SequenceArgs(
            x, **weights, params=params, inputs=inputs, initial=initial, lengths=lengths, reverse=reverse
        )

    def _side_inputs(self, given: Mapping[str, Any] | None, call: Call) -> list[dict[str, Any]]:
        """For each layer and direction, the cell's own inputs as [T, N, H]."""
        name, runs = type(self).__name__, len(self.suffixes)
        given = given or {}
        if set(given) != set(self.step.inputs):
            raise ValueError(f"{name}: inputs: expected {list(self.step.inputs)}, as the cell has, got {list(given)}")
        each = {}
        for key, value in given.items():
            values = list(value) if isinstance(value, (list, tuple)) else [value] * runs
            if len(values) != runs:
                raise ValueError(f"{name}: inputs[{key!r}]: expected one, or a list of {runs}, got {len(values)}")
            each[key] = [call.side_input(key, v) for v in values]
        return [{key: values[k] for key, values in each.items()} for k in range(runs)]


_alone = primitive("stack", lambda x: x[None], lambda g: g[0])  # `stack` of one, which comes often: no copy


def _side_by_side(runs: Sequence[fused.Run]) -> Any:
    """The h of all directions of a layer."""
    return runs[0][0][0] if len(runs) == 1 else concat([outputs[0] for outputs, _ in runs], 2)


def _stacked(tensors: tuple[Tensor, ...]) -> Any:
    """A state of each layer and direction, as one tensor."""
    return stack(tensors) if len(tensors) > 1 else _alone(tensors[0])


class RNN(Recurrent):
    """Elman network, h_t = tanh(W x_t + b_ih + U h_(t-1) + b_hh), or with ReLU; see `Recurrent` for the arguments."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Any,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
        cell = f"rnn_{nonlinearity}"
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options
        )
        self.nonlinearity = nonlinearity


class LSTM(Recurrent):
    """Long short-term memory, gates in the order i, f, g, o; see `cells.lstm` and, for the arguments, `Recurrent`.

    The state is (h, c). With proj_size, h_t = weight_hr (o * tanh c_t): Sak, Senior and Beaufays (2014), section 3.
    """

    def __init__(self, input_size: int, hidden_size: int, *args: Any, **options: Any):
        super().__init__("lstm", input_size, hidden_size, *args, **options)


class GRU(Recurrent):
    """Gated recurrent unit, gates in the order r, z, n; see `cells.gru` and, for the arguments, `Recurrent`.

    reset_after: the reset gate multiplies the recurrent product, as in PyTorch; False: it multiplies h before
    the product, as in the paper of Cho et al.
    """

    def __init__(self, input_size: int, hidden_size: int, *args: Any, reset_after: bool = True, **options: Any):
        super().__init__("gru" if reset_after else "gru_reset_before", input_size, hidden_size, *args, **options)
        self.reset_after = reset_after
