"""Every primitive agrees with finite differences, to the second order, for shapes of all kinds."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers import apart, flat, leaf, normal, on_tape, positive

import tinygrad_rnn as tg
from tinygrad_rnn.autograd import primitives
from tinygrad_rnn.autograd.primitives import (
    convolution,
    elementwise,
    index,
    likelihood,
    pooling,
    products,
    reduce,
    shape,
)
from tinygrad_rnn.kernels.dense import Windows

UNARY = [(), (1,), (3,), (17,), (100,), (0,), (2, 0, 3), (3, 1, 2)]
PAIRS = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((), ()),
    ((2, 0), (1,)),
    ((1,), (5,)),
    ((2, 1, 3), (4, 1)),
]
INDEX = np.array([[0, 2], [2, 1], [0, 0]])
GATHERED = np.array([[1, 1, 0], [2, 0, 2]])

Case = tuple[Callable[..., Any], list[np.ndarray]]


def unary(f: Callable, numbers: Callable = normal) -> list[Case]:
    """Return cases of f on shapes of all kinds, and on a transposed and a strided view."""
    cases = [(f, [numbers(*s)]) for s in UNARY]
    cases.append((lambda x: f(x.T), [numbers(3, 5)]))
    cases.append((lambda x: f(x[::2, ::-1]), [numbers(5, 3)]))
    return cases


def binary(f: Callable, first: Callable = normal, second: Callable = normal) -> list[Case]:
    """Return cases of f on shapes that broadcast, and on views."""
    cases = [(f, [first(*s), second(*t, seed=1)]) for s, t in PAIRS]
    cases.append((lambda x, y: f(x.T, y[:, ::2]), [first(3, 5), second(5, 6, seed=1)]))
    return cases


def reduction(f: Callable, numbers: Callable = normal, empty: bool = True) -> list[Case]:
    """Return cases of f(x, dims, keepdim) over one, several and all dimensions."""
    shapes = [(), (1,), (7,), (3, 4), (2, 1, 5)] + [(0,), (2, 0, 3)] * empty
    cases: list[Case] = []
    for s, keep in itertools.product(shapes, (False, True)):
        for dims in {None, (0,), tuple(range(len(s)))[-2:]} if s else {None}:
            cases.append((lambda x, dims=dims, keep=keep: f(x, dims, keep), [numbers(*s)]))
    cases.append((lambda x: f(x.T[::2], (0,), False), [numbers(3, 5)]))
    return cases


def along(f: Callable) -> list[Case]:
    """Return cases of f(x, dim) for the first and the last dimension."""
    return [(lambda x, d=d: f(x, d), [normal(*s)]) for s in [(1,), (6,), (3, 4), (2, 0), (2, 3, 2)] for d in (0, -1)]


CASES: dict[str, list[Case]] = {
    "add": [*binary(tg.add), (lambda x: x + x, [normal(3)]), (lambda x: x + 2, [normal(3)])],
    "sub": [*binary(tg.sub), (lambda x: 2 - x, [normal(3)])],
    "mul": [*binary(tg.mul), (lambda x: x * x, [normal(3)]), (lambda x: 3 * x, [normal(3)])],
    "div": [*binary(tg.div, normal, positive), (lambda x: 1 / x, [positive(3)]), (lambda x: x / 2, [positive(3)])],
    "floor_div": [
        (lambda x, y: x // y, [apart(3, 4) + 0.03, np.array([0.7, -1.3, 2.1, -0.9])]),
        (lambda x: x // 0.5, [np.array([0.3, 1.7, -2.4, 5.1])]),
        (lambda x: 5.5 // x, [np.array([0.3, 1.7, -2.4, 5.1])]),
    ],
    "remainder": [
        (lambda x, y: x % y, [np.array([[0.3, 1.7, -2.4], [5.1, -0.2, 0.9]]), np.array([0.7, -1.3, 2.1])]),
        (lambda x: x % 0.5, [np.array([0.3, 1.7, -2.4, 5.1])]),
        (lambda x: 5.5 % x, [np.array([0.3, 1.7, -2.4, 5.3])]),
    ],
    "neg": unary(tg.neg),
    "pow": [
        *binary(tg.pow, positive, normal),
        (lambda x: x**3, [normal(4)]),
        (lambda x: x**-2, [apart(4)]),
        (lambda x: x**0, [np.zeros(2)]),
        (lambda x: x**1, [np.zeros(2)]),
        (lambda x: x**2, [np.zeros(2)]),
        (lambda x: x ** tg.tensor([0.0, 1.0, 2.0, 3.0], dtype="float64"), [np.zeros(4)]),
        (lambda x: x ** tg.tensor([1.0, 2.0, 3.0], dtype="float64"), [-positive(3)]),
        (lambda y: 2**y, [normal(3)]),
    ],
    "where": [
        (lambda x, y: tg.where(tg.tensor([True, False, True]), x, y), [normal(2, 3), normal(3, seed=1)]),
        (lambda x: tg.where(tg.tensor([[True], [False]]), x, 1.0), [normal(3)]),
        (lambda x: x.masked_fill(tg.tensor([True, False, True]), -1.0), [normal(2, 3)]),
        (lambda x: tg.where(tg.tensor(True), 2.0, x), [normal()]),
    ],
    "maximum": [*binary(tg.maximum, apart, apart), (lambda x: tg.maximum(x, 0.01), [apart(5)])],
    "minimum": [*binary(tg.minimum, apart, apart), (lambda x: tg.minimum(0.01, x), [apart(5)])],
    "exp": unary(tg.exp),
    "log": unary(tg.log, positive),
    "sqrt": unary(tg.sqrt, positive),
    "abs": unary(tg.abs, apart),
    "sign": unary(tg.sign, apart),
    "sin": unary(tg.sin),
    "cos": unary(tg.cos),
    "tanh": unary(tg.tanh),
    "sigmoid": unary(tg.sigmoid),
    "softplus": unary(tg.softplus),
    "erf": unary(tg.erf),
    "relu": unary(tg.relu, apart),
    "clip": [
        *unary(lambda x: tg.clip(x, -0.3, 0.4), apart),
        (lambda x: tg.clip(x, min=0), [apart(5)]),
        (lambda x: tg.clip(x, max=0), [apart(5)]),
    ],
    "reshape": [
        (lambda x: x.reshape(3, -1), [normal(2, 6)]),
        (lambda x: x.T.reshape(10), [normal(2, 5)]),
        (lambda x: x[::2].flatten(), [normal(4, 3)]),
        (lambda x: x.reshape(()), [normal(1, 1)]),
        (lambda x: x.unsqueeze(-1).squeeze(0), [normal(1, 3)]),
        (lambda x: x.reshape(0, 5), [normal(2, 0)]),
    ],
    "permute": [
        (lambda x: x.permute(2, 0, 1), [normal(2, 3, 4)]),
        (lambda x: x.permute(-1, 1, 0), [normal(2, 0, 4)]),
        (lambda x: x.permute(()), [normal()]),
        (lambda x: x.transpose(0, 2).T.mT, [normal(2, 3, 4)]),
    ],
    "broadcast_to": [
        (lambda x: x.expand(4, -1), [normal(3)]),
        (lambda x: tg.broadcast_to(x, (2, 3, 4)), [normal(3, 1)]),
        (lambda x: tg.broadcast_to(x, (2, 3)), [normal()]),
        (lambda x: tg.broadcast_to(x, (0, 3)), [normal(3)]),
    ],
    "tile": [
        (lambda x: x.repeat(2, 3), [normal(2, 3)]),
        (lambda x: x.T.repeat(2, 1, 0, 1), [normal(2, 3)]),
        (lambda x: x.repeat(()), [normal()]),
        (lambda x: tg.tile(x, (3,)), [normal(2, 1, 2)]),
        (lambda x: x.tile(2, 1), [normal(0)]),
    ],
    "concat": [
        (lambda x, y, z: tg.concat([x, y, z], 1), [normal(2, 3), normal(2, 0), normal(2, 1)]),
        (lambda x, y: tg.concat([x, y, x], -2), [normal(1, 3), normal(2, 3)]),
        (lambda x: tg.concat([x.T, tg.zeros(1, 2, dtype="float64")]), [normal(2, 3)]),
    ],
    "stack": [
        (lambda x, y: tg.stack([x, y, x], 1), [normal(2, 3), normal(2, 3, seed=1)]),
        (lambda x, y: tg.stack([x, y], -1), [normal(), normal(seed=1)]),
        (lambda x: tg.stack([x, tg.zeros(0, dtype="float64")]), [normal(0)]),
    ],
    "split": [
        (lambda x: x.split(2), [normal(5, 3)]),
        (lambda x: x.split([1, 0, 3], 1), [normal(2, 4)]),
        (lambda x: x.chunk(3, -1)[1], [normal(2, 7)]),
        (lambda x: x.T.unbind(1), [normal(3, 2)]),
        (lambda x: [part * part for part in x.split(1)[::2]], [normal(4)]),
    ],
    "pad": [
        (lambda x: tg.pad(x, (1, 2), 3.0), [normal(2, 3)]),
        (lambda x: tg.pad(x.T, (0, 1, 2, 0)), [normal(2, 3)]),
        (lambda x: tg.pad(x, (1, 1)), [normal(2, 0)]),
        (lambda x: tg.pad(x, ()), [normal(2)]),
    ],
    "flip": [(lambda x: x.flip((0, -1)), [normal(2, 3, 4)]), (lambda x: x.flip(0), [normal(0, 2)])],
    "sum": reduction(tg.sum)
    + reduction(lambda x, d, k: tg.var(x, d, 0, k), empty=False)
    + [
        (lambda x: x.var(1), [normal(2, 3)]),
        (lambda x: x.mean(-1), [normal(2, 3)]),
        (lambda x: x.std(0), [normal(4, 3)]),
    ],
    "amax": [
        *reduction(tg.amax, apart, empty=False),
        (tg.max, [apart(3, 2)]),
        (lambda x: tg.amax(x, 1), [apart(0, 3)]),
    ],
    "amin": [
        *reduction(tg.amin, apart, empty=False),
        (tg.min, [apart(3, 2)]),
        (lambda x: tg.amin(x, 1), [apart(0, 3)]),
    ],
    "cumsum": [*along(tg.cumsum), (lambda x: x.T.cumsum(1), [normal(3, 4)])],
    "softmax": [*along(tg.softmax), (tg.softmax, [normal()])],
    "log_softmax": [*along(tg.log_softmax), (tg.log_softmax, [normal()])],
    "logsumexp": reduction(lambda x, d, k: tg.logsumexp(x, d, k), empty=False),
    "linear": [
        (products.linear, [normal(*s), normal(*t, seed=1)])
        for s, t in [((3, 4), (2, 4)), ((1, 1), (1, 1)), ((0, 3), (2, 3)), ((17, 3), (100, 3)), ((2, 3, 4), (5, 4))]
    ]
    + [
        (products.affine, [normal(*s), normal(*t, seed=1), normal(t[0], seed=2)])
        for t, *sources in [
            ((2, 4), (3, 4), (4,), (2, 3, 4), (2, 0, 4)),
            ((1, 1), (1, 1)),
            ((2, 3), (0, 3)),
            ((100, 3), (17, 3)),
            ((70, 90), (100, 90)),
        ]
        for s in sources
    ],
    "matmul": [
        (tg.matmul, [normal(*s), normal(*t, seed=1)])
        for s, t in [
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
            ((0, 3), (3, 2)),
            ((2, 3, 0), (0, 2)),
            ((1, 1), (1, 1)),
        ]
    ]
    + [(lambda x, y: x.T @ y[::2].mT, [normal(4, 3), normal(10, 4)]), (lambda x: x @ x, [normal(3, 3)])],
    "getitem": [
        (lambda x, i=i: x[i], [normal(3, 4)])
        for i in (
            *(0, -1, slice(None, None, -2), (slice(1), None), (..., 1), None, (), (2, 3), ...),
            *(INDEX, [0, 0, 2], [-1, 0], (slice(None), [1, 1]), ([0, 0], [1, 1]), ([0, 2], slice(1, 3)), []),
            *(tg.tensor([0, 0]), tg.tensor(1), (tg.tensor([1, 1]), 0), np.array([True, False, True]), True, False),
            *(tg.tensor(np.eye(3, 4) > 0), (tg.tensor([True, False, True]), -1), [True, False, False]),
        )
    ]
    + [
        (lambda x: x.gather(1, GATHERED), [normal(3, 4)]),
        (lambda x: x.T.gather(0, tg.tensor(GATHERED)), [normal(4, 3)]),
        (lambda x: tg.gather(x, 0, np.zeros((0, 2), int)), [normal(3, 4)]),
        (lambda x: x.max(1).values, [apart(3, 4)]),
        (lambda x: x.min(0, keepdim=True).values, [apart(3, 4)]),
    ],
    "scatter": [
        (lambda g: index._scatter(g, (slice(None, None, 2),), (3, 4)), [normal(2, 4)]),
        (lambda g: index._scatter(g, INDEX, (3, 4)), [normal(3, 2, 4)]),
    ],
    "embedding": [
        (lambda w: index.embedding(INDEX, w), [normal(3, 4)]),
        (lambda w: index.embedding(tg.tensor(1), w), [normal(3, 4)]),
        (lambda w: index.embedding(np.zeros((0, 2), int), w), [normal(3, 4)]),
        (lambda w: index.embedding([2, 2, 2], w), [normal(3, 1)]),
    ],
    "add_rows": [(lambda g: index._add_rows(g, INDEX, 4), [normal(3, 2, 5)])],
    "convolution": [
        (lambda x, w: convolution.conv2d(x, w, None, (2, 1), 1), [normal(2, 3, 5, 4), normal(2, 3, 3, 2)]),
        (lambda x, w: convolution.conv2d(x, w), [normal(0, 1, 2, 2), normal(1, 1, 1, 1)]),
        (lambda x, w: convolution.conv1d(x, w, padding="same"), [normal(2, 3, 5), normal(2, 3, 4)]),
    ],
    "convolution_with_bias": [
        (lambda x, w, b: convolution.conv2d(x, w, b, (2, 1), 1), [normal(2, 3, 5, 4), normal(2, 3, 3, 2), normal(2)]),
        (lambda x, w, b: convolution.conv1d(x, w, b, 2), [normal(1, 1, 7), normal(1, 1, 3), normal(1)]),
    ],
    "convolution_input_gradient": [
        (
            lambda g, w: convolution._input_gradient(g, w, Windows((3, 2), (2, 1), (1, 1), (2, 3)), (2, 2, 4, 3)),
            [normal(2, 3, 2, 3), normal(3, 2, 3, 2)],
        ),
    ],
    "convolution_weight_gradient": [
        (
            lambda g, x: convolution._weight_gradient(g, x, Windows((3, 2), (2, 1), (1, 1), (2, 3))),
            [normal(2, 3, 2, 3), normal(2, 2, 4, 3)],
        ),
    ],
    "pick": [(lambda x: pooling.max_pool2d(x, 3, 2, 1), [apart(1, 2, 5, 5)])],
    "place": [
        (
            lambda g: pooling._place(
                g, np.array([[[[0, 5], [3, 2]]]]), Windows((2, 3), (1, 2), (0, 0), (2, 2)), (1, 1, 3, 5)
            ),
            [normal(1, 1, 2, 2)],
        ),
    ],
    "totals": [
        (lambda x: pooling.avg_pool2d(x, 2), [normal(2, 1, 4, 5)]),
        (lambda x: pooling.avg_pool2d(x, 3, 2, 1, count_include_pad=False), [normal(2, 1, 4, 5)]),
    ],
    "spread": [
        (lambda g: pooling._spread(g, Windows((2, 2), (2, 1), (0, 1), (2, 4)), (1, 2, 5, 4)), [normal(1, 2, 2, 4)])
    ],
    "softmax_nll": [
        (lambda x: likelihood.softmax_nll(x, np.array([0, 2]), np.array([1, 0.5], x.dtype)), [normal(2, 3)]),
        (lambda x: likelihood.softmax_nll(x, np.zeros(0, int), np.zeros(0, x.dtype)), [normal(0, 3)]),
    ],
    "softmax_error": [
        (lambda g, x: likelihood._softmax_error(g, x, np.array([0, 2])), [normal(2), normal(2, 3)]),
    ],
}
WITHOUT_GRADIENT = {
    **{"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"},
    **{name: name for name in ("logical_and", "logical_or", "logical_not", "isfinite", "isnan", "argmax", "argmin")},
    **{name: name for name in ("argsort", "any", "all")},
}  # name -> NumPy's name
OF_ONE = {"logical_not", "isfinite", "isnan", "argmax", "argmin", "argsort", "any", "all"}
TESTED_APART = {"cast", "move"}  # finite differences need float64; a move needs two devices


def all_rules() -> dict[str, Any]:
    modules = [m for m in vars(primitives).values() if isinstance(m, ModuleType)]
    return {f.definition.name: f.definition for m in modules for f in vars(m).values() if hasattr(f, "definition")}


def test_every_primitive_is_covered() -> None:
    assert set(all_rules()) == set(CASES) | set(WITHOUT_GRADIENT) | TESTED_APART
    assert {name for name, rule in all_rules().items() if not rule.vjps} == set(WITHOUT_GRADIENT)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    for k, (f, arrays) in enumerate(CASES[name]):
        inputs = [leaf(a) for a in arrays]
        assert name in {node.name for node in on_tape(*flat(f(*inputs)))}, f"case {k} does not run {name}"
        assert tg.gradcheck(f, inputs), k
        assert tg.gradgradcheck(f, inputs), k


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_keep_float32(name: str) -> None:
    for k, (f, arrays) in enumerate(CASES[name]):
        wide = [leaf(a) for a in arrays]
        narrow = [tg.tensor(a, dtype="float32", requires_grad=True) for a in arrays]
        try:
            outs = flat(f(*narrow))
        except TypeError as error:
            assert "float64" in str(error)  # the case has a float64 constant
            continue
        assert {out.dtype for out in outs} == {np.dtype("float32")}, k
        found = tg.grad(outs, narrow, [tg.ones_like(o) for o in outs])
        wanted = tg.grad(flat(f(*wide)), wide, [tg.ones(o.shape, dtype="float64") for o in outs])
        for x, g, w in zip(narrow, found, wanted):
            assert g.dtype == np.float32 and g.shape == x.shape, k
            np.testing.assert_allclose(g.numpy(), w.numpy(), 1e-4, 1e-4)


def test_vjps_of_a_primitive_name_the_same_values() -> None:
    for name, rule in all_rules().items():
        signatures = {tuple(inspect.signature(vjp).parameters) for vjp in rule.vjps}
        assert len(signatures) <= 1, name


def test_cast_converts_the_gradient_back() -> None:
    x = tg.tensor([1.5, 2.5], requires_grad=True)
    y = x.double() * tg.tensor([2.0, 3.0], dtype="float64")
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2.0, 3.0]
    (second,) = tg.grad((tg.grad((x.double() ** 3).sum(), x, create_graph=True)[0]).sum(), x)
    assert second.tolist() == [9.0, 15.0]


@pytest.mark.parametrize("name", sorted(WITHOUT_GRADIENT))
def test_primitives_without_gradient_leave_the_tape(name: str) -> None:
    f = getattr(tg, name)
    args = [leaf(normal(3)) for _ in range(1 if name in OF_ONE else 2)]
    out = f(*args)
    assert not out.requires_grad and out.dtype in (np.bool_, np.int64)
    wanted = getattr(np, WITHOUT_GRADIENT[name])(*[a.numpy() for a in args])
    np.testing.assert_array_equal(out.numpy(), wanted)


def gradient(f: Callable, *arrays: Any) -> Any:
    xs = [leaf(a) for a in arrays]
    return [g.tolist() for g in tg.grad(tg.sum(f(*xs)), xs)]


def test_ties_share_the_gradient() -> None:
    assert gradient(tg.maximum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]
    assert gradient(tg.minimum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]
    assert gradient(tg.amax, [1.0, 4.0, 4.0, 4.0, 4.0]) == [[0.0, 0.25, 0.25, 0.25, 0.25]]
    assert gradient(lambda x: tg.amin(x, 1), [[1.0, 1.0], [0.0, 2.0]]) == [[[0.5, 0.5], [1.0, 0.0]]]
    assert gradient(lambda x: x.max(1).values, [[1.0, 1.0], [0.0, 2.0]]) == [[[1.0, 0.0], [0.0, 1.0]]]


def test_gradients_at_corners() -> None:
    assert gradient(tg.abs, [-1.0, 0.0, 1.0]) == [[-1.0, 0.0, 1.0]]
    assert gradient(tg.relu, [-1.0, 0.0, 1.0]) == [[0.0, 0.0, 1.0]]
    assert gradient(lambda x: x.clip(0.0, 1.0), [-1.0, 0.0, 1.0, 2.0]) == [[0.0, 1.0, 1.0, 0.0]]
    assert gradient(lambda x: x.std(), [2.0, 2.0]) == [[0.0, 0.0]]
    assert gradient(tg.pow, [0.0, 0.0, 2.0], [2.0, 0.0, 0.0])[0] == [0.0, 0.0, 0.0]
    assert gradient(tg.pow, [0.0, 0.0], [2.0, 0.0])[1] == [0.0, 0.0]
    with np.errstate(invalid="ignore"):
        assert np.isnan(gradient(tg.pow, [-2.0], [2.0])[1]).all()


def test_a_missing_gradient_of_a_part_is_zeros() -> None:
    parts = (x := leaf(normal(5))).split(2)
    (parts[1] * 3.0).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 3.0, 3.0, 0.0]


def test_statistics_of_nothing_are_nan() -> None:
    empty = tg.zeros(0, 3)
    assert np.isnan(empty.mean().item()) and np.isnan(empty.var(0).numpy()).all() and empty.sum().item() == 0
    assert np.isnan(tg.ones(1).std().item())
    assert empty.softmax(0).shape == (0, 3) and empty.log_softmax(0).shape == (0, 3)


def test_backward_of_unbind_takes_linear_time() -> None:
    def seconds(steps: int) -> float:
        x = tg.zeros(steps, 2, requires_grad=True)
        loss = tg.stack(x.unbind()).sum()
        start = time.perf_counter()
        loss.backward()
        return time.perf_counter() - start

    few, many = min(seconds(500) for _ in range(3)), min(seconds(8000) for _ in range(2))
    assert many < 16 * few * 4, f"{few:.4f} s for 500 steps, {many:.4f} s for 8000"


def test_modules_define_the_public_functions() -> None:
    assert elementwise.where is tg.where and reduce.sum is tg.sum and shape.concat is tg.cat


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu_and_its_slopes_are_finite_for_huge_arguments(approximate: str, dtype: str) -> None:
    x = tg.tensor([-1e30, -1e15, -40.0, 40.0, 1e15, 1e30], dtype=dtype, requires_grad=True)
    y = tg.gelu(x, approximate)
    (g,) = tg.grad(y.sum(), x, create_graph=True)
    (h,) = tg.grad(g.sum(), x)
    assert y.tolist() == [0, 0, 0, *x.tolist()[3:]] and g.tolist() == [0, 0, 0, 1, 1, 1] and h.tolist() == [0] * 6
