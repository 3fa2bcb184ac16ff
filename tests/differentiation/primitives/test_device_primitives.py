"""Every primitive on a GPU's arrays: values, gradients and second derivatives equal those on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import flat, normal
from test_primitives import CASES, INDEX, OF_ONE, WITHOUT_GRADIENT

import tinygrad_rnn as tg
from tinygrad_rnn.arrays.device import array_like, to_numpy
from tinygrad_rnn.autograd.primitives import index, likelihood

MAKERS = ("tensor", "zeros", "ones", "arange")
TAKE_ARRAYS = ("softmax_nll", "softmax_error", "scatter", "add_rows", "place")  # other tests cover them


def derivatives(f: Callable[..., Any], arrays: list[Any], device: str, dtype: str) -> list[np.ndarray | None]:
    """Return outputs, gradients, and gradients of those, for random cotangents, as arrays on the CPU."""
    xs = [tg.tensor(a.astype(dtype), requires_grad=True, device=device) for a in arrays]
    outs = flat(f(*xs))
    seeds = [tg.tensor(normal(*out.shape, seed=7).astype(dtype), requires_grad=True, device=device) for out in outs]
    plain = tg.grad(outs, xs, seeds, retain_graph=True, allow_unused=True)
    first = tg.grad(outs, xs, seeds, create_graph=True, allow_unused=True)
    reached = [g for g in first if g is not None and g.requires_grad]
    weights = [tg.tensor(normal(*g.shape, seed=8).astype(dtype), device=device) for g in reached]
    second = tg.grad(reached, [*xs, *seeds], weights, allow_unused=True)
    found = [*outs, *plain, *first, *second]
    assert all(t is None or t.device.startswith(device) for t in found)
    assert all(t is None or t.dtype == np.dtype(dtype) for t in found)
    return [None if t is None else to_numpy(t) for t in found]


def assert_equal(found: list[Any], wanted: list[Any], tolerance: float) -> None:
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        assert (f is None) == (w is None)
        if w is not None:
            assert f.shape == w.shape and f.dtype == w.dtype
            np.testing.assert_allclose(f, w, tolerance, tolerance)


@pytest.mark.parametrize("name", [name for name in CASES if name not in TAKE_ARRAYS])
def test_as_on_the_cpu(name: str, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    makers = {maker: getattr(tg, maker) for maker in MAKERS}
    for k, (f, arrays) in enumerate(CASES[name]):
        for dtype, tolerance in (("float64", 1e-11), ("float32", 1e-4)):
            results = []
            for device in ("cpu", "cuda"):
                for maker, make in makers.items():  # a case makes its constants on this device
                    monkeypatch.setattr(tg, maker, functools.partial(make, device=device))
                try:
                    results.append(derivatives(f, arrays, device, dtype))
                except TypeError as error:
                    assert dtype == "float32" and "float64" in str(error), (k, device)  # of a float64 constant
            if results:
                assert_equal(results[1], results[0], tolerance)


def test_adjoints_of_indices(cupy: Any) -> None:
    scatter = lambda g, x=None: index._scatter(g, array_like(INDEX, g), (3, 4))
    step = lambda g: index._scatter(g, (slice(None, None, 2),), (3, 4))
    rows = lambda g: index._add_rows(g, array_like(INDEX, g), 4)
    for f, array in ((scatter, normal(3, 2, 4)), (step, normal(2, 4)), (rows, normal(3, 2, 5))):
        found, wanted = (derivatives(f, [array], device, "float64") for device in ("cuda", "cpu"))
        assert_equal(found, wanted, 1e-12)


@pytest.mark.parametrize("rows", [(2, 3), (5, 4), (0, 3), (3, 1)])
def test_likelihood(rows: tuple[int, int], cupy: Any) -> None:
    classes = np.arange(rows[0]) % rows[1]
    weights = np.arange(rows[0], dtype="float64") % 3  # some are 0
    nll = lambda x: likelihood.softmax_nll(x, array_like(classes, x), array_like(weights, x))
    error = lambda g, x: likelihood._softmax_error(g, x, array_like(classes, x))
    for f, arrays in ((nll, [normal(*rows)]), (error, [normal(rows[0]), normal(*rows)])):
        found, wanted = (derivatives(f, arrays, device, "float64") for device in ("cuda", "cpu"))
        assert_equal(found, wanted, 1e-12)


def test_a_row_of_weight_0_has_loss_0_even_if_it_is_infinite(cupy: Any) -> None:
    x = tg.tensor([[np.inf, 1.0], [0.0, 0.0]], device="cuda")
    losses = likelihood.softmax_nll(x, array_like(np.array([0, 1]), x), array_like(np.array([0, 1], "float32"), x))
    np.testing.assert_allclose(losses.tolist(), [0.0, np.log(2)], 1e-6)


@pytest.mark.parametrize("name", sorted(WITHOUT_GRADIENT))
def test_without_gradient(name: str, cupy: Any) -> None:
    f = getattr(tg, name)
    count = 1 if name in OF_ONE else 2
    arrays = [np.round(normal(3, 4, seed=s) * 2) for s in range(count)]
    wanted = f(*[tg.tensor(a) for a in arrays])
    found = f(*[tg.tensor(a, device="cuda") for a in arrays])
    assert found.device.startswith("cuda") and found.dtype == wanted.dtype and found.tolist() == wanted.tolist()
    if name.startswith("arg"):
        for dim in (0, 1, -1):
            on_gpu = f(tg.tensor(arrays[0], device="cuda"), dim, True)
            assert on_gpu.tolist() == f(tg.tensor(arrays[0]), dim, True).tolist() and on_gpu.dtype == np.int64


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64", "float32", "float64"])
def test_dtypes_of_results(dtype: str, cupy: Any) -> None:
    """Promotion is as on the CPU: with numbers, from whole numbers to float32, and in reductions."""
    array = np.array([[0, 1, 2], [1, 0, 3]]).astype(dtype)
    operations: list[Callable] = [
        *(lambda x: x + 1, lambda x: x * 2.5, lambda x: 2 - x * 1, lambda x: x / 2, lambda x: x**0.5),
        lambda x: (x + 0) ** 2,
        *(lambda x: x == 1, lambda x: x > 0.5, lambda x: x + x, lambda x: x * np.float64(0.5), lambda x: x * [1, 2, 3]),
        *(tg.exp, tg.tanh, tg.sigmoid, tg.relu, tg.sign, tg.abs, tg.softplus, tg.isfinite),
        *(tg.sum, tg.mean, tg.std, tg.max, tg.argmin, lambda x: x.sum(1), lambda x: x.max(0).indices),
        *(lambda x: tg.where(x > 0, x, 0.0), lambda x: tg.where(x > 0, 1, 2), lambda x: x.masked_fill(x == 1, 5)),
        *(lambda x: x.clip(0, 1), lambda x: x.clip(0.5), tg.softmax, lambda x: tg.logsumexp(x, 1)),
        *(lambda x: x.to("float64"), lambda x: x.bool(), lambda x: x.long(), tg.flatten, lambda x: x.T @ x),
        *(lambda x: tg.where(True, x, 1.0), lambda x: (x + 1) ** -1, lambda x: -x, lambda x: 2**x),
    ]
    for k, f in enumerate(operations):
        outcomes: list[Any] = []
        for device in ("cpu", "cuda"):
            try:
                outcomes.append(to_numpy(f(tg.tensor(array, device=device))))
            except (TypeError, ValueError) as error:
                outcomes.append(type(error))
        if isinstance(outcomes[0], type):
            assert outcomes[0] is outcomes[1], k
        else:
            assert_equal(outcomes[1:], outcomes[:1], 1e-5)


def test_indices_out_of_range_are_refused(cupy: Any) -> None:
    x = tg.tensor(normal(3, 4), device="cuda")
    for at in ([3], np.array([-4]), tg.tensor([0, 5]), tg.tensor([7], device="cuda"), (slice(None), [4])):
        with pytest.raises(IndexError, match=r"index: expected numbers from -[34] to [23], got"):
            x[at]
    with pytest.raises(IndexError, match="gather: index: expected numbers from 0 to 3, got 4"):
        x.gather(1, tg.tensor([[4]], device="cuda"))
    with pytest.raises(IndexError, match="embedding: index: expected numbers from 0 to 2, got -1"):
        tg.nn.functional.embedding(tg.tensor([-1], device="cuda"), x)


def test_sums_of_rows_by_index_are_exact_up_to_rounding(cupy: Any) -> None:
    """Sums of many rows at few indices, some much larger than others, agree with float64 sums."""
    ids = np.random.default_rng(0).integers(0, 5, 1000)
    rows = normal(1000, 3).astype("float32") * np.where(ids == 0, 1e6, 1.0)[:, None].astype("float32")
    weight = tg.zeros(6, 3, requires_grad=True, device="cuda")
    tg.nn.functional.embedding(tg.tensor(ids), weight).backward(tg.tensor(rows, device="cuda"))
    wanted = np.zeros((6, 3))
    np.add.at(wanted, ids, rows.astype("float64"))
    np.testing.assert_allclose(to_numpy(weight.grad), wanted, 1e-5, 1e-5 * np.abs(wanted[1:]).max())
    again = tg.zeros(6, 3, requires_grad=True, device="cuda")
    again[tg.tensor(ids, device="cuda")].backward(tg.tensor(rows, device="cuda"))
    np.testing.assert_array_equal(to_numpy(again.grad), to_numpy(weight.grad))
