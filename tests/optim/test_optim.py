"""Optimisers: each step equals PyTorch's, and leaves parameters without a gradient and recorded graphs unchanged."""

import itertools

import numpy as np
import pytest
from grids import spread
from optimisers import ALL, OPTIONS, gradients, made, parameters, run

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, nn, optim

GRID = spread(itertools.product(OPTIONS, ["float32", "float64"]), 26, unpack=True)


@pytest.mark.parametrize(("rule", "dtype"), GRID)
def test_each_rule_is_that_of_pytorch(rule, dtype):
    torch, (name, options) = pytest.importorskip("torch", reason="parity with PyTorch"), rule
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(torch.tensor(p.numpy().copy())) for p in ours]
    optimizer = getattr(optim, name)(ours, **options)
    reference = getattr(torch.optim, name)(theirs, **options)
    start = [p.numpy().copy() for p in ours]
    rtol, atol = (2e-5, 2e-6) if dtype == "float32" else (1e-12, 1e-13)
    for t, step in enumerate(gradients(25, dtype)):
        for i, (p, q, g) in enumerate(zip(ours, theirs, step)):
            skip = (t + i) % 7 == 0  # now and then a parameter gets no gradient
            p.grad, q.grad = (None, None) if skip else (tg.tensor(g), torch.tensor(g))
        optimizer.step()
        reference.step()
        for p, q in zip(ours, theirs):
            assert p.dtype == dtype and p.is_leaf and p.requires_grad
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=rtol, atol=atol, err_msg=f"step {t}")
    assert all(np.abs(p.numpy() - s).max() > 1e-4 for p, s in zip(ours, start) if s.size)


@pytest.mark.parametrize("name", ALL)
def test_defaults_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    ours = getattr(optim, name)(parameters()).defaults
    theirs = getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(1))]).defaults
    assert ours == {option: theirs[option] for option in ours}


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_compiled_steps_equal_numpy(name, options, monkeypatch):
    compiled, plain = parameters(), parameters()
    run(getattr(optim, name)(compiled, **options), compiled, gradients(3))
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: "reference")
    run(getattr(optim, name)(plain, **options), plain, gradients(3))
    for p, q in zip(compiled, plain):
        np.testing.assert_allclose(p.numpy(), q.numpy(), 1e-12)


class Signed(optim.Optimizer):
    """A user's own rule, with a slot, a number and an option: a step of lr against the sign of a running mean."""

    def __init__(self, params, lr=0.1, keep=0.9):
        super().__init__(params, lr=lr, keep=keep)

    def slots(self, group):
        return {"mean": 0.0}

    def numbers(self, group, step):
        return {"rest": (1.0 - group["keep"]) / step}

    def rule(self, x, g, o, mean):
        m = o.keep * mean + o.rest * g
        return {"x": x - o.lr * tg.where(m > 0.0, 1.0, -1.0), "mean": m}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 3, 17, 100, 70_001])
def test_a_users_own_rule_is_compiled(size, dtype):
    rng = np.random.default_rng(0)
    x, mean = rng.standard_normal(size).astype(dtype), np.zeros(size, dtype)
    p = nn.Parameter(x.copy())
    optimiser = Signed([p])
    for step in range(1, 4):
        g = rng.standard_normal(size).astype(dtype)
        p.grad = tg.tensor(g)
        optimiser.param_groups[0]["lr"] = lr = 0.1 / step  # each step reads it again
        optimiser.step()
        mean = (0.9 * mean + np.dtype(dtype).type(0.1 / step) * g).astype(dtype)
        x = x - np.dtype(dtype).type(lr) * np.where(mean > 0, 1, -1).astype(dtype)
        np.testing.assert_allclose(p.numpy(), x, rtol=1e-5 if dtype == "float32" else 1e-13)
    assert optimiser.state[p]["step"] == 3


def test_a_rule_that_is_not_for_each_element_is_refused():
    class Normed(Signed):
        def rule(self, x, g, o, mean):
            return {"x": x - g / tg.sqrt((g * g).sum()), "mean": mean}

    p = nn.Parameter(np.ones(3))
    p.grad = tg.tensor(np.ones(3))
    with pytest.raises((TypeError, AttributeError)):
        Normed([p]).step()
    np.testing.assert_array_equal(p.numpy(), 1.0)


def test_a_parameter_larger_than_a_block_that_is_not_contiguous():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((300, 250)), rng.standard_normal((300, 250))
    p = nn.Parameter(np.asfortranarray(x))
    p.grad = tg.tensor(g.T.copy()).T
    optim.SGD([p], lr=0.5).step()
    np.testing.assert_array_equal(p.numpy(), x - 0.5 * g)


# Steps


@pytest.mark.parametrize("name", ALL)
def test_a_graph_recorded_before_a_step_stays_right(name):
    p = nn.Parameter(np.array([2.0, 3.0]))
    x = tg.tensor(np.array([1.0, 1.0]), requires_grad=True)
    y = (p * x).sum()
    p.grad = tg.ones(2, dtype="float64")
    before = p.data
    made(name, [p]).step()
    assert p.data is not before and before.tolist() == [2.0, 3.0] and p.data[0] != 2.0
    y.backward()
    assert x.grad.numpy().tolist() == [2.0, 3.0]


@pytest.mark.parametrize("name", ALL)
def test_a_model_may_be_converted_between_steps(name):
    layer = nn.Linear(3, 2)
    optimizer = made(name, layer.parameters())
    for _ in range(2):
        x = tg.ones(1, 3, dtype=layer.weight.dtype)
        optimizer.zero_grad()
        layer(x).sum().backward()
        optimizer.step()
        layer.double()
    assert all(p.dtype == np.float64 and np.isfinite(p.data).all() for p in layer.parameters())
    slots = [value for state in optimizer.state.values() for value in state.values() if hasattr(value, "dtype")]
    assert all(slot.dtype == np.float64 for slot in slots)


@pytest.mark.parametrize("name", ALL)
def test_training_lowers_a_loss(name):
    tg.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = made(name, layer.parameters())
    x, y = tg.randn(32, 3), tg.randn(32, 2)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(layer(x), y)
        loss.backward()
        return loss

    first = closure().item()
    with tg.no_grad():  # a closure is recorded all the same
        losses = [optimizer.step(closure).item() for _ in range(60)]
    assert losses[0] == first and losses[-1] < 0.95 * first
    assert optimizer.step() is None


def test_frozen_parameters_and_missing_gradients_are_left_alone():
    a, b, c = parameters()[:3]
    b.requires_grad = False
    optimizer = optim.AdamW([a, b, c], lr=0.1)
    a.grad = tg.tensor(np.ones((4, 3)))
    before = [p.numpy().copy() for p in (a, b, c)]
    optimizer.step()
    assert not np.array_equal(a.numpy(), before[0])
    assert np.array_equal(b.numpy(), before[1]) and np.array_equal(c.numpy(), before[2])
    assert list(optimizer.state) == [a]


def test_zero_grad():
    p = parameters()[0]
    optimizer = optim.SGD([p])
    p.grad = tg.tensor(np.ones((4, 3)))
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.dtype == np.float64 and not p.grad.numpy().any()
    optimizer.zero_grad()
    assert p.grad is None


def test_sgd_without_momentum_keeps_nothing_and_may_gain_it_later():
    p = parameters()[:1]
    optimizer = optim.SGD(p, lr=0.1, dampening=0.5)
    run(optimizer, p, gradients(2))
    assert optimizer.state == {}
    optimizer.param_groups[0]["momentum"] = 0.9
    step = gradients(1)
    before = p[0].numpy().copy()
    run(optimizer, p, step)  # the first update with momentum has no dampening
    np.testing.assert_allclose(p[0].numpy(), before - 0.1 * step[0][0], rtol=1e-14)
