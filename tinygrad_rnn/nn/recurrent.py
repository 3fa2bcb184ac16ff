"""Recurrent layers: a cell over sequences, stacked in layers, in one direction or both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.box import boxed
from ..arrays.device import resolve_device
from ..autograd.grad_modes import is_grad_enabled
from ..autograd.primitive import primitive
from ..autograd.primitives.shape import concat, stack, transpose
from ..cells import Cell, find_cell
from ..kernels.ir.sequence_args import SequenceArgs
from ..sequence import fused
from ..tensor import Tensor
from ..tensor.conversion import as_dtype
from .functional import dropout as drop
from .recurrent_call import LayerCall, numpy_states
from .recurrent_parameters import ParameterSpec, RecurrentBase
from .utils.rnn import PackedSequence


class Recurrent(RecurrentBase):
    """Any cell over sequences, stacked in layers, in one direction or both.

    Each layer and direction computes, for t = 1..T: state_t = cell(W x_t + b_ih, U h_(t-1) + b_hh, state_(t-1)).
    The next layer reads the outputs h as its x, with both directions concatenated. See `forward` for shapes and errors.

    cell: a function under `@cell`, or the name of a built-in one, for example "gru" or "peephole_lstm": see `cells`.
    bias: whether b_ih and b_hh exist. batch_first: x and output are [N, T, ...]. dropout: the probability with which
        training sets an output of a layer to 0 before the next layer reads it. bidirectional: add a second direction,
        which reads each sequence from its end. proj_size: P, the size of h = weight_hr h' (0: no projection, P = H).
    learn_initial_state: a call without `state` starts from the parameters h_0_l0, ... (zeros at first).
    return_states: a call also returns the sequences of all states.
    recompute_every: n saves only the states of every n-th step, for very long sequences; the backward pass computes
        the other steps again, which is about a third more arithmetic (0: save every step).
    forget_bias: a number b sets the forget gate's rows to b in bias_ih and to 0 in bias_hh, so that at first a cell
        keeps about sigmoid(b) of its state; Keras's unit_forget_bias is forget_bias=1.0. None: drawn like all others.
        It is for cells with a gate f. Where 1 minus a gate multiplies the old state (i of cifg_lstm, f of
        minimal_gated), that gate's rows are set to -b, which keeps sigmoid(b) too. ValueError for any other cell.
        Gers et al. (2000), section 4; Jozefowicz et al., An empirical exploration of recurrent networks (2015).
    dtype: float32 or float64, for the parameters; x and the states must have it too. device: "cpu" (None) or a GPU.

    Parameters, for layer l and G gates (suffix _reverse for the second direction): weight_ih_l [G H, I],
    weight_hh_l [G H, P], bias_ih_l, bias_hh_l [G H], weight_hr_l [P, H], p_<name>_l [H] for a cell's params; all
    drawn from U(-1/sqrt(H), 1/sqrt(H)). A gate has rows only in those weights that the cell's equations use.
    Raises ValueError or TypeError for a setting that is not allowed, AttributeError for a change of a `FIXED` one.
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
        forget_bias: float | None = None,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        device, dtype = resolve_device(type(self).__name__, device) or "cpu", as_dtype(dtype)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.proj_size, self.dropout, self.cell = proj_size, dropout, find_cell(cell)
        self.learn_initial_state, self.return_states = learn_initial_state, return_states
        self.recompute_every, self.forget_bias = recompute_every, forget_bias
        if self.proj_size and (self.step.reads_h or self.step.products or not self.step.recurrent_gates):
            raise ValueError(
                f"{type(self).__name__}: proj_size: expected 0, as {self.cell.name} needs an h of hidden_size, "
                f"got {proj_size}"
            )
        self.output_size = self.proj_size or self.hidden_size
        directions = ("", "_reverse") if self.bidirectional else ("",)
        self.suffixes = [f"_l{k}{direction}" for k in range(self.num_layers) for direction in directions]
        names = (*fused.WEIGHT_NAMES, *(f"p_{name}" for name in self.step.params))
        self._weight_names = [[name + suffix for name in names] for suffix in self.suffixes]
        self._widths = [self.state_size(i) for i in range(len(self.step.states))]
        self._make_parameters(dtype, device)

    def state_size(self, i: int) -> int:
        """Return the size of the i-th state: P for h, H for the others."""
        return self.output_size if i == 0 else self.hidden_size

    @property
    def _num_directions(self) -> int:
        """2 for a bidirectional layer, else 1."""
        return 2 if self.bidirectional else 1

    def _parameter_specs(self) -> Iterator[ParameterSpec]:
        for suffix in self.suffixes:
            features = self.input_size if suffix.startswith("_l0") else self.output_size * self._num_directions
            yield from self._specs_with_suffix(suffix, features, self.proj_size)
            if self.learn_initial_state:
                for i, state in enumerate(self.step.states):
                    yield ParameterSpec(f"{state}_0{suffix}", (self.state_size(i),), 0.0)

    def extra_repr(self) -> str:
        parts = [] if type(self) is not Recurrent else [self.cell.name]
        parts += [str(self.input_size), str(self.hidden_size)]
        shown = (("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0), ("bidirectional", False))
        rare = (("learn_initial_state", False), ("return_states", False), ("recompute_every", 0), ("forget_bias", None))
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
        """Compute the outputs and last states of sequences.

        x: [T, N, I], or [N, T, I] with batch_first, or one sequence [T, I]; or a PackedSequence with its own lengths,
            which gives the output as a PackedSequence too.
        state: the initial states, each [layers * directions, N, size]: one tensor, or a tuple for a cell with several
            states; None: zeros, or the learned ones.
        lengths: the real length of each sequence, N whole numbers from 0 to T in any order. Outputs past the end are
            0, and the last state of each direction is the one after the last real step that it reads.
        inputs: the cell's own inputs by name, each [T, N, H] (or [N, T, H]) per step, [N, H] per sequence or [H]; a
            list holds one for each layer and direction.

        Returns (output, state): output [T, N, P * directions], state shaped as the argument. With return_states a third
        result is a tuple with the sequence of each state, [layers * directions, T, N, size], T and N ordered as in x.
        Raises ValueError for a shape or length, TypeError for a dtype that does not fit, naming the argument.
        """
        if type(x) is PackedSequence:
            return self._forward_packed(x, state, lengths, inputs)
        if not is_grad_enabled() and lengths is None and inputs is None:
            found = self._fast_inference(x, state)
            if found is not None:
                return found
        call = LayerCall(self, x, lengths)
        return self._results(call, self._run_layers(call, call.initial(state), self._side_inputs(inputs, call)))

    def _results(self, call: LayerCall, runs: Sequence[fused.Run]) -> tuple[Any, ...]:
        """Return (output, state), and the sequences of all states with return_states, in the caller's layout."""
        outputs, finals = zip(*runs)
        output = _concatenated_h(runs[-self._num_directions :])
        last = tuple(map(_stacked, zip(*finals)))
        sequences = tuple(map(_stacked, zip(*outputs))) if self.return_states else None
        return call.results(output, last, sequences)

    def _forward_packed(
        self, x: PackedSequence, state: Any, lengths: Any, inputs: Mapping[str, Any] | None
    ) -> tuple[Any, ...]:
        """Return what `forward` returns for sequences with lengths of their own, the output as a PackedSequence."""
        name = type(self).__name__
        if lengths is not None:
            raise TypeError(f"{name}: lengths: expected None, as the PackedSequence has its own, got {lengths!r}")
        if x.padded.ndim != 3:
            raise ValueError(f"{name}: x: expected a PackedSequence of shape [T, N, I], got {x.padded.shape}")
        turn = (lambda a: transpose(a, 0, 1)) if self.batch_first else (lambda a: a)
        output, *rest = self.forward(turn(x.padded), state, x.lengths, inputs)
        return x._with_padded(turn(output)), *rest

    def _run_layers(self, call: LayerCall, initial: Sequence[Any], inputs: Sequence[Any]) -> list[fused.Run]:
        """Return, for each layer and direction, the sequences and the last states as `fused.run` returns them."""
        directions, options = self._num_directions, (self.return_states, self.recompute_every)

        def arguments(k: int, x: Any) -> SequenceArgs:
            return self._sequence_args(k, x, initial[k], inputs[k], call.lengths, k % directions == 1)

        if self.num_layers > 1 and directions == 1 and not (self.dropout and self.training):
            stack = [arguments(k, None if k else call.x) for k in range(self.num_layers)]
            return fused.run_stack(self.cell, stack, *options)
        runs, x = list[fused.Run](), call.x
        for first in range(0, len(self.suffixes), directions):
            if first:
                x = drop(_concatenated_h(runs[-directions:]), self.dropout, self.training)
            runs += fused.run_directions(self.cell, [arguments(first + i, x) for i in range(directions)], *options)
        return runs

    def _fast_inference(self, x: Any, state: Any) -> tuple[Any, ...] | None:
        """Return the result of `forward` after few checks, for x [T, N, I] or [T, I] on the CPU and NumPy states.

        Return None in any other case, including wrong arguments; `forward` then goes on, or raises the error.
        """
        step, runs = self.step, len(self.suffixes)
        if type(x) is not Tensor or self.return_states or step.inputs or self.learn_initial_state:
            return None
        features, single = x.array, x.ndim == 2  # of the current layer's input
        if type(features) is not np.ndarray or self.dropout and self.training and self.num_layers > 1:
            return None
        if self.batch_first and not single:
            return None
        weights, features = self._weights(0), features[:, None] if single else features
        shape, dtype, first = features.shape, features.dtype, weights[0].array
        if len(shape) != 3 or shape[2] != self.input_size or dtype != first.dtype or type(first) is not np.ndarray:
            return None
        batch, finals, directions, given = shape[1], [], self._num_directions, None
        if state is None:
            starts = [np.zeros((batch, size), dtype) for size in self._widths]
        else:
            given = numpy_states(state, (runs,) if single else (runs, batch), self._widths, dtype)
            if given is None:
                return None
        for layer in range(self.num_layers):
            outputs = []
            for k in range(layer * directions, (layer + 1) * directions):
                if given:
                    starts = [np.ascontiguousarray(s[k]).reshape(batch, w) for s, w in zip(given, self._widths)]
                weights = self._weights(k) if k else weights
                found = fused.infer(step, weights, np.ascontiguousarray(features), starts, k % directions == 1)
                if found is None:
                    return None
                outputs.append(found[0])
                finals.append(found[1])
            features = outputs[0] if directions == 1 else np.concatenate(outputs, 2)
        if single:
            features, finals = features[:, 0], [[s[0] for s in states] for states in finals]
        if runs == 1:
            last = [boxed(s[None]) for s in finals[0]]
        else:
            last = [boxed(np.stack(s)) for s in zip(*finals)]
        return boxed(features), last[0] if len(last) == 1 else tuple(last)

    def _weights(self, k: int) -> list[Any]:
        """Return the weights of the k-th layer and direction, then the cell's parameters; None for an omitted one."""
        return self._weights_named(self._weight_names[k])

    def _sequence_args(self, k: int, x: Any, initial: Any, inputs: Any, lengths: Any, reverse: bool) -> SequenceArgs:
        found = self._weights(k)
        weights = dict(zip(fused.WEIGHT_NAMES, found))
        params = dict(zip(self.step.params, found[len(weights) :]))
        return SequenceArgs(
            x, **weights, params=params, inputs=inputs, initial=initial, lengths=lengths, reverse=reverse
        )

    def _own_inputs(self, call: LayerCall) -> dict[str, Any]:
        """Return the inputs of the cell that the layer makes itself, unless its caller gives them. Here none."""
        return {}

    def _side_inputs(self, given: Mapping[str, Any] | None, call: LayerCall) -> list[dict[str, Any]]:
        """Return, for each layer and direction, the cell's own inputs by name, each [T, N, H]."""
        name, runs = type(self).__name__, len(self.suffixes)
        if not given and not self.step.inputs:
            return [{}] * runs
        given = self._own_inputs(call) | dict(given or {})
        if set(given) != set(self.step.inputs):
            raise ValueError(f"{name}: inputs: expected {list(self.step.inputs)}, as the cell has, got {list(given)}")
        each = {}
        for key, value in given.items():
            values = list(value) if isinstance(value, (list, tuple)) else [value] * runs
            if len(values) != runs:
                raise ValueError(f"{name}: inputs[{key!r}]: expected one, or a list of {runs}, got {len(values)}")
            each[key] = [call.side_input(key, v) for v in values]
        return [{key: values[k] for key, values in each.items()} for k in range(runs)]


_stack_of_one = primitive("stack", lambda x: x[None], lambda g: g[0])  # a view, where `stack` would copy


def _concatenated_h(runs: Sequence[fused.Run]) -> Any:
    """Return the h of all directions of a layer, concatenated: [T, N, P * directions]."""
    return runs[0][0][0] if len(runs) == 1 else concat([outputs[0] for outputs, _ in runs], 2)


def _stacked(tensors: tuple[Tensor, ...]) -> Any:
    """Return one state of every layer and direction as one tensor [layers * directions, ...]."""
    return stack(tensors) if len(tensors) > 1 else _stack_of_one(tensors[0])


class RNN(Recurrent):
    """Elman network: h_t = tanh(W x_t + b_ih + U h_(t-1) + b_hh), or with ReLU for nonlinearity="relu".

    See `Recurrent` for the other arguments, shapes and errors. Elman, Finding structure in time (1990).

    Elman's own training copies h_(t-1) as a context, through which no gradient passes (truncation after one step). All
    steps of a layer are then one batch, which is as exact as a loop and much faster:

        with tg.no_grad():
            h, _ = rnn(x)                                             # [T, N, H]
        before = tg.concat([tg.zeros(1, N, H), h[:-1]])               # the context of each step
        output, _ = rnn(x.reshape(1, T * N, I), before.reshape(1, T * N, H))
        output = output.reshape(T, N, H)
    """

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
    """Long short-term memory: c_t = f * c_(t-1) + i * g and h_t = o * tanh(c_t), state (h, c).

    i, f, o = sigmoid and g = tanh of their pre-activations W x_t + b_ih + U h_(t-1) + b_hh, rows in the order
    i, f, g, o. With proj_size, h_t = weight_hr (o * tanh(c_t)): Sak, Senior and Beaufays (2014), section 3.
    See `Recurrent` for the arguments, shapes and errors. Gers, Schmidhuber and Cummins, Learning to forget (2000).
    """

    def __init__(self, input_size: int, hidden_size: int, *args: Any, **options: Any):
        super().__init__("lstm", input_size, hidden_size, *args, **options)


class GRU(Recurrent):
    """Gated recurrent unit: h_t = (1 - z) * n + z * h_(t-1), rows in the order r, z, n.

    r, z = sigmoid(W x_t + b_ih + U h_(t-1) + b_hh) and n = tanh(W x_t + b_ih + r * (U h_(t-1) + b_hh)), each with its
    own rows. With reset_after=False the reset gate r multiplies h_(t-1) before the product instead, as in the paper.
    See `Recurrent` for the other arguments, shapes and errors. Cho et al., Learning phrase representations using RNN
    encoder-decoder (2014), eq. 5-8.
    """

    def __init__(self, input_size: int, hidden_size: int, *args: Any, reset_after: bool = True, **options: Any):
        super().__init__("gru" if reset_after else "gru_reset_before", input_size, hidden_size, *args, **options)
        self.reset_after = reset_after
