"""Where arrays live: on the CPU they are NumPy's, on a GPU CuPy's. Of all files, this one and `cuda.py` know CuPy.

The others need not ask which they hold: NumPy's functions and operators go to the library of the arrays that they are
given (NEP 13 and 18), and `like=` names the library of an array that is made from none (NEP 35). The rest is here:
names of devices, transfers between them, and the functions that NumPy's protocol does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .box import Box
from .coercion import KNOWN, array_of
from .cuda import cupy, on_gpu

_DLPACK_CPU, _DLPACK_CUDA = 1, (2, 13)  # device types, as dlpack.h numbers them; 13: managed memory


# Names of devices


def gpu_name(device: Any) -> str:
    """Return the name of a GPU from its name or number."""
    return f"cuda:{device}" if isinstance(device, int) else device


def resolve_device(name: str, device: Any) -> Any:
    """Return the full name of a device, "cpu" or "cuda:0". "cuda" is the current GPU; None stays None.

    name: of who asks. Raises ValueError for what is no device, RuntimeError for one that cannot be used.
    """
    if device is None or device == "cpu":
        return device
    kind, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind != "cuda" or number and not number.isdecimal() or device[-1] == ":":
        raise ValueError(f"{name}: device: expected 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    try:
        runtime = cupy().cuda.runtime
    except RuntimeError as error:
        raise RuntimeError(f"{name}: device: expected 'cpu', got {device!r}: {error}") from None
    current = runtime.getDevice()
    if number and int(number) != current:
        raise RuntimeError(
            f"{name}: device: expected the current one, 'cuda:{current}', or 'cpu', got {device!r}: of "
            f"{runtime.getDeviceCount()} GPUs, tg.cuda.set_device chooses the current one"
        )
    return f"cuda:{current}"


def is_name(value: Any) -> bool:
    """Return whether a value that may be a device or a dtype is a device."""
    return isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda")


def device_of(x: Any) -> str:
    """Return the device of an array or of a tensor: "cpu", "cuda:0"."""
    array = x.array if isinstance(x, Box) else x
    return f"cuda:{array.device.id}" if on_gpu(array) else "cpu"


# From one to another


def to_device(array: Any, device: str) -> Any:
    """Return an array on a device, itself if it is there. device: the full name."""
    if device_of(array) == device:
        return array
    if device == "cpu":
        return array.get()
    return array.copy() if on_gpu(array) else cupy().asarray(array)  # CuPy copies to the current GPU


def empty(shape: Any, dtype: np.dtype, device: str) -> Any:
    """Return an uninitialised array on a device. device: the full name."""
    return np.empty(shape, dtype) if device == "cpu" else cupy().empty(shape, dtype)


def array_like(value: Any, x: Any, name: str = "value", any_dtype: bool = False) -> Any:
    """Return a value as `array_of` converts it, on the device of x, a tensor or array."""
    if type(value) is np.ndarray is type(x.array if isinstance(x, Box) else x) and value.dtype in KNOWN:
        return value
    return to_device(array_of(name, value, any_dtype=any_dtype), device_of(x))


def to_numpy(value: Any, name: str = "value", any_dtype: bool = False) -> np.ndarray:
    """Return a value as `array_of` converts it, as a NumPy array."""
    return to_device(array_of(name, value, any_dtype=any_dtype), "cpu")


def numbers(*values: Any) -> Sequence[Any]:
    """Return arrays of no dimensions as numbers, in one transfer: each transfer waits for all work of the GPU."""
    return np.stack(values).tolist() if values and on_gpu(values[0]) else values


def same_device(name: str, value: Any, x: Any, as_what: str) -> None:
    """Raise RuntimeError unless a tensor is on the device of x. name, as_what: the message calls them and x so."""
    if device_of(value) != device_of(x):
        raise RuntimeError(
            f"{name}: expected a tensor on {device_of(x)}, as {as_what}, got one on {device_of(value)}: "
            f"move one of them with .to(device)"
        )


def from_dlpack(source: Any) -> Any:
    """Return an array on the memory of another library's array, not a copy: see `creation.from_dlpack`."""
    if not hasattr(source, "__dlpack__"):
        if hasattr(source, "__cuda_array_interface__"):  # the older protocol
            return cupy().asarray(source)[...]
        got = type(source).__name__
        raise TypeError(f"from_dlpack: expected an array with __dlpack__ or __cuda_array_interface__, got {got}")
    kind, _ = source.__dlpack_device__()
    if kind == _DLPACK_CPU:
        return np.from_dlpack(source)
    if kind in _DLPACK_CUDA:
        return cupy().from_dlpack(source)[...]  # a view, so that it is known not to own its memory
    raise ValueError(f"from_dlpack: expected an array on the CPU or on a CUDA GPU, got DLPack's device type {kind}")


# Functions that NumPy's protocol does not have


def erf(array: Any) -> Any:
    """Return the error function of an array on a GPU."""
    from cupyx.scipy import special

    return special.erf(array)


def uniform(shape: Sequence[int], seed: int) -> Any:
    """Return float32 drawn evenly from [0, 1) on the current GPU. One seed gives one result on one kind of GPU."""
    random = cupy().random
    return random.Generator(random.Philox4x3210(seed)).random(tuple(shape), np.float32)
