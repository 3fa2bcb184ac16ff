"""Arrays next to guard pages: a kernel that reads or writes beyond an array ends its process by a signal."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cases import SEED, budget, run_seed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's mprotect")

PROGRAM = """
import ctypes, mmap, sys
import numpy as np
from tinygrad_rnn import kernels
from tinygrad_rnn.cells import BUILT_IN
from tinygrad_rnn.kernels.cpu import dense, driver, gradients, softmax
from tinygrad_rnn.kernels.cpu.runtime import threads
from tinygrad_rnn.kernels.ir.sequence_args import SequenceArgs
from tinygrad_rnn.cells.trace import trace

cases, seed = int(sys.argv[1]), int(sys.argv[2])
threads.wanted_threads = lambda flops: threads.get_num_threads()
rng, page, keep = np.random.default_rng(seed), mmap.PAGESIZE, []
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def guarded(array):
    "The array's numbers in memory that ends, or begins, where a page begins that nobody may touch."
    array = np.ascontiguousarray(array)
    pages = max(1, -(-array.nbytes // page))
    area = mmap.mmap(-1, (pages + 2) * page)
    whole = np.frombuffer(area, np.uint8)
    start = page if rng.random() < 0.3 else page + pages * page - array.nbytes
    found = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    for at in (0, (pages + 1) * page):
        assert protect(whole.ctypes.data + at, page, 0) == 0
    keep.append((area, whole))
    return found


def layer(draw):
    step = trace(BUILT_IN[str(rng.choice(["lstm", "gru", "rnn_tanh", "peephole_lstm"]))])
    T, N, I, H = (int(rng.choice(sizes)) for sizes in ([1, 2, 5], [1, 2, 3, 17], [1, 3, 17, 100], [1, 3, 16, 17, 100]))
    gates, bias = len(step.gates), rng.random() < 0.7
    lengths = guarded(rng.integers(0, T + 1, N)) if rng.random() < 0.4 else None
    seq = SequenceArgs(
        draw(T, N, I), draw(gates * H, I), draw(gates * H, H), draw(gates * H) if bias else None,
        draw(gates * H) if bias else None, params={p: draw(H) for p in step.params},
        initial=tuple(draw(N, H) for _ in step.states), lengths=lengths, reverse=bool(rng.random() < 0.4),
    )
    kernels.driver_for(step, seq)
    driver.forward(step, seq, False)
    _, _, saved = driver.forward(step, seq, True)
    driver.backward(step, seq, saved, [draw(T, N, H) for _ in step.states], [draw(N, H) for _ in step.states])


def products(draw):
    M, K, N = (int(rng.choice([1, 2, 3, 5, 17, 64, 100, 200])) for _ in range(3))
    dense.matmul(draw(M, K), draw(K, N), draw(N))
    dense.matmul(draw(K, M).T, draw(N, K).T)
    dense.matmul_and_sums(draw(K, M), draw(K, N))


def the_rest(draw):
    rows, columns = int(rng.choice([1, 3, 17, 100])), int(rng.choice([1, 3, 16, 17, 65, 100]))
    x, index = draw(rows, columns), guarded(rng.integers(0, columns, rows))
    softmax.losses(x, index, draw(rows))
    softmax.errors(draw(rows), x, index)
    gradients.add_rows(x, guarded(rng.integers(0, 5, rows)), 5)
    gradients.sum_of_squares([x, draw(columns)])
    gradients.scaled([x, draw(columns)], 0.5)


for case in range(cases):
    dtype = "f8" if rng.random() < 0.3 else "f4"
    draw = lambda *shape: guarded(rng.standard_normal(shape).astype(dtype))
    threads.set_num_threads(int(rng.choice([1, 2, 3])))
    kind = [layer, products, the_rest][case % 3]
    print(case, kind.__name__, dtype, flush=True)
    kind(draw)
    keep.clear()
print("whole")
"""


@pytest.mark.parametrize("tries", [30, pytest.param(90, marks=pytest.mark.long)])
def test_no_kernel_reads_or_writes_outside_its_arrays(tries):
    seed, cases = run_seed(), budget(tries)
    command = [sys.executable, "-c", PROGRAM, str(cases), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300 + cases)
    last = " / ".join(done.stdout.splitlines()[-2:])
    said = f"{SEED}={seed}: {done.returncode} at {last}: {done.stderr[-2000:]}"
    assert done.returncode == 0 and "whole" in last, said
