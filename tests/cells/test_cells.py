"""Cells: built-in ones and a user's compute their equations in NumPy, have right gradients, and learn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from grids import spread
from sequences import as_function
from user_cells import USER_CELLS, clockwork_rnn, ind_rnn, minimal_gated, recurrent_dropout_lstm, slstm, zoneout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.cells import BUILT_IN, STANDARD
from tinygrad_rnn.cells.trace import trace

T, N, I, H = 4, 3, 2, 3


def sigma(x):
    return 1 / (1 + np.exp(-x))


def np_relu(pre, s, p, w):
    return (np.maximum(pre["h"], 0),)


def np_tanh(pre, s, p, w):
    return (np.tanh(pre["h"]),)


def np_lstm(pre, s, p, w):
    c = sigma(pre["f"]) * s[1] + sigma(pre["i"]) * np.tanh(pre["g"])
    return sigma(pre["o"]) * np.tanh(c), c


def np_gru(pre, s, p, w):
    r, z = sigma(pre["r"]), sigma(pre["z"])
    n = np.tanh(pre["x n"] + r * pre["h n"])
    return ((1 - z) * n + z * s[0],)


def np_gru_reset_before(pre, s, p, w):
    r, z = sigma(pre["r"]), sigma(pre["z"])
    n = np.tanh(pre["x n"] + w["n"](r * s[0]))
    return ((1 - z) * n + z * s[0],)


def np_peephole(pre, s, p, w):
    c = sigma(pre["f"] + p["f"] * s[1]) * s[1] + sigma(pre["i"] + p["i"] * s[1]) * np.tanh(pre["g"])
    return sigma(pre["o"] + p["o"] * c) * np.tanh(c), c


def np_cifg(pre, s, p, w):
    i = sigma(pre["i"])
    c = (1 - i) * s[1] + i * np.tanh(pre["g"])
    return sigma(pre["o"]) * np.tanh(c), c


def np_minimal(pre, s, p, w):
    f = sigma(pre["f"])
    return ((1 - f) * s[0] + f * np.tanh(pre["x n"] + w["n"](f * s[0])),)


def np_ind_rnn(pre, s, p, w):
    return (np.tanh(pre["x h"] + p["u"] * s[0]),)


def np_slstm(pre, s, p, w):
    """Compute exponentials without a stabiliser: c / n is the same."""
    scale = np.exp(s[3])  # the states are c e^-m and n e^-m
    i, f = np.exp(pre["i"]), sigma(pre["f"])
    c, n = f * s[1] * scale + i * np.tanh(pre["z"]), f * s[2] * scale + i
    m = np.log(np.maximum(f * scale, i))
    return sigma(pre["o"]) * c / n, c / np.exp(m), n / np.exp(m), m


EQUATIONS = {
    "rnn_tanh": np_tanh,
    "rnn_relu": np_relu,
    "lstm": np_lstm,
    "gru": np_gru,
    "gru_reset_before": np_gru_reset_before,
    "peephole_lstm": np_peephole,
    "cifg_lstm": np_cifg,
    "minimal_gated": np_minimal,
    "ind_rnn": np_ind_rnn,
    "slstm": np_slstm,
}


def test_every_standard_cell_has_its_equations_here():
    assert {*STANDARD} <= EQUATIONS.keys()


@pytest.mark.parametrize("name", spread(EQUATIONS, 3))
def test_a_layer_computes_the_equations(name):
    """A layer equals a loop over time in NumPy that reads the parameters by their public names."""
    cell = (BUILT_IN | USER_CELLS)[name]
    tg.manual_seed(0)
    layer = nn.Recurrent(cell, I, H, dtype="float64")
    weights = {n: p.detach().numpy() for n, p in layer.named_parameters()}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, N, I))
    states = [rng.standard_normal((N, H)) * 0.5 for _ in cell.states]
    output, final = layer(tg.tensor(x), tuple(tg.tensor(s[None]) for s in states))

    rows = {g: slice(k * H, k * H + H) for k, g in enumerate(cell.gates)}
    w_ih, b_ih, w_hh, b_hh = (weights.get(n + "_l0") for n in ("weight_ih", "bias_ih", "weight_hh", "bias_hh"))
    products = {g: lambda v, at=at: v @ w_hh[at].T + b_hh[at] for g, at in rows.items()} if w_hh is not None else {}
    params = {n: weights[f"p_{n}_l0"] for n in cell.params}
    for t in range(T):
        pre = {"x " + g: x[t] @ w_ih[at].T + b_ih[at] for g, at in rows.items()}
        pre |= {"h " + g: product(states[0]) for g, product in products.items()}
        pre |= {g: pre["x " + g] + pre["h " + g] for g in products}
        states = list(EQUATIONS[name](pre, states, params, products))
        np.testing.assert_allclose(output.detach().numpy()[t], states[0], 1e-11, 1e-12)
    for found, wanted in zip(final if isinstance(final, tuple) else (final,), states):
        np.testing.assert_allclose(found.detach().numpy()[0], wanted, 1e-11, 1e-12)


TWICE = sorted(({*STANDARD} | USER_CELLS.keys()) - {"flat_state", "several_products"})


@pytest.mark.parametrize("name", spread(TWICE, 3))
def test_gradients_of_first_and_second_order(name):
    cell = (BUILT_IN | USER_CELLS)[name]
    tg.manual_seed(4)
    layer = nn.Recurrent(cell, I, H, dtype="float64", return_states=name in ("slstm", "lstm"))
    f, weights = as_function(layer)
    rng = np.random.default_rng(1)
    masks = {n: tg.tensor(rng.random((T, N, H)), requires_grad=True) for n in cell.inputs}
    x = tg.tensor(rng.standard_normal((T, N, I)), requires_grad=True)
    count = len(weights)

    def run(x, *rest):
        out = f(x, *rest[:count], inputs=dict(zip(masks, rest[count:])), lengths=[4, 1, 3])
        return [out[0], *(out[1] if isinstance(out[1], tuple) else out[1:2]), *(out[2] if len(out) > 2 else ())]

    arguments = [x, *weights, *masks.values()]
    assert tg.gradcheck(run, arguments, directions=1)
    assert tg.gradgradcheck(lambda *a: run(*a)[:2], arguments, atol=1e-5)


def test_an_ind_rnn_has_no_recurrent_matrix():
    layer = nn.Recurrent(ind_rnn, I, H, num_layers=2, bidirectional=True)
    names = [n for n, _ in layer.named_parameters()]
    assert names[:3] == ["weight_ih_l0", "bias_ih_l0", "p_u_l0"]
    assert not any("hh" in n for n in names)
    out, h_n = layer(tg.ones(T, N, I))
    assert out.shape == (T, N, 2 * H) and h_n.shape == (4, N, H)
    out.sum().backward()
    assert all(p.grad.numpy().any() for p in layer.parameters())


def test_zoneout_keeps_the_units_that_the_mask_names():
    tg.manual_seed(0)
    layer = nn.Recurrent(zoneout_lstm, I, H, return_states=True)
    x, plain = tg.randn(T, N, I), nn.LSTM(I, H)
    plain.load_state_dict(layer.state_dict())
    zero, one = tg.zeros(T, N, H), tg.ones(T, N, H)
    np.testing.assert_allclose(
        layer(x, inputs={"keep_h": zero, "keep_c": zero})[0].detach().numpy(), plain(x)[0].detach().numpy(), 1e-6
    )
    out, (_, c), _ = layer(x, inputs={"keep_h": one, "keep_c": one})
    assert not out.detach().numpy().any() and not c.detach().numpy().any()
    keep = np.zeros((T, N, H), "float32")
    keep[2, 1, 0] = 1
    _, _, (_, cells) = layer(x, inputs={"keep_h": tg.tensor(keep), "keep_c": tg.tensor(keep)})
    moved = cells.numpy()[0, 2] != cells.numpy()[0, 1]
    assert not moved[1, 0] and moved.sum() == N * H - 1


def test_recurrent_dropout_uses_one_mask_for_all_steps():
    tg.manual_seed(0)
    layer = nn.Recurrent(recurrent_dropout_lstm, I, H)
    plain = nn.LSTM(I, H)
    plain.load_state_dict(layer.state_dict())
    x = tg.randn(T, N, I)
    ones = layer(x, inputs={"m": tg.ones(N, H)})[0].detach().numpy()
    np.testing.assert_allclose(ones, plain(x)[0].detach().numpy(), 1e-6, 1e-7)
    with tg.no_grad():
        plain.weight_hh_l0 *= np.array([1, 0, 2], "float32")
    masked = layer(x, inputs={"m": tg.tensor([1.0, 0.0, 2.0])})[0].detach().numpy()
    np.testing.assert_allclose(masked, plain(x)[0].detach().numpy(), 1e-6, 1e-7)


def test_a_clock_moves_its_units_at_its_ticks_only():
    tg.manual_seed(0)
    layer = nn.Recurrent(clockwork_rnn, I, 4)
    ticks = np.array([[t % period == 0 for period in (1, 2, 4, 8)] for t in range(8)], "float32")
    out, _ = layer(tg.randn(8, N, I), inputs={"tick": tg.tensor(ticks[:, None, :])})
    changed = np.diff(out.detach().numpy(), axis=0, prepend=0.0) != 0
    np.testing.assert_array_equal(changed, np.broadcast_to(ticks[:, None] > 0, changed.shape))


def test_slstm_is_stable_where_plain_exponentials_overflow():
    layer = nn.Recurrent(slstm, 1, 2)
    with tg.no_grad():
        layer.weight_ih_l0.fill_(100.0)
    out, states = layer(tg.ones(20, 1, 1))
    assert np.isfinite(out.detach().numpy()).all()
    out.sum().backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in layer.parameters())
    assert float(states[3].detach().numpy().max()) > 90


def test_a_users_cell_learns():
    """The minimal gated unit learns to repeat the input of two steps before."""
    tg.manual_seed(1)
    layer, head = nn.Recurrent(minimal_gated, 1, 8), nn.Linear(8, 1)
    optimizer = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)
    losses = []
    for _ in range(150):
        x = tg.randn(12, 16, 1)
        loss = ((head(layer(x)[0])[2:] - x[:-2]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.8 and np.mean(losses[-10:]) < 0.25


def test_a_cell_is_not_copied_with_its_layer():
    layer = nn.Recurrent(minimal_gated, I, H)
    assert copy.deepcopy(layer).cell is layer.cell is minimal_gated
    assert repr(trace(copy.copy(minimal_gated))) == repr(trace(minimal_gated))
