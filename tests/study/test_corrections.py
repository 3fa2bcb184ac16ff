"""The right equations of the corrections hold: a network in NumPy against the gradients of the tape."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.study.corrections import CORRECTIONS

T, I, H, O = 4, 2, 3, 2


def test_gradients_of_a_network_by_the_right_equations():
    tg.manual_seed(0)
    layer, linear = nn.RNN(I, H, dtype="float64"), nn.Linear(H, O, bias=False, dtype="float64")
    draw = np.random.default_rng(0).standard_normal
    x, cotangent, start = draw((T, I)), draw(O), draw((1, H))
    h_0 = tg.tensor(start, requires_grad=True)
    output, _ = layer(tg.tensor(x), h_0)
    (linear(output[-1]) * tg.tensor(cotangent)).sum().backward()
    h, w_h, w_o = output.detach().numpy(), layer.weight_hh_l0.detach().numpy(), linear.weight.detach().numpy()

    states = [start[0], *h]
    np.testing.assert_allclose(linear.weight.grad.numpy(), np.outer(cotangent, h[-1]))
    column = w_o.T @ cotangent  # the transposed matrix, with columns
    row = cotangent @ w_o  # the same, as a row
    w_h_terms = np.zeros((H, H))
    for t in range(T, 0, -1):
        pre = w_h @ states[t - 1] + layer.weight_ih_l0.detach().numpy() @ x[t - 1]
        pre += layer.bias_ih_l0.detach().numpy() + layer.bias_hh_l0.detach().numpy()
        factor = 1 - np.tanh(pre) ** 2  # f' at the pre-activation, which is 1 - h^2
        np.testing.assert_allclose(factor, 1 - states[t] ** 2)
        w_h_terms += np.outer(factor * column, states[t - 1])
        column = w_h.T @ (factor * column)
        row = row * factor @ w_h
    np.testing.assert_allclose(column, row)
    np.testing.assert_allclose(h_0.grad.numpy()[0], column)
    np.testing.assert_allclose(layer.weight_hh_l0.grad.numpy(), w_h_terms)  # T terms, as h_0 is not 0


def test_the_list_is_two_tables_of_two_columns():
    tables = [part for part in CORRECTIONS.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2
    assert all(line.count("|") == 3 for table in tables for line in table.splitlines())
