"""multinomial: frequencies, repeatability, zero weights, extreme weights, and errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

WEIGHTS = np.array([0.0, 3.0, 1.0, 0.0, 4.0, 2.0])


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtypes(replacement: bool, dtype: str) -> None:
    for shape in ((6,), (1, 6), (3, 6), (0, 6)):
        x = tg.tensor(np.broadcast_to(WEIGHTS, shape).astype(dtype), requires_grad=True)
        found = tg.multinomial(x, 4, replacement)
        assert found.shape == (*shape[:-1], 4) and found.dtype == np.int64 and not found.requires_grad
        assert (WEIGHTS[found.numpy()] > 0).all()


@pytest.mark.parametrize("replacement", [False, True])
def test_frequencies(replacement: bool) -> None:
    """The first draw of each row follows the weights; the second does too, without the first if it is not replaced."""
    tg.manual_seed(0)
    n = 40_000
    drawn = tg.multinomial(tg.tensor(np.tile(WEIGHTS * 7, (n, 1))), 2, replacement).numpy()
    p = WEIGHTS / WEIGHTS.sum()
    for i, j in itertools.product(range(6), range(6)):
        q = p[j] if replacement else 0.0 if i == j else p[j] / (1 - p[i])
        wanted, found = p[i] * q, np.mean((drawn == [i, j]).all(1))
        assert abs(found - wanted) <= 5 * (wanted * (1 - wanted) / n) ** 0.5, (i, j, found, wanted)


def test_without_replacement_no_category_comes_twice() -> None:
    tg.manual_seed(1)
    drawn = tg.tensor(np.tile(WEIGHTS, (50, 1))).multinomial(4)
    assert (np.sort(drawn.numpy(), 1) == [1, 2, 4, 5]).all()


@pytest.mark.parametrize("replacement", [False, True])
def test_a_seed_repeats_the_draws(replacement: bool, cupy: Any) -> None:
    found = []
    for device in ("cpu", "cpu", "cuda"):
        tg.manual_seed(3)
        drawn = tg.tensor([WEIGHTS, WEIGHTS[::-1]], device=device).multinomial(3, replacement)
        assert drawn.device.startswith(device)
        found.append(drawn.tolist())
    assert found[0] == found[1] == found[2] != tg.tensor([WEIGHTS] * 2).multinomial(3, replacement).tolist()


@pytest.mark.parametrize("replacement", [False, True])
def test_extreme_weights(replacement: bool) -> None:
    tiny, huge = 5e-324, np.finfo(float).max
    x = tg.tensor([[0.0, tiny, 0.0, 0.0], [0.0, 0.0, huge, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype="float64")
    for _ in range(20):
        assert x.multinomial(1, replacement).tolist() == [[1], [2], [3]]
    assert sorted(tg.tensor([0.0, tiny, huge], dtype="float64").multinomial(2).tolist()) == [1, 2]
    assert set(tg.tensor([huge, huge], dtype="float64").multinomial(50, True).tolist()) == {0, 1}


def test_a_part_rounded_up_to_the_total_stays_in_the_last_category(monkeypatch: pytest.MonkeyPatch) -> None:
    class Highest:
        random = staticmethod(lambda shape: np.full(shape, np.nextafter(1.0, 2.0)))

    monkeypatch.setattr("tinygrad_rnn.autograd.primitives.sampling.generator", Highest)
    assert tg.tensor([0.1, 0.7, 0.0]).multinomial(3, True).tolist() == [1, 1, 1]


def test_errors() -> None:
    x = tg.tensor(WEIGHTS)
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="multinomial: input: expected finite weights from 0 up, got"):
            tg.multinomial(tg.tensor([1.0, wrong]), 1)
    with pytest.raises(ValueError, match="expected a weight above 0 in each row, got none in row 1"):
        tg.multinomial([[1.0, 0.0], [0.0, 0.0]], 1, True)
    with pytest.raises(ValueError, match="expected a weight above 0 in each row"):
        tg.multinomial(tg.zeros(0), 1)
    with pytest.raises(ValueError, match="num_samples: expected at most 4, the number of weights above 0 in row 0"):
        x.multinomial(5)
    with pytest.raises(ValueError, match="num_samples: expected a whole number from 1 up, got 0"):
        x.multinomial(0)
    with pytest.raises(TypeError, match=r"num_samples: expected a whole number, got 1\.0"):
        x.multinomial(1.0)
    with pytest.raises(TypeError, match="replacement: expected True or False, got 1"):
        x.multinomial(1, 1)
    with pytest.raises(TypeError, match="input: expected a floating dtype, got int64"):
        tg.arange(3).multinomial(1)
    with pytest.raises(ValueError, match=r"input: expected shape \[V\] or \[N, V\], got \(1, 1, 6\)"):
        x.reshape(1, 1, 6).multinomial(1)
