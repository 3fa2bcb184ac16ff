"""The best path of connectionist temporal classification."""

import itertools

import numpy as np
import pytest
from helpers import normal

import tinygrad_rnn as tg
from tinygrad_rnn.decode import ctc_greedy_decode


def emitting(path, classes=4):
    """Return log-probabilities [T, C] with this best path."""
    return 5.0 * np.eye(classes)[np.asarray(path, int)] - 5.0


@pytest.mark.parametrize(
    ("path", "blank", "labels"),
    [
        ([0, 0, 0], 0, []),
        ([1, 1, 0, 1, 2, 2], 0, [1, 1, 2]),
        ([1, 2, 1, 3, 3], 0, [1, 2, 1, 3]),
        ([0, 0, 3, 0, 3], 3, [0, 0]),
        ([2], 2, []),
        ([], 0, []),
    ],
)
def test_repeated_classes_are_merged_and_blanks_dropped(path, blank, labels):
    assert ctc_greedy_decode(emitting(path), blank=blank) == [labels]
    assert ctc_greedy_decode(tg.tensor(emitting(path))[:, None], blank=blank) == [labels]


@pytest.mark.parametrize(("T", "N", "C"), [(1, 1, 1), (3, 17, 2), (17, 3, 5), (100, 1, 3), (0, 3, 2), (4, 0, 2)])
def test_each_sequence_as_if_alone(T, N, C):
    x = normal(T, N, C)
    lengths = np.random.default_rng(0).integers(0, T + 1, N)
    x[np.arange(T)[:, None] >= lengths] = np.nan  # padding may hold anything
    wanted = [
        [c for c, _ in itertools.groupby(x[:n, i].argmax(1).tolist() if n else []) if c != C - 1]
        for i, n in enumerate(lengths)
    ]
    assert ctc_greedy_decode(x, lengths, C - 1) == wanted
    assert ctc_greedy_decode(tg.tensor(x, requires_grad=True), tg.tensor(lengths), blank=C - 1) == wanted


def test_on_a_gpu(cupy):
    x, lengths = normal(7, 3, 4), [7, 0, 3]
    on_gpu = ctc_greedy_decode(tg.tensor(x, device="cuda"), tg.tensor(lengths, device="cuda"))
    assert on_gpu == ctc_greedy_decode(x, lengths)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([np.zeros(3, "f")], ValueError, r"ctc_greedy_decode: log_probs: expected shape \[T, N, C\], .*, got \(3,\)"),
        ([np.zeros((3, 2), int)], TypeError, "log_probs: expected float32 or float64, got int64"),
        ([np.full((3, 2, 2), np.nan), [0, 1]], ValueError, "expected numbers, got NaN in step 0 of sequence 1"),
        ([np.zeros((3, 2, 2)), [3, 4]], ValueError, "input_lengths: expected whole numbers from 0 to 3, got 4"),
        ([np.zeros((3, 2, 2)), [3]], ValueError, "ctc_greedy_decode: input_lengths: expected 2 whole numbers"),
        ([np.zeros((3, 2, 2)), None, 2], ValueError, "ctc_greedy_decode: blank: expected a class from 0 to 1, got 2"),
    ],
)
def test_errors(given, error, message):
    with pytest.raises(error, match=message):
        ctc_greedy_decode(*given)
