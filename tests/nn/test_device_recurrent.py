"""Recurrent layers and a language model give the same on a GPU's arrays as on the CPU.

With the stand-in for CuPy, the CUDA driver runs kernels that are built for the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_shim import launches
from devices import assert_equal, derived
from grids import spread
from helpers import normal
from user_cells import recurrent_dropout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import cli, nn
from tinygrad_rnn.arrays import cuda
from tinygrad_rnn.data import Vocabulary
from tinygrad_rnn.kernels.cuda import build, wavefront
from tinygrad_rnn.lm import checkpoint
from tinygrad_rnn.lm.config import Config
from tinygrad_rnn.lm.sample import sample
from tinygrad_rnn.lm.train import Trainer, model_of

# Recurrent layers

RECURRENT: list[tuple[Callable[[], nn.Module], dict[str, Any]]] = [
    (lambda: nn.LSTM(3, 4), {}),
    (lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True), {"lengths": [5, 0, 3]}),
    (lambda: nn.RNN(3, 4, batch_first=True, bias=False), {}),
    (lambda: nn.LSTM(3, 4, proj_size=2, return_states=True), {"lengths": tg.tensor([1, 5, 2])}),
    (lambda: nn.GRU(3, 4, learn_initial_state=True, reset_after=False), {}),
    (lambda: nn.Recurrent("peephole_lstm", 3, 4, recompute_every=2), {"lengths": [5, 5, 2]}),
    (lambda: nn.Recurrent(recurrent_dropout_lstm, 3, 4), {"inputs": lambda d: {"m": tg.ones(4, device=d).double()}}),
    (
        lambda: nn.Recurrent(recurrent_dropout_lstm, 3, 4, bidirectional=True, learn_initial_state=True),
        {
            "lengths": [4, 5, 0],
            "inputs": lambda d: {"m": [0.5 * tg.ones(4, device=d).double(), tg.ones(4, device=d).double()]},
        },
    ),
    (lambda: nn.LSTM(3, 4, bidirectional=True, proj_size=2, return_states=True), {}),
    (lambda: nn.LSTM(3, 4, bidirectional=True, recompute_every=2), {}),
    (lambda: nn.LSTM(3, 4, num_layers=3, learn_initial_state=True), {"lengths": [5, 0, 3]}),
    (lambda: nn.GRU(3, 4, num_layers=2, dropout=0.5, return_states=True).eval(), {}),
    (lambda: nn.LSTM(3, 4, num_layers=2, proj_size=2, return_states=True, batch_first=True), {"lengths": [5, 1, 3]}),
    (lambda: nn.RNN(3, 4, num_layers=2, recompute_every=2), {"lengths": [5, 1, 3]}),
    (
        lambda: nn.Recurrent(recurrent_dropout_lstm, 3, 4, num_layers=5),
        {"inputs": lambda d: {"m": [tg.full((4,), 1 + k / 5, device=d).double() for k in range(5)]}},
    ),
]


@pytest.mark.parametrize("k", spread(range(len(RECURRENT)), 5))
def test_recurrent_layers(k: int, sequences: None, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options = RECURRENT[k]
    monkeypatch.setattr(wavefront, "RUN", 0.5)  # so that a stack runs even these few steps in pieces

    def run(name: str) -> Any:
        layer = make().double().to(name)
        shape = (3, 5, 3) if layer.batch_first else (5, 3, 3)
        x = tg.tensor(normal(*shape), requires_grad=True, device=name)
        given = {key: value(name) if callable(value) else value for key, value in options.items()}
        return derived(layer(x, **given), [x, *layer.parameters()])

    assert_equal(run, 1e-9)


def launched_by(layer: nn.Module) -> list[tuple[str, int]]:
    """Train and infer with a layer, and compare outputs. Return each launched function with its number of sequences."""
    layer = layer.to("cuda")
    x = tg.tensor(normal(6, 3, 3).astype("float32"), device="cuda", requires_grad=True)
    with launches() as found:
        output = layer(x)[0]
        output.sum().backward()
        with tg.no_grad():
            inferred = layer(x)[0]
    if layer.dropout == 0:
        np.testing.assert_allclose(inferred.to("cpu").numpy(), output.detach().to("cpu").numpy(), 1e-5, 1e-6)
    assert x.grad is not None and all(p.grad is not None for p in layer.parameters())
    return [(function, len(ways)) for function, ways in found]


def test_both_directions_are_one_launch(sequences: None) -> None:
    found = launched_by(nn.GRU(3, 4, num_layers=2, bidirectional=True))
    assert found == [(function, 2) for function in ("train", "backward", "infer") for _ in range(2)]


def test_stacked_layers_are_launched_together(sequences: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wavefront, "RUN", 1.0)
    found = launched_by(nn.LSTM(3, 4, num_layers=3))
    assert found == [(function, ways) for function in ("train", "backward", "infer") for ways in (1, 2, 3, 2, 1)]


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"recompute_every": 4}, {"bidirectional": True}])
def test_layers_with_operations_between_them_are_launched_apart(sequences: None, options: dict[str, Any]) -> None:
    ways = 1 + bool(options.get("bidirectional"))
    assert {n for _, n in launched_by(nn.LSTM(3, 4, num_layers=2, **options).train())} == {ways}


def test_gradients_of_some_of_both_directions(sequences: None) -> None:
    def run(name: str) -> Any:
        layer = nn.LSTM(3, 4, bidirectional=True).double().to(name)
        x = tg.tensor(normal(5, 2, 3), device=name)
        c_0 = tg.tensor(normal(2, 2, 4), device=name)
        h_0 = tg.tensor(normal(1, 2, 4), device=name, requires_grad=True)
        start = tg.concat([tg.zeros((1, 2, 4), dtype="float64", device=name), h_0], 0), c_0
        for p in layer.parameters():
            p.requires_grad = False
        output, (h, _) = layer(x, start)
        return [*tg.grad([output.sum()], [h_0], retain_graph=True), *tg.grad([h[1].sum()], [h_0])]

    assert_equal(run, 1e-9)


def test_recurrent_layers_in_other_calls(sequences: None) -> None:
    def run(name: str) -> Any:
        layer = nn.LSTM(3, 4, num_layers=2).double().to(name)
        x = tg.tensor(normal(5, 3, 3), device=name)
        start = tuple(tg.tensor(normal(2, 3, 4, seed=s), device=name, requires_grad=True) for s in (1, 2))
        with tg.no_grad():
            silent = layer(x, start), layer(x[:, 0]), layer(x)
        cell, gru = nn.LSTMCell(3, 4).double().to(name), nn.GRUCell(3, 4).double().to(name)
        return [silent, derived(layer(x, start), start), cell(x[0]), gru(x[0, 0])]

    assert_equal(run, 1e-9)


# A language model

CONFIG = Config(hidden=8, embedding=4, batch=3, bptt=7, dropout=0.0, seed=1, layers=2)
TEXT = "the quick brown fox jumps over the lazy dog. " * 8


def trained(where: str, count: int, config: Config = CONFIG) -> Trainer:
    vocabulary = Vocabulary.of(TEXT)
    trainer = Trainer(config, vocabulary, vocabulary.encode(TEXT), where)
    for _ in range(count):
        trainer.train_step()
    return trainer


def test_training_a_language_model(sequences: None) -> None:
    found, wanted = trained("cuda", 20), trained("cpu", 20)
    assert all(p.device == "cuda:0" for p in found.model.parameters())
    np.testing.assert_allclose(found.losses, wanted.losses, 1e-3)
    assert found.losses[-1] < found.losses[0] - 0.2
    for trainer in (found, wanted):
        trainer.validate()
    assert found.validations[0][1] == pytest.approx(wanted.validations[0][1], 1e-3)
    texts = ["".join(sample(t.model, t.vocabulary, 30, "the ", greedy=True)) for t in (found, wanted)]
    assert texts[0] == texts[1]


def test_a_checkpoint_goes_on_elsewhere(sequences: None, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    half, wanted = trained("cuda", 4), trained("cpu", 8)
    checkpoint.save(path, half.tree())
    for where in ("cpu", "cuda"):
        trainer = trained(where, 0)
        trainer.restore(checkpoint.load(path))
        for _ in range(4):
            trainer.train_step()
        np.testing.assert_allclose(trainer.losses, wanted.losses, 1e-3)
        model, _ = model_of(checkpoint.load(path), where)
        assert next(model.parameters()).device.startswith(where)


def test_a_resumed_run_draws_the_same_dropout(sequences: None, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, dropout=0.5)
    whole, half = trained("cuda", 6, config), trained("cuda", 3, config)
    checkpoint.save(tmp_path / "c", half.tree())
    rest = trained("cuda", 0, config)
    rest.restore(checkpoint.load(tmp_path / "c"))
    for _ in range(3):
        rest.train_step()
    assert rest.losses == whole.losses


def test_command_line(sequences: None, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "text").write_text(TEXT)
    out = str(tmp_path / "run")
    options = ["--hidden", "8", "--batch", "3", "--bptt", "7", "--steps", "3", "--device", "cuda"]
    assert cli.main(["train", "--text", str(tmp_path / "text"), "--out", out, *options]) == 0
    assert cli.main(["train", "--out", out, "--resume", "--steps", "5"]) == 0  # on the CPU
    assert cli.main(["sample", out, "--length", "5", "--device", "cuda"]) == 0
    assert "after 5 steps" in capsys.readouterr().out


def test_command_line_without_kernels(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    monkeypatch.setattr(build, "BUILT", tmp_path / "none")
    assert cli.main(["sample", "nowhere", "--device", "cuda"]) == 1
    assert "error: --device: expected 'cpu', got 'cuda': no nvcc was found" in capsys.readouterr().err


def test_command_line_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(cuda, "missing_for_tensors", lambda: ["CuPy is not installed"])
    cuda.cupy.cache_clear()
    for name, words in (("cuda", "expected 'cpu', got 'cuda': CuPy is not installed"), ("tpu", "expected 'cpu', ")):
        assert cli.main(["train", "--device", name]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"tinygrad-rnn: error: --device: {words}") and error.count("\n") == 1
