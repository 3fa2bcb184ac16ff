"""What this machine has, of the things that decide how fast the library runs and what it can do."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from . import __version__
from .device import cuda_lacks

FEATURES = ["sse4.2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16"]
FEATURES += ["avx512fp16", "amx-bf16", "amx-int8", "neon", "sve", "sve2", "bf16"]
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def report() -> Iterator[tuple[str, str]]:
    """(what, how it is) in the order to be read in."""
    yield "tinygrad_rnn", __version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})"
    for name in ("numpy", "numba", "llvmlite", "cffi", "safetensors", "tqdm", "matplotlib"):
        yield name, version(name)
    yield "processor", processor()
    yield "features", features()
    yield "threads", threads()
    yield "BLAS", blas()
    lacks = cuda_lacks()
    yield "CUDA", "can be used" if not lacks else f"cannot be used: {'; '.join(lacks)}"


def version(distribution: str) -> str:
    """The installed version of a distribution, without importing it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Its name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "unknown"


def features() -> str:
    """The vector instructions that generated code may use here."""
    try:
        import llvmlite.binding as binding

        found = binding.get_host_cpu_features()
    except (ImportError, RuntimeError, OSError) as error:
        return f"unknown: {error}"
    return " ".join(name for name in FEATURES if found.get(name)) or "none of those that matter here"


def threads() -> str:
    """How many cores this process may use, and what the environment says about threads."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    settings = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    return ", ".join([f"{usable} of {os.cpu_count()} cores can be used", *settings])


def blas() -> str:
    """The matrix library that NumPy was built with."""
    built = np.show_config(mode="dicts") or {}
    found = built.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()
