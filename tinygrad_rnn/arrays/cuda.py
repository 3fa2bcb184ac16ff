"""CuPy, which holds the arrays of tensors on a GPU, and the reasons why it cannot be used here."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from typing import Any

import numpy as np

_NUMPY = (np.ndarray, np.generic)


@functools.cache
def cupy() -> Any:
    """Return CuPy, imported at the first call. Raise RuntimeError that names what is missing and how to get it."""
    missing = missing_for_tensors()
    if missing:
        raise RuntimeError("; ".join(missing))
    import cupy

    return cupy


def missing_for_tensors() -> list[str]:
    """Return the reasons why tensors cannot be on a GPU here, one line each."""
    missing = []
    if importlib.util.find_spec("cupy") is None:
        missing.append("CuPy is not installed: pip install 'tinygrad_rnn[cuda]'")
    else:
        try:
            import cupy  # noqa: F401
        except Exception as error:  # whatever a broken installation comes up with
            missing.append(f"CuPy cannot be imported: {' '.join(str(error).split())}")
    return missing + _missing_driver()


def _missing_driver() -> list[str]:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ["no NVIDIA driver (libcuda) was found: install the one for this GPU"]
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        return [f"the NVIDIA driver finds no GPU (CUDA error {code})"]
    return []


def missing_for_kernels() -> list[str]:
    """Return the reasons why recurrent layers cannot run on a GPU that tensors can be on, one line each."""
    from ..kernels.cuda.build import BUILT, find_nvcc

    if find_nvcc() or BUILT.exists():
        return []
    return ["no nvcc was found to build the kernels of recurrent layers with: install the CUDA toolkit"]


def on_gpu(array: Any) -> bool:
    """Return whether an array is CuPy's: in CUDA's memory, with NumPy's protocol, unlike PyTorch's tensors."""
    if isinstance(array, _NUMPY):
        return False
    kind = type(array)
    return hasattr(kind, "__cuda_array_interface__") and hasattr(kind, "__array_function__")
