"""Single steps of recurrent layers: a cell equals its layer over one step."""

from __future__ import annotations

import numpy as np
import pytest
from sequences import array, as_tuple, same
from user_cells import ind_rnn, zoneout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn

T, N, I, H = 5, 3, 4, 6


@pytest.mark.parametrize(
    "cell, layer",
    [
        (nn.RNNCell(I, H), nn.RNN(I, H)),
        (nn.RNNCell(I, H, nonlinearity="relu"), nn.RNN(I, H, nonlinearity="relu")),
        (nn.LSTMCell(I, H), nn.LSTM(I, H)),
        (nn.LSTMCell(I, H, bias=False), nn.LSTM(I, H, bias=False)),
        (nn.GRUCell(I, H), nn.GRU(I, H)),
        (nn.GRUCell(I, H, reset_after=False), nn.GRU(I, H, reset_after=False)),
        (nn.RecurrentCell("peephole_lstm", I, H), nn.Recurrent("peephole_lstm", I, H)),
        (nn.RecurrentCell(ind_rnn, I, H), nn.Recurrent(ind_rnn, I, H)),
        (nn.RecurrentCell(zoneout_lstm, I, H), nn.Recurrent(zoneout_lstm, I, H)),
    ],
    ids=lambda m: repr(m),
)
def test_a_cell_is_one_step_of_its_layer(cell, layer):
    tg.manual_seed(0)
    layer.load_state_dict({name + "_l0": p for name, p in cell.state_dict().items()})
    count = len(cell.step.states)
    x = tg.randn(N, I, requires_grad=True)
    states = tuple(tg.randn(N, H, requires_grad=True) for _ in range(count))
    inputs = {n: tg.rand(N, H) for n in cell.step.inputs}
    bare = lambda s: s if count > 1 else s[0]
    new = as_tuple(cell(x, bare(states), inputs=inputs))
    _, final = layer(x.reshape(1, N, I), bare(tuple(s.reshape(1, N, H) for s in states)), inputs=inputs)
    for a, b in zip(new, as_tuple(final)):
        np.testing.assert_allclose(array(a), array(b)[0], 1e-6, 1e-7)
    leaves = [x, *states, *cell.parameters()]
    twins = [x, *states, *layer.parameters()]
    for a, b in zip(
        tg.grad([sum(s.sum() for s in new)], leaves, allow_unused=True),
        tg.grad([sum(s.sum() for s in as_tuple(final))], twins, allow_unused=True),
    ):
        assert (a is None) == (b is None)
        np.testing.assert_allclose(array(a), array(b), 1e-5, 1e-6) if a is not None else None
    alone = as_tuple(cell(array(x)[0], inputs={n: e[0] for n, e in inputs.items()}))
    assert [s.shape for s in alone] == [(H,)] * count
    zeros = bare(tuple(tg.zeros(1, H) for _ in states))
    again = as_tuple(cell(x[:1], zeros, inputs={n: e[0] for n, e in inputs.items()}))
    same(alone, tuple(s[0] for s in again))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["rnn_relu", "lstm", "gru", "gru_reset_before", "peephole_lstm", ind_rnn])
def test_a_step_without_recording_is_the_same(name, dtype):
    """A step without recording takes a shorter path, which gives the same numbers, also after the weights change."""
    tg.manual_seed(0)
    for size, hidden, batch, bias in [(1, 1, 1, True), (3, 17, 3, False), (17, 100, 1, True), (4, 3, 0, True)]:
        cell = nn.RecurrentCell(name, size, hidden, bias, dtype=dtype)
        x = tg.randn(batch, size, dtype=dtype)
        states = tuple(tg.randn(hidden, batch, dtype=dtype).T for _ in cell.step.states)
        given = states if len(states) > 1 else states[0]
        one = [(x[0],), (x[0], tuple(s[0] for s in states) if len(states) > 1 else given[0])] if batch else []
        for arguments in [(x,), (x, given), *one]:
            for _ in range(2):
                expected = as_tuple(cell(*arguments))
                with tg.no_grad():
                    found = as_tuple(cell(*arguments))
                tolerance = 1e-6 if dtype == "float32" else 1e-14
                for a, b in zip(found, expected, strict=True):
                    assert a.dtype == b.dtype and not a.requires_grad
                    np.testing.assert_allclose(array(a), array(b), tolerance, tolerance)
                with tg.no_grad():
                    for weight in cell.parameters():
                        weight.copy_(weight * 0.5)


@pytest.mark.parametrize("recording", [True, False])
def test_bad_arguments_of_a_single_step(recording):
    with tg.set_grad_enabled(recording):
        _bad_arguments()


def _bad_arguments():
    cell = nn.LSTMCell(I, H)
    for arguments, match in [
        ((tg.ones(N, 3),), r"LSTMCell: x: expected shape \[N, 4\] or \[4\], got \(3, 3\)"),
        ((tg.ones(T, N, I),), "LSTMCell: x: expected shape"),
        ((tg.ones(N, I), tg.ones(N, H)), "LSTMCell: state: expected 2 float32 of shape"),
        ((tg.ones(N, I), (tg.ones(N, H), tg.ones(H))), r"LSTMCell: state: expected 2 .* \(3, 6\), got .*\(6,\)"),
        ((tg.ones(N, I), (tg.ones(N, H), tg.ones(N, H).double())), "LSTMCell: state: .*got float32 .* float64"),
        ((tg.ones(N, I), None, {"m": tg.ones(H)}), r"LSTMCell: inputs: expected \[\], as the cell has, got \['m'\]"),
    ]:
        with pytest.raises(ValueError, match=match):
            cell(*arguments)
    zoneout = nn.RecurrentCell(zoneout_lstm, I, H)
    with pytest.raises(ValueError, match=r"'keep_c'\]: expected float32 of shape \(3, 6\) or \(6,\), got .*\(6, 3\)"):
        zoneout(tg.ones(N, I), inputs={"keep_h": tg.ones(H), "keep_c": tg.ones(H, N)})
    with pytest.raises(TypeError, match="LSTMCell: x: expected float32 as the weights are, got float64"):
        cell(np.ones((N, I)))
