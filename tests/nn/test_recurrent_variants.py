"""Jordan networks, zoneout LSTMs, clockwork RNNs, depth-gated LSTMs, and Elman's copied context."""

from __future__ import annotations

import numpy as np
import pytest
from sequences import array, parts, same

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, nn

T, N, I, H = 5, 3, 4, 6


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """Run on the reference driver: other tests compile these cells, and a cell takes seconds."""
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: "reference")
    tg.manual_seed(0)


# Jordan


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_a_jordan_network_feeds_its_output_back(nonlinearity):
    layer = nn.JordanRNN(I, H, 2, nonlinearity, dtype="float64")
    x = np.random.default_rng(0).standard_normal((T, N, I))
    w, u, b_ih, b_hh, v = (array(p) for p in layer.parameters())
    y, f = np.zeros((N, 2)), np.tanh if nonlinearity == "tanh" else lambda a: np.maximum(a, 0)
    output, state = layer(tg.tensor(x))
    for t in range(T):
        y = f(x[t] @ w.T + b_ih + y @ u.T + b_hh) @ v.T
        np.testing.assert_allclose(array(output)[t], y, 1e-12, 1e-13)
    np.testing.assert_array_equal(array(state)[0], array(output)[-1])
    assert repr(layer) == "JordanRNN(4, 6, proj_size=2)"


def test_a_jordan_network_equals_a_loop_in_pytorch():
    torch = pytest.importorskip("torch")
    layer = nn.JordanRNN(I, H, 2, dtype="float64")
    w, u, b_ih, b_hh, v = theirs = [torch.tensor(array(p), requires_grad=True) for p in layer.parameters()]
    x = np.random.default_rng(0).standard_normal((T, N, I))
    y, outputs = torch.zeros(N, 2, dtype=torch.float64), []
    for t in range(T):
        y = torch.tanh(torch.from_numpy(x[t]) @ w.T + b_ih + y @ u.T + b_hh) @ v.T
        outputs.append(y)
    torch.stack(outputs).square().sum().backward()
    (layer(tg.tensor(x))[0] ** 2).sum().backward()
    for p, q in zip(layer.parameters(), theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), 1e-10, 1e-12)


def test_a_jordan_cell_with_a_nonlinear_output():
    """The cell that the docstring of `JordanRNN` names."""

    @tg.cell(gates="hy")
    def jordan(a, s):
        return tg.sigmoid(a.y.recurrent(tg.tanh(a.h)))

    layer = nn.Recurrent(jordan, I, H, dtype="float64")
    x = np.random.default_rng(0).standard_normal((T, N, I))
    y, (w, u, b_ih, b_hh) = np.zeros((N, H)), (array(p) for p in layer.parameters())
    for t in range(T):
        h = np.tanh(x[t] @ w.T + b_ih + y @ u[:H].T + b_hh[:H])
        y = 1 / (1 + np.exp(-(h @ u[H:].T + b_hh[H:])))
    np.testing.assert_allclose(array(layer(tg.tensor(x))[1])[0], y, 1e-12)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_a_jordan_networks_output_size_is_checked(size):
    with pytest.raises(ValueError, match="JordanRNN: output_size: expected a number from 1 to hidden_size - 1, got"):
        nn.JordanRNN(I, H, size)
    with pytest.raises(ValueError, match="JordanRNN: proj_size: expected a number from 0 to hidden_size - 1, got 6"):
        nn.JordanRNN(I, H, H)
    with pytest.raises(ValueError, match="JordanRNN: nonlinearity: expected 'tanh' or 'relu', got 'gelu'"):
        nn.JordanRNN(I, H, 2, "gelu")


# Elman


def test_a_copied_context_is_truncation_after_one_step():
    """The recipe in the docstring of `RNN` equals a loop that detaches the state before each step."""
    rnn, cell = nn.RNN(I, H, dtype="float64"), nn.RNNCell(I, H, dtype="float64")
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in rnn.state_dict().items()})
    x, target = tg.randn(T, N, I, dtype="float64"), tg.randn(T, N, H, dtype="float64")
    h, loss = tg.zeros(N, H, dtype="float64"), 0.0
    for t in range(T):
        h = cell(x[t], h.detach())
        loss = loss + ((h - target[t]) ** 2).sum()
    loss.backward()

    with tg.no_grad():
        states, _ = rnn(x)
    before = tg.concat([tg.zeros(1, N, H, dtype="float64"), states[:-1]])
    output, _ = rnn(x.reshape(1, T * N, I), before.reshape(1, T * N, H))
    output = output.reshape(T, N, H)
    np.testing.assert_allclose(array(output), array(states), 1e-12, 1e-13)
    ((output - target) ** 2).sum().backward()
    for p, q in zip(rnn.parameters(), cell.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), 1e-11, 1e-12)
    copied = [p.grad.numpy().copy() for p in rnn.parameters()]
    rnn.zero_grad()
    ((rnn(x)[0] - target) ** 2).sum().backward()
    assert not np.allclose(copied[1], rnn.weight_hh_l0.grad.numpy()), "the whole gradient is another one"


# Zoneout


def test_zoneout_in_evaluation_is_the_expected_value():
    layer = nn.ZoneoutLSTM(I, H, 2, zoneout_h=0.25, zoneout_c=0.5, bidirectional=True, dtype="float64").eval()
    plain = nn.Recurrent("zoneout_lstm", I, H, 2, bidirectional=True, dtype="float64")
    plain.load_state_dict(layer.state_dict())
    x = tg.randn(T, N, I, dtype="float64")
    keep = {"keep_h": tg.full((H,), 0.25, "float64"), "keep_c": tg.full((H,), 0.5, "float64")}
    same(layer(x), plain(x, inputs=keep), 0)
    same(layer(x), layer(x), 0)
    assert "zoneout_h=0.25, zoneout_c=0.5" in repr(layer)


@pytest.mark.parametrize("batch_first", [False, True])
def test_zoneout_in_training_keeps_units_at_random(batch_first):
    layer = nn.ZoneoutLSTM(I, 50, zoneout_h=0.0, zoneout_c=0.3, return_states=True, batch_first=batch_first)
    x = tg.randn(20, 20, I)
    _, _, (_, c) = layer(x)
    steps = array(c)[0] if not batch_first else array(c)[0].swapaxes(0, 1)
    kept = (np.diff(steps, axis=0, prepend=0.0) == 0).mean()
    assert abs(kept - 0.3) < 0.02
    tg.manual_seed(3)
    first = parts(layer(x))
    assert (first[0] != parts(layer(x))[0]).any()
    tg.manual_seed(3)
    np.testing.assert_array_equal(first[0], parts(layer(x))[0])
    layer.zoneout_c = 1.0
    assert not array(layer(x)[2][1]).any()
    layer.zoneout_c = 0.0
    plain = nn.LSTM(I, 50, return_states=True, batch_first=batch_first)
    plain.load_state_dict(layer.state_dict())
    same(layer(x), plain(x))


def test_zoneout_takes_masks_and_single_sequences_and_checks_its_probabilities():
    layer = nn.ZoneoutLSTM(I, H)
    x, one = tg.randn(T, N, I), tg.ones(H)
    assert not array(layer(x, inputs={"keep_h": one, "keep_c": one})[0]).any()
    assert layer(x[:, 0])[0].shape == (T, H) and layer(x, lengths=[0, 5, 1])[0].shape == (T, N, H)
    for wrong in (-0.1, 1.1, True, "a"):
        with pytest.raises(ValueError, match="ZoneoutLSTM: zoneout_c: expected a number from 0 to 1, got"):
            nn.ZoneoutLSTM(I, H, zoneout_c=wrong)


# Clockwork


def test_a_clockwork_rnn_computes_its_blocks():
    """It equals a loop that computes only the blocks whose period divides t, from themselves and slower blocks."""
    layer = nn.ClockworkRNN(I, H, periods=(1, 2, 3), dtype="float64")
    w, u, b_ih, b_hh = (array(p) for p in layer.parameters())
    x, h = np.random.default_rng(0).standard_normal((7, N, I)), np.zeros((N, H))
    output, _ = layer(tg.tensor(x))
    for t in range(7):
        new = h.copy()
        for k, period in enumerate((1, 2, 3)):
            if t % period == 0:
                own = slice(2 * k, 2 * k + 2)
                new[:, own] = np.tanh(x[t] @ w[own].T + b_ih[own] + h[:, 2 * k :] @ u[own, 2 * k :].T + b_hh[own])
        h = new
        np.testing.assert_allclose(array(output)[t], h, 1e-12, 1e-13)
    (output**2).sum().backward()
    np.testing.assert_array_equal(layer.weight_hh_l0.grad.numpy() != 0, array(layer.mask) != 0)


def test_a_clockwork_rnn_in_every_layout_and_in_parts():
    layer = nn.ClockworkRNN(I, 8, 2, bidirectional=True)
    x = tg.randn(T, N, I)
    whole = layer(x)
    layer.batch_first = True
    output, state = layer(x.transpose(0, 1))
    layer.batch_first = False
    same((output.transpose(0, 1), state), whole, 0)
    same((layer(x[:, 1])[0],), (whole[0][:, 1],))
    single = nn.ClockworkRNN(I, 8)
    whole, last = single(x)
    first, state = single(x[:3])
    second, end = single(x[3:], state, inputs={"tick": single.ticks(2, first=3)[:, None]})
    same((tg.concat([first, second]), end), (whole, last))
    again = nn.ClockworkRNN(I, 8).double()
    assert again.mask.dtype == np.float64 and again(x.double())[0].shape == (T, N, 8)
    assert "mask" not in single.state_dict()


def test_the_periods_are_checked():
    for wrong in ((), (2, 1), (1, 1), (0, 1), (1.5, 2), (True, 2)):
        with pytest.raises(ValueError, match="ClockworkRNN: periods: expected rising whole numbers from 1 up, got"):
            nn.ClockworkRNN(I, 8, periods=wrong)
    with pytest.raises(ValueError, match="ClockworkRNN: hidden_size: expected a multiple of the 4 periods, got 6"):
        nn.ClockworkRNN(I, 6)
    with pytest.raises(AttributeError, match=r"ClockworkRNN\.periods: expected it to stay"):
        nn.ClockworkRNN(I, 8).periods = (1, 2)


# Depth gates


def test_depth_gated_layers_hand_their_cells_up():
    layer = nn.DepthGatedLSTM(I, H, 3, dtype="float64")
    x, lengths = tg.randn(T, N, I, dtype="float64"), [5, 0, 2]
    start = tuple(tg.randn(3, N, H, dtype="float64") for _ in "hc")
    output, (h_n, c_n) = layer(x, start, lengths)
    below, cells = x, None
    for k, each in enumerate(layer.layers):
        inputs = None if cells is None else {"c_below": cells[0]}
        below, final, (_, cells) = each(below, tuple(s[k : k + 1] for s in start), lengths, inputs)
        np.testing.assert_array_equal(array(h_n)[k], array(final[0])[0])
        np.testing.assert_array_equal(array(c_n)[k], array(final[1])[0])
    np.testing.assert_array_equal(array(output), array(below))
    output.sum().backward()
    assert all(p.grad.numpy().any() for p in layer.parameters())
    assert tg.gradcheck(
        lambda x: layer(x, lengths=lengths)[0], [tg.randn(T, N, I, dtype="float64", requires_grad=True)]
    )


def test_depth_gated_layers_in_every_layout():
    layer = nn.DepthGatedLSTM(I, H)
    x = tg.randn(T, N, I)
    output, state = layer(x)
    layer.batch_first = True
    first, again = layer(x.transpose(0, 1))
    layer.batch_first = False
    same((first.transpose(0, 1), again), (output, state), 0)
    one, (h, c) = layer(x[:, 1])
    same((one, h, c), (output[:, 1], state[0][:, 1], state[1][:, 1]))
    dropped = nn.DepthGatedLSTM(I, H, dropout=1.0)
    dropped.load_state_dict(layer.state_dict())
    assert (array(dropped(x)[0]) != array(output)).any()
    same(dropped.eval()(x), (output, state), 0)


def test_bad_arguments_of_depth_gated_layers():
    layer = nn.DepthGatedLSTM(I, H)
    good = tg.zeros(2, N, H)
    for state in (good, (good,), (good, good, good), (good, tg.zeros(1, N, H)), (good, 3)):
        with pytest.raises(ValueError, match=r"DepthGatedLSTM: state: expected \(h_0, c_0\), each \[2, N, 6\], got"):
            layer(tg.ones(T, N, I), state)
    with pytest.raises(ValueError, match="DepthGatedLSTM: num_layers: expected a whole number from 1 up, got 0"):
        nn.DepthGatedLSTM(I, H, 0)
    with pytest.raises(AttributeError, match=r"DepthGatedLSTM\.hidden_size: expected it to stay 6"):
        layer.hidden_size = 7
