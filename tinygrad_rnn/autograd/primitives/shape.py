"""Primitives that move numbers without changing them: reshape, permute, broadcast, tile, join, split, pad, flip."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.coercion import array_of, operand
from ..primitive import primitive
from .static import as_int, as_ints, dim_or_axis


def axis_of(name: str, dim: int, ndim: int) -> int:
    """Return a dimension counted from the front. Raise IndexError with the expected range for one out of it."""
    if type(dim) is not int:  # a bool was meant for keepdim, or PyTorch's unbiased
        dim = as_int(f"{name}: dim", dim)
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(f"{name}: dim: expected a whole number from {-max(ndim, 1)} to {max(ndim, 1) - 1}, got {dim}")
    return dim % max(ndim, 1)


def axes_of(name: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return dimensions counted from the front. None stands for all."""
    if dim is None:
        return tuple(range(ndim))
    dims = dim if isinstance(dim, (tuple, list)) else as_ints(f"{name}: dim", dim, "a whole number")
    axes = tuple(axis_of(name, d, ndim) for d in dims)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: dim: expected each dimension once, got {dim}")
    return axes if ndim else ()  # a scalar may be asked for dimension 0, which it does not have


def _axis_within(name: str, dim: int, shape: tuple[int, ...]) -> int:
    """Return a dimension counted from the front, of a tensor that must have one."""
    if not shape:
        raise ValueError(f"{name}: expected a tensor of at least one dimension, got a scalar")
    return axis_of(name, dim, len(shape))


def sizes_of(shape: tuple) -> tuple[int, ...]:
    """Return the sizes given as f(x, 2, 3) or as f(x, (2, 3))."""
    if len(shape) == 1 and type(shape[0]) is not int:
        shape = shape[0]
        if type(shape) is not tuple:
            return as_ints("shape", shape)
    for n in shape:
        if type(n) is not int:
            return as_ints("shape", shape)
    return shape


_reshape: Callable[..., Any] = primitive(
    "reshape",
    lambda x, shape, source: x.reshape(shape),
    lambda g, shape, source: _reshape(g, source, shape),
    view=True,
)


def reshape(x: Any, *shape: Any) -> Any:
    """Return the numbers of x, in row-major order, in another shape. One size may be -1."""
    x = x if isinstance(x, Box) else operand("reshape: x", x)
    sizes = sizes_of(shape)
    known = math.prod(n for n in sizes if n != -1)
    if -1 in sizes and known and sizes.count(-1) == 1:
        sizes = tuple(math.prod(x.shape) // known if n == -1 else n for n in sizes)
    if -1 in sizes or math.prod(sizes) != math.prod(x.shape):
        given = sizes_of(shape)
        raise ValueError(f"reshape: shape: expected {math.prod(x.shape)} elements as in {x.shape}, got {given}")
    return _reshape(x, sizes, x.shape)


@functools.cache
def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


_permute: Callable[..., Any] = primitive(
    "permute", lambda x, axes: x.transpose(axes), lambda g, axes: _permute(g, _inverse(axes)), view=True
)


def permute(x: Any, *dims: Any) -> Any:
    """Return x with its dimensions in another order: dimension i of the result is dimension dims[i] of x."""
    x = x if isinstance(x, Box) else operand("permute: x", x)
    axes = axes_of("permute", sizes_of(dims), len(x.shape))
    if len(axes) != len(x.shape):
        raise ValueError(f"permute: dims: expected all {len(x.shape)} dimensions of {x.shape}, got {sizes_of(dims)}")
    return _permute(x, axes)


def reverse_dims(x: Any) -> Any:
    """Return x with its dimensions in reverse order."""
    return _permute(x, tuple(range(len(x.shape) - 1, -1, -1)))


def transpose(x: Any, dim0: int = -2, dim1: int = -1) -> Any:
    """Return x with two dimensions exchanged, by default the last two."""
    x = x if isinstance(x, Box) else operand("transpose: x", x)
    axes = list(range(len(x.shape)))
    i, j = axis_of("transpose", dim0, len(axes)), axis_of("transpose", dim1, len(axes))
    if axes:
        axes[i], axes[j] = axes[j], axes[i]
    return _permute(x, tuple(axes))


def squeeze(x: Any, dim: int | Sequence[int] | None = None, *, axis: Any = None) -> Any:
    """Return x without its dimensions of size 1, or without those of them that are named."""
    x = x if isinstance(x, Box) else operand("squeeze: x", x)
    drop = axes_of("squeeze", dim_or_axis("squeeze", dim, axis), len(x.shape))
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in drop))


def unsqueeze(x: Any, dim: Any = None, *, axis: Any = None) -> Any:
    """Return x with a dimension of size 1 inserted before dimension `dim`."""
    x = x if isinstance(x, Box) else operand("unsqueeze: x", x)
    i = axis_of("unsqueeze", dim_or_axis("unsqueeze", dim, axis), len(x.shape) + 1)
    return reshape(x, (*x.shape[:i], 1, *x.shape[i:]))


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Return x with the dimensions from start_dim to end_dim made one."""
    x = x if isinstance(x, Box) else operand("flatten: x", x)
    i, j = axis_of("flatten", start_dim, len(x.shape)), axis_of("flatten", end_dim, len(x.shape))
    if i > j:
        raise ValueError(f"flatten: expected start_dim <= end_dim, got {start_dim} and {end_dim}")
    return reshape(x, (*x.shape[:i], math.prod(x.shape[i : j + 1]), *x.shape[j + 1 :]))


_broadcast_to = primitive(
    "broadcast_to",
    lambda x, shape: np.broadcast_to(x, shape),
    lambda g: g,
    view=True,
    expects="a shape that x broadcasts to",
)


def broadcast_to(x: Any, *shape: Any) -> Any:
    """Return x repeated, without a copy, along dimensions that are new or of size 1. -1 leaves a size as it is."""
    x = x if isinstance(x, Box) else operand("broadcast_to: x", x)
    sizes = sizes_of(shape)
    old = (-1,) * (len(sizes) - len(x.shape)) + tuple(x.shape)
    return _broadcast_to(x, tuple(o if n == -1 else n for n, o in zip(sizes, old)) if len(old) == len(sizes) else sizes)


_tile = primitive(
    "tile",
    lambda x, repeats, shape: np.tile(x, repeats),
    lambda g, repeats, shape: _copies(g, repeats, shape).sum(tuple(range(0, 2 * len(shape), 2))),
)


def _copies(g: Any, repeats: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Return the cotangent of a tiling with each dimension cut in two: which copy, and where in the copy."""
    return g.reshape(tuple(n for pair in zip(repeats, shape) for n in pair))


def repeat(x: Any, *repeats: Any) -> Any:
    """Return copies of x side by side, as many along each dimension as `repeats` says.

    repeats: a count from 0 up for each dimension of x, with further counts before these for new dimensions. Raise
    ValueError for too few counts, or a negative one. (NumPy's `repeat` is another function; see `tile`.)
    """
    x = x if isinstance(x, Box) else operand("repeat: x", x)
    counts = sizes_of(repeats)
    if len(counts) < len(x.shape) or any(n < 0 for n in counts):
        got = list(counts)
        raise ValueError(f"repeat: repeats: expected at least {len(x.shape)} counts from 0 up, got {got}")
    shape = (1,) * (len(counts) - len(x.shape)) + tuple(x.shape)
    return _tile(reshape(x, shape), counts, shape)


def tile(x: Any, *dims: Any) -> Any:
    """Return copies of x side by side. As `repeat`, but counts that are missing in front are 1, as for NumPy's tile."""
    x = x if isinstance(x, Box) else operand("tile: x", x)
    counts = sizes_of(dims)
    if any(n < 0 for n in counts):
        raise ValueError(f"tile: dims: expected counts from 0 up, got {list(counts)}")
    return repeat(x, (1,) * (len(x.shape) - len(counts)) + counts)


def _slices(sizes: Sequence[int], axis: int) -> list[tuple[slice, ...]]:
    ends = list(itertools.accumulate(sizes, initial=0))
    return [(slice(None),) * axis + (slice(a, b),) for a, b in itertools.pairwise(ends)]


def _cut(needs: list[bool], g: Any, axis: int, sizes: Sequence[int]) -> list[Any]:
    return [None, None, *(g[at] if need else None for at, need in zip(_slices(sizes, axis), needs[2:]))]


_concat = primitive(
    "concat",
    lambda axis, sizes, *xs: np.concatenate(xs, axis),
    _cut,
    combined=True,
    expects="tensors that are alike but for the size along dim",
)


def concat(tensors: Sequence[Any], dim: int = 0, *, axis: Any = None) -> Any:
    """Return tensors joined along a dimension that they have."""
    xs = _all_tensors("concat", tensors)
    axis = axis_of("concat", dim_or_axis("concat", dim, axis, 0), len(xs[0].shape))
    if any(len(x.shape) != len(xs[0].shape) or not x.shape for x in xs):
        raise ValueError(f"concat: expected tensors of as many dimensions, at least one, got {[x.shape for x in xs]}")
    return _concat(axis, tuple(x.shape[axis] for x in xs), *xs)


_stack = primitive(
    "stack",
    lambda axis, *xs: np.stack(xs, axis),
    lambda needs, g, axis: (None, *unbind(g, axis)),
    combined=True,
    expects="tensors of one shape",
)


def stack(tensors: Sequence[Any], dim: int = 0, *, axis: Any = None) -> Any:
    """Return tensors of one shape joined along a new dimension."""
    xs = _all_tensors("stack", tensors)
    return _stack(axis_of("stack", dim_or_axis("stack", dim, axis, 0), len(xs[0].shape) + 1), *xs)


def _all_tensors(name: str, tensors: Sequence[Any]) -> list[Any]:
    if not isinstance(tensors, Iterable) or isinstance(tensors, (str, bytes, dict)):
        raise TypeError(f"{name}: tensors: expected a list of tensors, got {type(tensors).__name__}")
    given = list(tensors)
    if not given or any(isinstance(x, (int, float)) for x in given):
        raise ValueError(f"{name}: tensors: expected at least one tensor, and tensors only, got {tensors!r}")
    xs: list[Any] = [x if isinstance(x, Box) else operand(f"{name}: tensors[{i}]", x) for i, x in enumerate(given)]
    dtypes = dict.fromkeys(x.dtype for x in xs)
    if len(dtypes) > 1:
        got = " and ".join(map(str, dtypes))
        raise TypeError(f"{name}: tensors: expected one dtype, got {got}: convert with .to(dtype)")
    return xs


def new_zeros(x: Any, shape: Sequence[int]) -> Any:
    """Return an array of zeros in the dtype and on the device of a tensor or array."""
    return np.zeros(tuple(shape), x.dtype, like=x.array if isinstance(x, Box) else x)


def _rejoined(bundle: Any, sizes: Sequence[int], axis: int, shape: tuple[int, ...]) -> Any:
    """Return the cotangent of a split: its parts side by side, zeros for a part without a cotangent."""
    some = next(part for part in bundle.parts if part is not None)
    parts = [
        new_zeros(some, (*shape[:axis], n, *shape[axis + 1 :])) if part is None else part
        for part, n in zip(bundle.parts, sizes)
    ]
    return _concat(axis, tuple(sizes), *parts)


_split = primitive(
    "split",
    lambda x, sizes, axis, shape: tuple(x[at] for at in _slices(sizes, axis)),
    lambda g, sizes, axis, shape: _rejoined(g, sizes, axis, shape),
    view=True,
)


def split(x: Any, split_size: Any, dim: int = 0, *, axis: Any = None) -> tuple[Any, ...]:
    """Return x cut along a dimension into pieces of a size (the last may be smaller), or of the given sizes."""
    x = x if isinstance(x, Box) else operand("split: x", x)
    axis = _axis_within("split", dim_or_axis("split", dim, axis, 0), x.shape)
    total = x.shape[axis]
    sizes = as_ints("split: split_size", split_size, "a whole number or several")
    if len(sizes) == 1 and not isinstance(split_size, (tuple, list)) and not len(np.shape(split_size)):
        size = sizes[0]
        if size < 1:
            raise ValueError(f"split: split_size: expected at least 1, got {size}")
        sizes = tuple([min(size, total - at) for at in range(0, total, size)]) or (0,)
    if sum(sizes) != total or any(n < 0 for n in sizes):
        raise ValueError(f"split: split_size: expected sizes that add up to {total}, got {list(sizes)}")
    return _split(x, sizes, axis, x.shape)


def chunk(x: Any, chunks: int, dim: int = 0, *, axis: Any = None) -> tuple[Any, ...]:
    """Return x cut along a dimension into at most `chunks` pieces of one size, except the last."""
    x = x if isinstance(x, Box) else operand("chunk: x", x)
    if isinstance(chunks, (float, bool)) or as_int("chunk: chunks", chunks, "a whole number from 1 up") < 1:
        raise ValueError(f"chunk: chunks: expected a whole number from 1 up, got {chunks!r}")
    dim = dim_or_axis("chunk", dim, axis, 0)
    return split(x, max(1, -(-x.shape[_axis_within("chunk", dim, x.shape)] // as_int("chunk: chunks", chunks))), dim)


def unbind(x: Any, dim: int = 0, *, axis: Any = None) -> tuple[Any, ...]:
    """Return the slices of x along a dimension, without that dimension. A loop over all of them costs one pass."""
    x = x if isinstance(x, Box) else operand("unbind: x", x)
    axis = _axis_within("unbind", dim_or_axis("unbind", dim, axis, 0), x.shape)
    if x.shape[axis] == 0:
        return ()
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    return tuple(_reshape(part, rest, part.shape) for part in split(x, 1, axis))


_pad = primitive(
    "pad",
    lambda x, widths, value, shape: np.pad(x, widths, constant_values=value),
    lambda g, widths, shape: g[tuple(slice(before, before + n) for (before, _), n in zip(widths, shape))],
)


def pad(x: Any, pad: Sequence[int], value: float = 0.0) -> Any:
    """Return x with a border of `value`: (before, after) of the last dimension, then of the one before, and so on."""
    x = x if isinstance(x, Box) else operand("pad: x", x)
    counts = as_ints("pad: pad", pad)
    if len(counts) % 2 or len(counts) > 2 * len(x.shape) or any(n < 0 for n in counts):
        raise ValueError(f"pad: pad: expected up to {len(x.shape)} pairs of counts from 0 up, got {list(counts)}")
    pairs = [(counts[i], counts[i + 1]) for i in range(0, len(counts), 2)]
    if not isinstance(value, (int, float)) or isinstance(value, np.generic):
        value = _number("pad: value", value)
    return _pad(x, tuple([(0, 0)] * (len(x.shape) - len(pairs)) + pairs[::-1]), value, x.shape)


def _number(name: str, value: Any) -> float:
    """Return a constant of one element as a Python number."""
    array = array_of(name, value)
    if array.size != 1 or isinstance(value, (list, tuple)) or getattr(value, "node", None) is not None:
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return array.item()


_flip: Callable[..., Any] = primitive("flip", lambda x, axes: np.flip(x, axes), lambda g, axes: _flip(g, axes))


def flip(x: Any, dims: Any = None, *, axis: Any = None) -> Any:
    """Return x with the order along each of `dims` reversed."""
    x = x if isinstance(x, Box) else operand("flip: x", x)
    return _flip(x, axes_of("flip", dim_or_axis("flip", dims, axis), len(x.shape)))
