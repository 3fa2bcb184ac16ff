"""einsum: values, gradients and second derivatives of all kinds of contractions, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import assert_equal, derived
from helpers import leaf, normal, on_tape, same_as_torch

import tinygrad_rnn as tg

CASES: list[tuple[Any, ...]] = [
    ("ij,jk->ik", (3, 4), (4, 2)),
    ("ij,jk", (3, 4), (4, 2)),
    ("ij,kj->ki", (3, 4), (2, 4)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij, bkj -> bik", (2, 3, 4), (2, 5, 4)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bqhd,bkhd->bhqk", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("i,i->", (5,), (5,)),
    ("i,i->i", (5,), (5,)),
    ("i,j->ij", (5,), (3,)),
    ("i,j->ji", (5,), (3,)),
    ("ij,ij->", (3, 4), (3, 4)),
    ("ij,j->i", (3, 4), (4,)),
    ("ij->ji", (3, 4)),
    ("ba", (3, 4)),
    ("ij->", (3, 4)),
    ("ij->j", (3, 4)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iji->j", (3, 4, 3)),
    ("iii->i", (3, 3, 3)),
    ("iijj->ij", (2, 2, 3, 3)),
    ("ii,ij->j", (3, 3), (3, 4)),
    ("ijk,k->ij", (2, 3, 4), (4,)),
    ("ijk,il->jl", (2, 3, 4), (2, 5)),  # k is summed away
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ab,cd,bc->ad", (2, 3), (4, 2), (3, 4)),
    ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)),
    ("i,i,i->", (4,), (4,), (4,)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("...ij,...jk", (2, 3, 4), (4, 2)),
    ("i...,i...->...", (3, 2, 4), (3, 4)),
    ("...i->i", (2, 3, 4)),  # the ellipsis is summed away
    ("...->...", (2, 3)),
    ("i...j->j...i", (2, 3, 4, 5)),
    ("...,...", (2, 3), (3,)),
    ("ij,jk->ik", (3, 1), (4, 2)),  # sizes of 1 broadcast
    ("ij,ij->ij", (3, 1), (1, 4)),
    ("i,i->", (1,), (4,)),
    ("ij->ij", (1, 1)),
    ("ij,jk->ik", (3, 0), (0, 2)),
    ("ij,jk->ik", (0, 3), (3, 2)),
    ("ii->i", (0, 0)),
    ("i,j->ij", (0,), (3,)),
    ("->", ()),
    (",->", (), ()),
    (",i->i", (), (3,)),
    ("aA,Ab->ba", (2, 3), (3, 4)),
    ("bA,Aa", (2, 3), (3, 4)),
    ("ij,jk->ik", (17, 100), (100, 3)),
]
NAMES = [f"{equation} {shapes}" for equation, *shapes in CASES]


def arrays(shapes: Any) -> list[np.ndarray]:
    return [normal(*s, seed=i) for i, s in enumerate(shapes)]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_like_torch(case: Any) -> None:
    torch = pytest.importorskip("torch")
    equation, *shapes = case
    for dtype in ("float32", "float64"):
        same_as_torch(
            lambda *xs: tg.einsum(equation, *xs), lambda *xs: torch.einsum(equation, *xs), arrays(shapes), dtype
        )


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_derivatives(case: Any) -> None:
    equation, *shapes = case
    if max(max(s, default=1) for s in shapes) > 20:
        return
    xs = [leaf(a) for a in arrays(shapes)]
    f = lambda *xs: tg.einsum(equation, *xs)
    assert tg.gradcheck(f, xs) and tg.gradgradcheck(f, xs)


@pytest.mark.parametrize("case", [case for case in CASES if "..." not in case[0]], ids=str)
def test_like_numpy(case: Any) -> None:
    equation, *shapes = case
    given = arrays(shapes)
    np.testing.assert_allclose(tg.einsum(equation, *given), np.einsum(equation, *given), 1e-11, 1e-11)


def test_other_forms_of_the_arguments() -> None:
    x, y = tg.tensor(normal(3, 4)), tg.tensor(normal(4, 2))
    wanted = (x @ y).tolist()
    assert tg.einsum("ij,jk->ik", [x, y]).tolist() == wanted
    assert tg.einsum(x, [0, 1], y, [1, 2], [0, 2]).tolist() == wanted
    assert tg.einsum(x, [0, 1], y, [1, 2]).tolist() == wanted
    assert tg.einsum(x, [..., 1], y, [1, 2], [..., 2]).tolist() == wanted
    assert tg.einsum(x, (7, 3)).tolist() == x.T.tolist()


def test_integers() -> None:
    x, y = np.arange(6).reshape(2, 3), np.arange(3)
    assert tg.einsum("ij,j->i", tg.tensor(x), tg.tensor(y)).tolist() == (x @ y).tolist()
    assert tg.einsum("ij->j", tg.tensor(x, dtype="int32")).dtype == np.int64


def test_a_plain_product_is_one_node() -> None:
    for equation, shapes in (("ij,jk->ik", [(3, 4), (4, 2)]), ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)])):
        out = tg.einsum(equation, *map(leaf, arrays(shapes)))
        assert sorted(node.name for node in on_tape(out)) == ["leaf", "leaf", "matmul"]


def test_on_a_gpu(cupy: Any) -> None:
    def run(device: str) -> Any:
        xs = [tg.tensor(normal(*s), requires_grad=True, device=device) for s in ((2, 3, 3), (3, 1, 4), (4, 2))]
        return derived([tg.einsum("bii,i...j,jk->b...k", *xs), tg.einsum("b...,b...->...", xs[0], xs[0])], xs)

    assert_equal(run)


def test_errors() -> None:
    x, y = tg.randn(3, 4), tg.randn(4, 2)
    for equation, words in {
        "ij,jk->ik->i": "at most one '->'",
        "i1,1k": r"expected letters, and '\.\.\.' at most once in each term, got 'i1'",
        "i..j,jk": r"expected letters, and '\.\.\.' at most once in each term, got 'i..j'",
        "......,jk": "at most once",
        "ij": "expected an operand for each of 1 terms, got 2",
        "ij,jkl": r"operands\[1\]: expected 3 dimensions as it has labels, got shape \(4, 2\)",
        "ij,k": r"operands\[1\]: expected 1 dimensions",
        "ij,ik": r"operands\[1\]: expected size 3 or 1 for 'i', got 4",
        "ij,jk->il": "the result: expected labels that the operands have, each at most once, got 'l'",
        "ij,jk->ii": "the result: expected labels that the operands have, each at most once, got 'i'",
        "...,...": r"operands\[1\]: expected size 3 or 1 for '\.\.\.', got 4",
    }.items():
        with pytest.raises(ValueError, match=f"einsum: .*{words}"):
            tg.einsum(equation, x, y)
    with pytest.raises(ValueError, match=r"operands\[0\]: expected one size for 'i', got 3 and 4"):
        tg.einsum("ii", x)
    with pytest.raises(ValueError, match="einsum: expected an operand for each of 1 terms, got 0"):
        tg.einsum("")
    with pytest.raises(TypeError, match=r"einsum: operands\[1\]: expected numbers, got bool"):
        tg.einsum("ij,jk", x, y > 0)
    with pytest.raises(TypeError, match="expected arguments of one dtype"):
        tg.einsum("ij,jk", x, y.double())
    with pytest.raises(TypeError, match="einsum: expected an equation, or a list of labels after each operand"):
        tg.einsum(x, y)
    with pytest.raises(TypeError, match=r"einsum: label: expected a whole number, got 'i'"):
        tg.einsum(x, ["i", "j"])
    with pytest.raises(ValueError, match=r"at most once in the labels of an operand"):
        tg.einsum(x, [..., 0, ...])
