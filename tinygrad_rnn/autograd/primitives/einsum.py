"""Einstein summation, made of other primitives, so that it has derivatives of every order.

Each operand has one label for each dimension, a letter or a number. Labels that come twice in an operand are made one
(the diagonal), and labels that neither another operand nor the result has are summed. Then the operands are multiplied
from left to right, in pairs: a batched matrix product where labels are summed, an elementwise product where none is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from ...arrays.coercion import operand
from .elementwise import mul
from .index import getitem
from .products import matmul
from .reduce import sum
from .shape import permute, reshape
from .static import as_int

Labels = list[Any]  # of the dimensions that an ellipsis stands for: (..., i), with i = -1 for the last of them


def einsum(equation: Any, *operands: Any) -> Any:
    """Return the sums of products of the operands' elements that an equation names, as "ij,jk->ik" the matrix product.

    equation: the labels of each operand, then those of the result; a label that the result lacks is summed over. A
    label may come several times in one operand: "ii->i" is the diagonal. "..." stands for all further dimensions, which
    broadcast from the last; if the result lacks it, they are summed. Without "->" the result has "...", then the
    labels that come once, in alphabetical order. Dimensions of size 1 broadcast. operands: tensors of one dtype, also
    as one list. The other form is einsum(x, [0, 1], y, [1, 2], [0, 2]), with numbers as labels.

    Raise ValueError for an equation or sizes that do not fit, TypeError for booleans or different dtypes.
    """
    terms, result, given = _by_text(equation, operands) if isinstance(equation, str) else _by_lists(equation, *operands)
    xs = [operand(f"einsum: operands[{i}]", x) for i, x in enumerate(given)]
    if len(xs) != len(terms) or not xs:
        raise ValueError(f"einsum: expected an operand for each of {len(terms)} terms, got {len(xs)}")
    labels = [_spread(i, term, x) for i, (term, x) in enumerate(zip(terms, xs))]
    asked = _result_labels(labels, result)
    xs, labels = _without_repeats(xs, labels)
    sizes = _sizes(labels, xs)
    xs, labels = _without_broadcast(xs, labels, sizes)
    out, have = xs[0], labels[0]
    for i in range(1, len(xs)):
        later = set(asked).union(*labels[i + 1 :])
        out, have = _product(out, have, xs[i], labels[i], later)
    out, have = _summed(out, have, asked)
    return _arranged(out, have, asked)


# The equation


def _by_text(equation: str, operands: Sequence[Any]) -> tuple[list[Labels], Labels | None, Sequence[Any]]:
    """Return the labels of each operand and of the result (None if it is not given), and the operands."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = operands[0]
    inputs, *results = equation.replace(" ", "").split("->")
    if len(results) > 1:
        raise ValueError(f"einsum: equation: expected at most one '->', got {equation!r}")
    terms = [_letters(equation, term) for term in inputs.split(",")]
    return terms, _letters(equation, results[0]) if results else None, operands


def _letters(equation: str, term: str) -> Labels:
    before, dots, after = term.partition("...")
    if not all(c.isascii() and c.isalpha() for c in before + after):
        raise ValueError(
            f"einsum: equation: expected letters, and '...' at most once in each term, got {term!r} in {equation!r}"
        )
    return [*before, *([...] if dots else []), *after]


def _by_lists(*arguments: Any) -> tuple[list[Labels], Labels | None, Sequence[Any]]:
    """Do as `_by_text` for x, [0, 1], y, [1, 2], with or without the labels of the result at the end."""
    *pairs, result = [*arguments, None] if len(arguments) % 2 == 0 else arguments
    terms = [_numbers(term) for term in pairs[1::2]]
    return terms, None if result is None else _numbers(result), pairs[::2]


def _numbers(term: Any) -> Labels:
    if not isinstance(term, (list, tuple)):
        raise TypeError(f"einsum: expected an equation, or a list of labels after each operand, got {term!r}")
    found = [label if label is ... else as_int("einsum: label", label) for label in term]
    if found.count(...) > 1:
        raise ValueError(f"einsum: expected '...' at most once in the labels of an operand, got {term!r}")
    return found


def _spread(i: int, term: Labels, x: Any) -> Labels:
    """Return one label for each dimension of an operand: an ellipsis becomes as many as it stands for."""
    further = len(x.shape) - (len(term) - (... in term))
    if further < 0 or further and ... not in term:
        named = len(term) - (... in term)
        raise ValueError(f"einsum: operands[{i}]: expected {named} dimensions as it has labels, got shape {x.shape}")
    if x.dtype == np.bool_:
        raise TypeError(f"einsum: operands[{i}]: expected numbers, got {x.dtype}")
    return _with_dimensions(term, further)


def _with_dimensions(term: Labels, count: int) -> Labels:
    """Return labels with an ellipsis replaced by the labels of `count` dimensions."""
    return [found for label in term for found in ([(..., k) for k in range(-count, 0)] if label is ... else [label])]


def _result_labels(labels: list[Labels], result: Labels | None) -> Labels:
    every = [label for term in labels for label in term]
    dotted = len({label for label in every if isinstance(label, tuple)})
    if result is None:
        once = [label for label in every if not isinstance(label, tuple) and every.count(label) == 1]
        return _with_dimensions([..., *sorted(once)], dotted)
    for label in result:
        if label is not ... and (label not in every or result.count(label) > 1):
            expected = "labels that the operands have, each at most once"
            raise ValueError(f"einsum: the result: expected {expected}, got {label!r} in {result}")
    return _with_dimensions(result, dotted)


# One operand


def _without_repeats(xs: list[Any], labels: list[Labels]) -> tuple[list[Any], list[Labels]]:
    """Return operands in which no label comes twice."""
    pairs = [_diagonal(i, x, term) for i, (x, term) in enumerate(zip(xs, labels))]
    return [x for x, _ in pairs], [term for _, term in pairs]


def _diagonal(i: int, x: Any, term: Labels) -> tuple[Any, Labels]:
    twice = next((label for label in term if term.count(label) > 1), None)
    if twice is None:
        return x, term
    first = term.index(twice)
    second = term.index(twice, first + 1)
    n, rest = x.shape[first], [k for k in range(len(term)) if k not in (first, second)]
    if x.shape[second] != n:
        raise ValueError(f"einsum: operands[{i}]: expected one size for {twice!r}, got {n} and {x.shape[second]}")
    x = permute(x, (first, second, *rest))
    x = getitem(reshape(x, (n * n, *x.shape[2:])), slice(None, None, n + 1))
    return _diagonal(i, x, [twice, *(term[k] for k in rest)])


def _sizes(labels: list[Labels], xs: list[Any]) -> dict[Any, int]:
    """Return the size of each label: the one that is not 1, if there is one."""
    sizes: dict[Any, int] = {}
    for i, (term, x) in enumerate(zip(labels, xs)):
        for label, n in zip(term, x.shape):
            if sizes.setdefault(label, n) == 1:
                sizes[label] = n
            elif n not in (1, sizes[label]):
                what = "'...'" if isinstance(label, tuple) else repr(label)
                raise ValueError(f"einsum: operands[{i}]: expected size {sizes[label]} or 1 for {what}, got {n}")
    return sizes


def _without_broadcast(xs: list[Any], labels: list[Labels], sizes: dict[Any, int]) -> tuple[list[Any], list[Labels]]:
    """Return operands without the dimensions of size 1 that broadcast: then each label has one size."""
    drop = [[n == 1 != sizes[label] for label, n in zip(term, x.shape)] for term, x in zip(labels, xs)]
    kept = [[label for label, out in zip(term, gone) if not out] for term, gone in zip(labels, drop)]
    shapes = [tuple(n for n, out in zip(x.shape, gone) if not out) for x, gone in zip(xs, drop)]
    return [_shaped(x, shape) for x, shape in zip(xs, shapes)], kept


def _summed(x: Any, term: Labels, needed: Collection[Any]) -> tuple[Any, Labels]:
    """Return an operand summed over all labels but those that are needed."""
    over = tuple(k for k, label in enumerate(term) if label not in needed)
    return sum(x, over) if over else x, [label for label in term if label in needed]


def _arranged(x: Any, term: Labels, order: Labels) -> Any:
    """Return an operand with its dimensions in the order of these labels."""
    return x if term == order else permute(x, tuple(map(term.index, order)))


def _shaped(x: Any, shape: Iterable[int]) -> Any:
    shape = tuple(shape)
    return x if x.shape == shape else reshape(x, shape)


# Two operands


def _product(x: Any, own: Labels, y: Any, other: Labels, needed: set[Any]) -> tuple[Any, Labels]:
    """Return the product of two operands, summed over the labels that both have and that are not needed any more."""
    x, own = _summed(x, own, needed.union(other))
    y, other = _summed(y, other, needed.union(own))
    size = dict(zip([*own, *other], [*x.shape, *y.shape]))
    over = [label for label in own if label in other and label not in needed]
    batch = [label for label in own if label in other and label in needed]
    left = [label for label in own if label not in other]
    right = [label for label in other if label not in own]

    def sizes(labels: Labels) -> list[int]:
        return [size[label] for label in labels]

    x, y = _arranged(x, own, [*batch, *left, *over]), _arranged(y, other, [*batch, *over, *right])
    if over:
        x = _shaped(x, [*sizes(batch), math.prod(sizes(left)), math.prod(sizes(over))])
        y = _shaped(y, [*sizes(batch), math.prod(sizes(over)), math.prod(sizes(right))])
        out = _shaped(matmul(x, y), sizes([*batch, *left, *right]))
    else:
        x = _shaped(x, [*sizes(batch), *sizes(left), *(1 for _ in right)])
        out = mul(x, _shaped(y, [*sizes(batch), *(1 for _ in left), *sizes(right)]))
    return out, [*batch, *left, *right]
