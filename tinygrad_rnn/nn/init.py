"""Initial values of weights. Each function overwrites a floating tensor of any shape [...] and returns it.

Random functions draw from the one stream of `tinygrad_rnn.manual_seed` in float64 and then round. With the same seed
a float32 model thus has the rounded weights of the float64 model. Uniform and normal draws raise TypeError for a
dtype that is not floating.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays.random import generator
from ..autograd.grad_modes import no_grad
from ..tensor import Tensor

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0)}


def _overwrite(tensor: Tensor, values: Any) -> Tensor:
    with no_grad():
        return tensor.copy_(values)


def _drawn(name: str, tensor: Tensor, values: Any) -> Tensor:
    if tensor.dtype.kind != "f":
        raise TypeError(f"{name}: tensor: expected a floating dtype, got {tensor.dtype}")
    return _overwrite(tensor, values)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Draw each number uniformly from [a, b)."""
    return _drawn("uniform_", tensor, generator().uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw each number from the normal distribution of this mean and standard deviation."""
    return _drawn("normal_", tensor, generator().normal(mean, std, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every number to val; the tensor may have any dtype."""
    return _overwrite(tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """Set every number to 0; the tensor may have any dtype."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Set every number to 1; the tensor may have any dtype."""
    return constant_(tensor, 1.0)


def fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight [out, in, ...]: the number of inputs per output, and the reverse.

    Raises ValueError for fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"{name}: tensor: expected at least two dimensions, got shape {tensor.shape}")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor of a weight's standard deviation that makes up for the shrinking by a nonlinearity.

    linear, sigmoid: 1; tanh: 5/3; relu: sqrt(2); leaky_relu: sqrt(2 / (1 + param^2)), param (default 0.01) is the
    slope below 0. Raises ValueError for another name. He et al., Delving deep into rectifiers (2015), section 2.2.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        expected = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: nonlinearity: expected one of {expected}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw each number uniformly from [-b, b), b = gain sqrt(6 / (fan_in + fan_out)).

    The variance of signals and of gradients then stays about equal from layer to layer. Raises as `fans` does.
    Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks (2010), eq. 16.
    """
    bound = gain * math.sqrt(6.0 / max(1, sum(fans("xavier_uniform_", tensor))))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw from N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out)). Glorot and Bengio (2010), eq. 12."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(1, sum(fans("xavier_normal_", tensor)))))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Draw each number uniformly from [-b, b), b = gain sqrt(3 / fan), gain = calculate_gain(nonlinearity, a).

    mode chooses the fan: 'fan_in' or 'fan_out', else ValueError. a = sqrt(5) gives b = 1 / sqrt(fan_in).
    He et al., Delving deep into rectifiers (2015), section 2.2.
    """
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming_uniform_: mode: expected 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans("kaiming_uniform_", tensor)[mode == "fan_out"]
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / max(1, fan))
    return uniform_(tensor, -bound, bound)


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Set tensor [m, ...], read as a matrix of m rows, to gain Q. Q is uniform among matrices with orthonormal rows.

    With more rows than columns the columns are orthonormal. Raises ValueError for fewer than two dimensions. Saxe et
    al., Exact solutions to the nonlinear dynamics of learning in deep linear neural networks (2014). Q is from a QR
    decomposition; the signs of R's diagonal make its distribution uniform: Mezzadri, How to generate random matrices
    from the classical compact groups (2007), section 5.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor: expected at least two dimensions, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(generator().standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
    return _drawn("orthogonal_", tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))
