"""The host's vector unit, for which code is generated."""

from __future__ import annotations

import functools
import os
import platform
import sys
from dataclasses import dataclass

from ...runtime import locks

VARIABLE = "TINYGRAD_RNN_VECTOR"
"""Environment variable that forces a vector unit: 512, 256 or 128 (bits), for tests."""


@dataclass(frozen=True)
class VectorUnit:
    """A vector unit. bits: the width of a register. registers: their number. fma: whether it has fused multiply-add."""

    bits: int
    registers: int
    fma: bool

    def lanes(self, itemsize: int) -> int:
        """Return how many numbers of `itemsize` bytes one register holds."""
        return self.bits // (8 * itemsize)

    @property
    def tile_registers(self) -> int:
        """How many registers a tile of a product may fill without spills.

        A product that is not added in the same instruction takes one. LLVM spills when all but one of 32 are in use.
        """
        return (self.registers if self.registers == 16 else self.registers - 2) - (not self.fma)

    @property
    def name(self) -> str:
        return f"{self.bits}x{self.registers}{'f' if self.fma else ''}"


@functools.cache
def host_features() -> dict[str, bool]:
    """Return the instruction set extensions that Numba generates code for, by LLVM's names.

    They are this processor's, unless NUMBA_CPU_FEATURES names others or NUMBA_CPU_NAME is "generic".
    """
    named = os.environ.get("NUMBA_CPU_FEATURES")
    if named is None and os.environ.get("NUMBA_CPU_NAME") == "generic":
        named = ""
    if named is not None:
        return {name[1:]: name[0] == "+" for name in named.split(",") if name}
    with locks.held(locks.building):
        import llvmlite.binding as binding

        return dict(binding.get_host_cpu_features())


@functools.cache
def architecture() -> str:
    """Return "x86", "arm" (both of 64 bits), or "" for any other processor."""
    machine = platform.machine().lower()
    return "x86" if machine in ("x86_64", "amd64") else "arm" if machine in ("arm64", "aarch64") else ""


@functools.cache
def vector_unit() -> VectorUnit:
    """Return the widest vector unit of the host, or the one that the environment asks for. Read the environment once.

    Raise ValueError if the environment asks for a width other than 128, 256 or 512, or wider than the host's.
    """
    features = host_features()
    widest = 512 if features.get("avx512f") and features.get("avx512vl") else 256 if features.get("avx2") else 128
    wanted = os.environ.get(VARIABLE) or str(widest)
    if wanted not in ("128", "256", "512"):
        raise ValueError(f"{VARIABLE}: expected 128, 256 or 512, got {wanted!r}")
    bits = int(wanted)
    if bits > widest:
        raise ValueError(f"{VARIABLE}: expected at most {widest}, the width of this processor, got {bits}")
    neon = architecture() == "arm"  # every such processor has it, though LLVM may not find out
    return VectorUnit(bits, 32 if bits == 512 or neon else 16, neon or bool(features.get("fma")))


def require_compiler() -> None:
    """Raise ValueError if Numba is disabled, for example by NUMBA_DISABLE_JIT=1."""
    numba = sys.modules.get("numba")  # an imported Numba's setting counts: it may come from a file
    try:
        disabled = numba.config.DISABLE_JIT if numba else int(os.environ.get("NUMBA_DISABLE_JIT") or 0)
    except ValueError:  # Numba warns and uses its default
        return
    if disabled:
        got = os.environ.get("NUMBA_DISABLE_JIT", "numba.config.DISABLE_JIT = 1")
        raise ValueError(
            f"NUMBA_DISABLE_JIT: expected 0 or nothing, got {got!r}: Numba compiles the kernels. "
            f"TINYGRAD_RNN_DRIVER=reference runs without them, in NumPy, and slowly"
        )
