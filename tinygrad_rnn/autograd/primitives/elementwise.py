"""Elementwise primitives: arithmetic with NumPy's broadcasting, comparison and choice, and functions of one argument.

A VJP here need not undo broadcasting: the tape sums each cotangent down to the shape of its argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import device
from ...arrays.box import Box
from ...arrays.coercion import array_of, operand
from ...kernels.ir.operations import OPERATIONS
from ..primitive import primitive


def _elementwise(name: str, forward: Callable, *vjps: Callable, floats: bool = False) -> Callable[..., Any]:
    """Return a primitive of numbers that broadcast together. floats: the result is floating."""
    return primitive(name, forward, *vjps, numeric=True, floats=floats, expects="shapes that broadcast together")


def _floating(name: str, forward: Callable, vjp: Callable) -> Callable[..., Any]:
    """Return a primitive of one argument whose result is floating."""
    return _elementwise(name, forward, vjp, floats=True)


# Arithmetic

add = _elementwise("add", lambda x, y: x + y, lambda g: g, lambda g: g)
sub = _elementwise("sub", lambda x, y: x - y, lambda g: g, lambda g: -g)
mul = _elementwise("mul", lambda x, y: x * y, lambda g, x, y: g * y, lambda g, x, y: g * x)
div = _elementwise("div", lambda x, y: x / y, lambda g, out, y: g / y, lambda g, out, y: -g * (out / y))
floor_div: Callable[..., Any] = _elementwise(
    "floor_div", lambda x, y: np.floor_divide(_dividend("floor_div", x, y), y), lambda g: g * 0.0, lambda g: g * 0.0
)
remainder = _elementwise(
    "remainder",
    lambda x, y: np.remainder(_dividend("remainder", x, y), y),
    lambda g, x, y: g,
    lambda g, x, y: -g * floor_div(x, y),
)
neg = _elementwise("neg", lambda x: -x, lambda g: -g)
pow = _elementwise(
    "pow",
    lambda x, y: _power(x, y),
    lambda g, out, x, y: g * _slope(x, y),
    lambda g, out, x, y: g * (out * _log_base(x)),
)


def divided(x: Any, y: Any) -> tuple[Any, Any]:
    """Return x // y (the quotient rounded down) and x % y (the remainder, with the sign of y)."""
    return floor_div(x, y), remainder(x, y)


def _dividend(name: str, x: Any, y: Any) -> Any:
    """Return x. Raise ZeroDivisionError if integers are divided by 0, where NumPy would give 0."""
    integers = all(isinstance(v, int) or getattr(getattr(v, "dtype", None), "kind", "f") in "iub" for v in (x, y))
    if integers and bool(np.any(np.equal(y, 0))):
        raise ZeroDivisionError(f"{name}: y: expected whole numbers other than 0, got 0")
    return x


def _power(x: Any, y: Any) -> Any:
    """Return x^y. Raise ValueError for integers to a negative integer power on every device, as NumPy does."""
    if isinstance(y, int) and y < 0 and getattr(x, "dtype", np.dtype(float)).kind in "iu":
        raise ValueError("integers to negative integer powers are not allowed")
    return x**y


def _sign(x: Any) -> Any:
    """Return -1, 0 or 1 for numbers, and a copy of x for booleans, which NumPy refuses and CuPy counts as numbers."""
    return x.copy() if x.dtype == bool else np.sign(x)


def _slope(x: Any, y: Any) -> Any:
    """Return y x^(y-1), the derivative of x^y by x. It is 0 for y = 0, even where x^-1 is not finite."""
    if isinstance(y, (int, float)):
        return y * x ** (y - 1 if y else y)
    usual = logical_and(isfinite(x), gt(abs(x), 1e-30))
    return y * where(logical_and(eq(y, 0.0), logical_not(usual)), 1.0, x) ** (y - 1.0)


def _log_base(x: Any) -> Any:
    """Return log x, but 0 for x = 0, because 0^y is constant in y > 0. Return NaN below 0."""
    if isinstance(x, (int, float)):
        return math.log(x) if x > 0 else 0.0 if x == 0 else math.nan
    return log(where(eq(x, 0.0), 1.0, x))


# Comparison and choice

eq = _elementwise("eq", lambda x, y: np.equal(x, y))
ne = _elementwise("ne", lambda x, y: np.not_equal(x, y))
lt = _elementwise("lt", lambda x, y: np.less(x, y))
le = _elementwise("le", lambda x, y: np.less_equal(x, y))
gt = _elementwise("gt", lambda x, y: np.greater(x, y))
ge = _elementwise("ge", lambda x, y: np.greater_equal(x, y))
logical_and = _elementwise("logical_and", lambda x, y: np.logical_and(x, y))
logical_or = _elementwise("logical_or", lambda x, y: np.logical_or(x, y))
logical_not = _elementwise("logical_not", lambda x: np.logical_not(x))
isfinite = _elementwise("isfinite", lambda x: np.isfinite(x))
isnan = _elementwise("isnan", lambda x: np.isnan(x))


def _chosen(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition is true and y elsewhere. Raise TypeError if the condition is not boolean."""
    if getattr(condition, "dtype", np.bool_) != np.bool_:
        raise TypeError(f"the condition is {condition.dtype}")
    for number, other in ((x, y), (y, x)):
        if isinstance(number, int) and getattr(other, "dtype", np.bool_) != np.bool_:
            other.dtype.type(number)  # np.where would wrap a number that the dtype cannot hold; this raises
    if isinstance(condition, (bool, np.bool_)):
        condition = device.array_like(condition, x if hasattr(x, "dtype") else y)
    return np.where(condition, x, y)


where: Callable[..., Any] = primitive(
    "where",
    _chosen,
    lambda g, condition: None,
    lambda g, condition: where(condition, g, 0.0),
    lambda g, condition: where(condition, 0.0, g),
    numeric=True,
    expects="a boolean condition, x and y of shapes that broadcast together",
)


def _to_winner(g: Any, loses: Any, ties: Any) -> Any:
    """Return the cotangent of one argument of a maximum or minimum: g if it wins, g / 2 in a tie, 0 if it loses.

    If one argument is NaN, neither loses and both receive g.
    """
    return where(loses, 0.0, where(ties, g * 0.5, g))


maximum = _elementwise(
    "maximum",
    lambda x, y: np.maximum(x, y),
    lambda g, x, y: _to_winner(g, lt(x, y), eq(x, y)),
    lambda g, x, y: _to_winner(g, lt(y, x), eq(x, y)),
)
minimum = _elementwise(
    "minimum",
    lambda x, y: np.minimum(x, y),
    lambda g, x, y: _to_winner(g, gt(x, y), eq(x, y)),
    lambda g, x, y: _to_winner(g, gt(y, x), eq(x, y)),
)

# Functions of one argument

exp = _floating("exp", lambda x: np.exp(x), lambda g, out: g * out)
log = _floating("log", lambda x: np.log(x), lambda g, x: g / x)
sqrt = _floating("sqrt", lambda x: np.sqrt(x), lambda g, out: g * 0.5 / out)
abs = _elementwise("abs", lambda x: np.abs(x), lambda g, x: g * sign(x))
sign: Callable[..., Any] = _elementwise("sign", lambda x: _sign(x), lambda g: g * 0.0)
sin = _floating("sin", lambda x: np.sin(x), lambda g, x: g * cos(x))
cos: Callable[..., Any] = _floating("cos", lambda x: np.cos(x), lambda g, x: -g * sin(x))
tanh = _floating("tanh", lambda x: np.tanh(x), lambda g, out: g * (1.0 - out * out))
sigmoid = _floating("sigmoid", lambda x: OPERATIONS["sigmoid"].compute(x), lambda g, out: g * (out * (1.0 - out)))
softplus = _floating("softplus", lambda x: OPERATIONS["softplus"].compute(x), lambda g, x: g * sigmoid(x))
_erf = lambda x: device.erf(x) if device.on_gpu(x) else OPERATIONS["erf"].compute(x)
erf = _floating("erf", _erf, lambda g, x: g * _bell(x))


def _bell(x: Any) -> Any:
    """Return 2/sqrt(pi) e^(-x^2), the derivative of erf. x is clipped at 30, where this is 0 and x^2 is finite."""
    near = clip(x, -30.0, 30.0)
    return (2.0 / math.sqrt(math.pi)) * exp(-near * near)


relu = _elementwise("relu", lambda x: np.maximum(x, 0), lambda g, out: where(le(out, 0.0), 0.0, g))
_clip = primitive(
    "clip",
    lambda x, low, high: np.clip(x, low, high),
    lambda g, x, low, high: where(_within(x, low, high), g, 0.0),
)


def _within(x: Any, low: float | None, high: float | None) -> Any:
    """Return whether each element lies in [low, high]; None stands for no bound."""
    inside = True if low is None else ge(x, low)
    return inside if high is None else logical_and(le(x, high), inside)


def _bound(name: str, value: Any) -> float | None:
    """Return a bound of `clip` as a Python number. Raise TypeError unless it is a number or a one-element constant."""
    if value is None or isinstance(value, (int, float)) and not isinstance(value, np.generic):
        return value
    if isinstance(value, (list, tuple, str)) or getattr(value, "requires_grad", False):
        got = repr(value) if isinstance(value, (list, tuple, str)) else "one with requires_grad"
        raise TypeError(f"clip: {name}: expected a number or None, got {got}: use maximum and minimum with tensors")
    array = array_of(f"clip: {name}", value)
    if array.size != 1:
        got = f"shape {array.shape}"
        raise TypeError(f"clip: {name}: expected a number or None, got {got}: use maximum and minimum with tensors")
    return array.item()


def clip(x: Any, min: float | None = None, max: float | None = None) -> Any:
    """Return x limited to [min, max]. The gradient is 1 inside and on the bounds, and 0 outside.

    min, max: numbers or one-element constants; one of them may be None. An integer x with a float bound becomes
    float32. Raise ValueError without any bound, TypeError for a bound that is not a number.
    """
    x = operand("clip: x", x)
    if min is None and max is None:
        raise ValueError("clip: expected min, max or both, got neither")
    low, high = _bound("min", min), _bound("max", max)
    return _clip(floating(x) if isinstance(low, float) or isinstance(high, float) else x, low, high)


_cast: Callable[..., Any] = primitive(
    "cast", lambda x, dtype, source: x.astype(dtype), lambda g, dtype, source: _cast(g, source, dtype)
)


def cast(x: Any, dtype: Any) -> Any:
    """Return x converted to another dtype; the gradient is converted back. An integer or boolean result is a constant.

    Raise TypeError for a dtype that NumPy does not know.
    """
    x, dtype = operand("cast: x", x), np.dtype(dtype)
    if x.dtype == dtype:
        return x
    return _cast(Box.result_type(x.array) if dtype.kind != "f" and isinstance(x, Box) else x, dtype, x.dtype)


_move: Callable[..., Any] = primitive(
    "move", lambda x, target, source: device.to_device(x, target), lambda g, target, source: _move(g, source, target)
)


def move(x: Any, target: str) -> Any:
    """Return x on another device; the gradient is moved back. target: the full name, "cpu" or "cuda:0"."""
    source = device.device_of(x)
    return x if source == target else _move(x, target, source)


def floating(x: Any) -> Any:
    """Return x itself if its dtype is floating, else x in float32."""
    return x if x.dtype.kind == "f" else cast(x, "float32")


def masked_fill(x: Any, mask: Any, value: float) -> Any:
    """Return `value` where the boolean mask is true and x elsewhere; no gradient passes where it is true.

    mask: a boolean tensor that broadcasts with x; any other dtype raises TypeError. The result has the dtype of x.
    """
    x = operand("masked_fill: x", x)
    kind = bool if x.dtype == np.bool_ else int if x.dtype.kind in "iu" else None
    return where(mask, kind(value) if kind and isinstance(value, (bool, int, float)) else value, x)


def gelu(x: Any, approximate: str = "none") -> Any:
    """Return x Phi(x), elementwise; Phi is the normal distribution function.

    approximate: "none", or "tanh" for 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))); else ValueError is raised.
    Hendrycks and Gimpel, Gaussian Error Linear Units (2016), section 2.
    """
    x = operand("gelu: x", x)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate: expected 'none' or 'tanh', got {approximate!r}")
    if approximate == "none":
        return x * (0.5 * (1.0 + erf(x * math.sqrt(0.5))))
    near = clip(x, -100.0, 100.0)  # x^3 could overflow; beyond 100 tanh is 1 to the last digit
    return x * (0.5 * (1.0 + tanh(math.sqrt(2.0 / math.pi) * (near + 0.044715 * (near * near * near)))))
