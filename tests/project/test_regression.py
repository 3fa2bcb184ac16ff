"""Guards against a slow loss of speed, by counts of instructions and of calls, which a busy machine does not change.

On any machine, LLVM compiles the generated kernels for one processor with 256-bit vectors, and the tests count their
instructions. Other tests count calls of Python functions in a training step and an inference. Bounds are about 15%
above the counts when they were set. One test measures time, but only a ratio within one run, with a wide margin.
"""

import gc
import statistics
import sys
import time

import numpy as np
import pytest
from machine_code import AVX2, innermost_loops, kernel_assembly, multiply_adds, spills
from numba import cfunc

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells import find_cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu import elementwise, gradients, softmax
from tinygrad_rnn.kernels.cpu.builder import CommandListBuilder
from tinygrad_rnn.kernels.cpu.codegen import product, recurrence
from tinygrad_rnn.kernels.cpu.runtime import threads
from tinygrad_rnn.kernels.cpu.runtime.host import vector_unit


def test_the_check_sees_loops():
    text = "f:\n.LBB0_1:\n\tvfmadd231ps %ymm0\n\taddq $1\n\tjne .LBB0_1\n.LBB0_2:\n\tretq\n"
    assert innermost_loops(text) == [["vfmadd231ps %ymm0", "addq $1", "jne .LBB0_1"]]


@pytest.mark.parametrize("bits", [32, 64])
def test_the_loop_of_a_tile_is_mostly_multiply_adds_without_spills(bits):
    module = sys.modules[product.products(AVX2.unit, bits).product.function.__module__]
    text = kernel_assembly(module.strip)
    tiles = [block for block in innermost_loops(text) if multiply_adds(block) > 7]
    assert max(multiply_adds(block) / len(block) for block in tiles) >= 0.55
    largest = max(tiles, key=multiply_adds)
    assert multiply_adds(largest) > 11 and multiply_adds(largest) / len(largest) >= 0.45
    assert not [line for block in tiles for line in spills(block)]


@pytest.mark.parametrize(
    ("cell", "function", "most"),
    [("lstm", "train", 280), ("lstm", "infer", 265), ("lstm", "backward", 95), ("gru", "train", 205)],
)
def test_instructions_of_a_vector_of_cells(cell, function, most):
    """The loop of the pointwise part is short: one iteration computes one vector of units."""
    kernel = recurrence.recurrence(trace(find_cell(cell)), False, AVX2.unit, 32)[function]
    loops = innermost_loops(kernel_assembly(kernel.function))
    pointwise = max(loops, key=lambda block: sum("vdiv" in line or "vmul" in line for line in block))
    assert 20 < len(pointwise) <= most


def calls(run):
    """Return how many Python functions a call of `run` enters, once it has run before.

    Collect the garbage of earlier tests first: a collection during the count would call their finalizers.
    """
    gc.collect()
    run()
    run()
    count = 0

    def watch(frame, event, arg):
        nonlocal count
        count += event == "call"

    gc.disable()
    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_python_calls_of_a_step():
    layer, x, u = nn.LSTM(8, 8), tg.randn(5, 2, 8, requires_grad=True), tg.randn(5, 2, 8)
    optimiser = tg.optim.Adam(layer.parameters())

    def train():
        optimiser.zero_grad()
        layer(x)[0].backward(u)

    def infer():
        with tg.no_grad():
            layer(x)

    counts = calls(train), calls(optimiser.step), calls(infer)
    assert counts[0] <= 250 and counts[1] <= 115 and counts[2] <= 38, counts


def test_a_training_step_has_its_share_of_the_speed_of_products():
    """An LSTM (30, 32, 256, 256) takes little longer than bare products of as many multiply-adds; idle ratio: 0.8."""
    T, N, H = 30, 32, 256
    count = threads.wanted_threads(1e12)
    r = CommandListBuilder(np.dtype("float32"), count, vector_unit())
    a, panels, out = r.make(192 * count, 64), r.make(64, 64), r.make(192 * count, 64)
    for spot in (a, panels, out):
        r.fill(spot)
    times = round(3 * 8 * T * N * H * H / (a.rows * 64 * 64))
    for _ in range(times):
        r.multiply(a, False, panels, 64, out=out)
    bare = r.finish()
    layer, x, u = nn.LSTM(H, H), tg.randn(T, N, H, requires_grad=True), tg.randn(T, N, H)

    def step():
        layer.zero_grad()
        layer(x)[0].backward(u)

    ratios = []
    for _ in range(15):
        taken = []
        for run in (lambda: bare.run({}), step):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
        ratios.append(taken[0] / taken[1])
    assert statistics.quantiles(ratios, n=4)[2] > 0.45, ratios


def every_kernel():
    unit = vector_unit()
    yield recurrence.recurrence(trace(find_cell("rnn_tanh")), False, unit, 32)["backward"]
    yield from vars(product.products(unit, 32)).values()
    yield from softmax._kernels(unit, 32).values()
    yield from gradients._kernels(unit, 32).values()
    yield elementwise._kernel(gradients.SCALED, ("number",), unit, 32)


def test_kernels_do_not_allocate_in_numba():
    """Numba frees an array after the last line that names it, but a kernel would still use its address."""
    for kernel in every_kernel():
        compiled = cfunc("void(intp, intp, intp)", error_model="numpy")(kernel.function)  # cached code has no text
        assert "NRT_MemInfo_alloc" not in compiled.inspect_llvm(), kernel.function.__name__
