"""Tensors as bytes: what safetensors reads of a tensor, files of tensors, and formats that NumPy does not have.

Format of the files: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .box import Box, boxed
from .coercion import array_of
from .device import to_numpy
from .writing import write_atomically

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class AsBytes:
    """The attributes of a tensor that `safetensors.numpy.save` reads: the address and the number of its bytes."""

    __slots__ = ()

    def numpy(self) -> np.ndarray:
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """The number of bytes that the numbers take."""
        return self.numpy().nbytes

    @property
    def ctypes(self) -> Any:
        """NumPy's view of the memory of a contiguous tensor on the CPU; its `data` is the address."""
        if not self.numpy().flags.c_contiguous:
            raise ValueError("ctypes: expected a contiguous tensor, got a view of other strides: clone() it first")
        return self.numpy().ctypes

    def tobytes(self) -> bytes:
        """Return a copy of the numbers as bytes, row after row."""
        return self.numpy().tobytes()


def half_as_float32(value: Any) -> Any:
    """Return an array in bfloat16 or float16 as one in float32, without loss; return any other array as it is."""
    name = str(getattr(value, "dtype", ""))
    if name in ("torch.bfloat16", "torch.float16"):
        return value.detach().float()
    return value.astype(np.float32) if name in ("bfloat16", "float16") and hasattr(value, "astype") else value


def load_file(filename: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file by name, for `load_state_dict`. No code of the file is run.

    bfloat16 (which NumPy does not have: `safetensors.numpy.load_file` fails there) and float16 become float32, which
    has each of their numbers. Raises OSError where the file cannot be read, ValueError where it is no such file.
    """
    import safetensors

    path = Path(filename)
    if path.exists() and not path.is_file():
        raise ValueError(f"load_file: {path}: expected a regular file")
    try:
        found = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"load_file: {path}: expected a safetensors file, got another or a part ({error})") from error
    arrays = {}
    for name, tensor in found:
        kind, shape = tensor["dtype"], tensor["shape"]
        if kind not in _DTYPES:
            expected = ", ".join(_DTYPES)
            raise ValueError(f"load_file: {path}: {name}: expected one of the dtypes {expected}, got {kind}")
        array = np.frombuffer(tensor["data"], _DTYPES[kind]).reshape(shape)
        if kind == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        elif kind == "F16":
            array = array.astype(np.float32)
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return arrays


def save(state_dict: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write tensors by name to a safetensors file, atomically: at any moment it is the old file or the whole new one.

    state_dict: a mapping of names to tensors or arrays, on any device, as `module.state_dict()`. Tensors that share
    memory are written each for itself. Everything is checked before the file is touched. Raise TypeError for anything
    else, a name that is not text, or a dtype that tensors do not have; ValueError for a name that the format cannot
    hold; OSError, with the path, where it cannot be written.
    """
    import safetensors.numpy

    path = Path(path)
    if not isinstance(state_dict, Mapping):
        hint = ": pass module.state_dict()" if hasattr(state_dict, "state_dict") else ""
        got = type(state_dict).__name__
        raise TypeError(f"save: state_dict: expected a mapping of names to tensors, got {got}{hint}")
    arrays = {_checked_name(name): _saved_array(name, value) for name, value in state_dict.items()}
    write_atomically(path, safetensors.numpy.save(arrays))


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"save: state_dict: expected names as text, got {name!r}")
    if name == "__metadata__" or not name.isascii() and name.encode(errors="replace").decode() != name:
        raise ValueError(f"save: state_dict: expected a name that safetensors can hold, got {name!r}")
    return name


def _saved_array(name: str, value: Any) -> np.ndarray:
    if not isinstance(value, Box) and not hasattr(value, "dtype"):
        raise TypeError(f"save: {name}: expected a tensor or an array, got {type(value).__name__}")
    return np.asarray(to_numpy(value, f"save: {name}"), order="C")


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the tensors of a safetensors file by name, as constants on the CPU. No code of the file is run.

    float16 and bfloat16 become float32, without loss. Raise OSError where the file cannot be read, ValueError where it
    is no safetensors file, TypeError for a dtype that tensors do not have.
    """
    return {name: boxed(array_of(f"load: {name}", array)) for name, array in load_file(path).items()}
