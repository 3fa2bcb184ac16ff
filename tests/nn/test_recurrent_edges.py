"""Recurrent layers at the edge: NaN, views, dtypes, refusals, second order, copies, very long sequences."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from sequences import array, as_function, same
from user_cells import ind_rnn, recurrent_dropout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells import cell

T, N, I, H = 5, 3, 4, 6

# Unusual arrays


def test_nan_stays_in_its_sequence():
    layer = nn.LSTM(I, H)
    x = np.ones((T, N, I), "float32")
    clean = array(layer(tg.tensor(x))[0])
    x[2, 1, 0] = np.nan
    out = array(layer(tg.tensor(x))[0])
    np.testing.assert_array_equal(out[:, [0, 2]], clean[:, [0, 2]])
    np.testing.assert_array_equal(out[:2], clean[:2])
    assert np.isnan(out[2:, 1]).all()


def test_arrays_views_and_dtypes():
    layer = nn.GRU(I, H)
    x = np.random.default_rng(0).standard_normal((I, N, T)).astype("float32")
    views = [x.T, np.asfortranarray(x.T), tg.tensor(x).permute(2, 1, 0), x.T[::-1][::-1]]
    for view in views:
        same(layer(view), layer(np.ascontiguousarray(x.T)), 1e-6)
    for wrong in (np.ones((T, N, I)), np.ones((T, N, I), "int64"), tg.ones(T, N, I, dtype="float64")):
        with pytest.raises(TypeError, match=rf"GRU: x: expected float32 as the weights are, got {wrong.dtype}"):
            layer(wrong)
    with pytest.raises(TypeError, match="x: expected float64"):
        nn.GRU(I, H).double()(x.T)


def test_float64_layers():
    layer = nn.LSTM(I, H, 2, dtype="float64", learn_initial_state=True)
    assert {str(p.dtype) for p in layer.parameters()} == {"float64"}
    output, (h_n, c_n) = layer(np.ones((T, N, I)))
    assert {str(t.dtype) for t in (output, h_n, c_n)} == {"float64"}
    small = nn.LSTM(I, H, 2, learn_initial_state=True)
    small.load_state_dict(layer.state_dict())
    np.testing.assert_allclose(array(small(np.ones((T, N, I), "float32"))[0]), array(output), 1e-5, 1e-6)


# Errors


@pytest.mark.parametrize(
    "arguments, match",
    [
        ((0, 6), "LSTM: input_size: expected a whole number from 1 up, got 0"),
        ((4, -1), "LSTM: hidden_size: expected a whole number from 1 up, got -1"),
        ((4, 2.5), "LSTM: hidden_size: expected a whole number from 1 up, got 2.5"),
        ((4, True), "LSTM: hidden_size: expected a whole number from 1 up, got True"),
        ((4, 6, 0), "LSTM: num_layers: expected a whole number from 1 up, got 0"),
        ((4, 6, 1, True, False, 1.5), "LSTM: dropout: expected a number from 0 to 1, got 1.5"),
        ((4, 6, 1, True, False, True), "LSTM: dropout: expected a number from 0 to 1, got True"),
        ((4, 6, 1, True, False, 0.0, False, 6), "LSTM: proj_size: expected a number from 0 to hidden_size - 1, got 6"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        nn.LSTM(*arguments)


def test_other_bad_arguments():
    fed_by_c = cell(gates="n", states="hc")(lambda a, s: (a.n.x + a.n.recurrent(s.c), s.c))
    for build, match in [
        (lambda: nn.RNN(4, 6, nonlinearity="sin"), "RNN: nonlinearity: expected 'tanh' or 'relu', got 'sin'"),
        (lambda: nn.RNNCell(4, 6, nonlinearity="sin"), "RNNCell: nonlinearity: expected 'tanh' or 'relu', got 'sin'"),
        (lambda: nn.GRU(4, 6, proj_size=2), "GRU: proj_size: expected 0, as gru needs an h of hidden_size, got 2"),
        (lambda: nn.Recurrent(recurrent_dropout_lstm, 4, 6, proj_size=2), "proj_size: expected 0"),
        (lambda: nn.Recurrent(fed_by_c, 4, 6, proj_size=2), "proj_size: expected 0"),
        (lambda: nn.Recurrent(ind_rnn, 4, 6, proj_size=2), "Recurrent: proj_size: expected 0, as ind_rnn"),
        (lambda: nn.Recurrent("lstmm", 4, 6), "cell: expected a function under @cell or one of"),
    ]:
        with pytest.raises(ValueError, match=match):
            build()
    with pytest.raises(TypeError):
        nn.LSTM(4, 6, dtype="int64")


def test_bad_arguments_of_a_call():
    layer = nn.LSTM(4, H, 2)
    x, h, c = tg.ones(T, N, 4), tg.zeros(2, N, H), tg.zeros(2, N, H)
    for arguments, match in [
        ((tg.ones(T, N, 3),), "LSTM: x has 3 features, input_size is 4"),
        ((tg.ones(4),), r"LSTM: x: expected shape \[T, N, I\], or \[T, I\] for one sequence, got \(4,\)"),
        ((tg.ones(1, T, N, 4),), r"LSTM: x: expected shape"),
        ((x, h), "LSTM: state: expected h, c, got 1 tensors"),
        ((x, (h, c, c)), "LSTM: state: expected h, c, got 3 tensors"),
        ((x, (h[:1], c)), r"LSTM: h_0: expected float32 of shape \(2, 3, 6\), got float32 of shape \(1, 3, 6\)"),
        ((x, (h, c[:, :, :5])), r"LSTM: c_0: expected float32 of shape \(2, 3, 6\), got float32 of shape \(2, 3, 5\)"),
        ((x, (h, c.double())), r"LSTM: c_0: expected float32 .* got float64"),
        ((x[:, 0], (h, c)), r"LSTM: h_0: expected float32 of shape \(2, 6\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            layer(*arguments)


# Whole layers on the tape


def test_second_order_through_a_whole_layer():
    tg.manual_seed(0)
    layer = nn.LSTM(2, 2, 2, bidirectional=True, dtype="float64", learn_initial_state=True)
    f, weights = as_function(layer)
    x = tg.randn(2, 2, 2, dtype="float64", requires_grad=True)
    assert tg.gradgradcheck(lambda *a: f(*a, lengths=[2, 1])[0], [x, *weights])


def test_a_gradient_penalty_trains():
    """A loss of the gradient by x, from grad(create_graph=True), has gradients by the weights."""
    layer = nn.GRU(I, H)
    x = tg.randn(T, N, I, requires_grad=True)
    (slope,) = tg.grad(layer(x)[0].sum(), [x], create_graph=True)
    (slope * slope).sum().backward()
    assert all(array(p.grad).any() for p in (layer.weight_ih_l0, layer.weight_hh_l0))


def test_deep_copies_are_independent():
    layer = nn.LSTM(I, H, 2, dropout=0.3, learn_initial_state=True).eval()
    twin = copy.deepcopy(layer)
    x = tg.randn(T, N, I)
    same(twin(x), layer(x), 0)
    assert not twin.training and twin.cell is layer.cell
    with tg.no_grad():
        twin.weight_hh_l0.zero_()
    assert array(layer.weight_hh_l0).any()
    layer(x)[0].sum().backward()
    assert all(p.grad is None for p in twin.parameters())


def test_ten_thousand_steps_do_not_recurse():
    time = 10_000
    layer = nn.LSTM(1, 2)
    x = tg.randn(time, 1, 1, requires_grad=True)
    output, _ = layer(x)
    output[-1].sum().backward()
    assert array(x.grad)[-1].any() and np.isfinite(array(layer.weight_hh_l0.grad)).all()


def test_a_loop_of_many_single_steps_does_not_recurse():
    cell = nn.RNNCell(1, 2)
    h = tg.zeros(1, 2)
    for x in tg.ones(3_000, 1, 1):
        h = cell(x, h)
    h.sum().backward()
    assert np.isfinite(array(cell.weight_hh.grad)).all()
    for _ in range(5_000):
        h = cell(tg.ones(1, 1), h)
    del h  # freeing a long chain does not recurse either


def test_the_recorded_backward_of_many_steps_does_not_recurse():
    layer = nn.RNN(1, 2)
    x = tg.ones(1_500, 1, 1, requires_grad=True)
    (slope,) = tg.grad(layer(x)[0][-1].sum(), [x], create_graph=True)
    slope.sum().backward()
    assert np.isfinite(array(layer.weight_hh_l0.grad)).all()
