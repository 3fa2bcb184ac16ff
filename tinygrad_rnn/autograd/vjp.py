"""The vector-Jacobian products of one node: what its VJPs are given, and how their results are made to fit.

A VJP may return anything that has a shape and a dtype, can be added, and has `.sum(axes)` and `.reshape(shape)`.
"""

from __future__ import annotations

from typing import Any

from ..arrays.box import Box, boxed


def combined_products(node: Any, on_path: set[Any] | None, g: Any, saved: tuple) -> list[Any]:
    """Return what the one VJP of a node gives for each parent.

    on_path: the parents whose cotangents are asked for; None for all. An array that the VJP returns twice is copied:
    each parent owns its own.
    """
    needs = [parent is not None and (on_path is None or parent in on_path) for parent in node.parents]
    products = list(node.definition.combined(needs, g, *saved))
    seen: set[int] = set()
    for i, product in enumerate(products):
        if needs[i] and product is not None and not isinstance(product, Box):
            products[i] = product.copy() if id(product) in seen else product
            seen.add(id(product))
    return products


def wrapped(node: Any, saved: tuple) -> tuple:
    """Return the saved values as boxes with their places on the tape, so that what a VJP does with them is recorded."""
    sources = [node if k == 0 else node.parents[k - 1] for k in node.definition.saved_positions]
    return tuple(value if source is None else boxed(value, source) for value, source in zip(saved, sources))


def fitted(node: Any, i: int, parent: Any, product: Any) -> Any:
    """Return the product for the i-th argument summed down to the argument's shape, in an array that nobody else holds.

    Raise TypeError for another type or dtype, ValueError for a shape that broadcasting does not explain.
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
