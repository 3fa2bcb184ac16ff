"""Batches of similar length, and streams of any ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import Chunks, batches
from tinygrad_rnn.nn.utils.rnn import pack_sequence


@given(st.lists(st.integers(0, 30), max_size=100), st.integers(1, 12), st.booleans(), st.integers(1, 4))
def test_every_example_comes_once(lengths, size, shuffle, pool):
    found = batches(lengths, size, shuffle, 1, pool)
    assert sorted(int(i) for batch in found for i in batch) == list(range(len(lengths)))
    assert sorted(map(len, found), reverse=True)[: len(lengths) // size] == [size] * (len(lengths) // size)
    for batch in found:
        assert batch.dtype == np.int64 and (np.diff(np.array(lengths)[batch]) <= 0).all()
    whole = batches(lengths, size, shuffle, 1, pool, drop_last=True)
    assert len(whole) == len(lengths) // size and all(len(batch) == size for batch in whole)


def padding(lengths, found):
    """Return the share of padding in all batches."""
    used = sum(lengths[batch].max() * len(batch) for batch in found)
    return 1 - lengths.sum() / used


def test_little_padding():
    lengths = np.random.default_rng(0).integers(1, 101, 10_000)
    in_pools, one_by_one = batches(lengths, 20, seed=0), batches(lengths, 20, seed=0, pool=1)
    assert padding(lengths, in_pools) < 0.03 and padding(lengths, one_by_one) > 0.4


def test_order():
    lengths = [3, 1, 2, 5, 4, 1]
    tolist = lambda found: [batch.tolist() for batch in found]
    assert tolist(batches(lengths, 2, shuffle=False)) == [[3, 4], [0, 2], [1, 5]]
    assert tolist(batches(lengths, 2, shuffle=False, pool=1)) == [[0, 1], [3, 2], [4, 5]]
    lengths = np.arange(200)
    one, same, other = (tolist(batches(lengths, 7, seed=seed)) for seed in (1, 1, 2))
    assert one == same != other
    first = [batch[0] for batch in batches(lengths, 7, seed=1)]
    assert first != sorted(first) and first != sorted(first, reverse=True)  # batches of all lengths alternate


def test_without_a_seed_the_order_comes_from_the_stream_of_the_package():
    tg.manual_seed(3)
    one, other = (np.concatenate(batches(np.zeros(50, int), 5)).tolist() for _ in range(2))
    tg.manual_seed(3)
    assert np.concatenate(batches(np.zeros(50, int), 5)).tolist() == one != other
    before = tg.get_rng_state()
    batches([1, 2], 1, shuffle=False)
    assert tg.get_rng_state() == before


def test_examples_in_place_of_lengths():
    examples = [tg.ones(n, 2) for n in (3, 1, 4, 2)]
    lengths = [3, 1, 4, 2]
    for same in (examples, lengths, tg.tensor(lengths), (e.numpy() for e in examples), ["abc", "d", "efgh", "ij"]):
        assert [batch.tolist() for batch in batches(same, 2, shuffle=False)] == [[2, 0], [3, 1]]
    for batch in batches(examples, 2, seed=0):
        pack_sequence([examples[i] for i in batch])  # sorted as enforce_sorted=True asks
    assert batches([], 3) == [] and len(batches(np.ones((5, 3)), 5)) == 1


def test_refuses():
    cases = [
        (ValueError, "batch_size: expected a whole number from 1 up, got 0", lambda: batches([1], 0)),
        (TypeError, "batch_size: expected a whole number from 1 up, got 1.5", lambda: batches([1], 1.5)),
        (ValueError, "pool: expected a whole number from 1 up, got 0", lambda: batches([1], 1, pool=0)),
        (ValueError, "lengths: expected whole numbers from 0 up, or examples, got -1", lambda: batches([2, -1], 1)),
        (ValueError, "lengths: expected whole numbers .* got float", lambda: batches([0.5], 1)),
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=f"batches: {words}"):
            call()


def test_chunks_of_any_ids():
    """Lists, tensors and arrays of every integer dtype."""
    ids = [5, 70_000, 2, 9, 4]
    for same in (ids, tg.tensor(ids), np.array(ids, np.uint32)):
        ((x, y),) = Chunks(same, 2, 2)
        assert x.tolist() == [[5, 2], [70_000, 9]] and y.tolist() == [[70_000, 9], [2, 4]]
        assert x.dtype == y.dtype == np.int64
    for wrong in ([0.5, 1.5, 2.5], [[1, 2], [3, 4]], np.ones(3)):
        with pytest.raises(TypeError, match="Chunks: ids: expected a row of whole numbers, got"):
            Chunks(wrong, 1, 1)
