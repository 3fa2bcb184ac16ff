"""Convolution: modules and functions equal PyTorch's, and equal a loop over all windows."""

import numpy as np
import pytest
from helpers import leaf, normal, same_as_torch
from test_layers import assert_like_pytorch

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F

EVEN_KERNELS = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # PyTorch says they are slow


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2}, {"padding": 1}, {"stride": (2, 1), "padding": (0, 2)}, {"kernel_size": (3, 1)}]
)
def test_conv2d_is_that_of_pytorch(options, bias):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    options = {"kernel_size": 2, "bias": bias, **options}
    ours, theirs = nn.Conv2d(3, 4, **options), torch.nn.Conv2d(3, 4, **options)
    for batch in (1, 2):
        assert_like_pytorch(ours, theirs, normal(batch, 3, 7, 5))


@EVEN_KERNELS
@pytest.mark.parametrize("options", [{}, {"stride": 3}, {"padding": 2}, {"padding": "same"}, {"padding": "valid"}])
@pytest.mark.parametrize("length", [4, 17, 100])
def test_conv1d_is_that_of_pytorch(length, options):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    for batch, kernel_size in ((1, 4), (3, 3), (2, 1)):
        ours, theirs = nn.Conv1d(3, 5, kernel_size, **options), torch.nn.Conv1d(3, 5, kernel_size, **options)
        assert ours.kernel_size == theirs.kernel_size == (kernel_size,)
        assert_like_pytorch(ours, theirs, normal(batch, 3, length))
        x, weight, bias = normal(batch, 3, length), normal(5, 3, kernel_size), normal(5)
        same_as_torch(
            lambda x, w, b: F.conv1d(x, w, b, **options),
            lambda x, w, b: torch.nn.functional.conv1d(x, w, b, **options),
            [x, weight, bias],
            "float32",
            tolerance=10,
        )


@EVEN_KERNELS
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4), (5, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_padding_by_name_is_that_of_pytorch(kernel, padding):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    same_as_torch(
        lambda x, w, b: F.conv2d(x, w, b, padding=padding),
        lambda x, w, b: torch.nn.functional.conv2d(x, w, b, padding=padding),
        [normal(2, 3, 6, 5), normal(4, 3, *kernel), normal(4)],
        "float64",
    )


def test_large_images_in_several_pieces_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    for shape, weight, stride, padding in [
        ((2, 40, 70, 33), (70, 40, 3, 3), 1, 1),
        ((1, 64, 65, 40), (3, 64, 5, 5), 2, 0),
        ((3, 1, 200, 7), (17, 1, 3, 3), (3, 2), 1),
    ]:
        same_as_torch(
            lambda x, w, b, s=stride, p=padding: F.conv2d(x, w, b, s, p),
            lambda x, w, b, s=stride, p=padding: torch.nn.functional.conv2d(x, w, b, s, p),
            [normal(*shape), normal(*weight), normal(weight[0])],
            "float64",
            tolerance=100,
        )


def test_convolution_is_a_sum_over_each_window():
    x, weight, bias = normal(2, 2, 5, 6), normal(3, 2, 2, 3), normal(3)
    out = F.conv2d(tg.tensor(x), tg.tensor(weight), tg.tensor(bias), (2, 1)).numpy()
    assert out.shape == (2, 3, 2, 4)
    for n, o, i, j in np.ndindex(out.shape):
        expected = bias[o] + (weight[o] * x[n, :, 2 * i : 2 * i + 2, j : j + 3]).sum()
        np.testing.assert_allclose(out[n, o, i, j], expected, 1e-12)


@pytest.mark.parametrize("make", [lambda: nn.Conv1d(2, 3, 3, padding="same"), lambda: nn.Conv2d(2, 3, 3, padding=1)])
def test_empty_batches_give_gradients_of_zero(make):
    layer = make()
    x = tg.zeros(0, 2, *(4,) * layer.dims, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 3, *(4,) * layer.dims)
    y.sum().backward()
    assert not layer.weight.grad.numpy().any() and not layer.bias.grad.numpy().any() and x.grad.shape == x.shape


def test_a_frozen_weight_or_input_gets_no_gradient():
    x, weight, bias = leaf(normal(1, 2, 4, 4)), leaf(normal(3, 2, 3, 3)), leaf(normal(3))
    for wanted in ([x], [weight], [bias], [x, bias]):
        given = [a if any(a is w for w in wanted) else a.detach() for a in (x, weight, bias)]
        expected = tg.grad(F.conv2d(x, weight, bias).sum(), wanted)
        for found, other in zip(tg.grad(F.conv2d(*given).sum(), wanted), expected):
            np.testing.assert_array_equal(found.numpy(), other.numpy())


def test_reset_parameters_draws_from_the_bounds_of_the_docstring():
    for layer, fan_in in ((nn.Conv1d(4, 50, 9), 36), (nn.Conv2d(4, 50, (3, 3)), 36)):
        before = layer.weight.numpy().copy()
        layer.reset_parameters()
        assert not np.array_equal(layer.weight.numpy(), before)
        for p in (layer.weight, layer.bias):
            assert 0.9 / fan_in**0.5 < np.abs(p.numpy()).max() <= 1 / fan_in**0.5 + 1e-7


def test_errors():
    with pytest.raises(ValueError, match="Conv2d: kernel_size: expected one or two whole numbers from 1 up, got 0"):
        nn.Conv2d(1, 1, 0)
    with pytest.raises(ValueError, match=r"Conv1d: kernel_size: expected a whole number from 1 up, got \(1, 2\)"):
        nn.Conv1d(1, 1, (1, 2))
    with pytest.raises(ValueError, match="Conv2d: in_channels: expected a whole number from 1 up, got 0"):
        nn.Conv2d(0, 1, 2)
    with pytest.raises(ValueError, match="conv2d: weight: expected shape"):
        nn.Conv2d(3, 1, 2)(tg.randn(1, 2, 5, 5))
    with pytest.raises(ValueError, match=r"conv2d: bias: expected shape \(2,\) as weight has rows, got \(3,\)"):
        F.conv2d(tg.randn(1, 1, 3, 3), tg.randn(2, 1, 3, 3), tg.zeros(3))
    with pytest.raises(ValueError, match="conv2d: padding: expected a number or 'valid' for a stride other than 1"):
        nn.Conv2d(1, 1, 3, stride=2, padding="same")(tg.randn(1, 1, 5, 5))
    with pytest.raises(ValueError, match="conv1d: padding: expected a number, 'same' or 'valid', got 'full'"):
        nn.Conv1d(1, 1, 3, padding="full")(tg.randn(1, 1, 5))
    with pytest.raises(ValueError, match=r"conv1d: x: expected shape \[N, C, length\], got \(1, 5\)"):
        F.conv1d(tg.randn(1, 5), tg.randn(1, 1, 3))
    with pytest.raises(ValueError, match=r"conv1d: weight: expected shape \[O, C, p\] .* got \(1, 2, 3\)"):
        F.conv1d(tg.randn(1, 1, 5), tg.randn(1, 2, 3))
    with pytest.raises(ValueError, match=r"conv1d: stride: expected a whole number from 1 up, got \(1, 2\)"):
        F.conv1d(tg.randn(1, 1, 5), tg.randn(1, 1, 3), stride=(1, 2))
    with pytest.raises(ValueError, match="conv1d: x: expected an image of at least"):
        F.conv1d(tg.randn(1, 1, 2), tg.randn(1, 1, 3))


def test_the_size_of_a_kernel_is_checked_where_it_is_given():
    assert nn.Conv2d(1, 2, np.int64(3)).kernel_size == (3, 3) and nn.Conv1d(1, 2, np.int64(3)).kernel_size == (3,)
    for layer, wrong in [
        (nn.Conv2d, True),
        (nn.Conv2d, (True, 3)),
        (nn.Conv1d, True),
        (nn.Conv1d, (3, 3)),
        (nn.Conv2d, 0),
    ]:
        with pytest.raises(ValueError, match=f"{layer.__name__}: kernel_size: expected .* from 1 up, got"):
            layer(1, 2, wrong)
