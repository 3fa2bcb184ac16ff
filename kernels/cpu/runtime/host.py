"""What the host's vector unit is like, and so what code to generate."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass

from ...runtime import locks

VARIABLE = "TINYGRAD_RNN_VECTOR"
"""Environment variable that forces a vector unit: 512, 256 or 128 (bits), for tests."""


@dataclass(frozen=True)
class VectorUnit:
    """bits: width of a vector register. registers: how many there are. fma: whether multiply-add is one instruction."""

    bits: int
    registers: int
    fma: bool

    def lanes(self, itemsize: int) -> int:
        """How many numbers of a size in bytes one register holds."""
        return self.bits // (8 * itemsize)

    @property
    def name(self) -> str:
        return f"{self.bits}x{self.registers}{'f' if self.fma else ''}"


@functools.cache
def host_features() -> dict[str, bool]:
    """The instruction set extensions of this processor, by LLVM's names."""
    with locks.held(locks.building):
        import llvmlite.binding as binding

        return dict(binding.get_host_cpu_features())


@functools.cache
def vector_unit() -> VectorUnit:
    """The widest vector unit that the host has, or the one that the environment asks for; read once.

    Raises ValueError where the environment asks for what is not a width, or wider than the host has.
    """
    features = host_features()
    widest = 512 if features.get("avx512f") and features.get("avx512vl") else 256 if features.get("avx2") else 128
    wanted = os.environ.get(VARIABLE) or str(widest)
    if wanted not in ("128", "256", "512"):
        raise ValueError(f"{VARIABLE}: expected 128, 256 or 512, got {wanted!r}")
    bits = int(wanted)
    if bits > widest:
        raise ValueError(f"{VARIABLE}: expected at most {widest}, the width of this processor, got {bits}")
    many = bits == 512 or bool(features.get("neon"))
    return VectorUnit(bits, 32 if many else 16, bool(features.get("fma") or features.get("neon")))


def require_compiler() -> None:
    """ValueError where Numba has been told, as by NUMBA_DISABLE_JIT=1, to compile nothing."""
    numba = sys.modules.get("numba")  # its word counts, which may also come from a file of settings
    try:
        disabled = numba.config.DISABLE_JIT if numba else int(os.environ.get("NUMBA_DISABLE_JIT") or 0)
    except ValueError:  # then Numba warns and goes by what is usual
        return
    if disabled:
        got = os.environ.get("NUMBA_DISABLE_JIT", "numba.config.DISABLE_JIT = 1")
        raise ValueError(
            f"NUMBA_DISABLE_JIT: expected 0 or nothing, got {got!r}: Numba compiles the kernels. "
            f"TINYGRAD_RNN_DRIVER=reference runs without them, in NumPy, and slowly"
        )
