"""Losses as functions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import array_of, operand
from ...arrays.device import array_like, on_gpu, same_device
from ...arrays.error_state import isolate_error_state
from ...autograd.primitives import index as ix
from ...autograd.primitives.elementwise import exp, log, softplus, where
from ...autograd.primitives.likelihood import softmax_nll
from ...autograd.primitives.reduce import log_softmax, sum
from ...autograd.primitives.shape import permute, reshape
from ...tensor import Tensor
from ...tensor.creation import as_tensor, own_tensor
from .layers import check_classes, integers, probability
from .reduction import check_reduction, reduced


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Return the mean of (input - target)^2 over all elements, or their sum, or the elements with 'none'.

    input and target [...] have one shape, else ValueError. reduction: 'mean', 'sum' or 'none'.
    """
    input, target = _pair("mse_loss", input, target)
    check_reduction("mse_loss", reduction)
    _same_shape("mse_loss", input, target)
    distance = input - target
    return reduced(distance * distance, reduction)


def kl_div(input: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """Return the mean over all elements of q (log q - x), from which the Kullback-Leibler divergence is summed.

    x is the input (log-probabilities) and q the target (probabilities; their logarithms with log_target), of one
    shape [...], else ValueError. An element with q = 0 and a finite x counts as 0. reduction: 'batchmean' (the sum
    over the size of the first dimension: the mean divergence of a row), 'mean', 'sum', or 'none' (the elements).
    Kullback and Leibler, On information and sufficiency (1951), eq. 2.4.
    """
    input, target = _pair("kl_div", input, target)
    check_reduction("kl_div", reduction, "batchmean")
    _same_shape("kl_div", input, target)
    if log_target:
        losses = exp(target) * (target - input)
    else:
        losses = target * log(where(target == 0.0, 1.0, target)) - target * input
    if reduction == "batchmean":
        rows = input.shape[0] if input.shape else 1
        return sum(losses) * (1.0 / rows if rows else math.nan)
    return reduced(losses, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Any:
    """Return the mean over all elements of -w (p y log s(x) + (1 - y) log(1 - s(x))), s the sigmoid.

    x is the input (logits) and y the target (probabilities), of one shape [...], else ValueError. weight (w) and
    pos_weight (p), by default 1, broadcast to that shape. reduction: 'mean', 'sum' or 'none' (the elements).
    The computed form is w ((1 - y) x + (1 + (p - 1) y) softplus(-x)), which neither overflows nor takes log of 0.
    """
    check_reduction("binary_cross_entropy_with_logits", reduction)
    input, target = _pair("binary_cross_entropy_with_logits", input, target)
    weight = None if weight is None else _factor("binary_cross_entropy_with_logits: weight", weight)
    if pos_weight is not None:
        pos_weight = _factor("binary_cross_entropy_with_logits: pos_weight", pos_weight)
    _same_shape("binary_cross_entropy_with_logits", input, target)
    log_term = softplus(-input)
    if pos_weight is not None:
        log_term = log_term * (1.0 + (pos_weight - 1.0) * target)
    losses = (1.0 - target) * input + log_term
    return reduced(losses if weight is None else losses * weight, reduction)


@isolate_error_state
def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """Return the mean of -weight[target] input[target], the negative log-likelihood of the target classes.

    input holds log-probabilities. Shapes, arguments and errors are those of `cross_entropy` with class indices.
    """
    log_p = _classes_last("nll_loss", operand("nll_loss: input", input))
    targets = _class_targets("nll_loss", log_p, target, weight, ignore_index, reduction)
    picked = reshape(ix.take_along(log_p, len(log_p.shape) - 1, targets.classes[..., None]), targets.classes.shape)
    return _sum_scaled(where(targets.counted, picked, 0.0) * Tensor(-targets.weights), targets, reduction)


@isolate_error_state
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Return the mean over rows of -sum over classes c of weight[c] q[c] log softmax(input)[c].

    input: logits [N, C], [N, C, d1, ...] or [C], with C classes.
    target: class indices, integers of the input's shape without C (q is 1 at the index); or class probabilities q,
        floating and of the input's shape. Indices may lie on the CPU for an input on a GPU; checking them
        then costs no GPU time.
    weight: a weight per class [C]; by default 1.
    ignore_index: rows with this target index have loss 0 and gradient 0, and the mean does not count them.
    reduction: 'none' (a loss per row), 'sum', or 'mean': the sum divided by the sum of weight[target] (indices),
        or by the number of rows (probabilities). A mean over no rows is NaN.
    label_smoothing: e turns q into (1 - e) q + e / C. Szegedy et al., Rethinking the Inception architecture for
        computer vision (2016), section 7.

    Raises IndexError for an index outside [0, C), ValueError for shapes that do not fit, TypeError for wrong dtypes.
    """
    smoothing = probability("cross_entropy", label_smoothing, "label_smoothing")
    input = operand("cross_entropy: input", input)
    x = _classes_last("cross_entropy", input)
    if not isinstance(target, Box):
        target = Tensor(array_of("cross_entropy: target", target, any_dtype=True))
    if target.dtype.kind == "f":
        if ignore_index >= 0:
            raise ValueError(f"cross_entropy: ignore_index: expected none with class probabilities, got {ignore_index}")
        check_reduction("cross_entropy", reduction)
        _same_shape("cross_entropy", input, target)
        weight = None if weight is None else as_tensor(weight, "cross_entropy: weight")
        q = _classes_last("cross_entropy", target) * (1.0 - smoothing) + smoothing / x.shape[-1]
        losses = -sum(_weighted(log_softmax(x), weight) * q, -1)
        return reduced(losses, reduction)
    targets = _class_targets("cross_entropy", x, target, weight, ignore_index, reduction)
    rows = x if len(x.shape) == 2 else reshape(x, (targets.classes.size, x.shape[-1]))
    weights = targets.weights * x.dtype.type(1.0 - smoothing)
    losses = softmax_nll(rows, targets.classes.reshape(-1), weights.reshape(-1))
    losses = losses if targets.classes.ndim == 1 else reshape(losses, targets.classes.shape)
    if smoothing:
        uniform_part = where(targets.counted, sum(_weighted(log_softmax(x), weight), -1), 0.0)
        losses = losses - uniform_part * (targets.scale * smoothing / x.shape[-1])
    return _sum_scaled(losses, targets, reduction)


class _ClassTargets(NamedTuple):
    """Checked class indices of rows [..., C]: arrays of shape [...], on the device of the rows, and a scale."""

    classes: Any  # the index of the class, within [0, C); 0 for an ignored row
    counted: Any  # False for an ignored row
    weights: Any  # the factor of the row's loss, scale included; 0 for an ignored row
    scale: float  # 1 / (sum of weights), or 0 if that sum is 0, for 'mean'; 1 for other reductions


def _class_targets(name: str, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> _ClassTargets:
    """Check a target of class indices for rows x [..., C], and return it with the factor of each row."""
    check_reduction(name, reduction)
    index = integers(f"{name}: target", target)
    if index.shape != x.shape[:-1]:
        raise ValueError(f"{name}: target: expected class indices of shape {x.shape[:-1]}, got shape {index.shape}")
    counted = index != ignore_index
    index = np.where(counted, index, 0)
    check_classes(f"{name}: target", index, x.shape[-1])
    if on_gpu(index):
        same_device(f"{name}: target", index, x, "the input is")
    weights = counted.astype(x.dtype)
    if weight is not None:
        index, counted, weights = array_like(index, x), array_like(counted, x), array_like(weights, x)
        weights *= _class_weight(name, x, weight)[index]
    total = float(weights.sum()) if reduction == "mean" else 1.0
    scale = 1.0 / total if total else 0.0
    weights = array_like(weights * x.dtype.type(scale), x)
    return _ClassTargets(array_like(index, x), array_like(counted, x), weights, scale)


def _sum_scaled(losses: Any, targets: _ClassTargets, reduction: str) -> Any:
    """Return the losses, which are scaled already, or their sum.

    A mean over no rows is NaN with a gradient of 0, so that a step of an optimiser does no harm.
    """
    if reduction == "none":
        return losses
    return sum(losses) if targets.scale else sum(losses) + math.nan


def _class_weight(name: str, x: Any, weight: Any) -> Any:
    """Return the weight of each class of x [..., C], an array [C], checked. name: the loss, for errors."""
    weight = as_tensor(weight, f"{name}: weight")
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"{name}: weight: expected shape {x.shape[-1:]}, one for each class, got {weight.shape}")
    same_device(f"{name}: weight", weight, x, "the input is")
    return weight.array.astype(x.dtype)


def _weighted(x: Any, weight: Any) -> Any:
    """Return x [..., C] times the weight of each class."""
    return x if weight is None else x * Tensor(_class_weight("cross_entropy", x, weight))


def _pair(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    """Return the input and the target of a loss as tensors."""
    input = input if isinstance(input, Box) else own_tensor(input, f"{name}: input")
    return input, target if isinstance(target, Box) else own_tensor(target, f"{name}: target")


def _factor(name: str, value: Any) -> Any:
    """Return a weight that broadcasts: a number unchanged, anything else as a tensor."""
    return value if isinstance(value, (Box, int, float)) else own_tensor(value, name)


def _same_shape(name: str, input: Any, target: Any) -> None:
    if input.shape != target.shape:
        raise ValueError(f"{name}: target: expected shape {input.shape} as the input has, got {target.shape}")


def _classes_last(name: str, x: Any) -> Any:
    """Return x [N, C, d1, ...] with its classes moved to the end; [N, C] and [C] unchanged."""
    if not x.shape:
        raise ValueError(f"{name}: input: expected shape [C], [N, C] or [N, C, d1, ...], got a scalar")
    return x if len(x.shape) <= 2 else permute(x, (0, *range(2, len(x.shape)), 1))
