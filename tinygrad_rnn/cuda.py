"""Functions that query and choose GPUs, named as in `torch.cuda`.

`is_available` and `device_count` need neither a GPU nor CuPy.
"""

from __future__ import annotations

from .arrays.cuda import cupy, missing_for_tensors


def is_available() -> bool:
    """Return whether tensors can be on a GPU: there is one, with its driver, and CuPy is installed."""
    return not missing_for_tensors()


def device_count() -> int:
    """Return the number of GPUs that can be used, 0 without any."""
    return int(cupy().cuda.runtime.getDeviceCount()) if is_available() else 0


def current_device() -> int:
    """Return the number of the GPU that `device="cuda"` means."""
    return int(cupy().cuda.runtime.getDevice())


def set_device(device: int) -> None:
    """Choose the GPU that `device="cuda"` means from here on. All tensors of a computation are on the current one."""
    count = int(cupy().cuda.runtime.getDeviceCount())
    if isinstance(device, bool) or not isinstance(device, int) or not 0 <= device < count:
        raise ValueError(f"set_device: device: expected a whole number from 0 to {count - 1}, got {device!r}")
    cupy().cuda.Device(device).use()


def get_device_name(device: int | None = None) -> str:
    """Return the name of a GPU, by default of the current one."""
    found = cupy().cuda.runtime.getDeviceProperties(current_device() if device is None else device)
    return str(found["name"].decode())


def synchronize() -> None:
    """Wait until the current GPU has done all that it was given."""
    cupy().cuda.Device().synchronize()
