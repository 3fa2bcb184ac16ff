"""Texts: vocabulary, reading, splitting, and the streams of truncated BPTT."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import Chunks, TextError, Vocabulary, default_text, read_text, split


@given(st.text(min_size=2).filter(lambda text: len(set(text)) > 1))
def test_vocabulary_encodes_and_decodes(text):
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64 and ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert Vocabulary(vocabulary.characters) == vocabulary


def test_vocabulary_is_in_the_order_of_code_points():
    vocabulary = Vocabulary.of("hello, wörld")
    assert vocabulary.characters == " ,dehlorwö"
    assert vocabulary.encode("ö ").tolist() == [9, 0]


def test_vocabulary_names_a_missing_character():
    vocabulary = Vocabulary.of("abc")
    with pytest.raises(TextError, match=r"prime: .* got '\\xe9' \(U\+00E9\) at position 2"):
        vocabulary.encode("abéé", "prime")
    with pytest.raises(TextError, match="from 0 to 2, got 3"):
        vocabulary.decode([0, 3])
    with pytest.raises(TextError, match="from 0 to 2, got -1"):
        vocabulary.decode([-1])


@pytest.mark.parametrize("characters", ["", "a", "aa", "abca"])
def test_vocabulary_refuses(characters):
    with pytest.raises(TextError):
        Vocabulary(characters)


def test_default_text_is_real_and_always_the_same():
    text = default_text()
    assert text == default_text()
    assert len(text) > 300_000
    assert '"while" statement' in text


def test_read_text_keeps_everything_but_the_byte_order_mark(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe\r\n\x00\n")
    assert read_text(path) == "Grüße\r\n\x00\n"


def test_read_text_names_the_byte_that_is_not_utf8(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"abc\xff\xfe")
    with pytest.raises(TextError, match="text: expected UTF-8 text, got byte 0xff at position 3"):
        read_text(path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")


def test_split_predicts_every_held_out_id_once():
    training, tail = split(np.arange(100), 0.1)
    assert training.tolist() == list(range(90))
    assert tail.tolist() == list(range(89, 100))  # the ids 90 to 99 are predicted, 90 from 89


@given(st.integers(3, 200), st.floats(0.001, 0.999))
def test_split_leaves_something_on_both_sides(n, fraction):
    training, tail = split(np.arange(n), fraction)
    assert len(training) >= 2 and len(tail) >= 2
    assert len(training) + len(tail) == n + 1


def test_split_refuses():
    with pytest.raises(TextError, match="at least 3 characters, got 2"):
        split(np.arange(2), 0.1)
    for fraction in (0, 1, float("nan"), -0.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            split(np.arange(10), fraction)


def test_chunks_by_hand():
    chunks = Chunks(np.arange(14), batch=2, bptt=4)  # 13 pairs: two streams of 6
    (x0, y0), (x1, y1) = chunks
    assert x0.tolist() == [[0, 6], [1, 7], [2, 8], [3, 9]]
    assert y0.tolist() == [[1, 7], [2, 8], [3, 9], [4, 10]]
    assert x1.tolist() == [[4, 10], [5, 11]] and y1.tolist() == [[5, 11], [6, 12]]
    with pytest.raises(IndexError, match="from 0 to 1, got 2"):
        chunks[2]


@given(st.integers(2, 300), st.integers(1, 12), st.integers(1, 20))
def test_chunks_cover_the_text_in_order(n, batch, bptt):
    ids = np.arange(n)
    chunks = Chunks(ids, batch, bptt)
    assert 1 <= chunks.batch <= batch
    assert len(chunks) == len(list(chunks))
    inputs = np.concatenate([x for x, _ in chunks])
    targets = np.concatenate([y for _, y in chunks])
    assert (targets == inputs + 1).all()
    assert all(len(x) == bptt for x, _ in list(chunks)[:-1])
    flat = inputs.T.reshape(-1)
    assert (flat == ids[: len(flat)]).all()
    assert n - 1 - len(flat) < chunks.batch


def test_chunks_take_fewer_streams_of_a_short_text():
    assert Chunks(np.arange(101), 32, 20).batch == 5
    assert Chunks(np.arange(3), 32, 64).batch == 1
    assert Chunks(np.arange(2), 32, 64)[0][0].tolist() == [[0]]
    with pytest.raises(TextError, match="at least 2 ids, got 1"):
        Chunks(np.arange(1), 1, 1)
    with pytest.raises(ValueError, match="from 1 up, got 0 and 3"):
        Chunks(np.arange(9), 0, 3)
