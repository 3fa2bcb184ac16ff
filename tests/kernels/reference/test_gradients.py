"""Rows added by index, sums of squares and scaling: compiled functions agree with NumPy."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import add_rows, scaled, sum_of_squares
from tinygrad_rnn.kernels.cpu import gradients as compiled
from tinygrad_rnn.kernels.reference import gradients

DTYPES = ["float32", "float64"]


def close(ours, expected):
    assert ours.dtype == expected.dtype
    rtol = 1e-5 if ours.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(ours, expected, rtol=rtol, atol=10 * rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (3, 2, 17), (100, 3, 100), (17, 100, 16), (0, 5, 3), (4000, 7, 130)]
)
def test_rows_are_added_by_their_index(count, rows, columns, dtype):
    rng = np.random.default_rng(count)
    g, index = rng.standard_normal((count, columns)).astype(dtype), rng.integers(0, rows, count)
    expected = np.zeros((rows, columns))
    np.add.at(expected, index, g)
    for found in (add_rows(g, index, rows), compiled.add_rows(g, index, rows), gradients.add_rows(g, index, rows)):
        close(found, expected.astype(dtype))
    close(add_rows(g[:, ::-1], index.astype(np.int32), rows), expected[:, ::-1].astype(dtype))


def test_rows_added_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    g, index = rng.standard_normal((30_000, 70)).astype("float32"), rng.integers(0, 50, 30_000)
    before, found = tg.get_num_threads(), []
    try:
        for n in (1, 2):
            tg.set_num_threads(n)
            found.append((add_rows(g, index, 50), sum_of_squares([g, g[:999]])))
    finally:
        tg.set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[1], [3, 0, 17], [4096], [4097, 100, 63, 65], [100_001, 1]])
def test_sum_of_squares_and_scaling_of_many(sizes, dtype):
    rng = np.random.default_rng(len(sizes))
    arrays = [rng.standard_normal(n).astype(dtype) for n in sizes]
    expected = sum(float((a.astype(float) ** 2).sum()) for a in arrays)
    for module in (gradients, compiled):
        assert module.sum_of_squares(arrays) == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-12)
        for a, found in zip(arrays, module.scaled(arrays, 0.3)):
            assert found is not a
            close(found, a * a.dtype.type(0.3))


@pytest.mark.parametrize(("value", "expected"), [(np.inf, np.inf), (-np.inf, np.inf), (np.nan, np.nan), (1e30, np.inf)])
@pytest.mark.parametrize("at", [0, 5000])
def test_infinity_and_nan_are_found(value, expected, at):
    a = np.ones(5001, "float32")
    a[at] = value
    for module in (gradients, compiled):
        np.testing.assert_equal(module.sum_of_squares([a]), expected)
        assert np.isnan(module.scaled([a], np.nan)[0]).all()


def test_numpy_computes_other_arrays():
    mixed = [np.ones(3, "float32"), np.full(2, 2.0)]
    assert sum_of_squares(mixed) == 11.0
    assert [a.dtype for a in scaled(mixed, 2.0)] == ["float32", "float64"]
    assert sum_of_squares([]) == 0.0 and scaled([], 1.0) == []
    assert add_rows(np.ones((2, 1), "float16"), np.array([1, 1]), 2).tolist() == [[0.0], [2.0]]
