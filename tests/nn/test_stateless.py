"""`functional_call`: a module computed with other tensors than its own."""

import numpy as np
import pytest
from helpers import leaf, normal

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def linear():
    return nn.Linear(3, 2, dtype="float64")


def test_gradients_flow_to_the_given_tensors():
    layer, x = linear(), tg.tensor(normal(4, 3))

    def f(weight, bias):
        return nn.functional_call(layer, {"weight": weight, "bias": bias}, x)

    weight, bias = leaf(normal(2, 3, seed=1)), leaf(normal(2, seed=1))
    assert tg.gradcheck(f, [weight, bias]) and tg.gradgradcheck(f, [weight, bias])
    np.testing.assert_array_equal(f(weight, bias).numpy(), nn.functional.linear(x, weight, bias).numpy())
    assert layer.weight.grad is None and isinstance(layer.weight, nn.Parameter)


def test_a_step_of_gradient_descent_inside_the_graph():
    layer, x = linear(), tg.tensor(normal(4, 3))
    named = dict(layer.named_parameters())
    loss = (layer(x) ** 2).sum()
    grads = tg.grad(loss, list(named.values()), create_graph=True)
    new = {name: p - 0.1 * g for (name, p), g in zip(named.items(), grads)}
    after = (tg.func.functional_call(layer, new, (x,)) ** 2).sum()
    assert after.item() < loss.item()
    after.backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_the_module_is_as_before_also_after_an_error():
    layer = linear()
    before = dict(layer.named_parameters())
    with pytest.raises(ValueError, match="linear: expected x"):
        nn.functional_call(layer, {"weight": tg.zeros(2, 3, dtype="float64")}, tg.zeros(1, 5, dtype="float64"))
    assert all(p is before[name] for name, p in layer.named_parameters())


def test_names_of_parts_buffers_and_keywords():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Linear(1, 1, bias=False)
            self.register_buffer("shift", tg.zeros(1))

        def forward(self, x, times=1.0):
            return self.part(x) * times + self.shift

    net = Net()
    given = {"part.weight": tg.full((1, 1), 3.0)}, {"shift": tg.ones(1)}
    assert nn.functional_call(net, given, (tg.ones(1, 1),), {"times": 2.0}).tolist() == [[7.0]]
    assert nn.functional_call(net, given[0], None, {"x": tg.ones(1, 1)}).tolist() == [[3.0]]
    assert net.shift.tolist() == [0.0]
    with pytest.raises(KeyError, match=r"expected the names of Net, got missing \['shift'\], unknown \[\]"):
        nn.functional_call(net, given[0], tg.ones(1, 1), strict=True)


def test_shared_weights_are_replaced_together():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")

    def made(lib):
        net = lib.Sequential(lib.Linear(2, 2, bias=False), lib.Linear(2, 2, bias=False))
        net[1].weight = net[0].weight
        return net

    ours, theirs = made(nn), made(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    w = normal(2, 2).astype("float32")
    for tie in (True, False):
        for name in ("0.weight", "1.weight"):
            found = nn.functional_call(ours, {name: tg.tensor(w)}, tg.ones(1, 2), tie_weights=tie)
            wanted = torch.func.functional_call(theirs, {name: torch.tensor(w)}, torch.ones(1, 2), tie_weights=tie)
            np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), 1e-5)
    assert ours[1].weight is ours[0].weight


@pytest.mark.parametrize("record", [True, False])
def test_recurrent_layers_take_other_weights(record):
    layer, other, x = nn.LSTM(3, 5, 2), nn.LSTM(3, 5, 2), tg.randn(4, 2, 3)
    with tg.set_grad_enabled(record):
        own = layer(x)[0].numpy().copy()
        expected = other(x)[0].numpy()
        found = nn.functional_call(layer, dict(other.named_parameters()), x)[0]
        np.testing.assert_array_equal(found.numpy(), expected)
        np.testing.assert_array_equal(layer(x)[0].numpy(), own)


def test_errors():
    layer, x = nn.Linear(3, 2), tg.ones(1, 3)
    with pytest.raises(KeyError, match=r"expected the names of Linear, got missing \[\], unknown \['scale'\]"):
        nn.functional_call(layer, {"scale": tg.ones(2)}, x)
    with pytest.raises(TypeError, match="functional_call: weight: expected a tensor, got ndarray"):
        nn.functional_call(layer, {"weight": np.zeros((2, 3))}, x)
    with pytest.raises(ValueError, match=r"functional_call: bias: expected shape \(2,\), got \(3,\)"):
        nn.functional_call(layer, {"bias": tg.ones(3)}, x)
    with pytest.raises(KeyError, match=r"expected each name in one mapping, got \['bias'\] in several"):
        nn.functional_call(layer, [{"bias": tg.ones(2)}, {"bias": tg.ones(2)}], x)
    with pytest.raises(TypeError, match=r"parameter_and_buffer_dicts\[0\]: expected a mapping .* got Parameter"):
        nn.functional_call(layer, list(layer.parameters()), x)
