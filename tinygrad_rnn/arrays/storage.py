"""Tensors as bytes: what safetensors reads of a tensor, and files and numbers in formats that NumPy does not have.

Format of the files: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

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
