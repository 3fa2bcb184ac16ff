"""Inference with cached packed weights gives the bits of a recorded forward, and never uses old weights."""

import copy
import gc
import sys

import numpy as np
import pytest
from user_cells import depth_gated_lstm, ind_rnn, minimal_gated, slstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.kernels.cpu import packed_weights as weights

LAYERS = {
    "lstm": lambda: nn.LSTM(5, 17),
    "one input": lambda: nn.GRU(1, 16),
    "reset before": lambda: nn.GRU(5, 17, reset_after=False),
    "relu": lambda: nn.RNN(3, 100, nonlinearity="relu"),
    "no bias": lambda: nn.LSTM(5, 3, bias=False),
    "projection": lambda: nn.LSTM(5, 17, proj_size=3),
    "two layers, both ways": lambda: nn.LSTM(5, 17, 2, bidirectional=True),
    "double": lambda: nn.GRU(5, 17, dtype="float64"),
    "peepholes": lambda: nn.Recurrent("peephole_lstm", 5, 33),
    "two stages": lambda: nn.Recurrent(minimal_gated, 5, 17),
    "no recurrent weights": lambda: nn.Recurrent(ind_rnn, 5, 17),
    "four states": lambda: nn.Recurrent(slstm, 5, 17),
}


def arrays(found):
    output, state = found
    return [output.numpy(), *(s.numpy() for s in (state if isinstance(state, tuple) else (state,)))]


def input_of(layer, *shape):
    return tg.tensor(
        np.random.default_rng(0).standard_normal((*shape, layer.input_size)).astype(layer.weight_ih_l0.dtype)
    )


def same(layer, x, *state):
    """Check that inference gives the bits of a recorded forward. Return its results."""
    expected = arrays(layer(x, *state))
    with tg.no_grad():
        found = arrays(layer(x, *state))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_has_the_bits_of_the_recorded_forward(name):
    layer = LAYERS[name]()
    for T, N in ((1, 1), (2, 5), (7, 1), (3, 2), (1, 1)):
        x = input_of(layer, T, N)
        _, *last = same(layer, x)
        state = tuple(map(tg.tensor, last))
        same(layer, x, state if len(state) > 1 else state[0])
    _, *last = same(layer, input_of(layer, 3))
    state = tuple(map(tg.tensor, last))
    same(layer, input_of(layer, 3), state if len(state) > 1 else state[0])


def test_inference_uses_new_weights():
    layer = nn.LSTM(3, 17)
    x = input_of(layer, 4, 2)
    (before, *_) = same(layer, x)
    optimizer = tg.optim.SGD(layer.parameters(), 0.1)
    layer(x)[0].sum().backward()
    optimizer.step()
    (stepped, *_) = same(layer, x)
    assert (before != stepped).any()
    with tg.no_grad():
        layer.bias_hh_l0 += 1.0
    (shifted, *_) = same(layer, x)
    assert (shifted != stepped).any()
    layer.load_state_dict({name: np.zeros(p.shape, "f") for name, p in layer.named_parameters()})
    assert (same(layer, x)[0] == 0).all()
    layer.weight_hh_l0 = tg.tensor(np.ones((68, 17), "f"))  # a computed weight in a parameter's place
    layer.bias_ih_l0 = tg.tensor(np.ones(68, "f"))
    assert (same(layer, x)[0] != 0).any()


def test_a_change_in_place_is_refused_or_used():
    layer = nn.GRU(3, 17)
    x = input_of(layer, 2, 1)
    before = same(layer, x)[0]
    held = layer.weight_hh_l0.data
    same(layer, x)
    with pytest.raises(ValueError, match="read-only"):
        held[:] = 0
    layer.weight_hh_l0.data += 1.0  # by now the parameter has its own array
    assert (same(layer, x)[0] != before).any()
    base = np.ones((2, 51, 17), "f")
    layer.weight_hh_l0.data = base[0]  # a view, which may change through its base at any time
    first = same(layer, x)[0]
    base[0] = 0.5
    assert (same(layer, x)[0] != first).any()


def test_packed_weights_are_freed_with_their_layer():
    gc.collect()
    before = len(weights._packed)
    layer = nn.LSTM(3, 17)
    same(layer, input_of(layer, 2, 1))
    twin = copy.deepcopy(layer)
    same(twin, input_of(twin, 2, 1))
    assert len(weights._packed) == before + 2
    del layer, twin
    gc.collect()
    assert len(weights._packed) == before


def test_weights_that_do_not_fit_are_refused():
    x = tg.tensor(np.zeros((2, 1, 3), "f"))
    for name, shape in (("weight_hh_l0", (68, 16)), ("bias_ih_l0", (67,)), ("weight_ih_l0", (64, 3))):
        layer = nn.LSTM(3, 17)
        setattr(layer, name, tg.tensor(np.zeros(shape, "f"), requires_grad=True))
        with pytest.raises(ValueError, match="expected shape"):
            layer(x)
        with tg.no_grad(), pytest.raises(ValueError, match="expected shape"):
            layer(x)


def test_wrong_arguments_of_inference_give_the_layers_error():
    layer = nn.LSTM(3, 17)
    with tg.no_grad():
        with pytest.raises(ValueError, match="LSTM: x has 4 features, input_size is 3"):
            layer(tg.tensor(np.zeros((2, 1, 4), "f")))
        with pytest.raises(TypeError, match="LSTM: x: expected float32"):
            layer(tg.tensor(np.zeros((2, 1, 3))))
        with pytest.raises(ValueError, match="LSTM: state: expected h, c"):
            layer(tg.tensor(np.zeros((2, 1, 3), "f")), tg.tensor(np.zeros((1, 1, 17), "f")))
        with pytest.raises(ValueError, match="LSTM: c_0: expected float32 of shape"):
            layer(
                tg.tensor(np.zeros((2, 1, 3), "f")), (tg.tensor(np.zeros((1, 1, 17), "f")),) * 1 + (tg.zeros(1, 2, 17),)
            )


def test_a_depth_gate_over_a_lower_layers_cell_state():
    """Gradients go through its input, a sequence of states that another layer computes."""
    lower, upper = (
        nn.LSTM(2, 3, dtype="float64", return_states=True),
        nn.Recurrent(depth_gated_lstm, 3, 3, dtype="float64"),
    )

    def stacked(x):
        h, _, (_, c) = lower(x)
        return upper(h, inputs={"c_below": c[0]})[0]

    assert tg.gradcheck(stacked, [tg.tensor(np.random.default_rng(0).standard_normal((4, 2, 2)), requires_grad=True)])


def test_weights_that_outlive_the_modules_globals_go_in_silence(monkeypatch):
    """At the interpreter's end Python sets the globals of modules to None, and weights may go after that."""
    layer, said = nn.LSTM(5, 17), []
    same(layer, input_of(layer, 2, 3))
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    monkeypatch.setattr(weights, "_packed", None)
    del layer
    gc.collect()
    assert not said
