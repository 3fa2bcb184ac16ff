"""The CUDA driver on a GPU: the kernels agree with the reference, in all strategies, on CuPy's arrays.

    pytest tests/kernels/cuda/test_cuda_gpu.py               everything; nvcc first builds for minutes
    compute-sanitizer --tool memcheck --error-exitcode 1 pytest -k small tests/kernels/cuda/test_cuda_gpu.py
    compute-sanitizer --tool racecheck --error-exitcode 1 pytest -k small tests/kernels/cuda/test_cuda_gpu.py
    compute-sanitizer --tool initcheck --error-exitcode 1 pytest -k small tests/kernels/cuda/test_cuda_gpu.py

The small tests allocate each array with the CUDA driver: in CuPy's pool, another array begins where one ends.
"""

import gc
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda_examples import (
    CELLS,
    PROJECTED,
    agree,
    as_stack,
    by_name,
    equal,
    everything,
    example,
    layer_by_layer,
    layers_of,
    mapped,
    named,
    of_inference,
)
from cuda_shim import STRATEGIES, forced
from sequences import some_lengths

from tinygrad_rnn.arrays.cuda import missing_for_kernels, missing_for_tensors
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cuda import arrays, build, driver
from tinygrad_rnn.kernels.ir.plan import plan
from tinygrad_rnn.kernels.reference import driver as reference

REASON = "; ".join([*missing_for_tensors(), *missing_for_kernels()])
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=f"needs a GPU: {REASON}")]
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
SIZES = [(1, 1, 1, 1), (2, 2, 1, 3), (7, 5, 3, 17), (20, 16, 64, 64), (20, 33, 30, 100), (15, 1, 128, 128)]
LARGE = [(12, 64, 100, 512), (12, 1, 256, 1024), (12, 128, 64, 1024), (6, 40, 64, 2048), (9, 20, 650, 650)]


@pytest.fixture(scope="module", autouse=True)
def _libraries():
    """Build all libraries in parallel, because each takes nvcc some seconds."""
    import cupy

    target = arrays.device_of(cupy.zeros(1)).target
    wanted = [(name, False, number) for name in CELLS for number in ("float32", "float64")]
    wanted += [(name, True, "float32") for name in PROJECTED]
    build_one = lambda name, projected, number: build.library(plan(trace(CELLS[name]), projected), number, target)
    with ThreadPoolExecutor() as pool:
        list(pool.map(build_one, *zip(*wanted)))


def on_device(case):
    """Return a case with CuPy's arrays; lengths remain NumPy's."""
    import cupy

    step, seq, d_outputs, d_final = case
    return step, mapped(seq, cupy.asarray), list(map(cupy.asarray, d_outputs)), list(map(cupy.asarray, d_final))


def on_host(found):
    return {name: a.get() for name, a in found.items()}


def check(case, tolerance):
    """Compare training, inference and gradients on the device with the reference on the host."""
    expected, given = everything(reference, *case), on_device(case)
    found = on_host(everything(driver, *given))
    assert found.keys() == expected.keys()
    agree(found, expected, tolerance)
    agree(on_host(of_inference(driver, *given[:2])), expected, tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", CELLS)
def test_agrees_with_the_reference(name, shape, dtype):
    for reverse, lengths in ((False, None), (True, some_lengths(*shape[:2]))):
        check(example(name, *shape, dtype, reverse=reverse, lengths=lengths), TOLERANCE[dtype])


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("name", ["rnn_tanh", "lstm", "gru", "gru_reset_before", "peephole_lstm", "slstm"])
def test_large_ones_agree_too(name, shape):
    check(example(name, *shape, lengths=some_lengths(*shape[:2])), 2e-4)
    check(example(name, *shape, "float64"), 1e-11)


@pytest.mark.parametrize("name", PROJECTED)
def test_projected(name):
    for proj in (16, 60):
        check(example(name, 9, 10, 20, 48, proj=proj, lengths=some_lengths(9, 10)), TOLERANCE["float32"])


@pytest.mark.parametrize(("forced_strategy", "tile"), list(itertools.product(STRATEGIES, (0, 1))))
@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "several_products"])
def test_small_in_every_strategy(name, forced_strategy, tile):
    import cupy

    if forced_strategy == "cluster" and int(cupy.cuda.Device().compute_capability) < 90:
        pytest.skip("this GPU has no clusters")
    case = example(name, 5, 9, 3, 21, lengths=some_lengths(5, 9))
    with forced(forced_strategy, tile), cupy.cuda.using_allocator(cupy.cuda.memory._malloc):
        check(case, TOLERANCE["float32"])


@pytest.mark.parametrize("shape", [*SIZES, *LARGE])
@pytest.mark.parametrize("name", ["lstm", "gru", "peephole_lstm"])
def test_both_directions_at_once(name, shape):
    lengths = some_lengths(*shape[:2])
    cases = [example(name, *shape, lengths=lengths, reverse=reverse) for reverse in (False, True)]
    given = [on_device(case) for case in cases]
    step = given[0][0]
    runs = driver.forward_directions(step, [seq for _, seq, _, _ in given], True)
    sequences = [(seq, saved, d_out, d_last) for (_, seq, d_out, d_last), (_, _, saved) in zip(given, runs)]
    gradients = driver.backward_directions(step, sequences)
    for case, (outputs, final, _), d in zip(cases, runs, gradients):
        agree(on_host(by_name(outputs, final, d)), everything(reference, *case), 2e-4)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("shape", [*SIZES, (100, 8, 32, 128), *LARGE])
@pytest.mark.parametrize("name", ["lstm", "gru", "peephole_lstm"])
def test_a_stack_at_once(name, shape, count):
    step, layers = layers_of(name, count, *shape, lengths=some_lengths(*shape[:2]))
    given = [on_device((step, *layer))[1:] for layer in layers]
    for found, expected in zip(as_stack(driver, step, given), layer_by_layer(step, layers)):
        agree(on_host(found), expected, 5e-4)


@pytest.mark.parametrize("shape", [*SIZES[3:], *LARGE])
@pytest.mark.parametrize("name", ["lstm", "gru", "peephole_lstm"])
def test_the_same_bits_every_time(name, shape):
    given = on_device(example(name, *shape, lengths=some_lengths(*shape[:2])))
    first = on_host(everything(driver, *given))
    for _ in range(5):
        equal(on_host(everything(driver, *given)), first)


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_memory_stays_flat_over_a_thousand_steps(name):
    import cupy

    given, pool, seen = on_device(example(name, 10, 16, 32, 64)), cupy.get_default_memory_pool(), []
    gc.collect()  # so that no garbage of other tests is freed meanwhile
    for _ in range(1000):
        everything(driver, *given)
        seen.append((pool.used_bytes(), pool.total_bytes()))
    cupy.cuda.Device().synchronize()
    assert set(seen[20:]) == {seen[20]}


@pytest.mark.parametrize("name", [name for name in CELLS if name != "several_products"])  # it detaches a state
def test_gradients_are_the_slopes(name):
    """In float64, for a random direction v of each array: (f(a + eps v) - f(a - eps v)) / 2 eps = gradient . v."""
    import cupy

    step, seq, d_outputs, d_final = example(name, 4, 3, 2, 5, "float64", lengths=np.array([4, 2, 3]))
    real = np.arange(4)[:, None, None] < seq.lengths[:, None]
    d_outputs = [np.where(real, d, 0) for d in d_outputs]
    given = on_device((step, seq, d_outputs, d_final))
    saved = driver.forward(*given[:2], True)[2]
    gradients, arrays = named(driver.backward(*given[:2], saved, *given[2:])), named(given[1])

    def value():
        outputs, final, _ = driver.forward(*given[:2], True)
        return sum(float((a * d).sum()) for a, d in zip([*outputs, *final], [*given[2], *given[3]]))

    rng = np.random.default_rng(3)
    for key, a in arrays.items():
        before, v = a.copy(), cupy.asarray(rng.standard_normal(a.shape))
        slopes = []
        for eps in (1e-6, -1e-6):
            a[...] = before + eps * v
            slopes.append(value())
        a[...] = before
        found = float((gradients[key] * v).sum())
        np.testing.assert_allclose(found, (slopes[0] - slopes[1]) / 2e-6, 1e-5, 1e-7, err_msg=key)


def test_works_on_the_current_stream():
    import cupy

    case = example("lstm", 20, 16, 32, 64)
    expected = everything(reference, *case)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        found = everything(driver, *on_device(case))
        stream.synchronize()
    agree(on_host(found), expected, TOLERANCE["float32"])
