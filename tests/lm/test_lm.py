"""The character model: training, its exact continuation, checkpoints and sampling."""

import errno
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy

import tinygrad_rnn as tg
from tinygrad_rnn.data import TextError, Vocabulary
from tinygrad_rnn.lm import checkpoint
from tinygrad_rnn.lm.checkpoint import CheckpointError
from tinygrad_rnn.lm.config import OPTIMISERS, Allowed, Config, DivergedError, Limits
from tinygrad_rnn.lm.model import CharModel
from tinygrad_rnn.lm.plot import plot_loss
from tinygrad_rnn.lm.sample import choose, sample
from tinygrad_rnn.lm.train import Trainer, model_of

TEXT = "the quick brown fox jumps over the lazy dog. " * 12
TINY = Config(hidden=8, embedding=5, batch=4, bptt=16, dropout=0.3, validate_every=3)


def trainer_of(config=TINY, text=TEXT):
    vocabulary = Vocabulary.of(text)
    return Trainer(config, vocabulary, vocabulary.encode(text))


def run(trainer, steps):
    for _ in range(steps):
        trainer.train_step()
        if trainer.needs_validation:
            trainer.validate()
    return trainer


def assert_same(one, other):
    a, b = one.tree(), other.tree()
    assert a["losses"].tolist() == b["losses"].tolist()
    assert a["validations"].tolist() == b["validations"].tolist()
    assert a["random_state"] == b["random_state"]
    assert a["model"].keys() == b["model"].keys()
    for name, weight in a["model"].items():
        assert weight.data.tobytes() == b["model"][name].data.tobytes(), name


# The trainer


def test_loss_starts_at_chance_and_falls():
    trainer = run(trainer_of(Config(hidden=32, embedding=16, batch=4, bptt=16, dropout=0.0, lr=0.02)), 80)
    assert trainer.losses[0] == pytest.approx(math.log2(len(trainer.vocabulary)), abs=0.5)
    trainer.validate()
    assert trainer.validations[-1][1] < 1.5
    assert np.mean(trainer.losses[-10:]) < 0.3 * trainer.losses[0]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("cell, layers", [("lstm", 2), ("gru", 1)])
def test_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path, optimiser, cell, layers):
    config = Config(**{**vars(TINY), "optimiser": optimiser, "cell": cell, "layers": layers, "clip": 0.1})
    whole = run(trainer_of(config), 12)  # more than an epoch
    first = run(trainer_of(config), 5)
    checkpoint.save(tmp_path / "c", first.tree())
    tg.manual_seed(99)
    second = trainer_of(config)
    second.restore(checkpoint.load(tmp_path / "c"))
    assert_same(run(second, 7), whole)
    assert len(whole.losses) == 12 and len(whole.chunks) < 12


def test_state_is_carried_within_an_epoch_and_reset_at_its_start():
    trainer = run(trainer_of(Config(**{**vars(TINY), "validate_every": 10**6})), 1)
    after_one = [part.data.tobytes() for part in trainer.state]
    seen = []
    forward = trainer.model.forward
    trainer.model.forward = lambda ids, state=None: seen.append(state) or forward(ids, state)
    run(trainer, len(trainer.chunks))
    assert [part.data.tobytes() for part in seen[0]] == after_one
    assert [state is None for state in seen] == [False] * (len(trainer.chunks) - 1) + [True]
    assert not any(part.requires_grad for state in seen if state for part in state)


def test_validation_changes_nothing_but_the_list():
    trainer = run(trainer_of(), 2)
    random_state = tg.get_rng_state()
    trainer.validate()
    once = trainer.validations[-1]
    trainer.validate()
    assert trainer.validations[-1] == once and tg.get_rng_state() == random_state
    trainer.validate(stop=lambda: True)
    assert len(trainer.validations) == 2


def test_learning_rate_depends_on_the_step_alone():
    trainer = trainer_of(Config(**{**vars(TINY), "decay": 0.5}))
    assert trainer.period == 200 and trainer.learning_rate == 5e-3
    trainer.step = 400
    assert trainer.learning_rate == 1.25e-3


def test_divergence_changes_nothing():
    trainer = run(trainer_of(), 1)
    trainer.model.readout.bias.data[0] = np.nan
    before = trainer.tree()
    with pytest.raises(DivergedError, match="step 2: expected finite numbers, got a loss of nan"):
        trainer.train_step()
    assert trainer.step == 1 and len(trainer.losses) == 1
    for name, weight in trainer.tree()["model"].items():
        assert weight.data.tobytes() == before["model"][name].data.tobytes()


# Options


WRONG = [
    *[{"hidden": value} for value in (0, 2.5, True, 10**9)],
    *[{"lr": value} for value in (0, float("nan"), -1.0)],
    *[{"layers": -1}, {"dropout": 1.0}, {"cell": "LSTM"}, {"optimiser": ""}, {"clip": -1.0}],
    *[{"held_out": 0}, {"batch": 10**6}, {"seed": -1}, {"decay": 1.5}],
]


@pytest.mark.parametrize("wrong", WRONG)
def test_config_names_the_option_that_is_wrong(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name}: expected .*, got "):
        Config(**wrong)


def test_limits():
    assert not Limits().any() and Limits(minutes=0.5).any()
    with pytest.raises(ValueError, match="minutes: expected a number above 0"):
        Limits(minutes=0.0)
    with pytest.raises(ValueError, match="steps: expected a whole number from 1"):
        Limits(steps=0)


def test_allowed_reads_words():
    assert Allowed("", int, 1, 9).parse("7") == 7
    assert Allowed("", float, 0, math.inf).parse("inf") == math.inf
    for word in ("nan", "x", "", "-1", "0x10"):
        with pytest.raises(ValueError, match="expected a number from 0 to 1, got"):
            Allowed("", float, 0, 1).parse(word)


# Checkpoints


def test_checkpoint_gives_back_the_tree(tmp_path):
    tree = {
        "array": np.arange(6.0).reshape(2, 3).T,
        "scalar": np.array(2, np.int64),
        "flag": np.array([True]),
        "deep": {"list": [np.float32([1.5]), None, "text ü", True, math.inf], "empty": {}, "number": 0.1},
    }
    checkpoint.save(tmp_path / "c", tree)
    found = checkpoint.load(tmp_path / "c")
    assert found["array"].tolist() == tree["array"].tolist() and found["array"].dtype == np.float64
    assert found["scalar"].shape == () and found["scalar"].dtype == np.int64 and found["flag"].dtype == bool
    assert found["deep"]["list"][1:] == [None, "text ü", True, math.inf]
    assert found["deep"]["empty"] == {} and found["deep"]["number"] == 0.1
    with safetensors.safe_open(tmp_path / "c", framework="numpy") as file:
        assert "deep.list.0" in file.keys()  # noqa: SIM118
    with pytest.raises(TypeError, match=r"a\.b: expected arrays"):
        checkpoint.save(tmp_path / "c", {"a": {"b": object()}})


def saved_bytes(tmp_path):
    checkpoint.save(tmp_path / "whole", {"x": np.arange(100.0), "y": 1})
    return (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 50, 200, -8, -1])
def test_truncated_checkpoint_is_refused(tmp_path, kept):
    whole = saved_bytes(tmp_path)
    (tmp_path / "cut").write_bytes(whole[:kept])
    with pytest.raises(CheckpointError, match="cut: expected a checkpoint, got a truncated or foreign file"):
        checkpoint.load(tmp_path / "cut")


def test_foreign_checkpoints_are_refused(tmp_path):
    path = tmp_path / "c"
    path.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 4)
    with pytest.raises(CheckpointError, match="truncated or foreign"):
        checkpoint.load(path)
    path.write_bytes(safetensors.numpy.save({"weight": np.zeros(3)}))
    with pytest.raises(CheckpointError, match="of another origin"):
        checkpoint.load(path)
    path.write_bytes(safetensors.numpy.save({}, {"format": checkpoint.FORMAT, "version": "2"}))
    with pytest.raises(CheckpointError, match="expected version 1 of the format, got 2"):
        checkpoint.load(path)
    for tree in ("{", "[]", '{"dict": {"a": {"tensor": "missing"}}}', '{"other": 1}'):
        path.write_bytes(safetensors.numpy.save({}, {"format": checkpoint.FORMAT, "version": "1", "tree": tree}))
        with pytest.raises(CheckpointError, match="do not fit"):
            checkpoint.load(path)
    with pytest.raises(OSError):
        checkpoint.load(tmp_path)


class Killed(BaseException):
    """Stands for a kill of the process at that moment."""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("cause", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt(), Killed()])
def test_a_write_that_fails_leaves_the_previous_checkpoint(tmp_path, monkeypatch, moment, cause):
    path = tmp_path / "c"
    checkpoint.save(path, {"x": np.arange(3)})

    def fail(*_):
        raise cause

    with monkeypatch.context() as patch:
        patch.setattr(os, moment, fail)
        with pytest.raises(type(cause)) as caught:
            checkpoint.save(path, {"x": np.arange(4)})
    if isinstance(cause, OSError):
        assert caught.value.filename == str(path) and caught.value.errno == errno.ENOSPC
    assert checkpoint.load(path)["x"].tolist() == [0, 1, 2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "c.123-456.part").write_bytes(b"half")
    (tmp_path / "own.part").write_bytes(b"of the user")
    with checkpoint.locked_folder(tmp_path):
        checkpoint.save(tmp_path / "c", {"x": 1})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c", "own.part"]


def test_threads_write_one_file_and_readers_find_it_whole(tmp_path):
    path, contents = tmp_path / "c", [bytes([k]) * 3_000_000 for k in range(4)]
    checkpoint.write_atomically(path, contents[0])

    def write(content):
        for _ in range(10):
            checkpoint.write_atomically(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, contents))
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_a_diverged_model_is_an_error():
    trainer = trainer_of()
    next(trainer.model.parameters()).data[...] = np.nan
    with pytest.raises(DivergedError, match="step 0: expected finite numbers, got a loss of nan on the held-out"):
        trainer.validate()
    with pytest.raises(DivergedError, match="sample: expected finite weights"):
        next(sample(trainer.model, trainer.vocabulary, 1))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("step", -1, "step: expected a number from 0 up"),
        ("step", float("inf"), "OverflowError"),
        ("losses", np.zeros((2, 2)), "losses: expected a number for each step"),
        ("recurrent_state", np.zeros((1, 1, 1), "f"), "recurrent_state: expected float32"),
        ("model", None, "expected float32, got float64"),
    ],
)
def test_parts_that_do_not_fit(tmp_path, name, value, words):
    checkpoint.save(tmp_path / "c", run(trainer_of(), 1).tree())
    tree = checkpoint.load(tmp_path / "c")
    tree[name] = value if name != "model" else {key: array.astype("f8") for key, array in tree["model"].items()}
    with pytest.raises(checkpoint.CheckpointError, match=f"c: expected a whole checkpoint.*{words}"):
        with checkpoint.reading("c"):
            trainer_of().restore(tree)


@pytest.mark.parametrize("option", ["cell", "hidden", "dropout", "lr", "seed"])
def test_options_without_a_value(option):
    with pytest.raises(ValueError, match=f"{option}: expected .*got None"):
        Config(**{option: None})


def test_model_of_a_checkpoint_is_the_trained_one(tmp_path):
    trainer = run(trainer_of(), 2)
    checkpoint.save(tmp_path / "c", trainer.tree())
    model, vocabulary = model_of(checkpoint.load(tmp_path / "c"))
    assert vocabulary == trainer.vocabulary and not model.training
    ids = tg.tensor(trainer.chunks[0][0])
    expected, _ = trainer.model.eval()(ids)
    assert (model(ids)[0].data == expected.data).all()


def test_a_checkpoint_is_readable_without_this_package(tmp_path):
    checkpoint.save(tmp_path / "c", trainer_of().tree())
    with safetensors.safe_open(tmp_path / "c", framework="numpy") as file:
        tree = json.loads(file.metadata()["tree"])["dict"]
    assert tree["config"]["dict"]["hidden"] == 8 and tree["vocabulary"] == "".join(sorted(set(TEXT)))


# Sampling


def test_choose_draws_from_the_softmax():
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    generator = np.random.default_rng(0)
    for temperature in (1.0, 0.5):
        expected = np.array([0.1, 0.2, 0.7]) ** (1 / temperature)
        counts = np.bincount([choose(logits, temperature, generator) for _ in range(4000)], minlength=3)
        assert counts / 4000 == pytest.approx(expected / expected.sum(), abs=0.03)
    assert {choose(logits, 0, generator) for _ in range(5)} == {2}
    assert {choose(logits, 1e-300, generator) for _ in range(5)} == {2}
    assert choose(np.zeros(3), 0, generator) == 0
    assert {choose(logits * 1e6, 1e6, generator) for _ in range(99)} == {0, 1, 2}


def test_sample_is_repeatable_and_leaves_the_random_stream_alone():
    vocabulary = Vocabulary.of(TEXT)
    model = CharModel(len(vocabulary), TINY)
    before = tg.get_rng_state()
    texts = ["".join(sample(model, vocabulary, 50, "the ", 1.0, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2] and len(texts[0]) == 50
    greedy = ["".join(sample(model, vocabulary, 20, "the ", greedy=True, seed=seed)) for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    assert tg.get_rng_state() == before
    assert tg.is_grad_enabled()


def test_a_seed_gives_the_text_that_it_gave_before():
    """A choice looks up one number of `np.random.default_rng(seed)` in the sums of the weights."""
    vocabulary = Vocabulary.of(TEXT)
    tg.manual_seed(0)
    model = CharModel(len(vocabulary), TINY).eval()
    generator, ids, state, expected = np.random.default_rng(5), vocabulary.encode("the "), None, ""
    for _ in range(30):
        logits, state = model(tg.tensor(ids[:, None]), state)
        last = logits[-1, 0].detach().numpy()
        bounds = np.cumsum(np.exp((last.astype(np.float64) - last.max()) / 0.7))
        ids = np.searchsorted(bounds, generator.random(1) * bounds[-1], side="right")
        expected += vocabulary.characters[ids[0]]
    assert "".join(sample(model, vocabulary, 30, "the ", 0.7, seed=5)) == expected


def test_sample_carries_the_state():
    trainer = run(trainer_of(Config(hidden=32, embedding=16, batch=4, bptt=16, dropout=0.0, lr=0.02)), 120)
    text = "".join(sample(trainer.model, trainer.vocabulary, 45, "the quick ", greedy=True))
    assert text == (TEXT * 2)[10:55]


def test_sample_refuses():
    vocabulary = Vocabulary.of("ab")
    model = CharModel(2, TINY)
    assert len("".join(sample(model, vocabulary, 5))) == 5  # an empty prime, no line break in the vocabulary
    assert list(sample(model, vocabulary, 0)) == []
    with pytest.raises(TextError, match=r"prime: .*'z'"):
        sample(model, vocabulary, 5, "abz")
    for temperature in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature: expected a finite number above 0"):
            sample(model, vocabulary, 5, temperature=temperature)
    with pytest.raises(ValueError, match="length"):
        sample(model, vocabulary, -1)
    with pytest.raises(ValueError, match="sample: top_k: expected a whole number from 1 up"):
        sample(model, vocabulary, 5, top_k=0)
    with pytest.raises(ValueError, match="sample: top_p: expected a number above 0 and up to 1"):
        sample(model, vocabulary, 5, top_p=1.5)


# The picture


def test_picture_is_a_png(tmp_path):
    plot_loss(tmp_path / "loss.png", np.linspace(6, 2, 300), np.array([[100, 3.0], [300, 2.5]]), 100, "a run")
    assert (tmp_path / "loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    plot_loss(tmp_path / "loss.png", np.array([6.0]), np.zeros((0, 2)), 1, "one step")
