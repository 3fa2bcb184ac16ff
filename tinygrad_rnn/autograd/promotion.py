"""Arguments and results of primitives made to agree: dtypes promoted, devices compared, numbers and lists converted.

The tensors of one primitive share one dtype and one device. Numbers and lists take the dtype of the tensor that they
meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..arrays.coercion import array_of
from ..arrays.device import device_of, on_gpu, to_device
from ..arrays.error_state import ignoring_errors
from .grad_modes import Scope

_ndarray = np.ndarray


def is_array(a: Any) -> bool:
    """Return whether a value is an array, and not a number of NumPy's."""
    return hasattr(a, "dtype") and not isinstance(a, np.generic)


def unshared_operand(name: str, a: Any) -> Any:
    """Return an argument of a numeric primitive that is no tensor: a number, a list, or a copy of an array.

    The copy is needed because the caller may write into the array before the backward. Raise TypeError for anything
    that is no number.
    """
    if isinstance(a, np.generic):
        return array_of(name, a, any_dtype=a.dtype.kind != "f").item()
    if isinstance(a, (list, tuple, int, float)) or hasattr(type(a), "__tape_primitive__"):
        return a
    if a is None or isinstance(a, (str, bytes, complex, dict, set)) or callable(a):
        raise TypeError(f"{name}: expected tensors, arrays or numbers, got {type(a).__name__} {a!r}")
    return array_of(name, a).copy()


def promote(definition: Any, raw: list) -> None:
    """Convert the arguments of a primitive, in place, so that the arrays agree in device and dtype.

    A list becomes an array, of the tensors' dtype if that is floating. Raise TypeError if the arrays differ in dtype,
    RuntimeError if they differ in device.
    """
    arrays = [a for a in raw if is_array(a)]
    model = max(arrays, key=lambda a: (a.dtype.kind == "f", a.dtype.kind != "b"))
    for i, a in enumerate(raw):
        if definition.numeric and isinstance(a, (list, tuple)):
            floats = model.dtype if model.dtype.kind == "f" else np.float32
            listed = array_of(definition.name, a, floats=floats)
            raw[i] = to_device(listed.astype(floats) if model.dtype.kind == "f" else listed, device_of(model))
    check_one_device(definition, raw)
    for a in arrays:
        if type(a) is not type(model):
            got = f"{type(model).__module__}.{type(model).__name__} and {type(a).__module__}.{type(a).__name__}"
            raise TypeError(f"{definition.name}: expected arrays of one kind, got {got}")
        if a.dtype != model.dtype and (definition.numeric and a.dtype.kind != "b" or a.dtype.kind == "f"):
            names = " and ".join(dict.fromkeys(str(a.dtype) for a in arrays))
            raise TypeError(
                f"{definition.name}: expected arguments of one dtype, got {names}: convert one with .to(dtype)"
            )


def check_one_device(definition: Any, raw: Sequence[Any]) -> None:
    """Raise RuntimeError unless the arrays among the arguments are on one device.

    It is called only where they may not be: after a library refused arguments, and for a result that is not NumPy's.
    So it costs nothing on the CPU.
    """
    if len({device_of(a) for a in raw if is_array(a)}) > 1:
        named = [(name, device_of(a)) for name, a in definition.named(raw) if is_array(a)]
        (first, device), *others = named
        name, other = next(found for found in others if found[1] != device)
        raise RuntimeError(
            f"{definition.name}: {name}: expected a tensor on {device}, as {first} is, got one on {other}: "
            "move one of them with .to(device)"
        )


_numbers: ContextVar[tuple[Any, bool]] = ContextVar("numbers", default=(np.float32, False))


def numbers_as(dtype: Any) -> Scope:
    """Return a block in which a result of numbers alone, as `where(x > 0, 1, 0.0)`, has this dtype, integers too."""
    return Scope(_numbers, (dtype, True))


def promote_result(definition: Any, out: Any, raw: list) -> Any:
    """Return a primitive's result as an array of the right dtype.

    NumPy's reductions give scalars, and its arithmetic takes numbers and integers to float64 where float32 is meant.
    """
    if type(out) is tuple:
        if out and type(out[0]) is not _ndarray and on_gpu(out[0]):
            check_one_device(definition, raw)
        return out
    if isinstance(out, np.generic):
        out = np.asarray(out)
    elif type(out) is not _ndarray and on_gpu(out):
        check_one_device(definition, raw)
    if definition.numeric and out.dtype == np.float64 and not any(is_array(a) and a.dtype == np.float64 for a in raw):
        out = ignoring_errors(out.astype, _numbers.get()[0], copy=False)
    elif definition.numeric and out.dtype.kind in "iu" and _numbers.get()[1]:
        out = out.astype(_numbers.get()[0])
    return out
