"""Dense products on the compiled tile equal NumPy's for any size, layout and number of threads."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels.cpu import dense
from tinygrad_rnn.kernels.cpu.runtime import threads

SIZES = [(1, 1, 1), (3, 17, 1), (1, 100, 65), (17, 300, 70), (100, 513, 130), (7, 0, 5), (0, 4, 3), (5, 3, 0)]
SIZES += [(403, 800, 70)]  # several blocks of rows and parts of the depth


@pytest.fixture(autouse=True)
def thread_count():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("M, K, N", SIZES)
def test_products_equal_numpys_in_every_layout(M, K, N, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    wide = rng.standard_normal((M, 2 * K)).astype(dtype)
    wide[:, ::2] = x
    expected = x.astype("float64") @ y.astype("float64")
    for a in (x, np.asfortranarray(x), wide[:, ::2]):
        for b in (y, np.asfortranarray(y)):
            rtol = 1e-5 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(dense.matmul(a, b), expected, rtol, atol=rtol * 4 * max(K, 1) ** 0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("M, K, N", SIZES)
def test_a_bias_and_sums_of_columns_come_with_a_product(M, K, N, dtype):
    rng = np.random.default_rng(1)
    x, y, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N), (N,)))
    tolerance = {"rtol": 1e-5, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-13, "atol": 1e-12}
    np.testing.assert_allclose(dense.matmul(x, y, bias), x @ y + bias, **tolerance)
    g = rng.standard_normal((M, N)).astype(dtype)
    product, sums = dense.matmul_and_sums(x, g)
    np.testing.assert_allclose(product, x.T @ g, **tolerance)
    np.testing.assert_allclose(sums, x.sum(0), **tolerance)
    for misfit in (lambda: dense.matmul(x, y, bias[1:]), lambda: dense.matmul_and_sums(x[1:], g)):
        if N and M:
            with pytest.raises(ValueError, match="expected"):
                misfit()


def test_no_bit_depends_on_the_threads(monkeypatch):
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    rng = np.random.default_rng(0)
    for M, K, N in ((50, 700, 300), (300, 700, 50), (900, 800, 130)):
        x, y = rng.standard_normal((M, K), np.float32), rng.standard_normal((K, N), np.float32)
        found = []
        for count in (1, 2, 5):
            threads.set_num_threads(count)
            product, sums = dense.matmul_and_sums(np.ascontiguousarray(x.T), y)
            np.testing.assert_array_equal(product, dense.matmul(x, y))
            found.append(np.concatenate([product.ravel(), sums]))
        for other in found[1:]:
            np.testing.assert_array_equal(found[0], other)


def test_only_large_products_of_tensors_use_it(monkeypatch):
    calls = []
    real = dense.matmul
    monkeypatch.setattr(dense, "matmul", lambda x, y, bias: calls.append(x.shape) or real(x, y, bias))
    small, large = tg.randn(20, 20, requires_grad=True), tg.randn(200, 200, requires_grad=True)
    (small @ small).sum().backward()
    assert not calls
    (large @ large).sum().backward()
    assert len(calls) == 3
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: "reference")
    large @ large
    assert len(calls) == 3


def test_the_driver_that_the_environment_asks_for_must_exist(monkeypatch):
    monkeypatch.setenv(kernels.driver.VARIABLE, "gpu")
    with pytest.raises(ValueError, match="expected 'cpu' or 'reference', got 'gpu'"):
        kernels.wanted_driver.__wrapped__()  # __wrapped__ bypasses the cached value
    monkeypatch.setenv(kernels.driver.VARIABLE, "reference")
    assert kernels.wanted_driver.__wrapped__() == "reference"
