"""Anomaly mode: find the primitive, and the line of the user's program, that made the first NaN or Inf."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from .grad_modes import Mode, Scope

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


_watching: ContextVar[bool] = ContextVar("watching", default=False)
is_watching = _watching.get
"""Return whether results are examined now, in this thread and task."""


class _Current:
    """The result of `is_watching` as an attribute: `watching.on`."""

    on = property(lambda self: is_watching())


watching = _Current()


def unwatched() -> Scope:
    """Return a block for the library's own use in which no result is examined."""
    return Scope(_watching, False)


class detect_anomaly(Mode, variable=_watching, value=True):
    """Within the block, stop at the first NaN or Inf, forward or backward, and name the primitive that made it.

        with tg.detect_anomaly():
            loss = model(x)
            loss.backward()

    Raise FloatingPointError with the primitive and the line that called it. An argument that is NaN or Inf already is
    reported by the first primitive that reads it. Each result is examined, so a program runs several times slower.
    """


def user_line() -> str:
    """Return `file:line in function` of the innermost frame that is not this package's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def _fault(value: Any) -> str | None:
    """Return the fault of an array, a box of one, or a tuple of them: 'NaN', 'Inf' or None."""
    parts = getattr(value, "parts", value)
    if isinstance(parts, (tuple, list)):
        return next((fault for fault in map(_fault, parts) if fault), None)
    array = value.array if hasattr(value, "node") else value
    dtype = getattr(array, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind != "f" or np.isfinite(array).all():
        return None
    return "NaN" if np.isnan(array).any() else "Inf"


def check_forward(name: str, out: Any, args: Sequence) -> None:
    """Raise if a primitive's result is not finite."""
    fault = _fault(out)
    if fault:
        blame = next((f"its argument {i} holds {f}" for i, f in enumerate(map(_fault, args)) if f), None)
        raise FloatingPointError(
            f"{name}: made the first {fault}, at {user_line()}; {blame or 'its arguments are all finite'}"
        )


def check_vjp(node: Any, g: Any, product: Any) -> None:
    """Raise if a primitive's VJP is not finite."""
    fault = _fault(product)
    if fault:
        made = node.extras and node.extras.line or "a line that ran outside detect_anomaly()"
        blame = "not finite" if _fault(g) else "finite"
        raise FloatingPointError(
            f"{node.name}: its backward made the first {fault}; recorded at {made}; "
            f"the gradient that reached it was {blame}"
        )
