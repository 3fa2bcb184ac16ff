"""A benchmark as on a processor with shorter vectors, among the libraries that can be limited alike.

Most libraries choose their instructions when they are loaded, by variables of the environment. So the benchmark
starts itself again with these variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tinygrad_rnn.kernels.cpu.runtime.host import VARIABLE, host_features, vector_unit

# For Numba the processor and its features; without them LLVM would use the additional registers of AVX-512 for vectors
# of 256 bits. Then for oneDNN (PyTorch, OpenVINO), MKL, PyTorch's own kernels and OpenBLAS (NumPy).
LIMITS = {
    256: {
        VARIABLE: "256",
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+avx,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+sse4.2,+sse4.1,+ssse3,+sse3,+sse2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}
UNLIMITED = ("onnxruntime", "jax")
"""Peers that a limited run leaves out, because they use the longest vectors of the processor in any case.

ONNX Runtime has no such variable. XLA's `xla_cpu_max_isa` limits the code that it generates, but not its library of
matrix products: with AVX2 asked for, JAX computed at 298 Gflop/s where the peak of AVX2 was 279.
"""


def limited() -> int:
    """Return the limit that this process runs under, in bits; 0 if there is none."""
    for bits, variables in LIMITS.items():
        if all(os.environ.get(name) == value for name, value in variables.items()):
            return bits
    return 0


def comparable(peers: Sequence[str]) -> tuple[str, ...]:
    """Return the peers that keep to the limit of this process; without a limit, all of them."""
    return tuple(peer for peer in peers if not (limited() and peer in UNLIMITED))


def run_limited(bits: int) -> None:
    """Start this command again with vectors of at most `bits` bits, in place of this process.

    Return if it runs so already. Raise ValueError if the processor's own vectors are shorter.
    """
    if limited() == bits:
        return
    required = ("avx2", "fma")
    if not all(host_features().get(name) for name in required):
        raise ValueError(f"expected a processor with {' and '.join(required)}, got one without")
    print(f"vectors of {bits} bits, without {' and '.join(UNLIMITED)}, which cannot be limited", flush=True)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | LIMITS[bits])


def described() -> str:
    """Return the vectors of the kernels in words, and whether all libraries are limited to them."""
    unit = vector_unit()
    words = f"{unit.registers} registers of {unit.bits} bits"
    return f"{words}, to which all libraries are limited" if limited() else words
