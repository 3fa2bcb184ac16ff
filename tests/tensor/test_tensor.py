"""Tensors as values: in-place writes, sharing, copies, conversion to and from NumPy and Python."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import leaf

import tinygrad_rnn as tg

# In-place writes


def test_writing_into_a_recorded_tensor_is_an_error() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    for t, what in ((x, "a leaf with requires_grad"), (y, "the result of 'mul'")):
        with pytest.raises(RuntimeError, match=f"in-place write on a recorded tensor.*{what}"):
            t[0] = 5.0
        for write in (lambda t=t: t.fill_(0), lambda t=t: t.zero_(), lambda t=t: t.copy_(np.zeros(2))):
            with pytest.raises(RuntimeError, match="in-place write"):
                write()
    with pytest.raises(RuntimeError, match=r"\+=: in-place write"):
        x += 1
    with pytest.raises(RuntimeError, match=r"\*=: in-place write"):
        x *= leaf([1.0, 1.0])
    with tg.no_grad(), pytest.raises(RuntimeError, match="in-place write"):
        y += 1
    assert x.tolist() == [1.0, 2.0] and y.tolist() == [2.0, 4.0]


def test_a_leaf_may_be_written_without_grad() -> None:
    x = leaf([1.0, 2.0])
    node = x.node
    with tg.no_grad():
        x -= 0.5 * x
        x[0] = 9.0
        x[np.array([False, True])] *= 2
        same = x
        x /= 2
    assert x.tolist() == [4.5, 1.0] and same is x and x.node is node and x.is_leaf


def test_a_write_leaves_recorded_values_as_they_were() -> None:
    x, c = leaf([1.0, 2.0]), tg.tensor([3.0, 4.0], dtype="float64")
    d = c.detach()
    loss = (x * c * x).sum()
    with tg.no_grad():
        x += 100.0
        x[0] = -1.0
    c[0] = 50.0
    c *= 2
    loss.backward()
    assert x.grad.tolist() == [2 * 1 * 3, 2 * 2 * 4] and d.tolist() == [3.0, 4.0]


def test_arrays_and_indexes_may_be_written_after_use() -> None:
    x = leaf([1.0, 2.0])
    mask, index, rows = np.array([1.0, 0.0]), np.array([0, 0]), [1, 1]
    loss = (x * mask).sum() + x[index].sum() + x[rows].sum()
    mask[:], index[:], rows[:] = 7.0, 1, [0, 0]
    loss.backward()
    assert x.grad.tolist() == [3.0, 2.0]


def test_adding_up_a_loss() -> None:
    x = leaf([1.0, 2.0])
    loss = total = tg.zeros((), dtype="float64")
    number = 0.0
    for _ in range(3):
        loss += (x * x).sum()
        number += (x * x).sum()
    assert loss.item() == number.item() == 15 and total.item() == 0
    loss.backward()
    number.backward()
    assert x.grad.tolist() == [12.0, 24.0]


def test_in_place_on_constants() -> None:
    x = tg.arange(3)
    y = x
    x += 1
    assert y is x and x.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"/=: expected int64 of shape \(3,\), got float32"):
        x /= 2
    with pytest.raises(ValueError, match=r"\+=: expected int64 of shape \(3,\), got int64 of shape \(2, 3\)"):
        x += tg.zeros(2, 3, dtype="int64")
    z = tg.zeros(2, 3)
    z[:, 1] = tg.tensor([5.0, 6.0], dtype="float64")
    z[1, -1] = np.float64(7.5)
    z[tg.tensor([0]), 0] = [8.0]
    assert z.tolist() == [[8.0, 5.0, 0.0], [0.0, 6.0, 7.5]] and z.dtype == np.float32
    z.copy_(1)
    assert z.tolist() == [[1.0] * 3] * 2
    s = tg.tensor(1.0)
    s[...] = 2.0
    assert s.item() == 2.0
    with pytest.raises(RuntimeError, match="expected a value without requires_grad"):
        z[0, 0] = leaf(1.0)


# Copies and pickles


def test_copies_and_pickles() -> None:
    for x in (tg.tensor([[1.0, 2.0]]).T, leaf([3.0]), tg.arange(3), tg.tensor(True)):
        for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
            assert y.tolist() == x.tolist() and y.dtype == x.dtype and y.requires_grad == x.requires_grad
            assert y is not x and (y.node is None or y.node is not x.node)
    with pytest.raises(RuntimeError, match="got a recorded tensor"):
        copy.deepcopy(leaf([1.0]) * 2)


def test_clone_and_detach() -> None:
    x = leaf([1.0, 2.0])
    y = x.clone()
    (y * y).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0] and not np.shares_memory(x.data, y.data)
    c = tg.ones(2)
    assert not np.shares_memory(c.clone().data, c.data)
    assert x.detach().tolist() == x.tolist() and x.detach().is_leaf and not x.detach().requires_grad


# Identity, comparison, Python's protocols


def test_tensors_are_hashed_by_identity_and_compared_by_element() -> None:
    x, y = tg.tensor([1, 2]), tg.tensor([1, 3])
    assert (x == y).tolist() == [True, False] and (x != [1, 3]).tolist() == [False, True]
    assert len({x, y, x}) == 2 and {x: 1}[x] == 1
    assert (x == None) is False and (x != "a") is True  # noqa: E711
    assert 2 in x and 5 not in x and 3 in tg.tensor([[1, 2], [3, 4]])
    scalars = [tg.tensor(1), tg.tensor(2)]
    assert scalars[1] in scalars and tg.tensor(2) in scalars and tg.tensor(7) not in scalars
    assert (np.array([1, 5]) == x).tolist() == [True, False]
    assert bool(tg.tensor([3])) and not tg.tensor(0.0)


def test_tensors_become_numbers() -> None:
    x = tg.tensor(2)
    assert float(x) == 2.0 and int(x) == 2 and [5, 6, 7][x] == 7 and len(tg.ones(3, 2)) == 3
    assert [t.tolist() for t in tg.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
    a, b = leaf([1.0, 2.0])
    (a * b).backward()
    assert isinstance(tg.tensor(1.5).item(), float) and tg.ones(2, 3).numel() == 6 and tg.ones(2, 3).size(1) == 3


def test_to_numpy_and_back() -> None:
    x, c = leaf([1.0, 2.0]), tg.tensor([1.0, 2.0])
    assert not x.numpy().flags.writeable and c.numpy() is c.data
    assert np.asarray(x).tolist() == [1.0, 2.0] and np.array(x).flags.writeable
    source = np.arange(6.0).reshape(2, 3).T
    t = tg.tensor(source)
    source[:] = 0
    assert t.dtype == np.float64 and t.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] and t.data.flags.c_contiguous
    assert (np.ones(2, np.float32) * c).tolist() == [1.0, 2.0] and isinstance(np.float64(2) * c, tg.Tensor)
    assert isinstance(np.ones((2, 2), np.float32) @ c, tg.Tensor)


def test_tensors_from_lists() -> None:
    assert tg.tensor([1, 2.5]).dtype == np.float32 and tg.tensor([1, 2]).dtype == np.int64
    assert tg.tensor([]).dtype == np.float32 and tg.tensor([True]).dtype == np.bool_
    assert tg.tensor([[tg.tensor(1.0), 2.0], [3.0, tg.tensor(4.0)]]).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    rows = [tg.ones(2, dtype="float64"), tg.zeros(2, dtype="float64")]
    assert tg.tensor(rows).dtype == np.float64 and tg.tensor(rows).tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert tg.tensor([np.ones(2)]).dtype == np.float64 and tg.tensor(np.float64(1)).dtype == np.float64
    assert tg.tensor(tg.ones(2), dtype="int32").dtype == np.int32
    assert not tg.tensor([leaf(1.0)]).requires_grad


def test_strided_arrays_compute_as_their_copies() -> None:
    base = np.arange(24.0).reshape(4, 6)
    for view in (base.T, base[::2, ::-3], np.broadcast_to(base[0], (3, 6)), base[:, 1]):
        x = tg.Tensor(view).requires_grad_()
        y = leaf(view.copy())
        for t in (x, y):
            ((t.reshape(-1) * t.flatten()).sum() + (t.T @ t).sum() + t.softmax(0).mean()).backward()
        np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())
    assert base.tolist() == np.arange(24.0).reshape(4, 6).tolist()


def test_requires_grad_may_be_set_on_leaves() -> None:
    x = tg.ones(2)
    x.requires_grad = True
    assert (x * 2).requires_grad and (x * 2).requires_grad_().requires_grad
    with pytest.raises(RuntimeError, match=r"use detach\(\)"):
        (x * 2).requires_grad = False
    x.requires_grad_(False)
    assert not (x * 2).requires_grad and x.grad is None
    with pytest.raises(RuntimeError, match="got a constant"):
        x.grad = tg.ones(2)
    y = leaf([1.0])
    y.grad = tg.tensor([3.0], dtype="float64")
    (y * 2).sum().backward()
    assert y.grad.tolist() == [5.0]
    for wrong in (tg.ones(1), tg.ones(2, dtype="float64"), np.ones(1)):
        with pytest.raises(ValueError, match=r"grad: expected None or a tensor, float64 of shape \(1,\)"):
            y.grad = wrong


def test_repr() -> None:
    assert repr(tg.tensor([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert repr(tg.tensor([1], dtype="int32")) == "tensor([1], dtype=int32)"
    assert repr(leaf(1.0)) == "tensor(1., dtype=float64, requires_grad=True)"
    assert repr(leaf(1.0) * 2) == "tensor(2., dtype=float64, node=mul)"


def test_conversions() -> None:
    x = tg.tensor([0.0, 1.7])
    assert x.double().dtype == np.float64 and x.long().tolist() == [0, 1] and x.bool().tolist() == [False, True]
    assert x.to("float32") is x and x.to(tg.tensor(1)).dtype == np.int64 and x.to("cpu") is x
    assert x.to("cpu", "float64").float().dtype == np.float32 and x.to(dtype=int).dtype == np.int64
