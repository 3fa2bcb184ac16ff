"""The choice of ids from logits: temperature, the k most likely, the nucleus."""

import numpy as np
import pytest
from helpers import normal

from tinygrad_rnn.decode.choice import choose, largest

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.3, 0.15])
LOGITS = np.log(PROBABILITIES).astype(np.float32)


def shares(logits=LOGITS, temperature=1.0, draws=20_000, **limits):
    """Return the share of each id in many draws at once."""
    drawn = choose(np.tile(logits, (draws, 1)), temperature, np.random.default_rng(1), **limits)
    return np.bincount(drawn, minlength=len(logits)) / draws


def close(found, weights):
    assert (found[np.array(weights) == 0] == 0).all()
    assert found == pytest.approx(np.array(weights) / np.sum(weights), abs=0.015)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature(temperature):
    close(shares(temperature=temperature), PROBABILITIES ** (1 / temperature))


def test_top_k():
    close(shares(top_k=2), [0, 0.4, 0, 0.3, 0])
    close(shares(top_k=1), [0, 1, 0, 0, 0])
    close(shares(top_k=5), PROBABILITIES)
    close(shares(top_k=99), PROBABILITIES)


def test_top_p():
    close(shares(top_p=0.3), [0, 1, 0, 0, 0])  # 0.4 alone has at least 0.3
    close(shares(top_p=0.41), [0, 0.4, 0, 0.3, 0])
    close(shares(top_p=0.8), [0, 0.4, 0, 0.3, 0.15])
    close(shares(top_p=1.0), PROBABILITIES)
    close(shares(top_p=1e-300), [0, 1, 0, 0, 0])


def test_the_nucleus_is_the_smallest_set():
    quarters = np.zeros(4)
    close(shares(quarters, top_p=0.5), [1, 1, 0, 0])  # of equal ids the first; a sum of exactly p is enough
    close(shares(quarters, top_p=0.51), [1, 1, 1, 0])
    close(shares(quarters, top_k=3), [1, 1, 1, 0])


def test_the_limits_come_after_each_other():
    """Temperature, then k, then the nucleus of those."""
    close(shares(top_k=2, top_p=0.55), [0, 1, 0, 0, 0])  # 0.4 of 0.7 is 0.57
    close(shares(top_k=2, top_p=0.6), [0, 0.4, 0, 0.3, 0])
    close(shares(temperature=0.5, top_p=0.5), [0, 1, 0, 0, 0])  # 0.16 of 0.285 is 0.56


def test_rows_equal_single_choices():
    logits = normal(17, 100)
    for limits in ({}, {"top_k": 3}, {"top_p": 0.5}, {"top_k": 20, "top_p": 0.9}):
        rows = choose(logits, 0.7, np.random.default_rng(3), **limits)
        generator = np.random.default_rng(3)
        assert rows.tolist() == [choose(row, 0.7, generator, **limits) for row in logits]
        assert rows.dtype == np.int64
    assert choose(logits, 0, np.random.default_rng(3)).tolist() == logits.argmax(1).tolist()


class Last:
    """A generator of the largest number below 1."""

    def random(self, shape):
        return np.full(shape, np.nextafter(1, 0))


def test_an_id_without_weight_is_never_chosen():
    assert choose(np.array([0.0, 0.0, -np.inf]), 1.0, Last()) == 1
    assert choose(np.array([0.0, 0.0, -1e5]), 1.0, Last()) == 1
    assert choose(np.zeros(100), 1.0, Last(), top_k=7) == 6
    assert choose(np.full(3, 1e38, "f"), 1e-300, Last()) == 2
    assert choose(np.zeros(1), 1.0, Last()) == 0


@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_largest_equals_a_stable_sort(k):
    rng = np.random.default_rng(0)
    for values in (rng.standard_normal((7, 12)), rng.integers(0, 3, (50, 12)).astype(float)):
        values[2, 3:9] = -np.inf
        values[3] = -np.inf
        assert largest(values, k).tolist() == np.argsort(-values, 1, kind="stable")[:, :k].tolist()
