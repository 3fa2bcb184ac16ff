"""The pointwise operations: what each means, in NumPy. Primitives and Programs both refer to this table.

All keep float32 as float32 and float64 as float64, and hold over the whole range: no overflow
warning for a finite argument whose result is finite, NaN stays NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..runtime import locks


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x), from e^-|x| so that neither end overflows and small results keep their digits."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x: Any) -> Any:
    """log(1 + e^x)."""
    return np.logaddexp(x, 0)


@functools.cache
def _erf_ufunc() -> Callable:
    """`math.erf` as a ufunc, compiled by Numba on first use: NumPy has none."""
    with locks.held(locks.building):
        import numba

        return numba.vectorize(["float32(float32)", "float64(float64)"])(_scalar_erf)


def _scalar_erf(x: float) -> float:
    return math.erf(x)


def erf(x: Any) -> Any:
    """The error function, 2/sqrt(pi) times the integral of e^-t^2 from 0 to x."""
    return _erf_ufunc()(x)


OPERATIONS: dict[str, Callable] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "neg": np.negative,
    "pow": np.power,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "erf": erf,
    "relu": lambda x: np.maximum(x, 0),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "where": np.where,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
}
