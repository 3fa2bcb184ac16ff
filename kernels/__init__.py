"""Sequence kernels for recurrent cells: a cell's traced `Program` in, whole-sequence forward and backward out.

Installed as `tinygrad_rnn.kernels`. It imports nothing of `tinygrad_rnn` outside itself: it takes and returns arrays,
and does not depend on tensors, the tape or layers.

    ir/            a cell as data, and the arguments of a sequence
    driver.py      the interface of every driver, and the choice of the driver for a sequence
    dense.py       products, convolutions, sums and elementwise work on whole arrays
    reference/     everything in NumPy: the oracle of the compiled drivers
    recompute.py   a driver that needs less memory: it computes saved activations again, piece by piece
    cpu/           the compiled driver: vector code for this host, generated and built by Numba
    cuda/          the driver for GPUs: CUDA C++, generated, built by nvcc and called through cffi
    runtime/       locks, `with` blocks, tables with a bound, the cache folder
    cache_upkeep.py  the cache's files, and which of them are stale
"""

from .dense import (
    add_rows,
    elementwise,
    matmul,
    matmul_and_sums,
    scaled,
    softmax_errors,
    softmax_losses,
    sum_of_squares,
)
from .driver import driver_for, driver_like, infer, is_together, wanted_driver

__all__ = [
    "add_rows",
    "driver_for",
    "driver_like",
    "elementwise",
    "infer",
    "is_together",
    "matmul",
    "matmul_and_sums",
    "scaled",
    "softmax_errors",
    "softmax_losses",
    "sum_of_squares",
    "wanted_driver",
]
