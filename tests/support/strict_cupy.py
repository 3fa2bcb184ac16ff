"""A stand-in for CuPy on machines without a GPU: CuPy's rules, with NumPy's arithmetic.

An array here wraps one of NumPy's, and is as strict as CuPy 14. It refuses implicit conversion to NumPy, mixing with
NumPy's arrays, their assignment to slices, `where=` in ufuncs, and functions or arguments that CuPy does not have. It
gives 0-dimensional arrays where NumPy gives scalars, it has no flag `writeable`, and it takes indices out of range
modulo the size. An operation is an error if CuPy leaves its result undefined (an assignment to one element twice), adds
in an order that varies (`add.at`), or is inexact (`add.reduceat`). The functions are in `strict_cupy_functions.py`;
`test_device.py` compares their arguments with those of CuPy, where it is installed.
"""

from __future__ import annotations

import functools
import importlib.machinery
import types

import numpy as np

SCALARS = (bool, int, float, complex, np.generic)
current = 0  # the number of the device
count = 2
library = types.ModuleType("cupy")  # filled here and in `strict_cupy_functions`
library.__spec__ = importlib.machinery.ModuleSpec("cupy", None)


class Device:
    compute_capability = "host"  # `cuda_shim` builds kernels for this capability

    def __init__(self, number=None):
        self.id = current if number is None else number

    def use(self):
        global current
        current = self.id

    def synchronize(self):
        pass


class Flags:
    """The flags that CuPy has of an array's memory."""

    def __init__(self, array):
        self.c_contiguous, self.f_contiguous = array._a.flags.c_contiguous, array._a.flags.f_contiguous
        self.owndata = array.base is None


def bare(value):
    """Return the NumPy array or scalar of an argument. Raise if it is on another device or of another type."""
    if isinstance(value, ndarray):
        if value.device.id != current:
            raise AssertionError(f"an array of device {value.device.id} is used on device {current}")
        return value._a
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def computed(function, *args, **kwargs):
    """Call a NumPy function on bare values and wrap its result, without warnings: a GPU gives none."""
    with np.errstate(all="ignore"):
        out = function(*args, **kwargs)
    return ndarray(np.array(out))  # NumPy's views and scalars become arrays of their own


class Ufunc:
    def __init__(self, function, name=None):
        self.function, self.__name__ = function, name or function.__name__

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **others):
        if others:
            raise TypeError(f"Wrong arguments {others}")
        values = [bare(a) for a in args]
        if self.__name__ == "sign" and values[0].dtype == bool:
            values = [values[0].astype(np.int8)]  # CuPy computes the sign of conditions too, as numbers
        if out is None:
            return computed(self.function, *values, dtype=dtype)
        with np.errstate(all="ignore"):
            self.function(*values, out=bare(out), dtype=dtype, casting=casting)
        return out

    def at(self, a, indices, b=None):
        raise AssertionError(f"{self.__name__}.at: threads add in an order that varies")

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        raise AssertionError(f"{self.__name__}.reduceat: differences of running sums lose small numbers")


def _operator(name, swapped=False):
    def apply(self, other):
        x, y = (other, self) if swapped else (self, other)
        if isinstance(other, ndarray):
            return getattr(library, name)(x, y)
        if getattr(other, "__array_ufunc__", True) is None:
            return NotImplemented
        return getattr(np, name)(x, y)  # NumPy asks __array_ufunc__ of each argument, as CuPy does

    return apply


def _in_place(name):
    return lambda self, other: getattr(library, name)(self, other, out=self)


class ndarray:
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, a, base=None):
        assert type(a) is np.ndarray
        self._a, self.base, self.device = a, base, Device()

    # Attributes

    shape = property(lambda self: self._a.shape)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    dtype = property(lambda self: self._a.dtype)
    strides = property(lambda self: self._a.strides)
    flags = property(Flags)
    T = property(lambda self: self._view(self._a.T))
    mT = property(lambda self: self._view(self._a.mT))
    data = property(lambda self: types.SimpleNamespace(ptr=self._a.ctypes.data))

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": self.dtype.str, "version": 3, "data": (self._a.ctypes.data, False)}

    def _view(self, a):
        """Wrap the result of an operation that copies nothing in CuPy: a view if NumPy did not copy either."""
        if np.shares_memory(a, self._a) or not a.size:
            return ndarray(a, self if self.base is None else self.base)
        return ndarray(a)

    # To the host

    def __array__(self, dtype=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def get(self, stream=None, order="C", out=None, blocking=True):
        return self._a.copy(order)

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._a.item()

    def tolist(self):
        return self._a.tolist()

    def __bool__(self):
        return bool(self.item())

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __repr__(self):
        return repr(self._a)

    def __reduce__(self):
        return library.array, (self.get(),)

    def __deepcopy__(self, memo):
        return self.copy()

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return self._a.__dlpack__(max_version=max_version)

    def __dlpack_device__(self):
        return (2, self.device.id)

    # NumPy's protocol

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        inout = inputs
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
            inout += (kwargs["out"],)
        function = getattr(library, ufunc.__name__, None)
        function = function if method == "__call__" else getattr(function, method, None)
        if function is None or not all(isinstance(x, (ndarray, np.ndarray, *SCALARS)) for x in inout):
            return NotImplemented
        return function(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        try:
            own = functools.reduce(getattr, [*function.__module__.split(".")[1:], function.__name__], library)
        except AttributeError:
            return NotImplemented
        if not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented
        return own(*args, **kwargs)

    # Arithmetic

    __add__, __radd__, __iadd__ = _operator("add"), _operator("add", True), _in_place("add")
    __sub__, __rsub__, __isub__ = _operator("subtract"), _operator("subtract", True), _in_place("subtract")
    __mul__, __rmul__, __imul__ = _operator("multiply"), _operator("multiply", True), _in_place("multiply")
    __truediv__, __rtruediv__ = _operator("true_divide"), _operator("true_divide", True)
    __itruediv__ = _in_place("true_divide")
    __pow__, __rpow__ = _operator("power"), _operator("power", True)
    __mod__, __rmod__ = _operator("remainder"), _operator("remainder", True)
    __matmul__, __rmatmul__ = _operator("matmul"), _operator("matmul", True)
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")
    __lt__, __le__, __gt__, __ge__ = map(_operator, ("less", "less_equal", "greater", "greater_equal"))
    __neg__ = lambda self: library.negative(self)
    __abs__ = lambda self: library.absolute(self)

    # Shapes and copies

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        assert casting is None and subok is None
        return self if not copy and self.dtype == dtype else computed(self._a.astype, dtype, order)

    def copy(self, order="C"):
        return ndarray(self._a.copy(order))  # on the current device

    def fill(self, value):
        value = value._a if isinstance(value, ndarray) else np.asarray(value, self.dtype)
        if value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._a.fill(value)

    def reshape(self, *shape, order="C", copy=None):
        return self._view(self._a.reshape(*shape, order=order))

    def transpose(self, *axes):
        return self._view(self._a.transpose(*axes))

    # Reductions

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return computed(bare(self).sum, axis, dtype, keepdims=keepdims)

    def max(self, axis=None, out=None, keepdims=False):
        return computed(bare(self).max, axis, keepdims=keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return computed(bare(self).min, axis, keepdims=keepdims)

    def argmax(self, axis=None, out=None, dtype=None, keepdims=False):
        return computed(bare(self).argmax, axis, keepdims=keepdims)

    def argmin(self, axis=None, out=None, dtype=None, keepdims=False):
        return computed(bare(self).argmin, axis, keepdims=keepdims)

    def all(self, axis=None, out=None, keepdims=False):
        return computed(bare(self).all, axis, keepdims=keepdims)

    def any(self, axis=None, out=None, keepdims=False):
        return computed(bare(self).any, axis, keepdims=keepdims)

    # Indices

    def __len__(self):
        return len(self._a)

    def __getitem__(self, index):
        a = bare(self)[_index(self, index)]
        return self._view(a) if isinstance(a, np.ndarray) else computed(lambda: a)

    def __setitem__(self, index, value):
        places = np.arange(self.size).reshape(self.shape)[_index(self, index)]
        advanced = any(isinstance(p, (ndarray, np.ndarray, list)) for p in _parts(index))
        if advanced and np.unique(places).size != places.size:
            raise AssertionError("which of several values assigned to one place stays is undefined")
        if isinstance(value, np.ndarray) and not advanced and value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._a[_index(self, index)] = value if isinstance(value, np.ndarray) else bare(value)


def _parts(index):
    return index if isinstance(index, tuple) else (index,)


def _index(array, index):
    """Return an index for NumPy: convert arrays and lists, and take whole numbers in arrays modulo the size."""
    parts = [bare(p) if isinstance(p, ndarray) else np.array(p) if isinstance(p, list) else p for p in _parts(index)]
    masks = [p for p in parts if isinstance(p, np.ndarray) and p.dtype == bool]
    if len(masks) > 1:
        raise ValueError("more than one boolean array in an index is not supported")
    widths = [
        0 if p is None or p is Ellipsis or isinstance(p, bool) else p.ndim if any(p is m for m in masks) else 1
        for p in parts
    ]
    axis, found = 0, []
    for p, n in zip(parts, widths):
        if isinstance(p, np.ndarray) and p.dtype.kind in "iu" and array.shape[axis]:
            p = p % array.shape[axis]
        found.append(p)
        axis += array.ndim - sum(widths) if p is Ellipsis else n
    return tuple(found)


UFUNCS = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "negative",
    "power",
    "remainder",
    "floor_divide",
    "exp",
    "log",
    "sqrt",
    "absolute",
    "sign",
    "sin",
    "cos",
    "tanh",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_not",
    "isfinite",
    "isnan",
    "maximum",
    "minimum",
    "logaddexp",
]

library.ndarray = ndarray
for _name in UFUNCS:
    setattr(library, _name, Ufunc(getattr(np, _name)))
