"""The table of pointwise operations: what each computes, how C writes it, how an equation prints it.

Primitives, Programs and every code generator refer to this one table. All operations keep float32 as float32 and
float64 as float64, and hold over the whole range: a finite argument with a finite result raises no overflow warning,
and NaN stays NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runtime import locks


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x), from e^-|x|, so that no x overflows and small results keep their digits."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x: Any) -> Any:
    """Return log(1 + e^x)."""
    return np.logaddexp(x, 0)


@functools.cache
def _erf_ufunc() -> Callable:
    """Return `math.erf` as a ufunc. NumPy has none, so Numba compiles it at the first use."""
    with locks.held(locks.building):
        import numba

        return numba.vectorize(["float32(float32)", "float64(float64)"])(_scalar_erf)


def _scalar_erf(x: float) -> float:
    return math.erf(x)


def erf(x: Any) -> Any:
    """Return the error function of x: 2/sqrt(pi) times the integral of e^-t^2 from 0 to x."""
    return _erf_ufunc()(x)


def relu(x: Any) -> Any:
    """Return max(x, 0)."""
    return np.maximum(x, 0)


@dataclass(frozen=True)
class Operation:
    """One pointwise operation.

    compute:        the operation on NumPy arrays
    c:              its C++ text, with {} for each argument; device/pointwise.cuh defines the functions without std::
    sign:           the sign that an equation prints between its arguments; "" if it prints name(arguments)
    precedence:     how tightly the sign binds
    is_condition:   whether the result is true or false instead of a number
    condition_args: how many of the first arguments are conditions; the others are numbers
    """

    compute: Callable
    c: str
    sign: str = ""
    precedence: int = 0
    is_condition: bool = False
    condition_args: int = 0


def _standard(compute: Callable, name: str) -> Operation:
    return Operation(compute, f"std::{name}({{}})")


def _comparison(compute: Callable, sign: str) -> Operation:
    return Operation(compute, f"{{}} {sign} {{}}", sign, is_condition=True)


OPERATIONS: dict[str, Operation] = {
    "add": Operation(np.add, "{} + {}", "+", 1),
    "sub": Operation(np.subtract, "{} - {}", "-", 1),
    "mul": Operation(np.multiply, "{} * {}", "*", 2),
    "div": Operation(np.true_divide, "{} / {}", "/", 2),
    "neg": Operation(np.negative, "-{}", "-", 3),
    "pow": Operation(np.power, "std::pow({}, {})", "**", 4),
    "exp": _standard(np.exp, "exp"),
    "log": _standard(np.log, "log"),
    "sqrt": _standard(np.sqrt, "sqrt"),
    "abs": _standard(np.abs, "fabs"),
    "sign": Operation(np.sign, "sign({})"),
    "sin": _standard(np.sin, "sin"),
    "cos": _standard(np.cos, "cos"),
    "tanh": _standard(np.tanh, "tanh"),
    "sigmoid": Operation(sigmoid, "sigmoid({})"),
    "softplus": Operation(softplus, "softplus({})"),
    "erf": _standard(erf, "erf"),
    "relu": Operation(relu, "maximum({}, T(0))"),
    "maximum": Operation(np.maximum, "maximum({}, {})"),
    "minimum": Operation(np.minimum, "minimum({}, {})"),
    "where": Operation(np.where, "{} ? {} : {}", condition_args=1),
    "eq": _comparison(np.equal, "=="),
    "ne": _comparison(np.not_equal, "!="),
    "lt": _comparison(np.less, "<"),
    "le": _comparison(np.less_equal, "<="),
    "gt": _comparison(np.greater, ">"),
    "ge": _comparison(np.greater_equal, ">="),
    "logical_and": Operation(np.logical_and, "{} && {}", is_condition=True, condition_args=2),
    "logical_or": Operation(np.logical_or, "{} || {}", is_condition=True, condition_args=2),
    "logical_not": Operation(np.logical_not, "!{}", is_condition=True, condition_args=1),
}
