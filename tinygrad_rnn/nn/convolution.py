"""Convolutions over sequences and images: Conv1d, Conv2d."""

from __future__ import annotations

from typing import Any

from ..autograd.primitives.windows import pair, single
from . import functional as F
from .layers import check_sizes, new_parameter, reset_affine
from .module import Module, Parameter


class _Convolution(Module):
    """Base of convolutions over `dims` dimensions: the weight, the bias and their first values."""

    dims: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        *,
        bias: bool = True,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        name = f"{type(self).__name__}: kernel_size"
        check_sizes(type(self).__name__, in_channels=in_channels, out_channels=out_channels)
        kernel = pair(name, kernel_size, 1) if self.dims == 2 else (single(name, kernel_size, 1),)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel, stride, padding
        self.weight = new_parameter((out_channels, in_channels, *kernel), dtype, device)
        self.register_parameter("bias", new_parameter((out_channels,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias again."""
        reset_affine(self)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding!r}, bias={self.bias is not None}"
        )


class Conv1d(_Convolution):
    """One-dimensional convolution; x [N, in_channels, length] -> [N, out_channels, length'].

    length' = (length + 2 padding - kernel_size) // stride + 1. padding: a number, "valid" (0), or "same": as many zeros
    on both sides, for stride 1, that length' = length. See `functional.conv1d` for the equation and the errors.

    weight [out_channels, in_channels, kernel_size] and bias [out_channels] (None with bias=False) are drawn from
    U(-b, b), b = 1 / sqrt(in_channels * kernel_size).
    """

    dims = 1

    def forward(self, x: Any) -> Any:
        return F.conv1d(x, self._read("weight"), self._read("bias", optional=True), self.stride, self.padding)


class Conv2d(_Convolution):
    """Two-dimensional convolution; x [N, in_channels, height, width] -> [N, out_channels, height', width'].

    height' = (height + 2 padding - kernel height) // stride + 1, width' likewise; see `functional.conv2d` for the
    equation and the errors. kernel_size, stride, padding: one number, or (height, width). padding may also be "valid"
    (0), or "same": as many zeros on all sides, for stride 1, that the sizes stay.

    weight [out_channels, in_channels, *kernel_size] and bias [out_channels] (None with bias=False) are drawn
    from U(-b, b), b = 1 / sqrt(in_channels * kernel height * kernel width).
    """

    dims = 2

    def forward(self, x: Any) -> Any:
        return F.conv2d(x, self._read("weight"), self._read("bias", optional=True), self.stride, self.padding)
