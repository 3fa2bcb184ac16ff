"""Layers that hold weights: Linear, Embedding, LayerNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.coercion import array_of
from ..tensor import Tensor
from ..tensor.creation import zeros
from . import functional as F
from . import init
from .functional.layers import row_of
from .module import Module, Parameter


def check_sizes(layer: str, least: int = 1, **sizes: Any) -> None:
    """Raise ValueError unless each size is a whole number from `least` up."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < least:
            raise ValueError(f"{layer}: {name}: expected a whole number from {least} up, got {size!r}")


def new_parameter(shape: Sequence[int], dtype: Any, device: Any) -> Parameter:
    """Return a parameter of zeros; the layer's `reset_parameters` draws its first values."""
    return Parameter(zeros(shape, dtype=dtype, device=device))


def reset_affine(layer: Module) -> None:
    """Draw weight and bias from U(-b, b), b = 1 / sqrt(fan_in)."""
    weight, bias = layer._read("weight"), layer._read("bias", optional=True)
    init.kaiming_uniform_(weight, a=math.sqrt(5.0))
    if bias is not None:
        bound = 1.0 / math.sqrt(max(1, init.fans("reset_parameters", weight)[0]))
        init.uniform_(bias, -bound, bound)


class Linear(Module):
    """y = x W^T + b; x [..., in_features] -> y [..., out_features], in the dtype of the weight.

    weight [out_features, in_features] and bias [out_features] (None with bias=False) are drawn from U(-b, b),
    b = 1 / sqrt(in_features). Raises ValueError for a shape and TypeError for a dtype that does not fit.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, device: Any = None, dtype: Any = "float32"
    ):
        super().__init__()
        check_sizes("Linear", 0, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = new_parameter((out_features, in_features), dtype, device)
        self.register_parameter("bias", new_parameter((out_features,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias again."""
        reset_affine(self)

    def forward(self, x: Any) -> Any:
        return F.linear(x, self._read("weight"), self._read("bias", optional=True))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """y = weight[index]; index: integers of any shape [...] -> y [..., embedding_dim].

    weight [num_embeddings, embedding_dim] is drawn from N(0, 1). The row `padding_idx` (a negative one counts from
    the end; None: no such row) begins as zeros and gets no gradient. Raises IndexError for an index outside the rows.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = "float32",
        _weight: Parameter | None = None,
    ):
        super().__init__()
        check_sizes("Embedding", 0, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = row_of("Embedding", padding_idx, num_embeddings)
        if _weight is not None:
            self.weight = _weight
            return
        self.weight = new_parameter((num_embeddings, embedding_dim), dtype, device)
        self.reset_parameters()

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None) -> Embedding:
        """Return a layer whose weight is `embeddings` [num_embeddings, embedding_dim], a tensor or an array.

        The weight shares the tensor's array. freeze: it gets no gradient (`requires_grad` is False). padding_idx: the
        row that gets no gradient; its numbers stay. Raises ValueError unless there are two dimensions, TypeError for a
        dtype that is not floating.
        """
        array = array_of("from_pretrained: embeddings", embeddings)
        if array.ndim != 2:
            expected = "expected shape [num_embeddings, embedding_dim]"
            raise ValueError(f"from_pretrained: embeddings: {expected}, got {array.shape}")
        if array.dtype.kind != "f":
            raise TypeError(f"from_pretrained: embeddings: expected a floating dtype, got {array.dtype}")
        rows, columns = array.shape
        return cls(rows, columns, padding_idx, _weight=Parameter(Tensor(array), requires_grad=not freeze))

    def reset_parameters(self) -> None:
        """Draw the weight again, and set the row `padding_idx` to zeros."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0.0  # normal_ has just made this array, so nobody else holds it

    def forward(self, index: Any) -> Any:
        return F.embedding(index, self._read("weight"), self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias; x [..., *normalized_shape] -> y of the same shape.

    mean and var are taken over the dimensions of normalized_shape; var divides by n, not n - 1. weight begins as 1
    and bias as 0, both of normalized_shape; elementwise_affine=False makes both None, bias=False makes only the
    bias None. Ba et al., Layer Normalization (2016), section 3.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        shape = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        if not shape:
            raise ValueError("LayerNorm: normalized_shape: expected at least one size, got none")
        check_sizes("LayerNorm", **{"normalized_shape" + f"[{i}]" * (len(shape) > 1): n for i, n in enumerate(shape)})
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.register_parameter("weight", new_parameter(shape, dtype, device) if elementwise_affine else None)
        self.register_parameter("bias", new_parameter(shape, dtype, device) if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Any:
        weight, bias = self._read("weight", optional=True), self._read("bias", optional=True)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
