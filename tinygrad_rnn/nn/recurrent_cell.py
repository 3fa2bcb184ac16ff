"""Single steps of recurrent layers, for a loop that reads or changes the state between steps."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..arrays.box import boxed
from ..arrays.device import resolve_device, same_device
from ..autograd.grad_modes import is_grad_enabled
from ..autograd.primitives.shape import broadcast_to, reshape
from ..cells import Cell, find_cell
from ..kernels.ir.sequence_args import SequenceArgs
from ..sequence import fused
from ..tensor import Tensor
from ..tensor.conversion import as_dtype
from ..tensor.creation import own_tensor, zeros
from .recurrent_call import numpy_states, states_of
from .recurrent_parameters import ParameterSpec, RecurrentBase


class RecurrentCell(RecurrentBase):
    """One step of any cell: state_t = cell(W x_t + b_ih, U h_(t-1) + b_hh, state_(t-1)).

    A call is `cell(x, state=None, inputs=None) -> state`: x [N, I] or [I], each state [N, H] or [H] (None: zeros),
    inputs: the cell's own inputs by name, each [N, H] or [H]; all in the dtype of the weights. The result is one
    tensor, or a tuple for a cell with several states. A call raises TypeError or ValueError, naming the argument.

    cell: a function under `@cell`, or the name of a built-in one; bias: whether b_ih and b_hh exist; forget_bias: the
    first bias of the forget gate; see `Recurrent`.
    The parameters have a layer's names without the suffix, and its first values: weight_ih [G H, I],
    weight_hh [G H, H], bias_ih and bias_hh [G H], and p_<name> [H] for each of the cell's params.
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        forget_bias: float | None = None,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        device, dtype = resolve_device(type(self).__name__, device) or "cpu", as_dtype(dtype)
        self.cell = find_cell(cell)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self.forget_bias = forget_bias
        self._make_parameters(dtype, device)

    def _parameter_specs(self) -> Iterator[ParameterSpec]:
        return (spec for spec in self._specs_with_suffix("", self.input_size) if spec.name != "weight_hr")

    @functools.cached_property
    def _weight_names(self) -> list[str]:
        return [spec.name for spec in self._parameter_specs()]

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}"
            + ("" if self.bias else ", bias=False")
            + ("" if self.forget_bias is None else f", forget_bias={self.forget_bias}")
        )

    def forward(self, x: Any, state: Any = None, inputs: Mapping[str, Any] | None = None) -> Any:
        """Return the state after the step: one tensor, or a tuple for a cell with several states."""
        if not is_grad_enabled() and inputs is None:
            found = self._fast_inference(x, state)
            if found is not None:
                return found
        x = self._checked_x(x)
        batch = x.shape[0] if x.ndim == 2 else 1
        shape = (*x.shape[:-1], self.hidden_size)
        states = self._checked_states(state, shape)
        given = self._checked_inputs(inputs or {}, shape)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights: dict[str, Any] = {name: self._weight(name) for name in names}
        arguments = SequenceArgs(
            reshape(x, (1, batch, self.input_size)),
            **weights,
            params={n: self._read("p_" + n) for n in self.step.params},
            inputs={n: broadcast_to(given[n], (1, batch, self.hidden_size)) for n in self.step.inputs},
            initial=states if x.ndim == 2 else [reshape(s, (1, self.hidden_size)) for s in states],
        )
        _, final = fused.run(self.cell, arguments)
        new = tuple(final if x.ndim == 2 else [reshape(s, shape) for s in final])
        return new[0] if len(new) == 1 else new

    def _fast_inference(self, x: Any, state: Any) -> Any:
        """Return the result of `forward` after few checks, for a tensor on the CPU and NumPy states.

        Return None in any other case, including wrong arguments; `forward` then goes on, or raises the error.
        """
        step, size = self.step, self.hidden_size
        if type(x) is not Tensor or step.inputs:
            return None
        weights = self._weights_named(self._weight_names)
        a, first = x.array, weights[0].array
        if type(a) is not np.ndarray or type(first) is not np.ndarray or a.dtype != first.dtype:
            return None
        if a.ndim not in (1, 2) or a.shape[-1] != self.input_size:
            return None
        lead, batch = a.shape[:-1], len(a) if a.ndim == 2 else 1
        if state is None:
            starts = [np.zeros((batch, size), a.dtype) for _ in step.states]
        else:
            given = numpy_states(state, lead, [size] * len(step.states), a.dtype)
            if given is None:
                return None
            starts = [np.ascontiguousarray(start).reshape(batch, size) for start in given]
        weights.insert(fused.WEIGHT_NAMES.index("weight_hr"), None)
        x = np.ascontiguousarray(a).reshape(1, batch, self.input_size)
        found = fused.infer(step, weights, x, starts, False)
        if found is None:
            return None
        new = tuple([boxed(s if lead else s[0]) for s in found[1]])
        return new[0] if len(new) == 1 else new

    def _checked_x(self, x: Any) -> Tensor:
        name, dtype = type(self).__name__, self._read("weight_ih").dtype
        x = x if type(x) is Tensor else own_tensor(x, f"{name}: x")
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: x: expected shape [N, {self.input_size}] or [{self.input_size}], got {x.shape}")
        if x.dtype != dtype:
            raise TypeError(f"{name}: x: expected {dtype} as the weights are, got {x.dtype}")
        self._check_device("x", x)
        return x

    def _check_device(self, name: str, x: Tensor) -> None:
        same_device(f"{type(self).__name__}: {name}", x, self._read("weight_ih"), "the weights are")

    def _checked_states(self, state: Any, shape: tuple[int, ...]) -> list[Tensor]:
        count, dtype = len(self.step.states), self._read("weight_ih").dtype
        if state is None:
            return [zeros(shape, dtype=dtype, device=self._read("weight_ih").device)] * count
        states = [own_tensor(s, f"{type(self).__name__}: state") for s in states_of(state, count)]
        for s in states:
            self._check_device("state", s)
        if len(states) != count or any(s.shape != shape or s.dtype != dtype for s in states):
            got = ", ".join(f"{s.dtype} of shape {s.shape}" for s in states)
            raise ValueError(f"{type(self).__name__}: state: expected {count} {dtype} of shape {shape}, got {got}")
        return states

    def _checked_inputs(self, inputs: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Tensor]:
        name, dtype = type(self).__name__, self._read("weight_ih").dtype
        if set(inputs) != set(self.step.inputs):
            raise ValueError(f"{name}: inputs: expected {list(self.step.inputs)}, as the cell has, got {list(inputs)}")
        given = {key: own_tensor(e, f"{name}: inputs[{key!r}]") for key, e in inputs.items()}
        for key, e in given.items():
            self._check_device(f"inputs[{key!r}]", e)
            if e.shape not in (shape, shape[-1:]) or e.dtype != dtype:
                raise ValueError(
                    f"{name}: inputs[{key!r}]: expected {dtype} of shape {shape} or {shape[-1:]}, "
                    f"got {e.dtype} of shape {e.shape}"
                )
        return given


class RNNCell(RecurrentCell):
    """One step of `RNN`: h_t = tanh(W x_t + b_ih + U h_(t-1) + b_hh), or with ReLU; see `RecurrentCell`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", **options: Any
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(f"rnn_{nonlinearity}", input_size, hidden_size, bias, **options)


class LSTMCell(RecurrentCell):
    """One step of `LSTM`: `(h, c) = cell(x, (h, c))`; see `cells.lstm` for the equations and the paper."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **options: Any):
        super().__init__("lstm", input_size, hidden_size, bias, **options)


class GRUCell(RecurrentCell):
    """One step of `GRU`: `h = cell(x, h)`; see `cells.gru` for the equations and the paper."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, reset_after: bool = True, **options: Any):
        super().__init__("gru" if reset_after else "gru_reset_before", input_size, hidden_size, bias, **options)
