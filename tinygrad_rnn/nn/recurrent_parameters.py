"""The parameters of recurrent layers and cells: their names and shapes, their first values, their look-up in a call."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..autograd.grad_modes import no_grad
from ..cells import Cell
from ..cells.trace import Step, trace
from ..tensor import Tensor
from . import init
from .layers import new_parameter
from .module import Parameter
from .settings import SettingsModule


class ParameterSpec(NamedTuple):
    """The name and shape of one parameter, and the bound of its first values."""

    name: str
    shape: tuple[int, ...] | None  # None: the module has the name and no parameter under it (bias=False)
    bound: float  # first values are drawn from U(-bound, bound); 0: they are zeros


KEEPING = {"cifg_lstm": ("i", -1), "cifg_peephole_lstm": ("i", -1), "minimal_gated": ("f", -1)}
"""Cells whose old state is multiplied by 1 minus a gate, and not by a gate f: that gate, and the sign of its bias.
1 - sigmoid(-b) = sigmoid(b)."""


class RecurrentBase(SettingsModule):
    """Base of recurrent layers and cells: it makes, resets and finds the parameters of a cell's equations."""

    cell: Cell
    hidden_size: int
    bias: bool
    forget_bias: float | None = None

    @property
    def step(self) -> Step:
        """One step of the cell, traced. All layers of the cell share it, including copied and unpickled layers."""
        try:
            return self.cell.traced or trace(self.cell)
        except AttributeError as error:  # else Python would report that the layer has no `step`
            raise TypeError(f"cell {self.cell.name}: {error}") from error

    def _parameter_specs(self) -> Iterator[ParameterSpec]:
        """Yield the spec of every parameter, in the order in which first values are drawn."""
        raise NotImplementedError

    def _specs_with_suffix(self, suffix: str, input_size: int, proj_size: int = 0) -> Iterator[ParameterSpec]:
        """Yield the specs of one layer and direction, without those of learned initial states."""
        hidden, step = self.hidden_size, self.step
        x_rows, h_rows = len(step.input_gates) * hidden, len(step.recurrent_gates) * hidden
        shapes: dict[str, tuple[int, ...] | None] = {
            "weight_ih": (x_rows, input_size),
            "weight_hh": (h_rows, proj_size or hidden) if h_rows else None,
            "bias_ih": (x_rows,) if self.bias else None,
            "bias_hh": (h_rows,) if self.bias and h_rows else None,
            "weight_hr": (proj_size, hidden) if proj_size else None,
        }
        shapes |= {f"p_{name}": (hidden,) for name in step.params}
        return (ParameterSpec(name + suffix, shape, 1 / math.sqrt(hidden)) for name, shape in shapes.items())

    def _make_parameters(self, dtype: np.dtype, device: str) -> None:
        for name, shape, _ in self._parameter_specs():
            self.register_parameter(name, None if shape is None else new_parameter(shape, dtype, device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters again from U(-1/sqrt(H), 1/sqrt(H)), and set learned initial states to 0.

        forget_bias sets the rows of the forget gate in the biases: see `Recurrent`. A parameter that is registered as a
        buffer is drawn too. Raises ValueError for a weight that is computed from
        other tensors, before anything changes.
        """
        found = dict[str, Any]()
        for name, shape, _ in self._parameter_specs():
            found[name] = value = None if shape is None else self._read(name)
            if value is not None and not value.is_leaf:
                raise ValueError(
                    f"{type(self).__name__}: reset_parameters: {name}: expected a parameter or a buffer, got a "
                    "computed tensor: reset those that it is computed from"
                )
        for name, _, bound in self._parameter_specs():
            if found[name] is not None and bound:
                init.uniform_(found[name], -bound, bound)
            elif found[name] is not None:
                init.zeros_(found[name])
        if self.forget_bias is not None:
            self._set_forget_bias(found, *self.forget_gate(self.forget_bias))

    def forget_gate(self, bias: float) -> tuple[str, float]:
        """Return the gate that decides how much of the old state stays, and the bias for which sigmoid(bias) stays.

        Raises ValueError if the cell has no such gate, or no biases.
        """
        kind, name = type(self).__name__, self.cell.name
        gate, sign = KEEPING.get(name, ("f", 1))
        if gate not in self.step.input_gates:
            raise ValueError(f"{kind}: forget_bias: expected None, as the cell {name} has no gate f, got {bias}")
        if not self.bias:
            raise ValueError(f"{kind}: forget_bias: expected None with bias=False, got {bias}")
        return gate, sign * bias

    def _set_forget_bias(self, found: dict[str, Any], gate: str, bias: float) -> None:
        """Set the rows of a gate to `bias` in each bias_ih, and to 0 in each bias_hh."""
        for kind, gates, number in (("ih", self.step.input_gates, bias), ("hh", self.step.recurrent_gates, 0.0)):
            if gate in gates:
                first = gates.index(gate) * self.hidden_size
                for name, tensor in found.items():
                    if name.startswith(f"bias_{kind}") and tensor is not None:
                        with no_grad():
                            tensor[first : first + self.hidden_size] = number

    @functools.cached_property
    def _omitted(self) -> frozenset[str]:
        """Return the names that this module has no parameter for. Each may be None, or absent."""
        return frozenset(spec.name for spec in self._parameter_specs() if spec.shape is None)

    def _weights_named(self, names: Iterable[str]) -> list[Any]:
        """Return `_weight(name)` for each name, without calling it where the weight is a parameter."""
        found, omitted = self._parameters, self._omitted
        return [
            w if type(w := found.get(name, 0)) is Parameter or w is None and name in omitted else self._weight(name)
            for name in names
        ]

    def _weight(self, name: str) -> Tensor | None:
        """Return the parameter, buffer or attribute of this name; None for an omitted parameter.

        Raises the errors of `_read`.
        """
        if name in self._omitted and not hasattr(self, name):  # deleted, or unpickled from an older version
            return None
        return self._read(name, optional=name in self._omitted)
