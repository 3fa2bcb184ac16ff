"""The functions of `strict_cupy`, with CuPy's arguments, and the modules that replace CuPy's."""

from __future__ import annotations

import types

import numpy as np
import strict_cupy
from strict_cupy import Device, bare, computed, library, ndarray


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    return ndarray(np.array(obj._a if isinstance(obj, ndarray) else obj, dtype, order=order))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    if isinstance(a, ndarray) and (dtype is None or a.dtype == dtype):
        return a
    if not isinstance(a, (ndarray, np.ndarray)) and hasattr(a, "__cuda_array_interface__"):
        return ndarray(np.asarray(a.shared_memory))  # a stand-in for another library's array
    return ndarray(np.array(a._a if isinstance(a, ndarray) else a, dtype, order=order or "K"))


def ascontiguousarray(a, dtype=None):
    a = asarray(a, dtype)
    return a if a.flags.c_contiguous else a.copy()


def from_dlpack(array, *, device=None, copy=None):
    kind, _ = array.__dlpack_device__()
    if kind != 2:
        raise TypeError("CPU arrays cannot be directly imported to CuPy.")
    kind = types.SimpleNamespace(__dlpack_device__=lambda: (1, 0), __dlpack__=lambda **asked: array.__dlpack__(**asked))
    return ndarray(np.from_dlpack(kind))


def empty(shape, dtype=float, order="C"):
    out = np.empty(shape, dtype, order)
    return ndarray(np.full_like(out, np.nan if out.dtype.kind == "f" else 77))


def zeros(shape, dtype=float, order="C"):
    return ndarray(np.zeros(shape, dtype, order))


def ones(shape, dtype=float, order="C"):
    return ndarray(np.ones(shape, dtype, order))


def full(shape, fill_value, dtype=None, order="C"):
    return ndarray(np.full(shape, fill_value, dtype, order))


def _like(make):
    def function(a, dtype=None, order="K", subok=None, shape=None):
        assert not subok
        return ndarray(make(bare(a), dtype, order, shape=shape))

    return function


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    return ndarray(np.full_like(bare(prototype), 77, dtype, order, shape=shape))


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    return ndarray(np.full_like(bare(a), fill_value, dtype, order, shape=shape))


zeros_like, ones_like = _like(np.zeros_like), _like(np.ones_like)


def arange(start, stop=None, step=1, dtype=None):
    return ndarray(np.arange(start, stop, step, dtype) if stop is not None else np.arange(start, dtype=dtype))


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    if not all(isinstance(a, ndarray) for a in tup):
        raise TypeError("Only cupy arrays can be concatenated")
    return computed(np.concatenate, [bare(a) for a in tup], axis)


def stack(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    if not all(isinstance(a, ndarray) for a in tup):
        raise TypeError("Only cupy arrays can be stacked")
    return computed(np.stack, [bare(a) for a in tup], axis)


def broadcast_to(array, shape):
    assert isinstance(array, ndarray)
    a = np.lib.stride_tricks.as_strided(array._a, writeable=True)  # CuPy's views can be written into
    view = np.broadcast_to(a, shape)
    return ndarray(np.lib.stride_tricks.as_strided(a, view.shape, view.strides), array)


def pad(array, pad_width, mode="constant", **kwargs):
    return computed(np.pad, bare(array), pad_width, mode, **kwargs)


def flip(a, axis=None):
    return a._view(np.flip(bare(a), axis))


def clip(a, a_min, a_max, out=None):
    if a_min is None and a_max is None:
        raise ValueError("array_clip: must set either max or min")
    return computed(np.clip, bare(a), *(None if x is None else bare(x) for x in (a_min, a_max)))


def where(condition, x=None, y=None):
    assert x is not None and y is not None
    return computed(np.where, bare(condition.astype("?", copy=False)), bare(x), bare(y))


def argsort(a, axis=-1, kind=None):
    return computed(np.argsort, bare(a), axis, kind=kind)


def cumsum(a, axis=None, dtype=None, out=None):
    return computed(np.cumsum, bare(a), axis, dtype)


def tile(A, reps):
    return computed(np.tile, bare(A), reps)


def dot(a, b, out=None):
    found = computed(np.dot, bare(a), bare(b))
    if out is None:
        return found
    if found.dtype != out.dtype:
        raise ValueError("Not supported dtype combination.")
    if not out._a.flags.c_contiguous:
        raise ValueError("Output array must be C-contiguous")
    out._a[...] = found._a
    return out


def matmul(a, b, out=None):
    if not (isinstance(a, ndarray) and isinstance(b, ndarray)):
        raise TypeError("Argument 'a' has incorrect type")
    return computed(np.matmul, bare(a), bare(b))


def result_type(*arrays_and_dtypes):
    return np.result_type(*[a.dtype if isinstance(a, ndarray) else a for a in arrays_and_dtypes])


def norm(x, ord=None, axis=None, keepdims=False):
    return computed(np.linalg.norm, bare(x), ord, axis, keepdims)


class Philox4x3210:
    def __init__(self, seed=None, *, size=-1):
        self.seed = seed


class Generator:
    def __init__(self, bit_generator):
        self._own = np.random.Generator(np.random.Philox(bit_generator.seed))

    def random(self, size=None, dtype=np.float64, out=None):
        return ndarray(np.asarray(self._own.random(size, dtype)))


FUNCTIONS = [
    *(array, asarray, ascontiguousarray, from_dlpack, empty, zeros, ones, full, empty_like, full_like, arange),
    *(concatenate, stack, broadcast_to, pad, flip, clip, where, argsort, cumsum, tile, dot, matmul, result_type),
]

library.zeros_like, library.ones_like = zeros_like, ones_like
for _function in FUNCTIONS:
    setattr(library, _function.__name__, _function)
library.linalg = types.SimpleNamespace(norm=norm)
library.random = types.SimpleNamespace(Generator=Generator, Philox4x3210=Philox4x3210)
library.cuda = types.SimpleNamespace(
    Device=Device,
    get_current_stream=lambda: types.SimpleNamespace(ptr=0),
    runtime=types.SimpleNamespace(
        getDevice=lambda: strict_cupy.current,
        getDeviceCount=lambda: strict_cupy.count,
        getDeviceProperties=lambda number: {"name": b"stand-in"},
    ),
)


def special():
    """A stand-in for `cupyx.scipy.special`."""
    from tinygrad_rnn.kernels.ir.operations import erf

    return types.SimpleNamespace(erf=lambda x: computed(erf, bare(x)))


def modules():
    """Return the entries of `sys.modules` that replace all of CuPy."""
    scipy = types.ModuleType("cupyx.scipy")
    scipy.special = special()
    return {"cupy": library, "cupyx": types.ModuleType("cupyx"), "cupyx.scipy": scipy}
