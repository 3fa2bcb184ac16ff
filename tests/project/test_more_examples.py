"""The other examples run, learn a little and print their results."""

from __future__ import annotations

import sys

import pytest


def test_hello(example, capsys):
    assert example("hello").main([]) < 0.05
    assert "argmax writes hello" in capsys.readouterr().out


def test_min_char_rnn(example, capsys, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question. " * 40)
    assert example("min_char_rnn").main(["--text", str(text), "--steps", "600", "--hidden", "16"]) < 60
    assert "smoothed loss of 25 characters" in capsys.readouterr().out.splitlines()[-1]


def test_handwriting(example, capsys):
    pytest.importorskip("sklearn")
    assert 0 <= example("handwriting").main(["--steps", "5", "--hidden", "8"]) <= 1
    assert "lines of 4.5 digits read without an error" in capsys.readouterr().out.splitlines()[-1]


def test_lines_of_digits(example):
    pytest.importorskip("sklearn")
    import numpy as np

    columns, lengths, digits = example("handwriting").lines(
        np.random.default_rng(0), np.ones((3, 8, 8)), np.arange(3), 20
    )
    columns = columns.numpy()
    for n, (length, line) in enumerate(zip(lengths, digits)):
        assert columns[:, n].any(1).sum() == 8 * len(line) and 3 <= len(line) <= 6
        assert not columns[length:, n].any() and length <= len(columns)


def test_pixels(example, tmp_path):
    pytest.importorskip("sklearn")
    picture = tmp_path / "pixels.png"
    assert example("pixels").main(["--steps", "100", "--hidden", "32", "--plot", str(picture)]) > 0
    assert picture.exists()


@pytest.mark.parametrize("image", ["h0", "each", "attend"])
def test_captions(example, capsys, tmp_path, image):
    pytest.importorskip("sklearn")
    picture = tmp_path / "caption.png"
    exact = example("caption").main(["--image", image, "--steps", "60", "--plot", str(picture)])
    assert exact > 0.15 and "exact captions of 397 new images" in capsys.readouterr().out.splitlines()[-1]
    assert picture.exists() == (image == "attend")


@pytest.mark.parametrize("hard", [[], ["--hard"]])
def test_attention_to_digits(example, capsys, tmp_path, hard):
    pytest.importorskip("sklearn")
    picture = tmp_path / "attention.png"
    right = example("attend").main([*hard, "--steps", "60", "--plot", str(picture)])
    assert right > 0.3 and picture.exists()
    assert "right words on 500 new images" in capsys.readouterr().out.splitlines()[-1]


def test_scenes_of_digits(example):
    pytest.importorskip("sklearn")
    import numpy as np

    attend = example("attend")
    images, classes = example("pictures").digits()
    cells, words, places = attend.scenes(np.random.default_rng(0), images, classes, 20)
    for n in range(20):
        filled = cells[:, n].any(1).nonzero()[0]
        assert (places[: len(filled), n] == filled).all() and (places[len(filled) :, n] == -1).all()
        assert (words[len(filled) :, n] == attend.END).all() and (words[: len(filled), n] < attend.END).all()


def test_translation(example, capsys, tmp_path):
    for package in ("emoji", "jupyterlab_language_pack_ko_KR", "sacrebleu"):
        pytest.importorskip(package)
    picture = tmp_path / "alignment.png"
    score = example("translate").main(["--epochs", "1", "--limit", "300", "--plot", str(picture)])
    assert 0 <= score < 100 and picture.exists()
    assert "chrF of 25 new sentences" in capsys.readouterr().out.splitlines()[-1]


def test_sentences(example):
    pytest.importorskip("emoji")
    pytest.importorskip("jupyterlab_language_pack_ko_KR")
    sentences = example("sentences")
    pairs = dict(sentences.pairs())
    assert len(pairs) > 3000 and sentences.composed(pairs["heart suit"]) == "하트"
    assert sentences.names(pairs["heart suit"])[:2] == ["hieuh", "a"]
    ids, lengths = sentences.encode({"a": 3, "b": 4}, ["ab?", ""], end=True)
    assert ids.tolist() == [[3, sentences.END], [4, 0], [sentences.END, 0]] and lengths.tolist() == [3, 1]


@pytest.mark.parametrize(
    "name,package", [(name, "sklearn.datasets") for name in ("caption", "attend", "handwriting", "pixels")]
)
def test_a_missing_package_is_one_line(example, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=r"scikit-learn is missing: pip install 'tinygrad_rnn\[examples\]'"):
        example(name).main([])
