"""Parameters of recurrent layers and cells: which there are, how they are drawn, and how a call finds them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cells import Cell
from ..cells.trace import Step, trace
from ..tensor import Tensor
from . import init
from .layers import _unset
from .module import Parameter
from .settings import Configured


class Place(NamedTuple):
    """A parameter's name, its shape, None for one that the layer is made without, and the bound of its numbers."""

    name: str
    shape: tuple[int, ...] | None
    bound: float  # drawn from U(-bound, bound); 0: zeros


class Parametrised(Configured):
    """What layers and cells have in common: the parameters of a cell's equations, and their names."""

    cell: Cell
    hidden_size: int
    bias: bool

    @property
    def step(self) -> Step:
        """One step of the cell, traced: once for all layers, whether made, copied or unpickled."""
        try:
            return self.cell.traced or trace(self.cell)
        except AttributeError as error:  # out of a property, it would say that the layer has no `step`
            raise TypeError(f"cell {self.cell.name}: {error}") from error

    def _places(self) -> Iterator[Place]:
        """All parameters, in the order in which they are drawn."""
        raise NotImplementedError

    def _places_of(self, suffix: str, input_size: int, proj_size: int = 0) -> Iterator[Place]:
        """The parameters of one layer and direction but for learned initial states."""
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
        return (Place(name + suffix, shape, 1 / math.sqrt(hidden)) for name, shape in shapes.items())

    def _make_parameters(self, dtype: np.dtype, device: str) -> None:
        for name, shape, _ in self._places():
            self.register_parameter(name, None if shape is None else _unset(shape, dtype, device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as when this was made, also those that are kept as buffers; learned initial
        states become 0.

        Raises ValueError for a weight that is computed from others, as it has no numbers of its own.
        """
        found = dict[str, Any]()
        for name, shape, _ in self._places():
            found[name] = value = None if shape is None else self._read(name)
            if value is not None and not value.is_leaf:
                raise ValueError(
                    f"{type(self).__name__}: reset_parameters: {name}: expected a parameter or a buffer, got a "
                    "computed tensor: reset those that it is computed from"
                )
        for name, _, bound in self._places():
            if found[name] is not None and bound:
                init.uniform_(found[name], -bound, bound)
            elif found[name] is not None:
                init.zeros_(found[name])

    @functools.cached_property
    def _spare(self) -> frozenset[str]:
        """Names of the parameters that this is made without: None or nothing may stand there."""
        return frozenset(place.name for place in self._places() if place.shape is None)

    def _weights_named(self, names: Iterable[str]) -> list[Any]:
        """What `_weight` returns for each name, in less time."""
        found = self._parameters
        return [
            w if type(w := found.get(name, 0)) is Parameter or w is None and name in self._spare else self._weight(name)
            for name in names
        ]

    def _weight(self, name: str) -> Tensor | None:
        """Return what a call reads under a weight's name, wherever it stands; None for one that this is made without.

        Raises as `_read` does where that is nothing that a call can read.
        """
        if name in self._spare and not hasattr(self, name):  # deleted, or unpickled as an older version had it
            return None
        return self._read(name, optional=name in self._spare)


def plain_states(state: Any, lead: tuple[int, ...], widths: Sequence[int], dtype: np.dtype) -> list[np.ndarray] | None:
    """The arrays of given states where they are NumPy's, of shapes [*lead, width] and the dtype; None in any other
    case, for errors too."""
    states = state if isinstance(state, (tuple, list)) else (state,)
    if len(states) != len(widths):
        return None
    found = []
    for start, width in zip(states, widths):
        a = start.array if type(start) is Tensor else start
        if type(a) is not np.ndarray or a.shape != (*lead, width) or a.dtype != dtype:
            return None
        found.append(a)
    return found
