"""Where arrays may live, and what is missing where CUDA cannot be used."""

from __future__ import annotations

import ctypes.util
import importlib.util
import shutil
from typing import Any


def cuda_lacks() -> list[str]:
    """What keeps CUDA from being used here, a line each."""
    lacks = []
    if ctypes.util.find_library("cuda") is None:
        lacks.append("no NVIDIA driver (libcuda) was found")
    if shutil.which("nvcc") is None:
        lacks.append("no nvcc was found on PATH")
    if importlib.util.find_spec("cupy") is None:
        lacks.append("CuPy is not installed")
    lacks.append("this version has no CUDA kernels yet")
    return lacks


def check_device(name: str, device: Any) -> None:
    """Raise unless tensors can live on `device` (None: wherever they are)."""
    if device is None or device == "cpu":
        return
    if isinstance(device, str) and device.split(":")[0] == "cuda":
        raise RuntimeError(f"{name}: device: expected 'cpu', got {device!r}: {'; '.join(cuda_lacks())}")
    raise ValueError(f"{name}: device: expected 'cpu' or 'cuda', got {device!r}")
