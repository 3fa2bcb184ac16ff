"""Functions on random shapes: values equal NumPy's, and gradients equal finite differences."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from helpers import leaf, normal
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
SOME = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def held(ours: Any, theirs: Any, *arrays: np.ndarray) -> None:
    """Check that values equal NumPy's on the same arrays, and that gradients pass gradcheck."""
    np.testing.assert_allclose(ours(*[leaf(a) for a in arrays]).numpy(), theirs(*arrays), 1e-12, 1e-12)
    assert ours(*[leaf(a) for a in arrays]).shape == np.shape(theirs(*arrays))
    assert tg.gradcheck(ours, [leaf(a) for a in arrays], directions=1)


@quick
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0, max_side=3))
def test_broadcasting(shapes: Any) -> None:
    x, y, z = (normal(*s, seed=i) for i, s in enumerate(shapes.input_shapes))
    held(lambda x, y, z: x * y - z, lambda x, y, z: x * y - z, x, y, z)
    held(lambda x, y: tg.where(x > 0, x, y), lambda x, y: np.where(x > 0, x, y), x, y)
    assert tg.broadcast_to(tg.tensor(x), shapes.result_shape).shape == shapes.result_shape


@quick
@given(SHAPES, st.data())
def test_reductions(shape: tuple[int, ...], data: Any) -> None:
    x = normal(*shape)
    axes = data.draw(st.sets(st.integers(0, max(len(shape) - 1, 0))).map(tuple)) if shape else ()
    dims = tuple(d - len(shape) if data.draw(st.booleans()) else d for d in axes)
    keep = data.draw(st.booleans())
    held(lambda x: x.sum(dims, keep), lambda x: x.sum(axes, keepdims=keep), x)
    if all(shape[a] for a in axes):
        held(lambda x: x.mean(dims, keep), lambda x: x.mean(axes, keepdims=keep), x)
        held(lambda x: x.amax(dims, keep), lambda x: x.max(axes, keepdims=keep), x)
        held(lambda x: x.var(dims, 0, keep), lambda x: x.var(axes, keepdims=keep), x)
        held(lambda x: x.logsumexp(dims, keep), lambda x: np.log(np.exp(x).sum(axes, keepdims=keep)), x)


@quick
@given(SOME, st.data())
def test_along_one_dimension(shape: tuple[int, ...], data: Any) -> None:
    x, dim = normal(*shape), data.draw(st.integers(-len(shape), len(shape) - 1))
    keep = data.draw(st.booleans())
    e = np.exp(x)
    held(lambda x: x.softmax(dim), lambda _: e / e.sum(dim, keepdims=True), x)
    held(lambda x: x.max(dim, keep).values, lambda x: x.max(dim, keepdims=keep), x)
    assert (tg.tensor(x).min(dim, keep).indices.numpy() == x.argmin(dim, keepdims=keep)).all()
    index = np.random.default_rng(0).integers(0, shape[dim], shape)
    held(lambda x: x.gather(dim, index), lambda x: np.take_along_axis(x, index, dim), x)
    held(lambda x: x.flip(dim), lambda x: np.flip(x, dim), x)


@quick
@given(SHAPES, st.data())
def test_moving_dimensions(shape: tuple[int, ...], data: Any) -> None:
    x, n = normal(*shape), len(shape)
    axes = tuple(data.draw(st.permutations(range(n))))
    held(lambda x: x.permute(*axes) if n else x.permute(()), lambda x: x.transpose(axes), x)
    held(
        lambda x: x.permute(axes).reshape(-1) if x.numel() else x,
        lambda x: x.transpose(axes).ravel() if x.size else x,
        x,
    )
    held(lambda x: x.squeeze(), lambda x: x.squeeze(), x)
    at = data.draw(st.integers(-n - 1, n))
    held(lambda x: x.unsqueeze(at), lambda x: np.expand_dims(x, at), x)
    if n:
        i, j = data.draw(st.integers(-n, n - 1)), data.draw(st.integers(-n, n - 1))
        held(lambda x: x.transpose(i, j), lambda x: x.swapaxes(i, j), x)
        held(lambda x: x.flatten(min(i % n, j % n), max(i % n, j % n)).sum(), lambda x: x.sum(), x)


@quick
@given(SOME, st.data())
def test_indexing(shape: tuple[int, ...], data: Any) -> None:
    x = normal(*shape)
    basic = data.draw(hnp.basic_indices(shape, allow_ellipsis=True, allow_newaxis=True))
    held(lambda x: x[basic], lambda x: x[basic], x)
    picked = data.draw(hnp.integer_array_indices(shape))
    held(lambda x: x[picked], lambda x: x[picked], x)
    held(lambda x: x[tuple(map(tg.tensor, picked))], lambda x: x[picked], x)
    mask = data.draw(hnp.arrays(bool, shape))
    held(lambda x: x[mask], lambda x: x[mask], x)
    held(lambda x: x[tg.tensor(mask)], lambda x: x[mask], x)


@quick
@given(SOME, st.data())
def test_joining_and_cutting(shape: tuple[int, ...], data: Any) -> None:
    x, y, dim = normal(*shape), normal(*shape, seed=1), data.draw(st.integers(-len(shape), len(shape) - 1))
    size = data.draw(st.integers(1, 5))
    held(lambda x, y: tg.concat([x, y, x], dim), lambda x, y: np.concatenate([x, y, x], dim), x, y)
    held(lambda x, y: tg.stack([x, y], dim), lambda x, y: np.stack([x, y], dim), x, y)
    held(
        lambda x: tg.concat(x.split(size, dim)[::-1], dim),
        lambda x: np.concatenate(
            [x.take(range(k, min(k + size, shape[dim])), dim) for k in range(0, shape[dim], size)][::-1], dim
        ),
        x,
    )
    held(lambda x: tg.stack([part * part for part in x.unbind(dim)], dim), lambda x: x * x, x)
    before, after = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    held(
        lambda x: tg.pad(x, (before, after), 2.0),
        lambda x: np.pad(x, [(0, 0)] * (len(shape) - 1) + [(before, after)], constant_values=2.0),
        x,
    )


@quick
@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3))
def test_matmul(shapes: Any) -> None:
    x, y = (normal(*s, seed=i) for i, s in enumerate(shapes.input_shapes))
    held(tg.matmul, np.matmul, x, y)
