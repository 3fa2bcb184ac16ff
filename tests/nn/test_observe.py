"""The gradients of states and the gates of a layer: the values of unrolled equations, the bits of the layer."""

from __future__ import annotations

import numpy as np
import pytest
from sequences import array, as_tuple, parts
from user_cells import USER_CELLS, passing, slstm

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, nn, sigmoid, tanh
from tinygrad_rnn.cells import BUILT_IN
from tinygrad_rnn.cells.observed import with_gates, with_state_cotangents
from tinygrad_rnn.cells.trace import trace

T, N, I, H = 5, 3, 4, 6
ALL = BUILT_IN | USER_CELLS


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: "reference")


def unrolled_lstm(layer, x, weights):
    """Return h, c and the gates of each step of an LSTM, each a tensor of its own on the tape."""
    w, u, b_ih, b_hh = (getattr(layer, name + "_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, c = tg.zeros(N, H, dtype=x.dtype), tg.zeros(N, H, dtype=x.dtype)
    steps = []
    for t in range(T):
        a = tg.chunk(x[t] @ w.T + b_ih + h @ u.T + b_hh, 4, 1)
        i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), tanh(a[2]), sigmoid(a[3])
        c = f * c + i * g
        h = o * tanh(c)
        steps.append((h, c, i, f, g, o))
    return [list(each) for each in zip(*steps)]


@pytest.mark.parametrize("driver", ["cpu", "reference"])
def test_the_gradients_of_states_are_those_of_an_unrolled_loop(driver, monkeypatch):
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: driver)
    tg.manual_seed(0)
    layer, x = nn.LSTM(I, H, dtype="float64"), tg.randn(T, N, I, dtype="float64")
    weights = tg.randn(T, N, H, dtype="float64")
    loss = lambda output, state: (output**2 * weights).sum() + (state[1] ** 3).sum()
    found = nn.utils.state_gradients(layer, x, loss)
    h, c, *_ = unrolled_lstm(layer, x, weights)
    wanted = tg.grad([loss(tg.stack(h), (None, c[-1]))], [*h, *c])
    for name, each in zip("hc", (wanted[:T], wanted[T:])):
        assert found[name].shape == (1, T, N, H) and not found[name].requires_grad
        np.testing.assert_allclose(array(found[name])[0], np.stack([array(g) for g in each]), 1e-12, 1e-14)
    assert all(p.grad is None for p in layer.parameters())


@pytest.mark.parametrize(
    "name", ["gru", "gru_reset_before", "slstm", "peephole_lstm", "passing", "fgr_lstm", "zoneout_lstm"]
)
def test_the_gradients_of_states_by_finite_differences(name, reference):
    """A later run starts from the state of a step, changed a little: the change of the loss is the state's gradient.

    The last output is read of the step itself, so its own part of dL/dh_t is added.
    """
    tg.manual_seed(0)
    layer = nn.Recurrent(ALL[name], I, H, dtype="float64", return_states=True)
    x, weights = tg.randn(T, N, I, dtype="float64"), tg.randn(T, N, H, dtype="float64")
    masks = {n: tg.rand(T, N, H, dtype="float64") for n in layer.step.inputs}
    found = nn.utils.state_gradients(layer, x, lambda out, *_: (out * weights).sum(), inputs=masks)
    _, _, states = layer(x, inputs=masks)
    rng, at = np.random.default_rng(1), 2
    tail = {n: e[at + 1 :] for n, e in masks.items()}
    independent = {"passing": "a", "zoneout_lstm": "hc"}.get(name, "h")
    for k, state in enumerate(layer.step.states):
        if state not in independent:
            continue  # other states of the step are computed from it, and a later run does not know that
        v = rng.standard_normal((1, N, H))
        losses = []
        for sign in (1, -1):
            start = [array(s)[:, at] + (sign * 1e-6 * v if j == k else 0) for j, s in enumerate(states)]
            out = layer(x[at + 1 :], tuple(map(tg.tensor, start)), inputs=tail)[0]
            own = (start[0][0] * array(weights)[at]).sum()
            losses.append((out * weights[at + 1 :]).sum().item() + own)
        numeric = (losses[0] - losses[1]) / 2e-6
        np.testing.assert_allclose((array(found[state])[:, at] * v).sum(), numeric, 1e-6, 1e-8, err_msg=state)


def test_layers_directions_lengths_and_layouts(reference):
    """A step past the end has no gradient; a shorter batch has the same gradients; the layouts agree."""
    tg.manual_seed(0)
    layer = nn.GRU(I, H, 2, bidirectional=True, dtype="float64")
    x, lengths = tg.randn(T, N, I, dtype="float64"), [5, 0, 2]
    loss = lambda output, state: (output**2).sum() + state.sum()
    found = array(nn.utils.state_gradients(layer, x, loss, lengths=lengths)["h"])
    assert found.shape == (4, T, N, H)
    real = np.arange(T)[:, None] < np.array(lengths)
    assert found[:, real].any(-1).all() and not found[:, ~real].any()
    alone = array(nn.utils.state_gradients(layer, x[:2, 2], loss)["h"])
    assert alone.shape == (4, 2, H)
    np.testing.assert_allclose(found[:, :2, 2], alone, 1e-11, 1e-13)
    layer.batch_first = True
    turned = array(nn.utils.state_gradients(layer, x.transpose(0, 1), loss, lengths=lengths)["h"])
    np.testing.assert_array_equal(turned, found.swapaxes(1, 2))


def test_gradients_of_states_that_the_loss_does_not_reach_are_zeros(reference):
    layer = nn.LSTM(I, H)
    found = nn.utils.state_gradients(layer, tg.ones(T, N, I), lambda output, state: (output[1] ** 2).sum())
    for gradient in found.values():
        moved = array(gradient)[0].any((1, 2))
        np.testing.assert_array_equal(moved, np.arange(T) <= 1)
    with tg.no_grad():
        again = nn.utils.state_gradients(layer, tg.ones(T, N, I), lambda output, state: (output[1] ** 2).sum())
    np.testing.assert_array_equal(array(again["h"]), array(found["h"]))


def test_what_state_gradients_refuses(reference):
    x, loss = tg.ones(T, N, I), lambda output, state: output.sum()
    with pytest.raises(TypeError, match="state_gradients: layer: expected a recurrent layer, got Linear"):
        nn.utils.state_gradients(nn.Linear(I, H), x, loss)
    with pytest.raises(ValueError, match="state_gradients: layer: expected one without proj_size, got proj_size=2"):
        nn.utils.state_gradients(nn.LSTM(I, H, proj_size=2), x, loss)
    with pytest.raises(ValueError, match=r"LSTM: inputs: expected \['d_h', 'd_c'\]"):
        nn.utils.state_gradients(nn.LSTM(I, H), x, loss, inputs={"m": tg.ones(H)})
    x = tg.ones(T, N, I, requires_grad=True)
    penalty = lambda output, state: (tg.grad([output.sum()], [x], create_graph=True)[0] ** 2).sum()
    with pytest.raises(NotImplementedError, match="cell lstm: expected a loss without create_graph=True"):
        nn.utils.state_gradients(nn.LSTM(I, H), x, penalty)


# Gates


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_watching_gives_the_layers_bits_and_its_gates(dtype):
    tg.manual_seed(0)
    layer, x = nn.LSTM(I, H, dtype=dtype), tg.randn(T, N, I, dtype=dtype, requires_grad=True)
    watched = nn.utils.watch(layer)
    output, state, gates = watched(x)
    plain = layer(x)
    for a, b in zip(parts((output, state)), parts(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    with tg.no_grad():
        for a, b in zip(parts(layer(x)), parts(watched(x)[:2]), strict=True):
            np.testing.assert_array_equal(a, b)
    assert list(gates) == list("ifgo")
    assert watched.activations == {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}
    wanted = unrolled_lstm(layer, x, None)[2:]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for gate, each in zip(gates.values(), wanted):
        assert gate.shape == (1, T, N, H) and not gate.requires_grad
        np.testing.assert_allclose(array(gate)[0], np.stack([array(a) for a in each]), tolerance, tolerance)
    found = tg.grad([(output**2).sum() + state[1].sum()], [x, *layer.parameters()])
    for a, b in zip(found, tg.grad([(plain[0] ** 2).sum() + plain[1][1].sum()], [x, *layer.parameters()])):
        np.testing.assert_array_equal(array(a), array(b))


@pytest.mark.parametrize("name", ALL)
def test_every_cell_can_be_watched(name, reference):
    """The results are the layer's own, also with layers, directions, lengths and learned states."""
    tg.manual_seed(0)
    layer = nn.Recurrent(ALL[name], I, H, 2, bidirectional=True, dtype="float64", learn_initial_state=True)
    x = tg.randn(T, N, I, dtype="float64")
    inputs = {n: tg.rand(T, N, H, dtype="float64") for n in layer.step.inputs}
    *results, gates = nn.utils.watch(layer)(x, lengths=[5, 0, 2], inputs=inputs)
    wanted = layer(x, lengths=[5, 0, 2], inputs=inputs)
    assert type(results[1]) is type(wanted[1])
    for a, b in zip(parts(results), parts(wanted), strict=True):
        np.testing.assert_array_equal(a, b)
    assert list(gates) == list(layer.step.input_gates)
    assert all(g.shape == (4, T, N, H) and not array(g)[:, 2:, 2].any() for g in gates.values())
    step = trace(with_state_cotangents(ALL[name])[0])
    assert step.forward == trace(ALL[name]).forward


@pytest.mark.parametrize(
    "name, activations",
    [
        ("gru", {"r": "sigmoid", "z": "sigmoid", "n": "tanh"}),
        ("peephole_lstm", {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}),
        ("niaf_lstm", {"i": "sigmoid", "f": "sigmoid", "g": None, "o": "sigmoid"}),
        ("minimal_gated", {"f": "sigmoid", "n": "tanh"}),
        ("ind_rnn_relu", {"h": "relu"}),
        ("slstm", {"z": "tanh", "i": None, "f": None, "o": "sigmoid"}),
        ("spelled_out", {"reset": None, "update": "sigmoid", "candidate": None}),
    ],
)
def test_a_gate_is_shown_after_the_one_function_that_is_applied_to_it(name, activations):
    assert with_gates(ALL[name]).activations == activations


def test_without_one_function_the_pre_activation_is_shown(reference):
    tg.manual_seed(0)
    layer, x = nn.Recurrent(slstm, I, H, dtype="float64"), tg.randn(1, N, I, dtype="float64")
    gates = nn.utils.watch(layer)(x)[-1]
    a = array(x)[0] @ array(layer.weight_ih_l0).T + array(layer.bias_ih_l0) + array(layer.bias_hh_l0)
    pre = dict(zip(layer.step.input_gates, np.split(a, 4, 1)))
    for gate in "if":
        np.testing.assert_allclose(array(gates[gate])[0, 0], pre[gate], 1e-12)
    np.testing.assert_allclose(array(gates["z"])[0, 0], np.tanh(pre["z"]), 1e-12)


def test_watching_with_states_projections_layouts_and_own_inputs(reference):
    tg.manual_seed(0)
    layer = nn.LSTM(I, H, 2, proj_size=2, return_states=True)
    x, start = tg.randn(T, N, I), (tg.randn(2, N, 2), tg.randn(2, N, H))
    output, state, states, gates = nn.utils.watch(layer)(x, start)
    wanted = layer(x, start)
    for a, b in zip(parts((output, state, states)), parts(wanted), strict=True):
        np.testing.assert_array_equal(a, b)
    layer.batch_first = True
    turned = nn.utils.watch(layer)(x.transpose(0, 1), start)[-1]
    np.testing.assert_allclose(array(turned["o"]), array(gates["o"]).swapaxes(1, 2), 1e-6)
    assert nn.utils.watch(layer)(x[:, 0])[-1]["i"].shape == (2, T, H)
    clockwork = nn.ClockworkRNN(I, 8)
    output, _, gates = nn.utils.watch(clockwork)(x)
    np.testing.assert_array_equal(array(output), array(clockwork(x)[0]))
    np.testing.assert_array_equal(array(gates["h"])[0, 0], array(output)[0])
    found = nn.utils.state_gradients(clockwork, x, lambda output, state: output.sum())
    assert found["h"].shape == (1, T, N, 8)
    with pytest.raises(TypeError, match="watch: layer: expected a recurrent layer, got LSTMCell"):
        nn.utils.watch(nn.LSTMCell(I, H))


def test_names_of_states_and_inputs_do_not_clash(reference):
    @tg.cell(gates="a", states=["gate_a", "d_gate_a"], inputs=["d_gate_a_"])
    def clashing(a, s, e):
        return tanh(a.a), s.gate_a + e.d_gate_a_

    assert as_tuple(with_gates(clashing).names) == ({"a": "gate__a"},)
    layer, x = nn.Recurrent(clashing, I, H), tg.ones(T, N, I)
    inputs = {"d_gate_a_": tg.ones(H)}
    assert nn.utils.watch(layer)(x, inputs=inputs)[-1]["a"].shape == (1, T, N, H)
    found = nn.utils.state_gradients(layer, x, lambda output, state: state[1].sum(), inputs=inputs)
    assert not array(found["gate_a"])[0, -1].any() and array(found["gate_a"])[0, -2].all()
    assert with_gates(passing).cell is with_gates(passing).cell
