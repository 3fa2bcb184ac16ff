"""Compiles the kernels that many tests need into the cache folder, in a process that runs next to the tests.

No test depends on it: a test that does not find its kernel in the cache compiles it.
"""

import itertools
import os

from cuda_shim import COMPILER, on_the_host
from user_cells import USER_CELLS

from tinygrad_rnn.cells import BUILT_IN, STANDARD
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu import ahead, gradients, softmax
from tinygrad_rnn.kernels.cpu.runtime.host import VARIABLE, vector_unit
from tinygrad_rnn.kernels.cuda import build
from tinygrad_rnn.kernels.ir.plan import plan

STANDARD_CELLS = {name: BUILT_IN[name] for name in STANDARD}


def compile_cells(cells, bits):
    for cell in cells:
        for _, kernel in ahead.kernels(trace(cell), bits):
            kernel.entry  # noqa: B018  the property compiles the kernel
    for kernels in (softmax._kernels(vector_unit(), bits), gradients._kernels(vector_unit(), bits)):
        for kernel in kernels.values():
            kernel.entry  # noqa: B018


def build_for_the_host():
    every = STANDARD_CELLS | USER_CELLS
    with on_the_host():
        for products, name in itertools.product(("float32", "float64"), every):
            if products == "float32" or name in STANDARD:
                build.library(plan(trace(every[name]), False), products, "host")


def main():
    os.nice(5)
    compile_cells(STANDARD_CELLS.values(), 32)
    compile_cells([*USER_CELLS.values(), *STANDARD_CELLS.values()], 64)
    compile_cells(USER_CELLS.values(), 32)
    if COMPILER is not None:
        build_for_the_host()
    for width in ("256", "128"):
        if int(width) < vector_unit().bits:
            os.environ[VARIABLE] = width
            vector_unit.cache_clear()
            compile_cells([BUILT_IN["lstm"], BUILT_IN["gru"]], 32)
            compile_cells([BUILT_IN["lstm"], BUILT_IN["gru"]], 64)
            del os.environ[VARIABLE]
            vector_unit.cache_clear()


if __name__ == "__main__":
    main()
