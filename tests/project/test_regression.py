"""Guards against slow decay that do not depend on how busy the machine is: counts of instructions and of calls.

Instructions are those that LLVM makes of the generated kernels for one fixed processor, with 256-bit vectors, wherever
the test runs; calls are those of Python functions in one training step and one inference. Bounds are some 15% above
what was counted when they were set. The last test times, but only a ratio within one run, and with a wide margin.
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
def test_the_tiles_loop_is_mostly_multiply_adds_and_spills_nothing(bits):
    module = sys.modules[product.products(AVX2.unit, bits).product.function.__module__]
    text = kernel_assembly(module.strip)
    tiles = [block for block in innermost_loops(text) if multiply_adds(block) > 11]
    assert max(multiply_adds(block) / len(block) for block in tiles) >= 0.45
    assert not [line for block in tiles for line in spills(block)]


@pytest.mark.parametrize(
    ("cell", "function", "most"),
    [("lstm", "train", 310), ("lstm", "infer", 295), ("lstm", "backward", 95), ("gru", "train", 205)],
)
def test_instructions_of_a_vector_of_cells(cell, function, most):
    """The loop of the pointwise part: one pass of it computes one vector of units."""
    kernel = recurrence.recurrence(trace(find_cell(cell)), False, AVX2.unit, 32)[function]
    loops = innermost_loops(kernel_assembly(kernel.function))
    pointwise = max(loops, key=lambda block: sum("vdiv" in line or "vmul" in line for line in block))
    assert 20 < len(pointwise) <= most


def calls(run):
    """Return how many Python functions a call of `run` enters, after it has been run before.

    The garbage of earlier tests is collected first: a collection within would enter their finalizers.
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


def test_a_training_step_keeps_its_share_of_the_tiles_speed():
    """LSTM (30, 32, 256, 256) against bare products of as many multiply-adds, in turns; 0.8 where nothing disturbs."""
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


def test_kernels_take_no_memory_of_numbas():
    """It is freed after the last line that names the array, and its address, used longer, becomes another thread's."""
    for kernel in every_kernel():
        compiled = cfunc("void(intp, intp, intp)", error_model="numpy")(kernel.function)  # what is cached is not shown
        assert "NRT_MemInfo_alloc" not in compiled.inspect_llvm(), kernel.function.__name__
