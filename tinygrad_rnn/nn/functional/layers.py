"""Layers as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.box import Box, boxed
from ...arrays.coercion import array_of, operand
from ...arrays.device import array_like, numbers
from ...arrays.error_state import isolate_error_state
from ...arrays.random import uniform
from ...autograd.primitives import index as ix
from ...autograd.primitives import products as pr
from ...autograd.primitives.elementwise import sqrt, where
from ...autograd.primitives.reduce import mean
from ...autograd.primitives.shape import pad as pad_primitive
from ...autograd.primitives.static import as_ints
from ...tensor import Tensor


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """Return input with a border of `value` (default 0).

    pad: the widths (before, after) of the last dimension, then of the one before it, and so on: [d1, ..., dn] becomes
    [..., before + dn + after]. mode: only "constant"; any other raises ValueError.
    """
    input = operand("pad: input", input)
    if mode != "constant":
        raise ValueError(f"pad: mode: expected 'constant', got {mode!r}")
    return pad_primitive(input, pad, 0.0 if value is None else value)


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
    at = integers("one_hot: index", index)
    if num_classes == -1:
        if not at.size:
            raise ValueError("one_hot: num_classes: expected a number where index has no elements, got -1")
        num_classes = int(at.max()) + 1
    check_classes("one_hot: index", at, num_classes)
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


def integers(name: str, values: Any) -> Any:
    """Return an index as an array. Raise TypeError unless it holds integers."""
    array = array_of(name, values, any_dtype=True)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {array.dtype}")
    return array


def check_classes(name: str, index: Any, classes: int) -> None:
    """Raise IndexError unless every class index lies in [0, classes)."""
    if index.size:
        least, most = numbers(index.min(), index.max())
        if not 0 <= least <= most < classes:
            worst = int(least if least < 0 else most)
            raise IndexError(f"{name}: expected class indices from 0 to {classes - 1}, got {worst}")
