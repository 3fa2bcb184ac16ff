"""Settings of recurrent layers and cells: the check of each value, and the settings that may not change later."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .functional.layers import probability
from .module import Module

FIXED = frozenset(
    {"cell", "nonlinearity", "reset_after", "input_size", "hidden_size", "num_layers", "bias", "bidirectional"}
    | {"proj_size", "learn_initial_state", "output_size", "suffixes", "periods"}
)
"""Settings that fix the set of parameters, their shapes or the equations. A change of one raises AttributeError."""


class SettingsModule(Module):
    """A module that checks each setting when it is assigned, and refuses to change a setting in `FIXED`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKS:
            value = _CHECKS[name](self, name, value)
        if name in FIXED and name in self.__dict__:
            old = self.__dict__[name]
            if value is old or type(value) is type(old) and value == old:
                return
            raise self._fixed_error(name, f"got {_shown(value)}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in FIXED and name in self.__dict__:
            raise self._fixed_error(name, "got it deleted")
        super().__delattr__(name)

    def _fixed_error(self, name: str, got: str) -> AttributeError:
        kind, old = type(self).__name__, _shown(self.__dict__[name])
        return AttributeError(
            f"{kind}.{name}: expected it to stay {old}, as the layer was made with it, {got}: make a new layer"
        )


def _shown(value: Any) -> str:
    return getattr(value, "name", None) or repr(value)


def _whole_number(least: int) -> Callable[[Module, str, Any], int]:
    def check(module: Module, name: str, value: Any) -> int:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
            kind = type(module).__name__
            raise ValueError(f"{kind}: {name}: expected a whole number from {least} up, got {value!r}")
        return int(value)

    return check


def _flag(module: Module, name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{type(module).__name__}: {name}: expected True or False, got {value!r}")
    return bool(value)


def _proj_size(module: Any, name: str, value: Any) -> int:
    if type(value) is bool or not isinstance(value, (int, np.integer)) or not 0 <= value < module.hidden_size:
        kind = type(module).__name__
        raise ValueError(f"{kind}: proj_size: expected a number from 0 to hidden_size - 1, got {value!r}")
    return int(value)


def _dropout(module: Any, name: str, value: Any) -> float:
    """Return the probability; warn if it has no effect because there is only one layer."""
    value = probability(type(module).__name__, value, name)
    if value and module.num_layers == 1:
        warnings.warn(
            f"{type(module).__name__}: dropout: expected 0 with num_layers=1, as it drops outputs of all layers but "
            f"the last, got {value}: it does nothing",
            UserWarning,
            stacklevel=_callers_level(),
        )
    return value


def _callers_level() -> int:
    """Return the `stacklevel` with which our caller's warning points at the first frame outside this package."""
    package, level = __name__.partition(".")[0], 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level


def _forget_bias(module: Any, name: str, value: Any) -> float | None:
    """Return the bias, or None. Raise ValueError where the layer has no forget gate with a bias."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise ValueError(f"{type(module).__name__}: forget_bias: expected a finite number or None, got {value!r}")
    module.forget_gate(value)
    return float(value)


_CHECKS: dict[str, Callable[[Any, str, Any], Any]] = {
    **dict.fromkeys(("input_size", "hidden_size", "num_layers"), _whole_number(1)),
    "recompute_every": _whole_number(0),
    **dict.fromkeys(("bias", "batch_first", "bidirectional", "learn_initial_state", "return_states"), _flag),
    "proj_size": _proj_size,
    "dropout": _dropout,
    "forget_bias": _forget_bias,
    **dict.fromkeys(("zoneout_h", "zoneout_c"), lambda m, name, value: probability(type(m).__name__, value, name)),
}
