"""Pooling: modules equal PyTorch's."""

import numpy as np
import pytest
from helpers import apart, normal, same_as_torch
from test_layers import assert_like_pytorch

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F

OPTIONS = [
    {}, {"stride": 1}, {"kernel_size": (3, 2), "stride": 2, "padding": (1, 0)}, {"kernel_size": 3, "padding": 1},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_max_pool2d_is_that_of_pytorch(options):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    options = {"kernel_size": 2, **options}
    assert_like_pytorch(nn.MaxPool2d(**options), torch.nn.MaxPool2d(**options), normal(2, 3, 7, 5))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("further", [{}, {"count_include_pad": False}, {"divisor_override": 3}])
def test_avg_pool2d_is_that_of_pytorch(options, further):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    options = {"kernel_size": 2, **options, **further}
    for shape in ((2, 3, 7, 5), (1, 1, 3, 4)):
        assert_like_pytorch(nn.AvgPool2d(**options), torch.nn.AvgPool2d(**options), normal(*shape))


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (100, 3)])
def test_pooling_of_odd_sizes(size):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    for name in ("max_pool2d", "avg_pool2d"):
        for dtype in ("float32", "float64"):
            same_as_torch(
                lambda x, name=name: getattr(F, name)(x, 3, 2, 1),
                lambda x, name=name: getattr(torch.nn.functional, name)(x, 3, 2, 1),
                [apart(3, 2, *size)],
                dtype,
            )


def test_maximum_of_ties_infinities_and_nan():
    x = tg.tensor([[[[1.0, 1.0, -np.inf, -np.inf, np.nan, 3.0]]]], requires_grad=True)
    y = F.max_pool2d(x, (1, 2))
    np.testing.assert_array_equal(y.numpy(), [[[[1.0, -np.inf, np.nan]]]])
    y.sum().backward()
    assert x.grad.numpy().tolist() == [[[[1, 0, 1, 0, 1, 0]]]]


def test_pooling_of_no_images():
    for f in (F.max_pool2d, F.avg_pool2d):
        x = tg.zeros(0, 3, 4, 4, requires_grad=True)
        y = f(x, 2)
        y.sum().backward()
        assert y.shape == (0, 3, 2, 2) and x.grad.shape == x.shape


def test_errors():
    x = tg.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="avg_pool2d: padding: expected at most half of kernel_size"):
        F.avg_pool2d(x, 2, 2, 2)
    with pytest.raises(ValueError, match="avg_pool2d: divisor_override: expected a whole number other than 0, got 0"):
        F.avg_pool2d(x, 2, divisor_override=0)
    with pytest.raises(ValueError, match=r"avg_pool2d: x: expected shape \[N, C, height, width\], got \(4, 4\)"):
        F.avg_pool2d(tg.zeros(4, 4), 2)
    with pytest.raises(ValueError, match="max_pool2d: kernel_size: expected one or two whole numbers from 1 up, got 0"):
        F.max_pool2d(x, 0)
