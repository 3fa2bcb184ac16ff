"""NumPy's floating-point error state, which is the caller's, kept away from the library's own arithmetic.

Under `np.seterr(all="raise")` an exponential that underflows to 0, as it should, would end a training step. So where
the caller has chosen another state than NumPy's default, the library's arithmetic runs with all errors ignored: NaN
and Inf come out as such, and `detect_anomaly` finds where they came from. Under NumPy's defaults its warnings come as
they always do. Code of the caller's keeps the caller's state, but for hooks, which run within the backward pass.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

_F = TypeVar("_F", bound=Callable[..., Any])

try:  # to read the state by public functions takes as long as a small primitive
    from numpy._core.umath import _extobj_contextvar

    state: Callable[[], Any] = _extobj_contextvar.get
    """The error state as an object that stays the same until somebody sets it."""
except ImportError:
    state = lambda: tuple(np.geterr().items())

DEFAULT = contextvars.Context().run(state)
"""The result of `state` where nobody has set an error state."""


def ignoring_errors(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Call a function with all floating-point errors ignored."""
    with np.errstate(all="ignore"):
        return function(*args, **named)


def isolate_error_state(function: _F) -> _F:
    """Decorate a function of the library's: the caller's error state does not reach its arithmetic."""

    @functools.wraps(function)
    def apart(*args: Any, **named: Any) -> Any:
        return function(*args, **named) if state() is DEFAULT else ignoring_errors(function, *args, **named)

    return cast(_F, apart)
