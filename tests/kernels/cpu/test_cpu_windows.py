"""The compiled convolution and pooling equal NumPy's, and no bit depends on the number of threads."""

import numpy as np
import pytest

from tinygrad_rnn.kernels.cpu import windows as compiled
from tinygrad_rnn.kernels.cpu.runtime import threads
from tinygrad_rnn.kernels.ir.windows import Windows
from tinygrad_rnn.kernels.reference import windows as reference

# shape of x, outputs, windows
CASES = [
    ((3, 2, 7, 6), 4, Windows((3, 2), (2, 1), (1, 0), (3, 5))),
    ((1, 1, 1, 1), 1, Windows((1, 1), (1, 1), (0, 0), (1, 1))),
    ((2, 3, 17, 1), 17, Windows((5, 1), (3, 1), (2, 0), (6, 1))),
    ((2, 1, 1, 100), 3, Windows((1, 9), (1, 4), (0, 4), (1, 25))),
    ((5, 4, 9, 9), 65, Windows((3, 3), (1, 1), (1, 1), (9, 9))),
    ((2, 2, 5, 8), 3, Windows((2, 3), (3, 5), (0, 1), (2, 2))),  # gaps between the windows
    ((2, 3, 4, 4), 33, Windows((7, 7), (1, 1), (3, 3), (4, 4))),  # windows larger than the image
    ((1, 40, 90, 70), 20, Windows((3, 3), (1, 1), (1, 1), (90, 70))),  # several pieces
    ((1, 500, 3, 3), 100, Windows((3, 3), (1, 1), (1, 1), (3, 3))),  # several parts of the depth
]


@pytest.fixture(autouse=True)
def thread_count():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def arrays(case, dtype):
    shape, outputs, windows = case
    rng = np.random.default_rng(0)
    sizes = shape, (outputs, shape[1], *windows.kernel), (outputs,), (shape[0], outputs, *windows.out)
    return [rng.standard_normal(size).astype(dtype) for size in sizes]


def results(module, case, dtype):
    x, weight, bias, g = arrays(case, dtype)
    windows = case[2]
    return [
        module.convolution(x, weight, bias, windows),
        module.convolution(x, weight, None, windows),
        module.convolution_input_gradient(g, weight, windows, x.shape),
        *module.convolution_weight_gradient(g, x, windows),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_convolution_equals_numpys(case, dtype):
    rtol = 1e-4 if dtype == "float32" else 1e-12
    for found, wanted in zip(results(compiled, case, dtype), results(reference, case, "float64")):
        assert found.dtype == dtype and found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol, rtol * (1 + np.abs(wanted).max()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_pooling_equals_numpys(case, dtype):
    x, windows = arrays(case, dtype)[0], case[2]
    x.flat[:: max(1, x.size // 3)] = np.nan, *[-np.inf] * (len(x.flat[:: max(1, x.size // 3)]) - 1)
    for found, wanted in zip(compiled.largest(x, windows), reference.largest(x, windows)):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    which = reference.largest(x, windows)[1]
    g = np.random.default_rng(1).standard_normal(which.shape).astype(dtype)
    found, wanted = compiled.place(g, which, windows, x.shape), reference.place(g, which, windows, x.shape)
    np.testing.assert_allclose(found, wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("case", CASES[3:8])
def test_no_bit_depends_on_the_threads(case, monkeypatch):
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    found = []
    for count in (1, 2, 5):
        threads.set_num_threads(count)
        x, windows = arrays(case, "float32")[0], case[2]
        found.append([*results(compiled, case, "float32"), *compiled.largest(x, windows)])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def test_numbers_around_the_arrays_stay():
    """Rows of windows, of images and of outputs that are no multiple of a vector."""
    case = CASES[0]
    x, weight, bias, g = arrays(case, "float32")
    for name, call, shape in [
        ("out", lambda: compiled.convolution(x, weight, bias, case[2]), g.shape),
        ("gradient", lambda: compiled.convolution_input_gradient(g, weight, case[2], x.shape), x.shape),
    ]:
        whole = np.full(1000, 7.0, np.float32)
        inner = whole[100 : 100 + int(np.prod(shape))].reshape(shape)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiled.memory, "empty", lambda shape, dtype, inner=inner: inner)
            call()
        assert (whole[:100] == 7.0).all() and (whole[100 + inner.size :] == 7.0).all(), name


def test_layouts_of_any_kind():
    case = CASES[0]
    x, weight, bias, g = arrays(case, "float64")
    windows = case[2]
    expected = reference.convolution(x, weight, bias, windows)
    for turned in (
        np.asfortranarray,
        lambda a: np.repeat(a, 2, -1)[..., ::2],
        lambda a: a[..., ::-1].copy()[..., ::-1],
    ):
        np.testing.assert_allclose(compiled.convolution(turned(x), turned(weight), turned(bias), windows), expected)
    spread = np.broadcast_to(np.float64(1.0), g.shape)
    found, wanted = (m.convolution_weight_gradient(spread, x, windows) for m in (compiled, reference))
    np.testing.assert_allclose(found[0], wanted[0], 1e-12, 1e-12)
    np.testing.assert_allclose(found[1], wanted[1])
