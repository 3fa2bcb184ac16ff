"""Vocabularies of words and other tokens; those of characters stand in test_data.py."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.data import TextError, Vocabulary

SENTENCES = [["the", "cat", "saw", "the", "dog"], ["the", "dog", "ran"], ["a"]]


def test_build_orders_by_count_then_by_first_appearance():
    vocabulary = Vocabulary.build(SENTENCES, specials=("<pad>", "<s>"), unknown="<unk>")
    assert list(vocabulary) == ["<pad>", "<s>", "<unk>", "the", "dog", "cat", "saw", "ran", "a"]
    assert vocabulary.specials == ("<pad>", "<s>", "<unk>") and len(vocabulary) == 9
    assert vocabulary["<pad>"] == 0 and vocabulary["dog"] == 4 and vocabulary["bird"] == vocabulary["<unk>"] == 2
    assert "cat" in vocabulary and "bird" not in vocabulary and vocabulary.dtype == np.uint8


def test_build_limits():
    assert list(Vocabulary.build(SENTENCES, min_count=2)) == ["the", "dog"]
    assert list(Vocabulary.build(SENTENCES, max_size=3)) == ["the", "dog", "cat"]
    found = Vocabulary.build(SENTENCES, 2, 3, ("<pad>",), "<unk>")
    assert list(found) == ["<pad>", "<unk>", "the"]
    assert list(Vocabulary.build(SENTENCES, max_size=2, specials=("<pad>",), unknown="<unk>")) == ["<pad>", "<unk>"]
    assert list(Vocabulary.build(SENTENCES, 99, specials=["<unk>", "the"], unknown="<unk>")) == ["<unk>", "the"]


def test_encode_and_decode_words():
    vocabulary = Vocabulary.build(SENTENCES, specials=("<pad>",), unknown="<unk>")
    ids = vocabulary.encode(["the", "bird", "saw", "a", "cat"])
    assert ids.dtype == np.int64 and ids.tolist() == [2, 1, 5, 7, 4]
    for given in (ids, tg.tensor(ids), ids.tolist(), iter(ids.tolist())):
        assert vocabulary.decode(given) == ["the", "<unk>", "saw", "a", "cat"]
    assert vocabulary.encode(iter(["dog"]), dtype=np.uint8).tolist() == [3]
    assert vocabulary.encode([]).tolist() == [] and vocabulary.decode([]) == []
    assert vocabulary.encode(np.array(["dog", "the"])).tolist() == [3, 2]


def test_an_unknown_token_is_named():
    vocabulary = Vocabulary.build(SENTENCES)
    with pytest.raises(TextError, match=r"line 7: expected tokens of the vocabulary \(6 .*got 'bird' at position 1"):
        vocabulary.encode(["the", "bird", "bird"], "line 7")
    with pytest.raises(KeyError, match="got 'bird'"):
        vocabulary["bird"]
    with pytest.raises(KeyError):
        Vocabulary([None, 1])[2]
    with pytest.raises(TextError, match="from 0 to 5, got 6"):
        vocabulary.decode([0, 6])
    for wrong in ([0.5], [[1]], 3, ["the"]):
        with pytest.raises(TextError, match="ids: expected whole numbers from 0 to 5"):
            vocabulary.decode(wrong)


def test_tokens_of_any_kind():
    notes = [(60, 0.5), (64, 1.0), None, 7]
    vocabulary = Vocabulary(notes)
    assert vocabulary.decode(vocabulary.encode(notes[::-1])) == notes[::-1]
    with pytest.raises(TypeError, match="unhashable"):
        vocabulary.encode([[60]])


def test_equal_and_made_again():
    for vocabulary in (Vocabulary.build(SENTENCES, specials=("<s>",), unknown="<unk>"), Vocabulary([3, 1, 2])):
        assert Vocabulary(vocabulary.tokens, vocabulary.specials, vocabulary.unknown) == vocabulary
        assert Vocabulary(vocabulary.tokens[::-1]) != vocabulary
    assert Vocabulary("abc") == Vocabulary.of("cab") != Vocabulary(["a", "b", "c"])
    assert repr(Vocabulary("ab")) == "Vocabulary(2 characters, specials=(), unknown=None)"


def test_characters_with_specials():
    vocabulary = Vocabulary.of("hello", ("<pad>",), "?")
    assert vocabulary.tokens == ("<pad>", "?", "e", "h", "l", "o")
    assert vocabulary.decode(vocabulary.encode("hollow")) == "hollo?"
    assert vocabulary.encode(["<pad>", "h"]).tolist() == [0, 3]


def test_a_text_is_no_sequence_of_words():
    with pytest.raises(TypeError, match="prime: expected a sequence of tokens, got the str 'the cat': split it first"):
        Vocabulary.build(SENTENCES, unknown="<unk>").encode("the cat", "prime")
    for wrong in ("the cat", ["the", "cat"]):
        with pytest.raises(TypeError, match="sequences: expected sequences of tokens, got the str"):
            Vocabulary.build(wrong)
    with pytest.raises(TypeError, match="specials: expected a list of tokens, got the str '<pad>'"):
        Vocabulary(["a"], "<pad>")
    with pytest.raises(TypeError, match="specials: expected a list"):
        Vocabulary.build(SENTENCES, specials="<pad>")


def test_refuses():
    with pytest.raises(TextError, match="every token once"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(TextError, match="at least 2 different tokens, got 1"):
        Vocabulary.build([["a", "a"]])
    with pytest.raises(ValueError, match="min_count: expected a number from 1 up, got 0"):
        Vocabulary.build(SENTENCES, 0)
    with pytest.raises(ValueError, match="max_size: expected room for 2 specials, got 1"):
        Vocabulary.build(SENTENCES, max_size=1, specials=("<pad>",), unknown="<unk>")
