"""A layer reads parameters, buffers and computed tensors by name; an error names one that is of another kind."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sequences import array, same

import tinygrad_rnn as tg
from tinygrad_rnn import nn

I, H = 3, 5
X = np.random.default_rng(0).standard_normal((4, 2, I)).astype("float32")

MODULES = {
    "LSTM": (lambda: nn.LSTM(I, H, 2, bidirectional=True), X),
    "GRU": (lambda: nn.GRU(I, H), X),
    "RNN": (lambda: nn.RNN(I, H), X),
    "projected": (lambda: nn.LSTM(I, H, 2, proj_size=2), X),
    "peephole": (lambda: nn.Recurrent("peephole_lstm", I, H), X),
    "learned start": (lambda: nn.GRU(I, H, learn_initial_state=True), X),
    "reset before": (lambda: nn.GRU(I, H, reset_after=False), X),
    "LSTMCell": (lambda: nn.LSTMCell(I, H), X[0]),
    "GRUCell": (lambda: nn.GRUCell(I, H), X[0]),
    "peephole cell": (lambda: nn.RecurrentCell("peephole_lstm", I, H), X[0]),
    "Linear": (lambda: nn.Linear(I, H), X),
    "LayerNorm": (lambda: nn.LayerNorm(I), X),
    "Embedding": (lambda: nn.Embedding(4, H), np.array([[1, 3], [0, 2]])),
    "Conv2d": (lambda: nn.Conv2d(2, 3, (2, 3)), X[None].transpose(0, 2, 1, 3)),
}
each_parameter = pytest.mark.parametrize(
    "kind, name", [(kind, name) for kind, (make, _) in MODULES.items() for name, _ in make().named_parameters()]
)
each_recording = pytest.mark.parametrize("recording", [True, False])


def results(module, x, recording=True):
    with tg.enable_grad() if recording else tg.no_grad():
        found = module(x)
        output = found[0] if isinstance(found, tuple) else found
        if recording and output.requires_grad:
            (output * output).sum().backward()
        return found


def made(kind):
    tg.manual_seed(3)
    module, x = MODULES[kind][0](), MODULES[kind][1]
    for parameter in module.parameters():  # not 0 or 1, so that each has an effect
        nn.init.uniform_(parameter, -0.5, 0.5)
    return module, tg.tensor(x)


def moved_away(module, name):
    """Delete a parameter from the module. Return its numbers."""
    value = getattr(module, name).detach()
    delattr(module, name)
    return value


@each_recording
@each_parameter
def test_buffers_and_computed_tensors_are_read_like_parameters(kind, name, recording):
    module, x = made(kind)
    expected = results(module, x, recording)
    buffered, computed = copy.deepcopy(module), copy.deepcopy(module)
    for _ in range(2):
        buffered.register_buffer(name, moved_away(buffered, name))
        same(results(buffered, x, recording), expected, 0)
    source = moved_away(computed, name) / 2
    source.requires_grad = True
    setattr(computed, name, source * 2)
    same(results(computed, x, recording), expected, 0)
    if recording:
        same(source.grad, getattr(module, name).grad * 2, 1e-5)
        assert name not in dict(buffered.named_parameters())


@each_recording
@each_parameter
def test_the_error_names_a_value_of_another_kind(kind, name, recording):
    module, x = made(kind)
    results(module, x, recording)  # packed weights must not be used after their parameter is gone
    gone, empty, odd = (copy.deepcopy(module) for _ in range(3))
    delattr(gone, name)
    owner = type(module).__name__
    with pytest.raises(AttributeError, match=f"{owner}: {name}: expected a parameter, a buffer or a .*, got nothing"):
        results(gone, x, recording)
    setattr(empty, name, None)
    if name == "bias" or kind == "LayerNorm":  # a layer made without it has None there too
        without = copy.deepcopy(module)
        with tg.no_grad():
            getattr(without, name).fill_(1.0 if name == "weight" else 0.0)
        same(results(empty, x, recording), results(without, x, recording), 1e-6)
    else:
        with pytest.raises(TypeError, match=f"{owner}: {name}: expected a parameter, .*, got None"):
            results(empty, x, recording)
    for value in (array(getattr(odd, name)), [1.0], nn.Linear(1, 1)):
        if not isinstance(value, nn.Module):
            delattr(odd, name)
        setattr(odd, name, value)
        kind_of = type(value).__name__
        with pytest.raises(TypeError, match=f"{owner}: {name}: expected a parameter, .*, got {kind_of}"):
            results(odd, x, recording)


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("name", ["bias_ih_l0", "bias_hh_l0"])
def test_a_bias_given_to_a_layer_without_is_used(name, recording):
    tg.manual_seed(0)
    layer, x = nn.LSTM(I, H, bias=False), tg.tensor(X)
    bare = array(results(layer, x, recording)[0])
    bias, both = tg.arange(4 * H) / 10, copy.deepcopy(layer)
    layer.register_buffer(name, bias)
    setattr(both, name, nn.Parameter(bias))
    found = array(results(layer, x, recording)[0])
    assert np.abs(found - bare).max() > 0.01
    np.testing.assert_array_equal(array(results(both, x, recording)[0]), found)
    setattr(layer, name, None)
    np.testing.assert_array_equal(array(results(layer, x, recording)[0]), bare)
    delattr(layer, name)
    np.testing.assert_array_equal(array(results(layer, x, recording)[0]), bare)
    with pytest.raises(TypeError, match=f"LSTM: {name}: expected a parameter, .*, got list"):
        setattr(layer, name, [0.0])
        results(layer, x, recording)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "projected", "LSTMCell"])
def test_layers_that_an_older_version_has_pickled(kind):
    module, x = made(kind)
    old = pickle.loads(pickle.dumps(module))
    for name in [name for name, value in old._parameters.items() if value is None]:
        del old._parameters[name]
    old.__dict__.pop("_spare", None)
    for recording in (True, False):
        same(results(old, x, recording), results(module, x, recording), 0)
    assert list(old.state_dict()) == list(module.state_dict())


def test_names_without_a_parameter_are_not_saved_or_trained():
    layer = nn.LSTM(I, H, bias=False)
    assert [name for name, _ in layer.named_parameters()] == ["weight_ih_l0", "weight_hh_l0"] == [*layer.state_dict()]
    assert layer.bias_ih_l0 is None is layer.weight_hr_l0
