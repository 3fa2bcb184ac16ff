"""Settings of recurrent layers that change after construction, and parameters that are drawn again."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sequences import array, same
from user_cells import ind_rnn

import tinygrad_rnn as tg
from tinygrad_rnn import nn

I, H = 3, 5
X = np.random.default_rng(0).standard_normal((4, 2, I)).astype("float32")

MADE = {
    "LSTM": lambda: nn.LSTM(I, H, 2, bidirectional=True, proj_size=2),
    "GRU": lambda: nn.GRU(I, H, learn_initial_state=True),
    "RNN": lambda: nn.RNN(I, H, 3, nonlinearity="relu", bias=False, dtype="float64"),
    "stack": lambda: nn.LSTM(1, 17, 2, learn_initial_state=True, bidirectional=True),
    "peephole": lambda: nn.Recurrent("peephole_lstm", I, 1),
    "user's": lambda: nn.Recurrent(ind_rnn, I, H),
    "LSTMCell": lambda: nn.LSTMCell(I, H),
    "GRUCell": lambda: nn.GRUCell(I, 100, bias=False, reset_after=False),
    "RNNCell": lambda: nn.RNNCell(I, H, dtype="float64"),
    "peephole cell": lambda: nn.RecurrentCell("peephole_lstm", I, H),
    "Linear": lambda: nn.Linear(I, H),
}
each = pytest.mark.parametrize("kind", MADE)


def x_for(module):
    x = X if isinstance(module, nn.Recurrent) else X[0]
    weight = next(module.parameters())
    return tg.tensor(np.resize(x, (*x.shape[:-1], weight.shape[1])), dtype=weight.dtype)


def numbers(module):
    return {name: array(p).copy() for name, p in module.named_parameters()}


# Parameters drawn again


@each
def test_reset_draws_what_the_constructor_draws(kind):
    tg.manual_seed(7)
    module = MADE[kind]()
    made, after = numbers(module), tg.rand(3)
    with tg.no_grad():
        module(x_for(module))  # packs the weights and makes their arrays read-only
        for parameter in module.parameters():
            parameter += 1.0
        module(x_for(module))
    same_parameters = [*module.parameters()]
    for parameter in same_parameters:
        parameter.grad = tg.ones(*parameter.shape, dtype=parameter.dtype)
    tg.manual_seed(7)
    assert module.reset_parameters() is None
    found = numbers(module)
    assert list(found) == list(made)
    for name, value in made.items():
        np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(array(tg.rand(3)), array(after))
    assert all(a is b for a, b in zip(module.parameters(), same_parameters))  # an optimiser holds them
    module.reset_parameters()
    for name, value in numbers(module).items():
        assert name.startswith(("h_0", "c_0")) or (value != made[name]).all()
    with tg.no_grad():
        fresh = copy.deepcopy(module)
        same(module(x_for(module)), fresh(x_for(module)), 0)


def test_learned_initial_states_begin_at_0_again():
    layer = nn.LSTM(I, H, learn_initial_state=True)
    for state in (layer.h_0_l0, layer.c_0_l0):
        nn.init.ones_(state)
    layer.reset_parameters()
    assert not array(layer.h_0_l0).any() and not array(layer.c_0_l0).any()


def test_apply_resets_a_model():
    model = nn.ModuleList([nn.Embedding(4, I), nn.LSTM(I, H), nn.GRUCell(H, H), nn.Linear(H, 2)])

    def reset(module):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    before = numbers(model)
    model.apply(reset)
    assert all((value != before[name]).any() for name, value in numbers(model).items())


def test_reset_with_a_buffer_or_a_computed_tensor():
    for module in (nn.LSTM(I, H), nn.LSTMCell(I, H)):
        name = [name for name, _ in module.named_parameters()][1]
        before = numbers(module)
        kept = copy.deepcopy(module)
        kept.register_buffer(name, getattr(module, name).detach().clone())
        kept.reset_parameters()
        assert (array(getattr(kept, name)) != before[name]).all()
        setattr(module, name, getattr(module, name) * 2.0)
        with pytest.raises(ValueError, match=rf"reset_parameters: {name}: expected .*, got a computed tensor"):
            module.reset_parameters()
        delattr(module, name)
        with pytest.raises(AttributeError, match=f"{name}: expected a parameter, .*, got nothing"):
            module.reset_parameters()
        del before[name]
        for other, value in numbers(module).items():
            np.testing.assert_array_equal(value, before[other])  # a failed reset changes nothing


# Fixed settings and others


@pytest.mark.parametrize(
    "name, value",
    [
        ("bidirectional", True),
        ("proj_size", 2),
        ("hidden_size", 6),
        ("hidden_size", 5.0),
        ("input_size", 4),
        ("num_layers", 3),
        ("bias", False),
        ("cell", "gru"),
        ("learn_initial_state", True),
        ("output_size", 4),
        ("suffixes", ["_l0"]),
    ],
)
def test_settings_that_the_parameters_depend_on_are_fixed(name, value):
    layer = nn.LSTM(I, H, 2)
    old = getattr(layer, name)
    with pytest.raises((AttributeError, ValueError), match=name):
        setattr(layer, name, value)
    assert getattr(layer, name) == old
    setattr(layer, name, old)  # the same value is accepted: a subclass may assign its arguments
    same(layer(X), copy.deepcopy(layer)(X), 0)


def test_errors_say_what_to_do():
    layer, rnn, gru, one = nn.LSTM(I, H), nn.RNN(I, H), nn.GRU(I, H), nn.LSTMCell(I, H)
    with pytest.raises(AttributeError, match=r"LSTM.bidirectional: expected it to stay False, .* make a new layer"):
        layer.bidirectional = True
    with pytest.raises(AttributeError, match=r"RNN.nonlinearity: expected it to stay 'tanh'"):
        rnn.nonlinearity = "relu"
    with pytest.raises(AttributeError, match=r"GRU.reset_after: expected it to stay True"):
        gru.reset_after = False
    with pytest.raises(AttributeError, match=r"GRU.cell: expected it to stay gru, .* got lstm"):
        gru.cell = layer.cell
    for name, value in (("hidden_size", 4), ("input_size", 1), ("bias", False), ("cell", gru.cell)):
        with pytest.raises(AttributeError, match=rf"LSTMCell.{name}: expected it to stay"):
            setattr(one, name, value)
    with pytest.raises(AttributeError, match=r"LSTM.proj_size: expected it to stay 0"):
        del layer.proj_size


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("dropout", 1.5, ValueError),
        ("dropout", "0.1", ValueError),
        ("batch_first", 1, TypeError),
        ("return_states", None, TypeError),
        ("recompute_every", -1, ValueError),
        ("recompute_every", 2.0, ValueError),
    ],
)
def test_changed_settings_are_checked_as_in_the_constructor(name, value, error):
    layer = nn.LSTM(I, H, 2)
    with pytest.raises(error, match=f"LSTM: {name}: expected"):
        setattr(layer, name, value)
    with pytest.raises(error, match=f"LSTM: {name}: expected"):
        nn.LSTM(I, H, 2, **{name: value})


def test_changed_settings_take_effect():
    layer, x = nn.LSTM(I, H, 2), tg.tensor(X)
    output, _ = layer(x)
    layer.batch_first = True
    same(layer(x.transpose(0, 1))[0], output.transpose(0, 1), 1e-6)
    layer.batch_first, layer.return_states = False, True
    assert len(layer(x)) == 3
    layer.return_states, layer.recompute_every = False, 2
    same(layer(x)[0], output, 1e-6)
    layer.recompute_every, layer.dropout = 0, 1.0
    assert np.abs(array(layer(x)[0]) - array(output)).max() > 1e-3
    same(layer.eval()(x)[0], output, 1e-6)


def test_dropout_without_effect_gives_a_warning():
    for make in (nn.LSTM, nn.GRU, nn.RNN, lambda *sizes, **given: nn.Recurrent("cifg_lstm", *sizes, **given)):
        with pytest.warns(UserWarning, match=r"dropout: expected 0 with num_layers=1, .* got 0.2") as caught:
            make(I, H, dropout=0.2)
        assert [w.filename for w in caught] == [__file__]
    layer = nn.LSTM(I, H)
    with pytest.warns(UserWarning, match="LSTM: dropout"):
        layer.dropout = 0.5
    assert nn.LSTM(I, H, 2, dropout=0.2).dropout == 0.2
    layer.dropout = 0


class Named(nn.GRU):
    """A subclass that assigns its arguments to attributes, as many do."""

    def __init__(self, size):
        super().__init__(size, size, 2)
        self.hidden_size = size
        self.size = size


def test_copies_and_pickles():
    layer = Named(I)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        same(other(X), layer(X), 0)
        with pytest.raises(AttributeError, match=r"Named.hidden_size: expected it to stay 3"):
            other.hidden_size = 4
        other.reset_parameters()
