"""Optimisers: groups of parameters, saving and loading, errors."""

import copy

import numpy as np
import pytest
from optimisers import OPTIONS, gradients, parameters, run

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

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
    run(optimizer, params, gradients(2))  # load_state_dict copies as well
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
        for value in (2.0, 2.0):  # the first array may be a view of another
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
        np.testing.assert_array_equal(values, 1.0)  # the step has not changed them


def test_a_graph_from_before_a_step_keeps_the_old_numbers():
    p = nn.Parameter(np.full(3, 3.0))
    y = (p * p).sum()
    p.grad = tg.tensor(np.ones(3))
    optim.SGD([p], lr=1.0).step()
    p.grad = None
    y.backward()
    np.testing.assert_array_equal(p.grad.numpy(), 6.0)


def test_inference_sees_that_packed_weights_have_changed():
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
