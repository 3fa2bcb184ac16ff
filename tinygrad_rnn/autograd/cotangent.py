"""What a VJP returns, made to fit the value that it is the cotangent of: summed down to its shape, or refused by name.

Cotangents are whatever the rules return, as long as they have a shape and a dtype, add, `.sum(axes)` and
`.reshape(shape)`.
"""

from __future__ import annotations

from typing import Any


def fitted(node: Any, i: int, parent: Any, product: Any) -> Any:
    """What the VJP of the i-th argument gave, summed down to the argument's shape, as an array that nobody else holds.

    node: of the primitive; parent: of its argument. TypeError for another type or dtype, ValueError for a shape that
    broadcasting does not explain.
    """
    name = f"{node.name}: VJP of argument {i}"
    if not hasattr(product, "shape") or not hasattr(product, "dtype"):
        raise TypeError(
            f"{name}: expected an array, {parent.dtype} of shape {parent.shape}, as the argument is, "
            f"got {type(product).__name__} {product!r}"
        )
    if product.dtype != parent.dtype:
        raise TypeError(f"{name}: expected {parent.dtype} as the argument is, got {product.dtype}")
    trailing = product.shape[len(product.shape) - len(parent.shape) :]
    if len(trailing) != len(parent.shape) or any(n not in (1, m) for n, m in zip(parent.shape, trailing)):
        raise ValueError(f"{name}: expected shape {parent.shape} as the argument has, got {product.shape}")
    return _unbroadcast(product, parent.shape)


def _unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum a cotangent down to `shape`: the adjoint of NumPy's broadcasting, for all primitives at once."""
    extra = len(g.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1)
    return g.sum(axes).reshape(shape)
