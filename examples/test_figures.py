"""The figures that the examples reach with their defaults: `pytest examples`, some minutes."""

from __future__ import annotations

import adding_problem
import attend
import caption
import handwriting
import hello
import min_char_rnn
import own_cell
import pixels
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


def test_hello_and_min_char_rnn() -> None:
    assert hello.main([]) < 0.05
    assert min_char_rnn.main([]) < 60


def test_handwriting() -> None:
    assert handwriting.main([]) > 0.6


def test_pixels() -> None:
    assert pixels.main([]) > 3


def test_own_cell_and_adding_problem() -> None:
    assert own_cell.main([]) > 0.95
    assert adding_problem.main([]) < adding_problem.BASELINE / 4
