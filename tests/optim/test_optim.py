"""Optimisers: held against PyTorch's, step by step; groups, saving, errors."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, nn, optim

SHAPES = [(4, 3), (5,), (), (0, 2), (1, 17)]
ALL = ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW"]
OPTIONS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.2}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "weight_decay": 0.2, "lr_decay": 0.05}),
    *[
        ("RMSprop", {"lr": 0.02, "alpha": 0.9, **centered, **momentum, **decay})
        for centered in ({}, {"centered": True})
        for momentum in ({}, {"momentum": 0.8})
        for decay in ({}, {"weight_decay": 0.2, "eps": 1e-4})
    ],
    ("RMSprop", {}),
    *[
        (name, {"lr": 0.02, **betas, **amsgrad, **decay})
        for name in ("Adam", "AdamW")
        for betas in ({}, {"betas": (0.5, 0.7), "eps": 1e-4})
        for amsgrad in ({}, {"amsgrad": True})
        for decay in ({}, {"weight_decay": 0.2})
    ],
    ("Adam", {}),
    ("AdamW", {}),
]


def parameters(dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def gradients(steps, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    drawn = [[rng.standard_normal(s) * 10.0 ** rng.integers(-3, 2) for s in SHAPES] for _ in range(steps)]
    return [[np.asarray(g, dtype) for g in step] for step in drawn]


def run(optimizer, params, steps):
    for step in steps:
        for p, g in zip(params, step):
            p.grad = tg.tensor(g)
        optimizer.step()


def made(name, params, **options):
    return getattr(optim, name)(params, **{"lr": 0.05, **options})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_each_rule_is_that_of_pytorch(name, options, dtype):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(torch.tensor(p.numpy().copy())) for p in ours]
    optimizer = getattr(optim, name)(ours, **options)
    reference = getattr(torch.optim, name)(theirs, **options)
    start = [p.numpy().copy() for p in ours]
    rtol, atol = (2e-5, 2e-6) if dtype == "float32" else (1e-12, 1e-13)
    for t, step in enumerate(gradients(25, dtype)):
        for i, (p, q, g) in enumerate(zip(ours, theirs, step)):
            skip = (t + i) % 7 == 0  # now and then a parameter takes no part
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
def test_compiled_and_in_numpy_it_is_the_same(name, options, monkeypatch):
    compiled, plain = parameters(), parameters()
    run(getattr(optim, name)(compiled, **options), compiled, gradients(3))
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: "reference")
    run(getattr(optim, name)(plain, **options), plain, gradients(3))
    for p, q in zip(compiled, plain):
        np.testing.assert_allclose(p.numpy(), q.numpy(), 1e-12)


class Signed(optim.Optimizer):
    """A rule of a user's own: lr times the sign of a running mean, with a slot, a number of its own and an option."""

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
def test_a_rule_of_ones_own_is_compiled(size, dtype):
    rng = np.random.default_rng(0)
    x, mean = rng.standard_normal(size).astype(dtype), np.zeros(size, dtype)
    p = nn.Parameter(x.copy())
    optimiser = Signed([p])
    for step in range(1, 4):
        g = rng.standard_normal(size).astype(dtype)
        p.grad = tg.tensor(g)
        optimiser.param_groups[0]["lr"] = lr = 0.1 / step  # read anew at each step
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
    run(optimizer, p, step)  # the first update with momentum: no dampening
    np.testing.assert_allclose(p[0].numpy(), before - 0.1 * step[0][0], rtol=1e-14)


# Groups


def test_groups_have_options_of_their_own():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    ours = parameters()
    theirs = [torch.nn.Parameter(torch.tensor(p.numpy().copy())) for p in ours]

    def grouped(ps):
        return [{"params": ps[:2], "lr": 0.3, "weight_decay": 0.1}, {"params": iter(ps[2:4])}, {"params": ps[4]}]

    optimizer, reference = optim.Adam(grouped(ours), lr=0.01), torch.optim.Adam(grouped(theirs), lr=0.01)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2, 1]
    for step in gradients(5):
        for q, g in zip(theirs, step):
            q.grad = torch.tensor(g)
        run(optimizer, ours, [step])
        reference.step()
        optimizer.param_groups[1]["lr"] *= 0.5
        reference.param_groups[1]["lr"] *= 0.5
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-13)
    assert "lr=0.3" in repr(optimizer) and repr(optimizer).startswith("Adam(")


# Saving


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_resuming_is_exact_to_the_bit(name, options):
    steps = gradients(9, "float32")
    straight = parameters("float32")
    optimizer = getattr(optim, name)(straight, **options)
    run(optimizer, straight, steps[:4])
    saved, halfway = optimizer.state_dict(), [p.numpy().copy() for p in straight]
    run(optimizer, straight, steps[4:])

    resumed = [nn.Parameter(x) for x in halfway]
    other = getattr(optim, name)(resumed)
    other.load_state_dict(copy.deepcopy(saved))
    run(other, resumed, steps[4:])
    assert all(np.array_equal(p.numpy(), q.numpy()) for p, q in zip(straight, resumed))
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_state_dict_holds_copies_of_plain_numbers_and_arrays():
    params = parameters()
    optimizer = optim.Adam([{"params": params[:2]}, {"params": params[2:]}])
    run(optimizer, params, gradients(2))
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    run(optimizer, params, gradients(2))
    assert [group["params"] for group in saved["param_groups"]] == [[0, 1], [2, 3, 4]]
    assert sorted(saved["state"]) == [0, 1, 2, 3, 4]
    for i, state in saved["state"].items():
        assert set(state) == {"step", "exp_avg", "exp_avg_sq"} and type(state["step"]) is int
        for slot in ("exp_avg", "exp_avg_sq"):
            assert type(state[slot]) is np.ndarray
            np.testing.assert_array_equal(state[slot], kept["state"][i][slot])
    optimizer.load_state_dict(saved)
    run(optimizer, params, gradients(2))  # and what was loaded is a copy as well
    np.testing.assert_array_equal(saved["state"][0]["exp_avg"], kept["state"][0]["exp_avg"])


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_goes_on_from_a_pytorch_state_dict(name, options):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    theirs = [torch.nn.Parameter(torch.tensor(p.numpy().copy())) for p in parameters()]
    reference = getattr(torch.optim, name)(theirs, **options)
    steps = gradients(6)

    def run_theirs(some):
        for step in some:
            for q, g in zip(theirs, step):
                q.grad = torch.tensor(g)
            reference.step()

    run_theirs(steps[:3])
    ours = [nn.Parameter(q.detach().numpy().copy()) for q in theirs]
    optimizer = getattr(optim, name)(ours)
    optimizer.load_state_dict(reference.state_dict())
    run(optimizer, ours, steps[3:])
    run_theirs(steps[3:])
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-13)


def _saved_adam():
    params = parameters()
    optimizer = optim.Adam(params)
    run(optimizer, params, gradients(1))
    return optimizer, optimizer.state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["param_groups"][0]["params"].pop(), r"expected groups of \[5\] parameters, got \[4\]"),
        (lambda s: s["state"][1].update(exp_avg=np.ones(3)), r"exp_avg: expected shape \(5,\), got .*\(3,\)"),
        (lambda s: s["state"][1].pop("exp_avg_sq"), r"exp_avg_sq: expected shape \(5,\), got none"),
        (lambda s: s["param_groups"][0].update(maximize=True), "maximize: expected False, got True"),
        (lambda s: s["param_groups"][0].update(lr=-1), "Adam: lr: expected a number from 0 up, got -1"),
    ],
)
def test_a_load_that_fails_changes_nothing(change, message):
    optimizer, saved = _saved_adam()
    before = optimizer.state_dict()
    saved["param_groups"][0]["eps"] = 0.5
    change(saved)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    np.testing.assert_equal(after["state"], before["state"])


# Errors


def test_a_group_that_is_refused_is_not_added():
    p, q = parameters()[:2]
    optimizer = optim.SGD([p])
    for group in ({"params": [q], "nesterov": True}, {"params": [q], "lr": -1}, {"params": [q, p]}):
        with pytest.raises(ValueError, match="SGD"):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": q, "lr": 0.5})
    assert optimizer.param_groups[1]["params"] == [q] and optimizer.param_groups[1]["lr"] == 0.5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Adam", {"lr": -1}, "Adam: lr: expected a number from 0 up, got -1"),
        ("Adam", {"lr": float("nan")}, "Adam: lr: expected a number from 0 up, got nan"),
        ("Adam", {"lr": "0.1"}, "Adam: lr: expected a number from 0 up, got '0.1'"),
        ("Adam", {"betas": (0.9, 1.0)}, r"Adam: betas: expected two numbers from 0 to below 1, got \(0.9, 1.0\)"),
        ("Adam", {"betas": 0.9}, "Adam: betas: expected two numbers from 0 to below 1, got 0.9"),
        ("AdamW", {"weight_decay": -0.1}, "AdamW: weight_decay: expected a number from 0 up, got -0.1"),
        ("Adam", {"amsgrad": 1}, "Adam: amsgrad: expected True or False, got 1"),
        ("SGD", {"momentum": -0.9}, "SGD: momentum: expected a number from 0 up, got -0.9"),
        ("SGD", {"nesterov": True}, "SGD: nesterov: expected momentum above 0 and dampening 0, got momentum 0.0"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "SGD: nesterov: expected momentum above 0"),
        ("Adagrad", {"eps": -1e-3}, "Adagrad: eps: expected a number from 0 up, got -0.001"),
        ("RMSprop", {"alpha": -1}, "RMSprop: alpha: expected a number from 0 up, got -1"),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(optim, name)(parameters(), **options)


def test_parameters_are_checked():
    p = parameters()[0]
    with pytest.raises(ValueError, match="SGD: params: expected at least one parameter, got none"):
        optim.SGD([])
    with pytest.raises(TypeError, match="params: expected a list of parameters or of groups, got one Parameter"):
        optim.SGD(p)
    with pytest.raises(TypeError, match=r"params\[1\]: expected a Parameter, got ndarray"):
        optim.SGD([p, np.ones(2)])
    with pytest.raises(ValueError, match=r"params\[1\]: expected each parameter once, got \(4, 3\) twice"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match="expected each parameter once"):
        optim.SGD([{"params": [p]}, {"params": [p]}])
    with pytest.raises(ValueError, match=r"params\[0\]: expected a leaf .*, got the result of 'mul'"):
        optim.SGD([p * 2.0])
    with pytest.raises(ValueError, match="expected a leaf with a floating dtype, got int64"):
        optim.SGD([tg.arange(3)])
    with pytest.raises(ValueError, match=r"SGD: expected options among lr, .*, got 'learning_rate'"):
        optim.SGD([{"params": [p], "learning_rate": 1.0}])
    with pytest.raises(TypeError, match="expected groups that are dicts with 'params'"):
        optim.SGD([{"lr": 1.0}])


def test_numbers_change_in_place_only_where_nobody_else_holds_them():
    def updated(hold):
        p = nn.Parameter(np.full(5, 2.0))
        for value in (2.0, 2.0):  # the first array may be part of another
            held = hold(p)
            before = p.data.ctypes.data
            p.grad = tg.tensor(np.full(5, value))
            optim.SGD([p], lr=0.5).step()
        np.testing.assert_array_equal(p.numpy(), 0.0)
        return p.data.ctypes.data == before, held

    assert updated(lambda p: None)[0]
    for hold in (lambda p: p.data, lambda p: p.numpy(), lambda p: p.data[1:], lambda p: p.detach()):
        in_place, held = updated(hold)
        assert not in_place
        values = held if isinstance(held, np.ndarray) else held.data
        np.testing.assert_array_equal(values, 1.0)  # as it was


def test_a_graph_from_before_a_step_keeps_the_old_numbers():
    p = nn.Parameter(np.full(3, 3.0))
    y = (p * p).sum()
    p.grad = tg.tensor(np.ones(3))
    optim.SGD([p], lr=1.0).step()
    p.grad = None
    y.backward()
    np.testing.assert_array_equal(p.grad.numpy(), 6.0)


def test_weights_that_inference_has_packed_are_seen_to_change():
    layer, x = nn.LSTM(3, 4), tg.randn(2, 1, 3)
    with tg.no_grad():
        before = layer(x)[0].numpy().copy()
    optimiser = optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(2):
        layer(x)[0].sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        with tg.no_grad():
            after = layer(x)[0].numpy()
        np.testing.assert_allclose(after, layer(x)[0].detach().numpy(), 1e-5, 1e-6)
        assert not np.allclose(after, before)
        before = after.copy()
