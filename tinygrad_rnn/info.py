"""A report of the facts of this machine that decide how fast the library runs and what it can do."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from . import __version__, cuda
from .arrays.cuda import missing_for_kernels, missing_for_tensors

FEATURES = ["sse4.2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16"]
FEATURES += ["avx512fp16", "amx-bf16", "amx-int8", "neon", "sve", "sve2", "bf16"]
CUPY = ("cupy", "cupy-cuda13x", "cupy-cuda12x")  # one package under several names, by the version of CUDA
THREAD_VARIABLES = ("TINYGRAD_RNN_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def report() -> Iterator[tuple[str, str]]:
    """Yield the lines of the report as (name, fact)."""
    yield "tinygrad_rnn", __version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})"
    for name in ("numpy", "numba", "llvmlite", "cffi", "safetensors", "tqdm", "matplotlib"):
        yield name, version(name)
    yield "cupy", next((f"{name} {found}" for name, found in map(_found, CUPY) if found), "not installed")
    yield "processor", processor()
    yield "features", features()
    yield "kernels", kernels()
    yield "threads", threads()
    yield "BLAS", blas()
    yield "CUDA", gpus()


def version(distribution: str) -> str:
    """Return the installed version of a distribution, without importing it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _found(distribution: str) -> tuple[str, str | None]:
    found = version(distribution)
    return distribution, None if found == "not installed" else found


def gpus() -> str:
    """Return the GPUs, or the reasons why tensors or recurrent layers cannot use one."""
    missing = missing_for_tensors()
    found = [f"{i}: {cuda.get_device_name(i)}" for i in range(cuda.device_count())]
    return ("cannot be used: " if missing else "") + "; ".join([*found, *missing, *missing_for_kernels()])


def processor() -> str:
    """Return the name of the processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "unknown"


def features() -> str:
    """Return the processor's vector instructions."""
    try:
        from .kernels.cpu.runtime.host import host_features

        found = [name for name in FEATURES if host_features().get(name)]
        return " ".join(found) or "none that matter here"
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return f"cannot be told: {error}"


def kernels() -> str:
    """Return the vector unit that generated code uses, its largest tile, and the sizes of the caches."""
    try:
        from .kernels.cpu.codegen.product import PANEL_VECTORS
        from .kernels.cpu.codegen.tile import tile_rows
        from .kernels.cpu.runtime.caches import caches
        from .kernels.cpu.runtime.host import vector_unit

        unit = vector_unit()
        tile = f"{tile_rows(unit, PANEL_VECTORS)} x {PANEL_VECTORS} vectors"
        return f"{unit.registers} registers of {unit.bits} bits; tiles of {tile}; caches: {caches()}"
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return f"cannot be told: {error}"


def threads() -> str:
    """Return the number of threads and of cores, and the variables of the environment that set threads."""
    from .kernels.cpu.runtime.threads import get_num_threads, usable_cores

    settings = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    try:
        count = str(get_num_threads())
    except ValueError as error:
        count = f"cannot be told: {error}"
    return ", ".join([f"{count}, on {usable_cores()} of {os.cpu_count()} cores", *settings])


def blas() -> str:
    """Return the matrix library that NumPy was built with."""
    built = np.show_config(mode="dicts") or {}
    found = built.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()
