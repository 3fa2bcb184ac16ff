"""Pooling over the windows of an image: MaxPool2d, AvgPool2d."""

from __future__ import annotations

from typing import Any

from . import functional as F
from .module import Module

Size = int | tuple[int, int]


class MaxPool2d(Module):
    """The largest element of each window of an image; x [N, C, height, width] -> [N, C, height', width'].

    height' = (height + 2 padding - kernel height) // stride + 1, width' likewise. kernel_size, stride (default:
    kernel_size), padding: one number, or (height, width). See `functional.max_pool2d` for the errors.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
    ):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Any) -> Any:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of an image; x [N, C, height, width] -> [N, C, height', width'], as for `MaxPool2d`.

    count_include_pad, divisor_override: the number that a window's sum is divided by. See `functional.avg_pool2d`.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Any) -> Any:
        return F.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding,
            count_include_pad=self.count_include_pad, divisor_override=self.divisor_override,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
