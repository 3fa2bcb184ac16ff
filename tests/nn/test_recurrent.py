"""Recurrent layers and single cells: shapes, parameters, initial states, lengths, options, and refused arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sequences import array, as_function, as_tuple, same
from user_cells import ind_rnn, recurrent_dropout_lstm, slstm, zoneout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells import BUILT_IN

T, N, I, H = 5, 3, 4, 6
LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
every_layer = pytest.mark.parametrize("kind", LAYERS)


# Shapes and parameters


@every_layer
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_shapes(kind, layers, bidirectional, batch_first):
    layer = LAYERS[kind](I, H, layers, batch_first=batch_first, bidirectional=bidirectional, return_states=True)
    runs, width = layers * (1 + bidirectional), H * (1 + bidirectional)
    states = 2 if kind == "lstm" else 1
    output, state, every = layer(tg.ones(*((N, T) if batch_first else (T, N)), I))
    assert output.shape == (*((N, T) if batch_first else (T, N)), width)
    assert [s.shape for s in as_tuple(state)] == [(runs, N, H)] * states
    assert [s.shape for s in every] == [(runs, *((N, T) if batch_first else (T, N)), H)] * states
    output, state, every = layer(tg.ones(T, I))
    assert output.shape == (T, width)
    assert [s.shape for s in as_tuple(state)] == [(runs, H)] * states
    assert [s.shape for s in every] == [(runs, T, H)] * states


def test_shapes_with_projection():
    layer = nn.LSTM(I, H, 2, bidirectional=True, proj_size=2, return_states=True)
    output, (h_n, c_n), (h, c) = layer(tg.ones(T, N, I))
    assert output.shape == (T, N, 4) and h_n.shape == (4, N, 2) and c_n.shape == (4, N, H)
    assert h.shape == (4, T, N, 2) and c.shape == (4, T, N, H)
    output, _, _ = layer(tg.ones(T, N, I), (tg.ones(4, N, 2), tg.ones(4, N, H)))
    assert output.shape == (T, N, 4)


def test_parameters_names_order_and_shapes():
    layer = nn.LSTM(I, H, 2, bidirectional=True, proj_size=2, learn_initial_state=True)
    assert {n: p.shape for n, p in layer.named_parameters() if n.endswith(("_l0", "_l1_reverse"))} == {
        "weight_ih_l0": (4 * H, I), "weight_hh_l0": (4 * H, 2), "bias_ih_l0": (4 * H,), "bias_hh_l0": (4 * H,),
        "weight_hr_l0": (2, H), "h_0_l0": (2,), "c_0_l0": (H,),
        "weight_ih_l1_reverse": (4 * H, 4), "weight_hh_l1_reverse": (4 * H, 2), "bias_ih_l1_reverse": (4 * H,),
        "bias_hh_l1_reverse": (4 * H,), "weight_hr_l1_reverse": (2, H), "h_0_l1_reverse": (2,), "c_0_l1_reverse": (H,),
    }  # fmt: skip
    names = [n for n, _ in layer.named_parameters()]
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "h_0", "c_0")
    assert names == [kind + suffix for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse") for kind in kinds]
    peephole = nn.Recurrent("peephole_lstm", I, H, bias=False)
    assert [n for n, _ in peephole.named_parameters()] == ["weight_ih_l0", "weight_hh_l0", "p_i_l0", "p_f_l0", "p_o_l0"]
    assert nn.GRU(I, H).weight_ih_l0.shape == (3 * H, I) and nn.RNN(I, H).weight_hh_l0.shape == (H, H)


@pytest.mark.parametrize("cell", [*BUILT_IN, ind_rnn], ids=str)
def test_initial_weights_are_uniform_within_one_over_root_h(cell):
    tg.manual_seed(0)
    for hidden in (4, 100):
        layer = nn.Recurrent(cell, 50, hidden)
        bound = 1 / math.sqrt(hidden)
        drawn = np.concatenate([array(p).ravel() for p in layer.parameters()])
        assert np.abs(drawn).max() <= bound and np.abs(drawn).max() > 0.95 * bound
        assert abs(drawn.mean()) < 0.1 * bound and abs(drawn.std() - bound / math.sqrt(3)) < 0.05 * bound
    tg.manual_seed(0)
    again = nn.Recurrent(cell, 50, 4)
    tg.manual_seed(0)
    for p, q in zip(again.parameters(), nn.Recurrent(cell, 50, 4).parameters()):
        np.testing.assert_array_equal(array(p), array(q))


def test_repr():
    assert repr(nn.LSTM(4, 6)) == "LSTM(4, 6)"
    assert repr(nn.GRU(4, 6, 2, dropout=0.5, bidirectional=True)) == (
        "GRU(4, 6, num_layers=2, dropout=0.5, bidirectional=True)"
    )
    assert repr(nn.Recurrent("peephole_lstm", 4, 6, bias=False)) == "Recurrent(peephole_lstm, 4, 6, bias=False)"
    assert repr(nn.LSTMCell(4, 6, bias=False)) == "LSTMCell(4, 6, bias=False)"


# States


@every_layer
def test_no_state_is_a_state_of_zeros_and_a_run_can_be_cut_in_two(kind):
    tg.manual_seed(0)
    layer = LAYERS[kind](I, H, 2)
    x = tg.randn(T, N, I)
    whole, final = layer(x)
    zeros = tuple(tg.zeros(2, N, H) for _ in as_tuple(final))
    same(layer(x, zeros if kind == "lstm" else zeros[0]), (whole, final))
    first, state = layer(x[:2])
    second, last = layer(x[2:], state)
    same((tg.concat([first, second]), last), (whole, final))


@every_layer
def test_gradients_reach_a_given_state(kind):
    layer = LAYERS[kind](I, H, 2, bidirectional=True)
    state = tuple(tg.zeros(4, N, H, requires_grad=True) for _ in layer.step.states)
    output, _ = layer(tg.randn(T, N, I), state)
    output.sum().backward()
    for s in state:
        assert (np.abs(array(s.grad)).sum((1, 2)) > 0).all(), "every layer and direction has its row"


@pytest.mark.parametrize("kind", ["lstm", "gru", "slstm"])
def test_learned_initial_states(kind):
    tg.manual_seed(0)
    layer = nn.Recurrent(slstm if kind == "slstm" else kind, I, H, 2, bidirectional=True, learn_initial_state=True)
    x = tg.randn(T, N, I)
    names = [n for n, _ in layer.named_parameters() if "_0_l" in n]
    assert names == [f"{s}_0{suffix}" for suffix in layer.suffixes for s in layer.step.states]
    with tg.no_grad():
        for n in names:
            getattr(layer, n).copy_(tg.randn(H) * 0.3 + (2.0 if n.startswith("n") else 0.0))
    given = tuple(
        tg.stack([getattr(layer, f"{s}_0{suffix}").detach().expand(N, H) for suffix in layer.suffixes])
        for s in layer.step.states
    )
    same(layer(x), layer(x, given if len(given) > 1 else given[0]))
    layer(x)[0].sum().backward()
    assert all(array(getattr(layer, n).grad).any() for n in names)
    layer.zero_grad()
    layer(x, given if len(given) > 1 else given[0])[0].sum().backward()
    assert all(getattr(layer, n).grad is None for n in names)


def test_a_learned_initial_state_gets_the_gradient_of_every_sequence():
    layer = nn.LSTM(I, H, learn_initial_state=True, dtype="float64")
    f, weights = as_function(layer)
    x = tg.randn(T, N, I, dtype="float64")
    assert tg.gradcheck(lambda *w: f(x, *w, lengths=[2, 0, 5])[1], weights)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [2, 5, 0]])
def test_returned_states_agree_with_output_and_last_state(batch_first, lengths):
    tg.manual_seed(0)
    options = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    layer = nn.LSTM(I, H, return_states=True, **options)
    x = tg.randn(*((N, T) if batch_first else (T, N)), I)
    output, (h_n, c_n), (h, c) = layer(x, lengths=lengths)
    plain = nn.LSTM(I, H, **options)
    plain.load_state_dict(layer.state_dict())
    same(plain(x, lengths=lengths), (output, (h_n, c_n)))
    np.testing.assert_array_equal(np.concatenate([array(h)[2], array(h)[3]], -1), array(output))
    time_first = lambda s: array(s).swapaxes(1, 2) if batch_first else array(s)
    for every, last in ((h, h_n), (c, c_n)):
        for n, length in enumerate(lengths or [T] * N):
            for run in range(4):
                expected = time_first(every)[run, 0 if run % 2 else length - 1, n] if length else 0
                np.testing.assert_array_equal(array(last)[run, n], expected)
            assert not time_first(every)[:, length:, n].any()
    (h.sum() + c.sum()).backward()
    assert all(array(p.grad).any() for p in layer.parameters())


# Lengths


@every_layer
def test_lengths_equal_each_sequence_alone(kind):
    tg.manual_seed(0)
    layer = LAYERS[kind](I, H, 2, bidirectional=True, batch_first=True)
    lengths = np.array([2, 5, 0, 1, 4])
    x = tg.randn(5, T, I)
    output, state = layer(x, lengths=lengths)
    for n, length in enumerate(lengths):
        assert not array(output)[n, length:].any()
        alone, alone_state = layer(x[n, :length])
        np.testing.assert_allclose(array(output)[n, :length], array(alone), 1e-5, 1e-6)
        for s, a in zip(as_tuple(state), as_tuple(alone_state)):
            np.testing.assert_allclose(array(s)[:, n], array(a), 1e-5, 1e-6)


def test_lengths_in_every_form():
    layer = nn.GRU(I, H)
    x = tg.randn(T, N, I)
    wanted = layer(x, lengths=[3, 5, 1])
    for lengths in (np.array([3, 5, 1]), np.array([3, 5, 1], "uint8"), tg.tensor([3, 5, 1]), (3, 5, 1)):
        same(layer(x, lengths=lengths), wanted, 0)
    same(layer(x, lengths=[T] * N), layer(x), 0)
    same(layer(x[:, 0], lengths=2), layer(x[:, 0], lengths=[2]), 0)
    same((layer(x[:, 0], lengths=2)[1],), (layer(x[:2, 0])[1],), 1e-6)
    lengths = np.array([3, 5, 1])
    output, _ = layer(x, lengths=lengths)
    before = array(layer.weight_ih_l0).copy()
    lengths[:] = 5  # the caller's array may change before the backward
    output.sum().backward()
    changed = array(layer.weight_ih_l0.grad)
    layer.zero_grad()
    layer(x, lengths=[3, 5, 1])[0].sum().backward()
    np.testing.assert_array_equal(changed, array(layer.weight_ih_l0.grad))
    np.testing.assert_array_equal(before, array(layer.weight_ih_l0))


@pytest.mark.parametrize(
    "lengths, match",
    [
        ([1, 2], r"LSTM: lengths: expected 3 whole numbers, got int64 of shape \(2,\)"),
        ([1, 2, 6], "LSTM: lengths: expected numbers from 0 to 5, got 1 to 6"),
        ([1, 2, -1], "LSTM: lengths: expected numbers from 0 to 5, got -1 to 2"),
        ([1.0, 2.0, 3.0], "LSTM: lengths: expected 3 whole numbers, got float32"),
        ([[1, 2, 3]], r"LSTM: lengths: expected 3 whole numbers, got int64 of shape \(1, 3\)"),
        ([True, True, True], "LSTM: lengths: expected 3 whole numbers, got bool"),
    ],
)
def test_bad_lengths(lengths, match):
    with pytest.raises(ValueError, match=match):
        nn.LSTM(I, H)(tg.ones(T, N, I), lengths=lengths)


@every_layer
def test_empty_batches_and_empty_sequences(kind):
    layer = LAYERS[kind](I, H, 2, bidirectional=True, return_states=True)
    for shape in ((T, 0, I), (0, N, I), (0, 0, I)):
        for lengths in (None, [0] * shape[1]):
            x = tg.zeros(*shape, requires_grad=True)
            output, state, _ = layer(x, lengths=lengths)
            assert output.shape == (*shape[:2], 2 * H) and as_tuple(state)[0].shape == (4, shape[1], H)
            (output.sum() + sum(s.sum() for s in as_tuple(state))).backward()
            assert x.grad.shape == shape
            assert not array(layer.weight_hh_l1.grad).any()
    state = tuple(tg.randn(4, N, H) for _ in layer.step.states)
    same((layer(tg.zeros(0, N, I), state)[1],), (state,), 0)


# Options


def test_dropout_is_between_layers_in_training_only():
    tg.manual_seed(0)
    layer = nn.LSTM(I, H, 3, dropout=0.5)
    plain = nn.LSTM(I, H, 3)
    plain.load_state_dict(layer.state_dict())
    x = tg.randn(T, N, I)
    runs = []
    for seed in (1, 1, 2):
        tg.manual_seed(seed)
        runs.append(array(layer(x)[0]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any() and (runs[0] != 0).all(), "none after the last layer"
    layer.eval()
    same(layer(x), plain(x), 0)
    with pytest.warns(UserWarning, match="LSTM: dropout: expected 0 with num_layers=1"):
        single, bare = nn.LSTM(I, H, dropout=1.0), nn.LSTM(I, H)
    bare.load_state_dict(single.state_dict())
    same(single(x), bare(x), 0)
    everything = nn.LSTM(I, H, 2, dropout=1.0)
    output, _ = everything(x)
    output.sum().backward()
    assert not array(everything.weight_ih_l1.grad).any(), "the second layer saw zeros"


def test_computed_weights():
    """Weight drop: a recurrent matrix is computed from a parameter, and gradients reach the parameter."""
    tg.manual_seed(0)
    layer = nn.LSTM(I, H, dtype="float64")
    raw = nn.Parameter(array(layer.weight_hh_l0).copy())
    mask = tg.tensor((np.random.default_rng(0).random(raw.shape) > 0.5) / 0.5)
    layer.weight_hh_l0 = raw * mask
    assert "weight_hh_l0" not in layer.state_dict()
    x = tg.randn(T, N, I, dtype="float64")
    layer(x)[0].sum().backward()
    found = array(raw.grad)
    assert ((found != 0) == (array(mask) != 0)).all()

    def run(w):
        layer.weight_hh_l0 = w * mask
        return layer(x)[0]

    assert tg.gradcheck(run, [raw])
    tied = nn.GRU(H, H)
    tied.weight_ih_l0 = tied.weight_hh_l0
    tied(tg.randn(T, N, H))[0].sum().backward()
    assert tied.weight_hh_l0.grad is not None and len(list(tied.parameters())) == 3


def test_a_cells_own_inputs_in_every_form():
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    mask = lambda *shape: tg.tensor((rng.random(shape) > 0.5).astype("float32"))
    layer = nn.Recurrent(zoneout_lstm, I, H, 2, bidirectional=True)
    x, steps, each, unit = tg.randn(T, N, I), mask(T, N, H), mask(N, H), mask(H)
    run = lambda keep_h, keep_c, x=x, layer=layer: layer(x, inputs={"keep_h": keep_h, "keep_c": keep_c})
    wanted = run(steps, steps)
    same(run([steps] * 4, (steps, steps, steps, steps)), wanted, 0)
    same(run(steps, array(steps)), wanted, 0)
    same(run(each, unit), run(each.expand(T, N, H), unit.expand(T, N, H)), 0)
    same(run(steps[:, :1], unit), run(steps[:, :1].expand(T, N, H), unit.expand(T, N, H)), 0)
    same(run(steps[:, :, :1], each), run(steps[:, :, :1].expand(T, N, H), each.expand(T, N, H)), 0)
    different = [mask(T, N, H) for _ in range(4)]
    assert (array(run(different, steps)[0]) != array(wanted[0])).any()

    layer.batch_first = True
    got, state = run(steps.transpose(0, 1), each, x=x.transpose(0, 1))
    layer.batch_first = False
    same((got.transpose(0, 1), state), run(steps, each), 0)
    got, (h, c) = run(steps[:, 1], each[1], x=x[:, 1])
    wanted, (h_n, c_n) = run(steps, each)
    same((got, h, c), (wanted[:, 1], h_n[:, 1], c_n[:, 1]))

    stacked = nn.Recurrent(recurrent_dropout_lstm, I, H)
    m = tg.tensor(rng.random((N, H)), dtype="float32", requires_grad=True)
    stacked(x, inputs={"m": m})[0].sum().backward()
    assert m.grad.shape == (N, H) and array(m.grad).any()


def test_bad_inputs_of_a_cell():
    layer = nn.Recurrent(zoneout_lstm, I, H, 2)
    x, good = tg.ones(T, N, I), tg.ones(N, H)
    for inputs, match in [
        (None, r"Recurrent: inputs: expected \['keep_h', 'keep_c'\], as the cell has, got \[\]"),
        ({"keep_h": good}, r"inputs: expected .* got \['keep_h'\]"),
        ({"keep_h": good, "keep_c": good, "m": good}, r"inputs: expected .* got \['keep_h', 'keep_c', 'm'\]"),
        ({"keep_h": [good] * 3, "keep_c": good}, r"inputs\['keep_h'\]: expected one, or a list of 2, got 3"),
        ({"keep_h": tg.ones(N, 7), "keep_c": good}, r"'keep_h'\]: .* \(5, 3, 6\) or \(3, 6\) or \(6,\), got"),
        ({"keep_h": tg.ones(N, H, dtype="float64"), "keep_c": good}, "expected float32 .* got float64"),
    ]:
        with pytest.raises(ValueError, match=match):
            layer(x, inputs=inputs)
    with pytest.raises(ValueError, match=r"LSTM: inputs: expected \[\], as the cell has, got \['m'\]"):
        nn.LSTM(I, H)(x, inputs={"m": good})
