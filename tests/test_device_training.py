"""Layers, losses, optimisers, checkpoints and a language model on a GPU's arrays: all equal to what the CPU gives.

On the stand-in the sequences of recurrent layers are run by the reference driver, on the arrays' numbers.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_cupy
from helpers import normal
from tinygrad_rnn.kernels import reference
from tinygrad_rnn.kernels.sequence import Sequence
from user_cells import recurrent_dropout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import cli, device, kernels, nn, optim
from tinygrad_rnn.data import Vocabulary
from tinygrad_rnn.device import host
from tinygrad_rnn.lm import checkpoint
from tinygrad_rnn.lm.config import Config
from tinygrad_rnn.lm.sample import sample
from tinygrad_rnn.lm.train import Trainer, model_of
from tinygrad_rnn.nn import functional as F


class OnTheHost:
    """A driver for arrays on a GPU: the reference on their numbers."""

    @staticmethod
    def _mapped(seq: Sequence, f: Callable[[Any], Any]) -> Sequence:
        names = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        arrays = {name: None if getattr(seq, name) is None else f(getattr(seq, name)) for name in names}
        params, inputs = ({name: f(a) for name, a in d.items()} for d in (seq.params, seq.inputs))
        return dataclasses.replace(seq, **arrays, params=params, inputs=inputs, initial=tuple(map(f, seq.initial)))

    def forward(self, step: Any, seq: Sequence, keep: bool) -> Any:
        assert all(device.on_gpu(a) for a in (seq.x, seq.weight_ih, *seq.initial))
        outputs, final, saved = reference.forward(step, self._mapped(seq, host), keep)
        there = lambda arrays: [device.beside(np.ascontiguousarray(a), seq.x) for a in arrays]
        return there(outputs), there(final), saved

    def backward(self, step: Any, seq: Sequence, saved: Any, *d: Any, **wants: bool) -> Any:
        d_outputs, d_final = ([None if a is None else host(a) for a in arrays] for arrays in d[:2])
        found = reference.backward(step, self._mapped(seq, host), saved, d_outputs, d_final, *d[2:], **wants)
        return self._mapped(found, lambda a: device.beside(np.ascontiguousarray(a), seq.x))


@pytest.fixture
def sequences(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that runs sequences on a GPU."""
    if cupy is strict_cupy.module:
        monkeypatch.setattr(kernels, "_cuda", OnTheHost)
        monkeypatch.setattr(device, "kernels_lack", list)
        monkeypatch.setattr(cli, "kernels_lack", list)
    elif device.kernels_lack():
        pytest.skip("; ".join(device.kernels_lack()))


def on_both(run: Callable[[str], Any]) -> tuple[list[Any], list[Any]]:
    """What a run with one seed gives on the CPU and on a GPU, as arrays; it must have stayed there."""
    found = []
    for name in ("cpu", "cuda"):
        tg.manual_seed(0)
        tensors = [t for t in _leaves(run(name)) if t is not None]
        assert all(t.device.startswith(name) for t in tensors if isinstance(t, tg.Tensor))
        found.append([host(t) for t in tensors])
    return found[0], found[1]


def _leaves(tree: Any) -> list[Any]:
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


def assert_equal(run: Callable[[str], Any], tolerance: float = 1e-10) -> None:
    wanted, found = on_both(run)
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        assert f.shape == w.shape and f.dtype == w.dtype
        np.testing.assert_allclose(f, w, tolerance, tolerance)


def derived(outputs: Any, leaves: Any) -> list[Any]:
    """Outputs, gradients, and gradients of those."""
    outs, leaves = [out for out in _leaves(outputs) if out is not None], list(leaves)
    seeds = [tg.tensor(normal(*out.shape).astype(out.dtype), device=out.device) for out in outs]
    first = tg.grad(outs, leaves, seeds, retain_graph=True, allow_unused=True)
    twice = tg.grad(outs, leaves, seeds, create_graph=True, allow_unused=True)
    squares = [(g * g).sum() for g in twice if g is not None and g.requires_grad]
    return [*outs, *first, *twice, *(tg.grad(squares, leaves, allow_unused=True) if squares else [])]


X = normal(4, 3)
LAYERS: list[Callable[[], nn.Module]] = [
    *(lambda: nn.Linear(3, 5), lambda: nn.Linear(3, 2, bias=False), lambda: nn.LayerNorm(3), nn.GELU, nn.Tanh),
    lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4), nn.Sigmoid(), nn.Flatten(0)),
    *(lambda: nn.Dropout(0.0), lambda: nn.Dropout(0.5).eval()),
]


@pytest.mark.parametrize("k", range(len(LAYERS)))
def test_layers(k: int, cupy: Any) -> None:
    def run(name: str) -> Any:
        layer = LAYERS[k]().double().to(name)
        x = tg.tensor(X, requires_grad=True, device=name)
        return derived(layer(x), [x, *layer.parameters()])

    assert_equal(run)


def test_layers_made_on_a_device(cupy: Any) -> None:
    makers: list[Callable[[str], nn.Module]] = [
        *(lambda d: nn.Linear(3, 2, device=d), lambda d: nn.Embedding(5, 2, 1, device=d)),
        *(lambda d: nn.LayerNorm(3, device=d), lambda d: nn.Conv2d(1, 2, 3, device=d)),
        *(lambda d: nn.LSTM(3, 2, 2, device=d), lambda d: nn.GRU(3, 2, learn_initial_state=True, device=d)),
        lambda d: nn.RNNCell(3, 2, device=d),
    ]
    for make in makers:
        assert_equal(lambda name, make=make: list(make(name).parameters()), 0.0)


def test_embedding(cupy: Any) -> None:
    ids = np.array([[1, 0, 3], [1, 1, 2]])

    def run(name: str, there: bool) -> Any:
        layer = nn.Embedding(4, 3, padding_idx=1).double().to(name)
        return derived(layer(tg.tensor(ids, device=name if there else "cpu")), layer.parameters())

    assert_equal(lambda name: run(name, True))
    assert_equal(lambda name: run(name, False))  # ids may stay on the CPU


def test_images(cupy: Any) -> None:
    def run(name: str) -> Any:
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()).double().to(name)
        x = tg.tensor(normal(2, 2, 4, 6), requires_grad=True, device=name)
        return derived(model(x), [x, *model.parameters()])

    assert_equal(run)


TARGET, SOFT = np.array([0, 2, -100, 1]), np.full((4, 3), 1 / 3)
LOSSES: list[Callable[[Any, Callable], Any]] = [
    *(lambda x, t: F.mse_loss(x, t(SOFT)), lambda x, t: F.mse_loss(x, t(SOFT), "none")),
    lambda x, t: F.binary_cross_entropy_with_logits(x, t(SOFT), t(SOFT[0]), t(SOFT[0])),
    *(lambda x, t: F.cross_entropy(x, t(TARGET)), lambda x, t: F.cross_entropy(x, tg.tensor(TARGET))),
    *(lambda x, t: F.cross_entropy(x, t(TARGET), reduction="none"), lambda x, t: F.cross_entropy(x, TARGET)),
    lambda x, t: F.cross_entropy(x, t(TARGET), t(np.array([1.0, 2.0, 0.5])), label_smoothing=0.2),
    lambda x, t: F.cross_entropy(x, tg.tensor(TARGET), t(np.array([1.0, 2.0, 0.5])), reduction="sum"),
    lambda x, t: F.cross_entropy(x, t(SOFT), t(np.array([1.0, 2.0, 0.5]))),
    lambda x, t: F.cross_entropy(x.reshape(2, 3, 2), t(np.array([[0, 1], [2, 2]]))),
    *(lambda x, t: F.cross_entropy(x[0], t(np.array(1))), lambda x, t: F.nll_loss(F.log_softmax(x), t(TARGET))),
    lambda x, t: F.nll_loss(F.log_softmax(x), tg.tensor(TARGET), t(np.array([1.0, 2.0, 0.5]))),
]


@pytest.mark.parametrize("k", range(len(LOSSES)))
def test_losses(k: int, cupy: Any) -> None:
    def run(name: str) -> Any:
        x = tg.tensor(X, requires_grad=True, device=name)
        return derived(LOSSES[k](x, lambda a: tg.tensor(a, device=name)), [x])

    assert_equal(run)


def test_classes_are_checked_on_either_device(cupy: Any) -> None:
    x = tg.tensor(X, device="cuda")
    for where in ("cpu", "cuda"):
        target = tg.tensor([0, 1, 2, 3], device=where)
        with pytest.raises(IndexError, match="cross_entropy: target: expected class indices from 0 to 2, got 3"):
            F.cross_entropy(x, target)
        assert F.one_hot(target).tolist() == np.eye(4, dtype=int).tolist()
        assert F.one_hot(target, 5).device.startswith(where)
    assert np.isnan(F.cross_entropy(x, tg.tensor([-100] * 4)).item())


def test_dropout_on_a_gpu_follows_the_seed(cupy: Any) -> None:
    x = tg.ones(100, 100, device="cuda", requires_grad=True)
    tg.manual_seed(1)
    first, state, second = F.dropout(x, 0.3), tg.get_rng_state(), F.dropout(x, 0.3)
    tg.manual_seed(1)
    assert F.dropout(x, 0.3).tolist() == first.tolist() != second.tolist()
    tg.set_rng_state(state)
    assert F.dropout(x, 0.3).tolist() == second.tolist()
    assert abs((first == 0.0).double().mean().item() - 0.3) < 0.03 and first.max().item() == pytest.approx(1 / 0.7)
    first.sum().backward()
    assert ((x.grad > 0) == (first > 0)).double().mean().item() == 1.0


# Optimisers

RULES: list[Callable[[Any], optim.Optimizer]] = [
    *(lambda ps: optim.SGD(ps, 0.1), lambda ps: optim.SGD(ps, 0.1, 0.9, weight_decay=0.1, nesterov=True)),
    *(lambda ps: optim.Adagrad(ps, 0.1, 0.1, initial_accumulator_value=0.5), lambda ps: optim.RMSprop(ps)),
    lambda ps: optim.RMSprop(ps, momentum=0.5, centered=True),
    *(lambda ps: optim.Adam(ps, 0.1, amsgrad=True), lambda ps: optim.AdamW(ps, 0.1), lambda ps: optim.Adam(ps)),
]


def steps(model: nn.Module, optimiser: optim.Optimizer, count: int = 3) -> None:
    where = next(model.parameters()).device
    x = tg.tensor(X.astype("float32"), device=where)
    for _ in range(count):
        optimiser.zero_grad()
        F.cross_entropy(model(x), np.array([0, 1, 1, 0])).backward()
        optimiser.step()


def a_model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.LayerNorm(2))


@pytest.mark.parametrize("k", range(len(RULES)))
def test_optimisers(k: int, cupy: Any) -> None:
    def run(name: str) -> Any:
        model = a_model().to(name)
        optimiser = RULES[k](model.parameters())
        steps(model, optimiser)
        optimiser.zero_grad(set_to_none=False)
        return [*model.parameters(), *(p.grad for p in model.parameters())]

    assert_equal(run, 1e-5)


@pytest.mark.parametrize("k", range(len(RULES)))
def test_state_follows_parameters(k: int, cupy: Any) -> None:
    """To a GPU and back between steps, by module, checkpoint and optimiser: the same as all on the CPU."""

    def run(moves: bool) -> list[np.ndarray]:
        tg.manual_seed(0)
        model = a_model()
        optimiser = RULES[k](model.parameters())
        steps(model, optimiser, 1)
        if moves:
            model.to("cuda")  # the state comes with the next step
        steps(model, optimiser, 1)
        if moves:
            saved = copy.deepcopy(optimiser.state_dict()), model.state_dict()
            model = a_model().to("cuda")
            model.load_state_dict(saved[1])
            optimiser = RULES[k](model.parameters())
            optimiser.load_state_dict(saved[0])
        steps(model, optimiser, 1)
        if moves:
            assert all(p.device == "cuda:0" for p in model.parameters())
            assert optimiser.to("cpu") is optimiser
        assert all(p.device == "cpu" and p.grad.device == "cpu" for p in model.parameters())
        kept = [a for state in optimiser.state.values() for n, a in state.items() if n != "step"]
        assert all(isinstance(a, np.ndarray) for a in kept)
        steps(model, optimiser, 1)
        return [host(p) for p in model.parameters()] + kept

    for found, wanted in zip(run(True), run(False)):
        np.testing.assert_allclose(found, wanted, 1e-5, 1e-5)


def test_parameters_of_one_group_may_be_apart(cupy: Any) -> None:
    a, b = nn.Parameter(tg.ones(2)), nn.Parameter(tg.ones(2, device="cuda"))
    optimiser = optim.Adam([a, b], 0.1)
    for p in (a, b):
        p.grad = tg.ones(2, device=p.device)
    optimiser.step()
    assert a.tolist() == pytest.approx(b.tolist()) and (a.device, b.device) == ("cpu", "cuda:0")


def test_a_recorded_graph_keeps_the_old_numbers(cupy: Any) -> None:
    p = nn.Parameter(tg.tensor([2.0], device="cuda"))
    loss = (p * p).sum()
    p.grad = tg.ones(1, device="cuda")
    optim.SGD([p], 1.0).step()
    loss.backward()
    assert p.item() == 1.0 and p.grad.item() == 1.0 + 4.0


@pytest.mark.parametrize("order", [2.0, 1.0, 3.0, np.inf])
def test_clipping(order: float, cupy: Any) -> None:
    def run(name: str) -> Any:
        ps = [nn.Parameter(tg.ones(n, device=name)) for n in (2, 3, 0)]
        for p in ps:
            p.grad = tg.tensor(10 * normal(*p.shape).astype("float32"), device=name)
        total = nn.utils.clip_grad_norm_(ps, 1.0, order)
        assert total.device == "cpu" and total.item() > 1.0
        again = nn.utils.clip_grad_norm_(ps, 1.0, order)
        assert again.item() == pytest.approx(1.0, 1e-4)
        nn.utils.clip_grad_value_(ps, 0.1)
        return [p.grad for p in ps]

    assert_equal(run, 1e-5)


# Checks and hooks


def test_gradient_checks_on_a_gpu(cupy: Any) -> None:
    x = tg.tensor(normal(3, 2), requires_grad=True, device="cuda")
    assert tg.gradcheck(lambda x: (tg.tanh(x) @ x.T).softmax(), x) and tg.gradgradcheck(lambda x: x * tg.exp(x), x)
    with pytest.raises(FloatingPointError, match="log: made the first NaN"), tg.detect_anomaly():
        tg.log(-tg.ones(2, device="cuda"))
    seen = []
    x.register_hook(lambda g: seen.append(g.device))
    x.sum().backward()
    assert seen == ["cuda:0"] and x.grad.device == "cuda:0"
    x.grad = None
    (x * x).sum().backward()
    (x * x).sum().backward()
    np.testing.assert_allclose(host(x.grad), 4 * host(x))


# Recurrent layers

RECURRENT: list[tuple[Callable[[], nn.Module], dict[str, Any]]] = [
    (lambda: nn.LSTM(3, 4), {}),
    (lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True), {"lengths": [5, 0, 3]}),
    (lambda: nn.RNN(3, 4, batch_first=True, bias=False), {}),
    (lambda: nn.LSTM(3, 4, proj_size=2, return_states=True), {"lengths": tg.tensor([1, 5, 2])}),
    (lambda: nn.GRU(3, 4, learn_initial_state=True, reset_after=False), {}),
    (lambda: nn.Recurrent("peephole_lstm", 3, 4, recompute_every=2), {"lengths": [5, 5, 2]}),
    (lambda: nn.Recurrent(recurrent_dropout_lstm, 3, 4), {"inputs": lambda d: {"m": tg.ones(4, device=d).double()}}),
]


@pytest.mark.parametrize("k", range(len(RECURRENT)))
def test_recurrent_layers(k: int, sequences: None) -> None:
    make, options = RECURRENT[k]

    def run(name: str) -> Any:
        layer = make().double().to(name)
        shape = (3, 5, 3) if layer.batch_first else (5, 3, 3)
        x = tg.tensor(normal(*shape), requires_grad=True, device=name)
        given = {key: value(name) if callable(value) else value for key, value in options.items()}
        return derived(layer(x, **given), [x, *layer.parameters()])

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


def test_without_kernels_recurrent_layers_say_so(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels._cuda.cache_clear()
    if not device.kernels_lack():
        pytest.skip("there are CUDA kernels")
    with pytest.raises(RuntimeError, match="recurrent layers: expected arrays on the CPU"):
        nn.LSTM(3, 4, device="cuda")(tg.ones(2, 1, 3, device="cuda"))


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
    np.testing.assert_allclose(found.losses, wanted.losses, 1e-4)
    assert found.losses[-1] < found.losses[0] - 0.2
    for trainer in (found, wanted):
        trainer.validate()
    assert found.validations[0][1] == pytest.approx(wanted.validations[0][1], 1e-4)
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
        np.testing.assert_allclose(trainer.losses, wanted.losses, 1e-4)
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


def test_command_line_without_kernels(cupy: Any, capsys: pytest.CaptureFixture) -> None:
    if not device.kernels_lack():
        pytest.skip("there are CUDA kernels")
    assert cli.main(["sample", "nowhere", "--device", "cuda"]) == 1
    assert "error: --device: expected 'cpu', got 'cuda': this version has no CUDA kernels" in capsys.readouterr().err


def test_command_line_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(device, "cuda_lacks", lambda: ["CuPy is not installed"])
    device.cupy.cache_clear()
    for name, words in (("cuda", "expected 'cpu', got 'cuda': CuPy is not installed"), ("tpu", "expected 'cpu', ")):
        assert cli.main(["train", "--device", name]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"tinygrad-rnn: error: --device: {words}") and error.count("\n") == 1


