"""Errors name the argument, the expected value and the given one; numbers of other types convert as documented."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import leaf

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.autograd.primitive import primitive
from tinygrad_rnn.autograd.primitives.convolution import conv2d
from tinygrad_rnn.autograd.primitives.index import embedding
from tinygrad_rnn.autograd.primitives.pooling import max_pool2d
from tinygrad_rnn.nn import functional as F

x = tg.zeros(2, 3)
ints = tg.arange(3)

# (call, type of the error that it raises, words of the message)
CASES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # dtypes
    (lambda: x + x.double(), TypeError, "add: expected arguments of one dtype, got float32 and float64"),
    (lambda: x * ints, TypeError, "mul: expected arguments of one dtype, got float32 and int64"),
    (lambda: x + np.zeros(3), TypeError, "add: expected arguments of one dtype, got float32 and float64"),
    (lambda: tg.where(x > 0, x, x.double()), TypeError, "where: expected arguments of one dtype"),
    (lambda: tg.where(x, x, x), TypeError, "where: expected a boolean condition.*float32"),
    (lambda: x @ x.double().T, TypeError, "matmul: expected arguments of one dtype"),
    (lambda: tg.concat([x, x.double()]), TypeError, "concat: tensors: expected one dtype, got float32 and float64"),
    (lambda: tg.stack([ints, ints.float()]), TypeError, "stack: tensors: expected one dtype, got int64 and float32"),
    (lambda: tg.tensor([1.0], dtype="float16"), TypeError, "dtype: expected one of float32, .* got 'float16'"),
    (lambda: tg.tensor(np.zeros(2, np.float16)), TypeError, r"dtype: expected one of float32.*got dtype\('float16'\)"),
    (lambda: tg.tensor(np.zeros(2, complex)), TypeError, "tensor: data: expected numbers, got complex128"),
    (lambda: tg.tensor("abc"), TypeError, "tensor: data: expected numbers, got <U3 from str"),
    (lambda: tg.tensor([1, None]), TypeError, "tensor: data: expected numbers, got object from list"),
    (lambda: tg.tensor([[1, 2], [3]]), ValueError, "tensor: data: expected nested lists of equal lengths"),
    (lambda: x.to("float99"), TypeError, "dtype: expected one of .* got 'float99'"),
    (lambda: tg.zeros(2, dtype=None), TypeError, "dtype: expected one of .* got None"),
    (lambda: tg.rand(2, dtype=int), TypeError, "rand: dtype: expected float32 or float64, got int64"),
    (lambda: tg.randn(2, dtype=int), TypeError, "randn: dtype: expected float32 or float64, got int64"),
    (lambda: tg.tensor([1, 2], requires_grad=True), TypeError, "requires_grad: expected a floating dtype, got int64"),
    (lambda: ints.requires_grad_(), TypeError, "requires_grad: expected a floating dtype, got int64"),
    (lambda: ints & ints, TypeError, "&: expected booleans, got int64"),
    (lambda: ~x, TypeError, "~: expected booleans, got float32"),
    (lambda: (x > 0) | 1, TypeError, r"\|: expected booleans, got int64"),
    (lambda: -(x > 0), TypeError, "neg: .*boolean negative"),
    (lambda: ints**-1, ValueError, "pow: .*negative integer powers"),
    (lambda: tg.tensor([1], dtype="int8") + 1000, OverflowError, "add: .*1000 out of bounds for int8"),
    (lambda: x + "a", TypeError, "add: expected tensors, arrays or numbers, got str 'a'"),
    (lambda: x * None, TypeError, "mul: expected tensors, arrays or numbers, got NoneType None"),
    (lambda: x + 1j, TypeError, "add: expected tensors, arrays or numbers, got complex"),
    # shapes
    (
        lambda: x + tg.zeros(4),
        ValueError,
        r"add: expected shapes that broadcast.*x of shape \(2, 3\), y of shape \(4,\)",
    ),
    (lambda: x == tg.zeros(4), ValueError, r"eq: expected shapes that broadcast"),
    (lambda: x @ x, ValueError, r"matmul: expected x \[..., n, k\] and y.*\(2, 3\)"),
    (lambda: x @ tg.tensor(1.0), ValueError, r"matmul: expected at least one dimension in each, got \(2, 3\) and \(\)"),
    (lambda: x @ [1.0], TypeError, "matmul: expected two tensors, got Tensor and list"),
    (lambda: x.reshape(4), ValueError, r"reshape: shape: expected 6 elements as in \(2, 3\), got \(4,\)"),
    (lambda: x.reshape(-1, 4), ValueError, "reshape: shape: expected 6 elements"),
    (lambda: x.reshape(-1, -1), ValueError, "reshape: shape: expected 6 elements"),
    (lambda: x.expand(2, 4), ValueError, "broadcast_to: expected a shape that x broadcasts to"),
    (lambda: x.permute(0), ValueError, "permute: dims: expected all 2 dimensions"),
    (lambda: x.permute(0, 0), ValueError, "permute: dim: expected each dimension once"),
    (lambda: tg.concat([x, tg.zeros(3, 2)]), ValueError, "concat: expected tensors that are alike"),
    (lambda: tg.concat([x, tg.zeros(3)]), ValueError, r"concat: expected tensors of as many dimensions.*\(3,\)"),
    (lambda: tg.concat([]), ValueError, r"concat: tensors: expected at least one tensor.*got \[\]"),
    (lambda: tg.concat([x, 1.0]), ValueError, "concat: tensors: expected at least one tensor, and tensors only"),
    (lambda: tg.stack([]), ValueError, "stack: tensors: expected at least one tensor"),
    (lambda: tg.stack([x, x.T]), ValueError, "stack: expected tensors of one shape"),
    (lambda: x.split([1, 2]), ValueError, r"split: split_size: expected sizes that add up to 2, got \[1, 2\]"),
    (lambda: x.split(0), ValueError, "split: split_size: expected at least 1, got 0"),
    (lambda: x.chunk(0), ValueError, "chunk: chunks: expected a whole number from 1 up, got 0"),
    (lambda: x.chunk(1.5), ValueError, "chunk: chunks: expected a whole number from 1 up, got 1.5"),
    (lambda: x.split(1.5), TypeError, "split: split_size: expected a whole number or several, got 1.5"),
    (lambda: x.size(2), IndexError, "size: dim: expected a whole number from -2 to 1, got 2"),
    (lambda: tg.tensor(1.0).split(1), ValueError, "split: expected a tensor of at least one dimension, got a scalar"),
    (lambda: tg.tensor(1.0).unbind(), ValueError, "unbind: expected a tensor of at least one dimension"),
    (lambda: tg.tensor(1.0).chunk(2), ValueError, "chunk: expected a tensor of at least one dimension"),
    (lambda: len(tg.tensor(1.0)), TypeError, "len: expected a tensor of at least one dimension"),
    (lambda: iter(tg.tensor(1.0)), TypeError, "iter: expected a tensor of at least one dimension"),
    (lambda: tg.pad(x, (1,)), ValueError, r"pad: pad: expected up to 2 pairs of counts from 0 up, got \[1\]"),
    (lambda: tg.pad(x, (-1, 0)), ValueError, r"pad: pad: expected up to 2 pairs"),
    (lambda: x.flatten(1, 0), ValueError, "flatten: expected start_dim <= end_dim, got 1 and 0"),
    (lambda: conv2d(x, x), ValueError, r"conv2d: weight: expected shape \[O, C, p, q\].*\(2, 3\)"),
    (lambda: conv2d(x, tg.zeros(1, 1, 1, 1)), ValueError, r"conv2d: x: expected shape \[N, C, height, width\]"),
    (lambda: max_pool2d(tg.zeros(1, 1, 2, 2), 3), ValueError, r"max_pool2d: x: expected an image of at least \(3, 3\)"),
    (lambda: max_pool2d(tg.zeros(1, 1, 2, 2), 2, 0), ValueError, "max_pool2d: stride: expected .* from 1 up, got 0"),
    (lambda: max_pool2d(tg.zeros(1, 1, 2, 2), 1.5), ValueError, "max_pool2d: kernel_size: expected .* got 1.5"),
    (lambda: max_pool2d(tg.zeros(1, 1, 2, 2), 2, 2, 2), ValueError, "max_pool2d: padding: expected at most half"),
    # dimensions
    (lambda: x.sum(2), IndexError, "sum: dim: expected a whole number from -2 to 1, got 2"),
    (lambda: x.sum((0, -2)), ValueError, r"sum: dim: expected each dimension once, got \(0, -2\)"),
    (lambda: x.var(False), TypeError, "dim: expected a whole number, got False"),
    (lambda: x.sum(True), TypeError, "sum: dim: expected a whole number, got True"),
    (lambda: tg.zeros(2.5), TypeError, "shape: expected whole numbers, got 2.5"),
    (lambda: tg.arange(0, 3, 0), ValueError, "arange: step: expected a number other than 0, got 0"),
    (lambda: tg.set_rng_state("abc"), ValueError, "set_rng_state: state: expected what get_rng_state gave, got 'abc'"),
    (lambda: F.pad(x, (1, 1), "circular"), ValueError, "pad: mode: expected 'constant', got 'circular'"),
    (lambda: F.dropout(tg.ones(2, dtype="int64")), TypeError, "dropout: x: expected a floating dtype, got int64"),
    (lambda: F.cross_entropy(x, x, ignore_index=1), ValueError, "ignore_index: expected none with class probab.*got 1"),
    (lambda: F.embedding(tg.arange(2), x, 1.5), TypeError, "padding_idx: expected a whole number or None, got 1.5"),
    (lambda: nn.LSTM(2, 3, 2, 0.3), TypeError, "LSTM: bias: expected True or False, got 0.3"),
    (lambda: nn.GRU(2, 3, batch_first="no"), TypeError, "GRU: batch_first: expected True or False, got 'no'"),
    (lambda: nn.LSTM(2, 3, proj_size=2.0), ValueError, "LSTM: proj_size: expected a number from 0 to .*got 2.0"),
    (lambda: nn.init.normal_(tg.ones(2, dtype="int64")), TypeError, "normal_: tensor: expected a floating dtype"),
    (lambda: nn.Linear(1, 1).register_buffer("forward", x), KeyError, "a name that the class itself does not have"),
    (lambda: tg.optim.Adam(None), TypeError, "Adam: params: expected a list of parameters or of groups"),
    (lambda: x.mean(1.0), TypeError, "mean: dim: expected a whole number, got 1.0"),
    (lambda: x.max("a"), TypeError, "argmax: dim: expected a whole number, got 'a'"),
    (lambda: tg.tensor(1.0).sum(1), IndexError, "sum: dim: expected a whole number from -1 to 0, got 1"),
    (lambda: x.softmax(-3), IndexError, "softmax: dim: expected a whole number from -2 to 1, got -3"),
    (lambda: x.transpose(0, 5), IndexError, "transpose: dim: expected"),
    (lambda: x.unsqueeze(4), IndexError, "unsqueeze: dim: expected a whole number from -3 to 2, got 4"),
    (lambda: tg.zeros(0).max(), ValueError, "amax: expected at least one element"),
    (lambda: tg.zeros(0).argmin(), ValueError, "argmin: expected at least one element"),
    (lambda: tg.zeros(0, 2).min(0), ValueError, "argmin: expected at least one element"),
    # indexes
    (lambda: x[2], IndexError, r"getitem: expected an index within the shape, got x of shape \(2, 3\)"),
    (lambda: x[0, 0, 0], IndexError, "getitem: expected an index within the shape"),
    (lambda: x[1.0], IndexError, "getitem: expected an index within the shape.*1.0"),
    (lambda: x[[0.5]], TypeError, "index: expected integers or booleans, got float64"),
    (lambda: x[tg.tensor([0.0])], TypeError, "index: expected integers or booleans, got float32"),
    (lambda: x[["a"]], TypeError, "index: expected integers or booleans, got <U1"),
    (lambda: x[tg.tensor([True, False, True])], IndexError, "getitem: .*boolean index"),
    (lambda: x.__setitem__(5, 1.0), IndexError, r"x\[index\] = value: .*shape \(2, 3\), got index 5"),
    (lambda: x.__setitem__(0, [1.0, 2.0]), ValueError, r"x\[index\] = value: expected both to fit in x"),
    (
        lambda: embedding(tg.tensor([3]), tg.zeros(3, 2)),
        IndexError,
        "embedding: index: expected numbers from 0 to 2, got 3",
    ),
    (lambda: embedding([-1], tg.zeros(3, 2)), IndexError, "embedding: index: expected numbers from 0 to 2, got -1"),
    (lambda: embedding([0.0], tg.zeros(3, 2)), TypeError, "index: expected integers.*, got float64"),
    (lambda: embedding([True], tg.zeros(3, 2)), TypeError, "embedding: index: expected integers, got bool"),
    (lambda: embedding([0], tg.zeros(3)), ValueError, r"embedding: weight: expected two dimensions, got shape \(3,\)"),
    (lambda: x.gather(1, [[3]]), IndexError, "gather: index: expected numbers from 0 to 2, got 3"),
    (
        lambda: x.gather(0, [0]),
        ValueError,
        r"gather: index: expected integers in 2 dimensions, got int64 of shape \(1,\)",
    ),
    (lambda: x.gather(0, np.zeros((1, 4), int)), ValueError, r"gather: index: expected a shape within \(2, 3\)"),
    # devices
    (lambda: tg.tensor(1.0, device="tpu"), ValueError, "tensor: device: expected 'cpu', 'cuda' or 'cuda:N', got 'tpu'"),
    # conversions
    (lambda: x.item(), ValueError, r"item: expected a tensor of one element, got shape \(2, 3\)"),
    (lambda: bool(x), ValueError, "expected a tensor of one element"),
    (lambda: float(x), ValueError, "expected a tensor of one element"),
    (lambda: [1, 2][tg.tensor(1.0)], TypeError, "index: expected an integer tensor, got float32"),
    # arguments
    (lambda: x.clip(), ValueError, "clip: expected min, max or both, got neither"),
    (lambda: x.clip(min=tg.zeros(3)), TypeError, r"clip: min: expected a number or None, got shape \(3,\)"),
    (lambda: x.clip(0, leaf(1.0)), TypeError, "clip: max: expected a number or None.*maximum and minimum"),
    (lambda: x.clip(max="a"), TypeError, "clip: max: expected a number or None, got 'a'"),
    (lambda: tg.gelu(x, "erf"), ValueError, "gelu: approximate: expected 'none' or 'tanh', got 'erf'"),
    (lambda: tg.manual_seed(-1), ValueError, "manual_seed: expected a whole number from 0 up, got -1"),
    (lambda: tg.gradcheck(lambda a: a, [x]), ValueError, "gradcheck: inputs: expected at least one tensor"),
    (
        lambda: tg.gradcheck(tg.sum, [tg.ones(1, requires_grad=True)]),
        TypeError,
        "inputs.0.: expected float64, got float32",
    ),
    (lambda: tg.gradcheck(lambda a: 1.0, [leaf(1.0)]), TypeError, "gradcheck: f: expected it to return a tensor"),
    (lambda: tg.gradcheck(lambda a: a.detach(), [leaf(1.0)]), AssertionError, "depends on the inputs, got none"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case[2])[:50])
def test_message(case: tuple[Callable[[], Any], type[Exception], str]) -> None:
    call, kind, words = case
    with pytest.raises(kind, match=words) as caught:
        call()
    assert caught.type is kind


def test_gradcheck_fails_where_a_gradient_is_wrong() -> None:
    wrong = primitive("wrong", lambda a: a * a, lambda g, a: g * a)
    with pytest.raises(AssertionError, match=r"expected .* by finite differences, got .* from the tape"):
        tg.gradcheck(wrong, leaf([1.0, 2.0]))
    same = primitive("same", lambda a: a * 1.0, lambda g: g * 3.0)
    half_right = primitive("half_right", lambda a: a * a, lambda g, a: g * 2.0 * same(a))
    assert tg.gradcheck(half_right, leaf([1.0, 2.0]))
    with pytest.raises(AssertionError, match="finite differences"):
        tg.gradgradcheck(half_right, leaf([1.0, 2.0]))


def test_numbers_take_the_dtype_of_the_tensor() -> None:
    for number in (2, 2.5, True, np.float64(2.5), np.int64(2), np.float32(2), np.bool_(True)):
        for out in (x + number, number * x, x / number, number - x, x**number, tg.maximum(x, number)):
            assert out.dtype == np.float32, (number, out.dtype)
        assert tg.where(x > 0, x, number).dtype == np.float32 and x.masked_fill(x > 0, number).dtype == np.float32
        assert x.clip(max=number).dtype == np.float32 and tg.pad(x, (1, 1), number).dtype == np.float32
    assert (x * [1, 2, 3]).dtype == np.float32 and (x.double() * [1.0, 2.0, 3.0]).dtype == np.float64
    y = tg.ones(2, requires_grad=True)
    (np.float64(3.0) ** y * np.float64(2)).sum().backward()
    assert y.grad.dtype == np.float32


def test_integers_become_float32_where_they_must() -> None:
    assert (ints / 2).dtype == (ints / ints.masked_fill(ints == 0, 1)).dtype == np.float32
    assert ints.var().item() == 1.0 and ints.std().dtype == np.float32
    assert ints.exp().dtype == ints.mean().dtype == (ints * 1.5).dtype == (ints**0.5).dtype == np.float32
    assert (ints + 1).dtype == (ints * ints).dtype == ints.sum().dtype == np.int64
    assert (ints + (ints > 0)).tolist() == [0, 2, 3] and ((x > 0) + x).dtype == np.float32
    small = tg.tensor([0, 12, 100], dtype="uint8")  # NumPy would convert it to float16
    np.testing.assert_allclose(small[:2].exp().numpy(), np.exp([0.0, 12.0]), 1e-6)
    np.testing.assert_allclose(small.sigmoid().numpy(), [0.5, 1 / (1 + np.exp(-12)), 1.0], 1e-6)
    assert tg.tensor([200, 100], dtype="uint8").sum().item() == 300
    assert tg.arange(5).dtype == np.int64 and tg.arange(0, 1, 0.25).dtype == np.float32
