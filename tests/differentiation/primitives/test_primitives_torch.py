"""Every primitive and public function agrees with PyTorch: values, dtypes, gradients, in float32 and float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import apart, normal, positive, same_as_torch

import tinygrad_rnn as tg
from tinygrad_rnn.autograd.primitives.convolution import conv2d
from tinygrad_rnn.autograd.primitives.index import embedding
from tinygrad_rnn.autograd.primitives.pooling import max_pool2d

torch = pytest.importorskip("torch", reason="PyTorch is what these tests compare with")
F = torch.nn.functional

EXTREME = np.array([-1000.0, -100.0, -30.0, -1.0, 0.0, 1.0, 30.0, 100.0, 1000.0])
PAIRS = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((), (2, 3)),
    ((), ()),
    ((2, 0), (1,)),
    ((2, 3), (4, 1, 1)),
]
MASKED = np.array([[-np.inf, 1.0, -np.inf], [0.0, 2.0, 1.0]])
INDEX = np.array([[0, 2], [2, 1], [0, 0]])
MASK = np.array([[True, False, True, False], [False, False, True, True], [False, False, False, True]])

ELEMENTWISE = {
    "exp": [normal(3, 4), EXTREME / 20],
    "log": [positive(3, 4)],
    "sqrt": [positive(17)],
    "abs": [apart(3, 4), EXTREME],
    "sign": [apart(3), EXTREME],
    "sin": [normal(100)],
    "cos": [normal(100)],
    "tanh": [normal(3, 4), EXTREME],
    "sigmoid": [normal(3, 4), EXTREME, normal(0)],
    "relu": [apart(3, 4), EXTREME],
    "erf": [normal(3, 4), EXTREME],
    "neg": [normal(3), normal()],
}
BINARY = {
    "add": (normal, normal),
    "sub": (normal, normal),
    "mul": (normal, normal),
    "div": (normal, positive),
    "pow": (positive, normal),
    "maximum": (apart, apart),
    "minimum": (apart, apart),
}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")

COUNTS = np.arange(-7, 8)

# name -> (ours, theirs, arrays)
Case = tuple[Callable[..., Any], Callable[..., Any], list[Any]]
CASES: dict[str, Case] = {
    "add scalar": (lambda x: 1 + x + 2.5, lambda x: 1 + x + 2.5, [normal(3)]),
    "scalar minus": (lambda x: 1 - x, lambda x: 1 - x, [normal(3)]),
    "scalar over": (lambda x: 1 / x, lambda x: 1 / x, [positive(3)]),
    "pow 2": (lambda x: x**2, lambda x: x**2, [np.array([-2.0, -0.5, 0.0, 3.0])]),
    "pow 3.0": (lambda x: x**3.0, lambda x: x**3.0, [np.array([-2.0, 0.0, 3.0])]),
    "pow 0": (lambda x: x**0, lambda x: x**0, [np.array([-2.0, 0.0, 3.0])]),
    "pow -1": (lambda x: x**-1, lambda x: x**-1, [np.array([-2.0, 3.0])]),
    "pow 0.5": (lambda x: x**0.5, lambda x: x**0.5, [positive(3)]),
    "2 pow": (lambda x: 2**x, lambda x: 2**x, [normal(3)]),
    "0 pow": (lambda x: 0.0**x, lambda x: 0.0**x, [np.array([0.5, 1.0, 2.0])]),
    "0 pow tensor": (tg.pow, torch.pow, [np.zeros(3), np.array([0.0, 1.0, 2.0])]),
    "softplus": (tg.softplus, F.softplus, [normal(3, 4)]),
    "softplus far out": (tg.softplus, lambda x: torch.logaddexp(x, torch.zeros_like(x)), [EXTREME]),
    "gelu": (tg.gelu, F.gelu, [normal(3, 4)]),
    "gelu far out": (tg.gelu, F.gelu, [EXTREME]),
    "gelu tanh": (lambda x: tg.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh"), [normal(3, 4)]),
    "gelu tanh far out": (lambda x: tg.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh"), [EXTREME]),
    "clip": (lambda x: x.clip(-0.5, 0.5), lambda x: x.clip(-0.5, 0.5), [normal(3, 4)]),
    "clamp at bounds": (lambda x: x.clamp(0, 1), lambda x: x.clamp(0, 1), [np.array([-1.0, 0.0, 0.5, 1.0, 2.0])]),
    "clip below": (lambda x: x.clip(min=0), lambda x: x.clip(min=0), [apart(5)]),
    "clip of integers": (lambda x: x.clip(0, 2), lambda x: x.clip(0, 2), [np.arange(-2, 5)]),
    "clip of integers to floats": (lambda x: x.clip(0.5, 2), lambda x: x.clip(0.5, 2), [np.arange(-2, 5)]),
    "clip crossed": (lambda x: x.clip(1.0, 0.0), lambda x: x.clip(1.0, 0.0), [np.array([-1.0, 0.5, 2.0])]),
    "where": (tg.where, torch.where, [MASK, normal(3, 4), normal(4)]),
    "where scalar": (lambda m, x: tg.where(m, x, 0.0), lambda m, x: torch.where(m, x, 0.0), [MASK, normal(3, 4)]),
    "where of numbers": (lambda m: tg.where(m, 1.0, 0.0), lambda m: torch.where(m, 1.0, 0.0), [MASK]),
    "where of integers": (lambda m, x: tg.where(m, x, 0), lambda m, x: torch.where(m, x, 0), [MASK, np.arange(4)]),
    "masked_fill": (lambda x, m: x.masked_fill(m, -9.0), lambda x, m: x.masked_fill(m, -9.0), [normal(3, 4), MASK]),
    "masked_fill integers": (
        lambda m: tg.ones_like(m).long().masked_fill(m, 7),
        lambda m: torch.ones_like(m).long().masked_fill(m, 7),
        [MASK],
    ),
    "maximum ties": (tg.maximum, torch.maximum, [np.array([1.0, 2.0]), np.array([1.0, 3.0])]),
    "minimum ties": (tg.minimum, torch.minimum, [np.array([1.0, 2.0]), np.array([1.0, 3.0])]),
    "sum": (lambda x: x.sum((0, -1)), lambda x: x.sum((0, -1)), [normal(2, 3, 4)]),
    "sum keepdim": (lambda x: x.sum(1, keepdim=True), lambda x: x.sum(1, keepdim=True), [normal(2, 3, 4)]),
    "sum of bool": (lambda x: x.sum(0), lambda x: x.sum(0), [MASK]),
    "sum of uint8": (tg.sum, torch.sum, [np.full(3, 200, np.uint8)]),
    "mean": (lambda x: x.mean((0, 1)), lambda x: x.mean((0, 1)), [normal(7, 7, 2)]),
    "mean of all": (tg.mean, torch.mean, [normal(100)]),
    "mean of nothing": (tg.mean, torch.mean, [normal(0)]),
    "var": (lambda x: x.var(1), lambda x: x.var(1), [normal(3, 5)]),
    "var of all": (lambda x: x.var(correction=0), lambda x: x.var(correction=0), [normal(3, 5)]),
    "var keepdim": (
        lambda x: tg.var(x, (0, 2), 2, True),
        lambda x: torch.var(x, (0, 2), correction=2, keepdim=True),
        [normal(3, 5, 2)],
    ),
    "std": (lambda x: x.std(0), lambda x: x.std(0), [normal(4, 3)]),
    "std of equal numbers": (lambda x: x.std(), lambda x: x.std(), [np.full(4, 2.0)]),
    "amax ties": (lambda x: x.amax(1), lambda x: x.amax(1), [np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])]),
    "amin dims": (lambda x: x.amin((0, 2), True), lambda x: x.amin((0, 2), True), [apart(2, 3, 4)]),
    "max of all ties": (tg.max, torch.max, [np.array([[1.0, 3.0], [3.0, 2.0]])]),
    "min of all": (tg.min, torch.min, [apart(3, 4)]),
    "max along": (lambda x: x.max(1), lambda x: x.max(1), [np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])]),
    "min along": (lambda x: x.min(-2, keepdim=True), lambda x: x.min(-2, keepdim=True), [apart(3, 4, 2)]),
    "max of a scalar": (lambda x: x.max(0), lambda x: x.max(0), [normal()]),
    "max of integers": (lambda x: x.max(0), lambda x: x.max(0), [INDEX]),
    "argmax": (lambda x: x.argmax(1), lambda x: x.argmax(1), [apart(3, 4)]),
    "argmin of all": (lambda x: x.argmin(), lambda x: x.argmin(), [apart(3, 4)]),
    "argmax keepdim": (lambda x: x.argmax(keepdim=True), lambda x: x.argmax(keepdim=True), [apart(3, 4)]),
    "argmin keepdim": (lambda x: x.argmin(0, keepdim=True), lambda x: x.argmin(0, keepdim=True), [apart(3, 4)]),
    "any": (lambda x: x.any(), lambda x: x.any(), [np.zeros((2, 3))]),
    "any along": (lambda x: x.any(1, True), lambda x: x.any(1, True), [np.array([[0.0, np.nan], [0.0, -0.0]])]),
    "any of dims": (lambda x: x.any((0, 2)), lambda x: x.any((0, 2)), [np.round(normal(2, 3, 4))]),
    "any of nothing": (lambda x: x.any(1), lambda x: x.any(1), [normal(2, 0)]),
    "all": (lambda x: x.all(), lambda x: x.all(), [np.arange(3)]),
    "all along": (lambda x: x.all(-1), lambda x: x.all(-1), [MASK]),
    "all of nothing": (lambda x: x.all(), lambda x: x.all(), [normal(0)]),
    "isnan": (tg.isnan, torch.isnan, [np.array([0.0, np.nan, np.inf, -np.inf])]),
    "isnan of integers": (tg.isnan, torch.isnan, [np.arange(3)]),
    "cumsum": (lambda x: x.cumsum(1), lambda x: x.cumsum(1), [normal(2, 3, 4)]),
    "cumsum of a scalar": (lambda x: x.cumsum(0), lambda x: x.cumsum(0), [normal()]),
    "cumsum of nothing": (lambda x: x.cumsum(-1), lambda x: x.cumsum(-1), [normal(2, 0)]),
    "cumsum of bool": (lambda x: x.cumsum(0), lambda x: x.cumsum(0), [MASK]),
    "cumsum of uint8": (lambda x: x.cumsum(0), lambda x: x.cumsum(0), [np.full(3, 200, np.uint8)]),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda x: x.repeat(2, 1, 3), [normal(2, 3)]),
    "repeat none": (lambda x: x.repeat(0, 2), lambda x: x.repeat(0, 2), [normal(2, 3)]),
    "repeat a scalar": (lambda x: x.repeat(3), lambda x: x.repeat(3), [normal()]),
    "tile": (lambda x: x.tile((2,)), lambda x: x.tile((2,)), [normal(2, 3)]),
    "tile more": (lambda x: tg.tile(x, (2, 1, 2)), lambda x: torch.tile(x, (2, 1, 2)), [normal(3)]),
    "bmm": (lambda x, y: x.bmm(y), lambda x, y: x.bmm(y), [normal(2, 3, 4), normal(2, 4, 1)]),
    "bmm of nothing": (tg.bmm, torch.bmm, [normal(0, 3, 4), normal(0, 4, 2)]),
    "floor_div of integers": (lambda x, y: x // y, lambda x, y: x // y, [COUNTS[:, None], np.array([-3, -1, 2])]),
    "remainder of integers": (lambda x, y: x % y, lambda x, y: x % y, [COUNTS[:, None], np.array([-3, -1, 2])]),
    "remainder of numbers": (lambda x: 5 % x + x % 3, lambda x: 5 % x + x % 3, [np.array([-4, 3, 7])]),
    "softmax": (lambda x: x.softmax(1), lambda x: x.softmax(1), [normal(3, 4)]),
    "softmax far out": (lambda x: x.softmax(0), lambda x: x.softmax(0), [EXTREME]),
    "log_softmax": (lambda x: x.log_softmax(0), lambda x: x.log_softmax(0), [normal(3, 4)]),
    "log_softmax -inf": (tg.log_softmax, lambda x: x.log_softmax(-1), [MASKED]),
    "softmax -inf": (tg.softmax, lambda x: x.softmax(-1), [MASKED]),
    "log_softmax far out": (tg.log_softmax, lambda x: x.log_softmax(-1), [EXTREME]),
    "logsumexp": (lambda x: x.logsumexp((0, 1)), lambda x: x.logsumexp((0, 1)), [normal(3, 4, 2)]),
    "logsumexp far out": (lambda x: x.logsumexp(0, True), lambda x: x.logsumexp(0, True), [EXTREME]),
    "logsumexp -inf": (lambda x: x.logsumexp(0), lambda x: x.logsumexp(0), [np.array([-np.inf, 1.0, 2.0])]),
    "gather": (lambda x, i: x.gather(0, i), lambda x, i: x.gather(0, i), [normal(3, 4), INDEX]),
    "gather -1": (lambda x, i: x.gather(-1, i), lambda x, i: x.gather(-1, i), [normal(3, 4), INDEX]),
    "gather a scalar": (lambda x, i: x.gather(0, i), lambda x, i: x.gather(0, i), [normal(), np.array(0)]),
    "embedding": (embedding, F.embedding, [INDEX, normal(4, 3)]),
    "embedding of none": (embedding, F.embedding, [np.zeros((0, 2), int), normal(4, 3)]),
    "getitem mask": (lambda x, m: x[m], lambda x, m: x[m], [normal(3, 4), MASK]),
    "getitem twice": (lambda x, i: x[i], lambda x, i: x[i], [normal(3, 4), INDEX]),
    "reshape": (lambda x: x.T.reshape(2, -1), lambda x: x.T.reshape(2, -1), [normal(3, 4)]),
    "view": (lambda x: x.view(-1, 2, 3), lambda x: x.view(-1, 2, 3), [normal(2, 6)]),
    "permute": (lambda x: x.permute(2, 0, 1), lambda x: x.permute(2, 0, 1), [normal(2, 3, 4)]),
    "transpose": (lambda x: x.transpose(0, -1), lambda x: x.transpose(0, -1), [normal(2, 3, 4)]),
    "T": (lambda x: x.T, lambda x: x.T, [normal(2, 3)]),
    "mT": (lambda x: x.mT, lambda x: x.mT, [normal(2, 3, 4)]),
    "squeeze": (lambda x: x.squeeze(), lambda x: x.squeeze(), [normal(1, 3, 1)]),
    "squeeze dim": (lambda x: x.squeeze(1).squeeze(0), lambda x: x.squeeze(1).squeeze(0), [normal(1, 3, 1)]),
    "unsqueeze": (lambda x: x.unsqueeze(-1).unsqueeze(0), lambda x: x.unsqueeze(-1).unsqueeze(0), [normal(2, 3)]),
    "flatten": (lambda x: x.flatten(1), lambda x: x.flatten(1), [normal(2, 3, 4)]),
    "flatten a scalar": (lambda x: x.flatten(), lambda x: x.flatten(), [normal()]),
    "expand": (lambda x: x.expand(4, -1, 3), lambda x: x.expand(4, -1, 3), [normal(2, 1)]),
    "concat": (lambda x, y: tg.concat([x, y], -1), lambda x, y: torch.cat([x, y], -1), [normal(2, 3), normal(2, 1)]),
    "stack": (lambda x, y: tg.stack([x, y], -1), lambda x, y: torch.stack([x, y], -1), [normal(2, 3), normal(2, 3)]),
    "split": (lambda x: x.split(3, 1), lambda x: x.split(3, 1), [normal(2, 7)]),
    "split sizes": (lambda x: x.split([1, 0, 4]), lambda x: x.split([1, 0, 4]), [normal(5, 2)]),
    "chunk": (lambda x: x.chunk(4), lambda x: x.chunk(4), [normal(6, 2)]),
    "chunk more than there is": (lambda x: x.chunk(5), lambda x: x.chunk(5), [normal(3)]),
    "unbind": (lambda x: x.unbind(1), lambda x: x.unbind(1), [normal(2, 3)]),
    "pad": (lambda x: tg.pad(x, (1, 2, 0, 3), -1.0), lambda x: F.pad(x, (1, 2, 0, 3), value=-1.0), [normal(2, 3)]),
    "flip": (lambda x: x.flip((0, 2)), lambda x: x.flip((0, 2)), [normal(2, 3, 4)]),
    "integers over integers": (lambda x: x / 3, lambda x: x / 3, [np.arange(5)]),
    "integer powers": (lambda x: x**2, lambda x: x**2, [np.arange(5)]),
    "integers and a float": (lambda x: x * 0.5, lambda x: x * 0.5, [np.arange(5)]),
    "float and bool": (lambda x, m: x * m + m, lambda x, m: x * m + m, [normal(3, 4), MASK]),
    "bool and integer": (lambda m: m + 1, lambda m: m + 1, [MASK]),
    "and or not": (lambda m: ~m & m | m, lambda m: ~m & m | m, [MASK]),
}
NUMBERED = [
    *(0, -1, slice(1, None), (slice(None), -2), (..., None, 1), None),
    *(([0, -1, 0],), ([0, 0], [-1, -1]), (2, slice(0, 0))),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_like_torch(name: str, dtype: str) -> None:
    same_as_torch(*CASES[name], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_functions(name: str, dtype: str) -> None:
    for array in ELEMENTWISE[name]:
        same_as_torch(getattr(tg, name), getattr(torch, name), [array], dtype)


@pytest.mark.parametrize("name", ["exp", "sqrt", "sin", "tanh", "sigmoid", "erf", "cos", "log"])
@pytest.mark.parametrize("integer", ["int64", "int32", "int16", "int8", "uint8", "bool"])
def test_functions_of_integers_are_float32(name: str, integer: str) -> None:
    same_as_torch(getattr(tg, name), getattr(torch, name), [np.array([1, 2, 20, 80]).astype(integer)], "float32")


def test_softmax_of_integers_is_float32() -> None:
    same_as_torch(tg.softmax, lambda x: x.float().softmax(-1), [np.array([1, 2, 20])], "float32")
    same_as_torch(tg.softplus, lambda x: F.softplus(x.float()), [np.array([1, 2, 100], np.uint8)], "float32")
    same_as_torch(tg.logsumexp, lambda x, d: x.float().logsumexp(d), [np.array([1, 2, 100], np.int8), 0], "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BINARY)
def test_broadcasting(name: str, dtype: str) -> None:
    first, second = BINARY[name]
    for s, t in PAIRS:
        same_as_torch(getattr(tg, name), getattr(torch, name), [first(*s), second(*t, seed=1)], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quotients_and_remainders(dtype: str) -> None:
    signed = [-np.inf, -5.5, -2.0, -0.3, 0.0, 0.3, 2.0, 5.5, np.inf, np.nan]
    columns, rows = np.array(signed)[:, None], np.array(signed)
    quotient, remainder = lambda x, y: x.detach() // y.detach(), lambda x, y: x.detach() % y.detach()
    with np.errstate(all="ignore"):
        same_as_torch(quotient, quotient, [columns, rows], dtype)
        same_as_torch(remainder, remainder, [columns, rows], dtype)
    finite = np.array(signed[1:4] + signed[5:8])
    same_as_torch(lambda x, y: x % y, lambda x, y: x % y, [finite[:, None], finite], dtype)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name: str) -> None:
    x, y = np.array([0.0, 1.0, np.nan, np.inf]), np.array([0.0, 2.0, np.nan, -np.inf])
    same_as_torch(getattr(tg, name), getattr(torch, name), [x, y], "float32")
    same_as_torch(lambda a: getattr(tg, name)(a, 1), lambda a: getattr(torch, name)(a, 1), [np.arange(3)], "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", NUMBERED, ids=str)
def test_getitem(index: Any, dtype: str) -> None:
    same_as_torch(lambda x: x[index], lambda x: x[index], [normal(3, 4)], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul(dtype: str) -> None:
    shapes = [
        ((3, 4), (4, 2)),
        ((4,), (4,)),
        ((3, 4), (4,)),
        ((4,), (4, 3)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 3)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 1)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((3, 4), (2, 4, 2)),
        ((3, 0), (0, 2)),
        ((0,), (0,)),
        ((0, 3), (3, 2)),
        ((2, 0, 3), (3, 2)),
        ((17, 100), (100, 3)),
    ]
    for s, t in shapes:
        same_as_torch(tg.matmul, torch.matmul, [normal(*s), normal(*t, seed=1)], dtype)
    same_as_torch(lambda x, y: x.T @ y.mT, lambda x, y: x.T @ y.mT, [normal(4, 3), normal(5, 4)], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride, padding", [(1, 0), (2, 1), ((1, 3), (2, 0)), (5, 0)])
def test_conv2d(stride: Any, padding: Any, dtype: str) -> None:
    for n, c, o, size, kernel in [(2, 3, 4, (6, 5), (3, 2)), (1, 1, 1, (5, 5), (5, 5)), (3, 2, 2, (7, 6), (1, 1))]:
        same_as_torch(
            lambda x, w, b: conv2d(x, w, b, stride, padding),
            lambda x, w, b: F.conv2d(x, w, b, stride, padding),
            [normal(n, c, *size), normal(o, c, *kernel), normal(o)],
            dtype,
            tolerance=5,
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel, stride, padding", [(2, None, 0), (3, 2, 1), ((2, 3), (1, 2), (1, 1)), (2, 3, 0)])
def test_max_pool2d(kernel: Any, stride: Any, padding: Any, dtype: str) -> None:
    for image in (apart(2, 3, 7, 6), np.zeros((1, 1, 4, 4))):
        same_as_torch(
            lambda x: max_pool2d(x, kernel, stride, padding),
            lambda x: F.max_pool2d(x, kernel, stride, padding),
            [image],
            dtype,
        )
