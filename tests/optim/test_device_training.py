"""Layers, losses, optimisers and checks give the same on a GPU's arrays as on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from devices import assert_equal, derived
from helpers import normal

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.arrays.device import to_numpy
from tinygrad_rnn.nn import functional as F

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
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2))


@pytest.mark.parametrize("k", range(len(RULES)))
def test_optimisers(k: int, cupy: Any) -> None:
    def run(name: str) -> Any:
        model = a_model().to(name)
        optimiser = RULES[k](model.parameters())
        steps(model, optimiser)
        optimiser.zero_grad(set_to_none=False)
        return [*model.parameters(), *(p.grad for p in model.parameters())]

    assert_equal(run, 1e-4)


@pytest.mark.parametrize("k", range(len(RULES)))
def test_state_follows_parameters(k: int, cupy: Any) -> None:
    """Training that moves to a GPU and back, by module, checkpoint and optimiser, equals training on the CPU."""

    def run(moves: bool) -> list[np.ndarray]:
        tg.manual_seed(0)
        model = a_model()
        optimiser = RULES[k](model.parameters())
        steps(model, optimiser, 1)
        if moves:
            model.to("cuda")  # the next step moves the optimiser's state
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
        kept = [a for state in optimiser.state.values() for n, a in sorted(state.items()) if n != "step"]
        assert all(isinstance(a, np.ndarray) for a in kept)
        steps(model, optimiser, 1)
        return [to_numpy(p) for p in model.parameters()] + kept

    for found, wanted in zip(run(True), run(False)):
        np.testing.assert_allclose(found, wanted, 1e-4, 1e-4)


def test_parameters_of_one_group_may_be_on_two_devices(cupy: Any) -> None:
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
    np.testing.assert_allclose(to_numpy(x.grad), 4 * to_numpy(x))
