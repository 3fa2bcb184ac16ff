"""Layers and losses as functions, with PyTorch's names and arguments.

x, input, weight and bias are tensors, arrays or lists, floating unless the docstring says otherwise, all of one dtype
(float32 or float64, else TypeError) and on one device; the result has that dtype. `[...]` are any dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.coercion import array_of, operand
from ..arrays.device import array_like, numbers, on_gpu, same_device
from ..arrays.error_state import isolate_error_state
from ..arrays.random import uniform
from ..autograd.primitives import index as ix
from ..autograd.primitives import products as pr
from ..autograd.primitives.elementwise import gelu, relu, sigmoid, softplus, sqrt, tanh, where
from ..autograd.primitives.likelihood import softmax_nll
from ..autograd.primitives.reduce import log_softmax, mean, softmax, sum
from ..autograd.primitives.shape import pad as pad_primitive
from ..autograd.primitives.shape import permute, reshape
from ..autograd.primitives.static import as_ints
from ..autograd.primitives.windows import conv2d, max_pool2d
from ..tensor import Tensor
from ..tensor.creation import as_tensor, own_tensor
from .ctc import ctc_loss
from .reduction import check_reduction
from .reduction import reduced as _reduced

__all__ = [
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "embedding",
    "gelu",
    "layer_norm",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "pad",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "tanh",
]


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Return input with a border of `value` (default 0).

    pad: the widths (before, after) of the last dimension, then of the one before it, and so on: [d1, ..., dn] becomes
    [..., before + dn + after]. mode: only "constant"; any other raises ValueError.
    """
    input = operand("pad: input", input)
    if mode != "constant":
        raise ValueError(f"pad: mode: expected 'constant', got {mode!r}")
    return pad_primitive(input, pad, 0.0 if value is None else value)


# Layers


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """Return x W^T + b. x [..., I], weight W [O, I], bias b [O] or None -> [..., O].

    Raises ValueError for shapes that do not fit, TypeError for dtypes that differ.
    """
    x = x if isinstance(x, Box) else operand("linear: x", x)
    weight = weight if isinstance(weight, Box) else operand("linear: weight", weight)
    bias = bias if bias is None or isinstance(bias, Box) else operand("linear: bias", bias)
    if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: expected x [..., I] and weight [O, I], got x {tuple(x.shape)} and weight {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias: expected shape {weight.shape[:1]} as weight has rows, got {bias.shape}")
    return pr.linear(x, weight) if bias is None else pr.affine(x, weight, bias)


def row_of(name: str, padding_idx: int | None, rows: int) -> int | None:
    """Return padding_idx, counted from the front, or None. Raise TypeError or ValueError unless it is a row's index."""
    if padding_idx is None:
        return None
    if isinstance(padding_idx, bool) or not isinstance(padding_idx, (int, np.integer)):
        raise TypeError(f"{name}: padding_idx: expected a whole number or None, got {padding_idx!r}")
    if not -rows <= padding_idx < rows:
        raise ValueError(f"{name}: padding_idx: expected a whole number from {-rows} to {rows - 1}, got {padding_idx}")
    return padding_idx % rows


def embedding(index: Any, weight: Any, padding_idx: int | None = None) -> Any:
    """Return weight[index]. index: integers [...] from 0 to V - 1, weight [V, D] -> [..., D].

    The row `padding_idx` (a negative one counts from the end) gets no gradient. Raises TypeError for an index that is
    not of integers, IndexError for one outside the rows.
    """
    weight = operand("embedding: weight", weight)
    rows = ix.embedding(index, weight)
    row = row_of("embedding", padding_idx, weight.shape[0])
    if row is None:
        return rows
    index = array_like(index, rows, "embedding: index", any_dtype=True)
    return where((index == row)[..., None], Tensor(rows.array) if isinstance(rows, Tensor) else rows, rows)


def one_hot(index: Any, num_classes: int = -1) -> Tensor:
    """Return int64 numbers, 1 at the index and 0 elsewhere. index: integers [...] -> [..., num_classes].

    num_classes: -1 means the largest index + 1. Raises TypeError for an index that is not of integers, IndexError for
    one outside the classes.
    """
    at = _integers("one_hot: index", index)
    if num_classes == -1:
        if not at.size:
            raise ValueError("one_hot: num_classes: expected a number where index has no elements, got -1")
        num_classes = int(at.max()) + 1
    _check_classes("one_hot: index", at, num_classes)
    return Tensor((at[..., None] == np.arange(num_classes, like=at)).astype(np.int64))


def probability(name: str, p: Any, argument: str = "p") -> float:
    """Return p as a float. Raise ValueError unless it is a number from 0 to 1."""
    if isinstance(p, bool) or not isinstance(p, (int, float, np.floating)) or not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: {argument}: expected a number from 0 to 1, got {p!r}")
    return float(p)


@isolate_error_state
def dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """Return x * mask / (1 - p), or x itself if not training. x [...] -> [...].

    Each element of mask is 0 with probability p, else 1, drawn from the stream of `tinygrad_rnn.manual_seed`. Raises
    ValueError for a p outside [0, 1]. Srivastava et al., Dropout (2014), section 10: the scaling in training lets
    evaluation use x unchanged.
    """
    x, p = x if isinstance(x, Box) else operand("dropout: x", x), probability("dropout", p)
    if not training or p == 0.0:
        return x
    if x.dtype.kind != "f":
        raise TypeError(f"dropout: x: expected a floating dtype, got {x.dtype}")
    keep = uniform(x.shape, x) >= p
    return x * boxed(keep * x.dtype.type(1.0 / (1.0 - p) if p < 1.0 else 0.0))


def layer_norm(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Return (x - mean) / sqrt(var + eps) * weight + bias. x [..., *normalized_shape] -> the same shape.

    mean and var are taken over the dimensions of normalized_shape; var divides by n, not n - 1. weight and bias have
    shape normalized_shape, or are None. Shapes that do not fit raise ValueError. Ba et al., Layer Normalization
    (2016), section 3.
    """
    x, shape = operand("layer_norm: x", x), as_ints("layer_norm: normalized_shape", normalized_shape)
    weight = None if weight is None else operand("layer_norm: weight", weight)
    bias = None if bias is None else operand("layer_norm: bias", bias)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"layer_norm: x: expected last dimensions {shape}, got shape {x.shape}")
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"layer_norm: {name}: expected shape {shape}, got {value.shape}")
    dims = tuple(range(-len(shape), 0))
    centred = x - mean(x, dims, keepdim=True)
    out = centred / sqrt(mean(centred * centred, dims, keepdim=True) + eps)
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


# Losses


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Return the mean of (input - target)^2 over all elements, or their sum, or the elements with 'none'.

    input and target [...] have one shape, else ValueError. reduction: 'mean', 'sum' or 'none'.
    """
    input, target = _pair("mse_loss", input, target)
    check_reduction("mse_loss", reduction)
    _same_shape("mse_loss", input, target)
    distance = input - target
    return _reduced(distance * distance, reduction)


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
    return _reduced(losses if weight is None else losses * weight, reduction)


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
        return _reduced(losses, reduction)
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
    index = _integers(f"{name}: target", target)
    if index.shape != x.shape[:-1]:
        raise ValueError(f"{name}: target: expected class indices of shape {x.shape[:-1]}, got shape {index.shape}")
    counted = index != ignore_index
    index = np.where(counted, index, 0)
    _check_classes(f"{name}: target", index, x.shape[-1])
    if on_gpu(index):
        same_device(f"{name}: target", index, x, "the input is")
    weights = counted.astype(x.dtype)
    if weight is not None:
        index, counted, weights = array_like(index, x), array_like(counted, x), array_like(weights, x)
        weights *= _class_weight(x, weight)[index]
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


def _class_weight(x: Any, weight: Any) -> Any:
    weight = as_tensor(weight, "weight")
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"weight: expected shape {x.shape[-1:]}, one for each class, got {weight.shape}")
    same_device("weight", weight, x, "the input is")
    return weight.array.astype(x.dtype)


def _weighted(x: Any, weight: Any) -> Any:
    """Return x [..., C] times the weight of each class."""
    return x if weight is None else x * Tensor(_class_weight(x, weight))


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


def _integers(name: str, values: Any) -> Any:
    array = array_of(name, values, any_dtype=True)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {array.dtype}")
    return array


def _check_classes(name: str, index: Any, classes: int) -> None:
    if index.size:
        least, most = numbers(index.min(), index.max())
        if not 0 <= least <= most < classes:
            worst = int(least if least < 0 else most)
            raise IndexError(f"{name}: expected class indices from 0 to {classes - 1}, got {worst}")
