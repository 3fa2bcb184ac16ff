"""A write into a view of an unrecorded tensor also changes that tensor."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def set_first(row):
    row[0] = 9


WRITES = {
    "slice": (lambda w: w[1:3].fill_(9), lambda a: a[1:3].fill(9)),
    "chain": (lambda w: set_first(w[1]), lambda a: a[1].__setitem__(0, 9)),
    "chain of temporaries": (lambda w: w[1:][0][0:2].fill_(9), lambda a: a[1:][0][0:2].fill(9)),
    "transposed": (lambda w: set_first(w.T), lambda a: a.T.__setitem__(0, 9)),
    "flat": (lambda w: set_first(w.reshape(-1)), lambda a: a.reshape(-1).__setitem__(0, 9)),
    "unsqueezed": (lambda w: w.unsqueeze(0)[0, 1].fill_(9), lambda a: a[1].fill(9)),
    "split": (lambda w: w.split(2)[1].zero_(), lambda a: a[2:].fill(0)),
    "rows": (lambda w: [row.__iadd__(1) for row in w], lambda a: a.__iadd__(1)),
    "detached": (lambda w: set_first(w.detach()), lambda a: a.__setitem__(0, 9)),
    "an index array copies": (lambda w: w[[0, 1]].fill_(9), lambda a: None),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("leaf", [False, True])
def test_a_write_into_a_view(name, leaf):
    a = np.arange(12, dtype=np.float32).reshape(4, 3)
    w = tg.tensor(a, requires_grad=leaf)
    old = w.array
    with tg.no_grad():
        WRITES[name][0](w)
    WRITES[name][1](a)
    np.testing.assert_array_equal(w.numpy(), a)
    np.testing.assert_array_equal(old, np.arange(12).reshape(4, 3))


def test_views_of_parameters_gradients_and_recorded_tensors():
    m = nn.LSTM(3, 2)
    with tg.no_grad():
        m.bias_hh_l0[2:4].fill_(1.0)
        nn.init.orthogonal_(m.weight_hh_l0[:2])
    assert m.bias_hh_l0.tolist()[2:4] == [1.0, 1.0]
    q = m.weight_hh_l0.numpy()[:2]
    np.testing.assert_allclose(q @ q.T, np.eye(2), atol=1e-6)
    p = nn.Parameter(np.ones(4, np.float32))
    (p * 2).sum().backward()
    p.grad[:3].zero_()
    assert p.grad.tolist() == [0, 0, 0, 2]
    y = p * 2
    with pytest.raises(RuntimeError, match="recorded tensor"):
        p[0:2].fill_(0)
    with tg.no_grad(), pytest.raises(RuntimeError, match="clone"):
        y[0:2].fill_(0)


def test_the_textbook_step():
    p = nn.Parameter(np.ones(3, np.float32))
    (p * 2).sum().backward()
    p.data = p.data - 0.5 * p.grad
    assert type(p.array) is np.ndarray and p.tolist() == [0, 0, 0]
    p.data -= 0.5 * p.grad
    p.data += np.ones(3, np.float32)
    assert p.tolist() == [0, 0, 0]
    for bad in ([1.0, 2.0, 3.0], np.ones(2, np.float32), np.ones(3), "a", None):
        with pytest.raises((TypeError, ValueError), match="data: "):
            p.data = bad


def test_copies_side_by_side_are_no_views() -> None:
    x = tg.tensor([[1.0], [2.0]])
    for copies in (x.repeat(1, 1), x.repeat(1, 2), x.tile(1), x.T.repeat(1, 1)):
        assert not np.shares_memory(copies.array, x.array)
        copies.fill_(9.0)
    assert x.tolist() == [[1.0], [2.0]]
