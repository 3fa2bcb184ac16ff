"""The figures that the examples reach with their defaults: `pytest examples`, some minutes."""

from __future__ import annotations

import adding_problem
import attend
import caption
import own_cell
import pytest
import translate


@pytest.mark.parametrize("image", ["h0", "each", "attend"])
def test_caption(image: str) -> None:
    assert caption.main(["--image", image]) > 0.6


def test_attend() -> None:
    assert attend.main([]) > 0.9
    assert attend.main(["--hard"]) > 0.75


def test_translate() -> None:
    assert translate.main([]) > 20


def test_own_cell_and_adding_problem() -> None:
    assert own_cell.main([]) > 0.95
    assert adding_problem.main([]) < adding_problem.BASELINE / 4
