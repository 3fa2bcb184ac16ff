"""The backward of many indexings of one tensor: one array for all of them, and nobody else's array is written to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import leaf, normal

import tinygrad_rnn as tg
from tinygrad_rnn.autograd.primitives import index

PICKS: list[Any] = [0, -1, 1, slice(0, 2), (slice(None), 1), (..., None), None, (2, 3), True, ...]
PICKS += [[0, 0, 2], (slice(None), [1, 1]), np.array([True, False, True]), np.eye(3, 4) > 0, tg.tensor([2, 2])]


@pytest.fixture
def arrays_made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets the shape of each array of zeros that the adjoint of an indexing makes."""
    made: list[Any] = []
    usual = index._scatter.definition.forward
    monkeypatch.setattr(
        index._scatter.definition, "forward", lambda g, at, shape: (made.append(shape), usual(g, at, shape))[1]
    )
    return made


def summed(x: tg.Tensor, of: Callable[[Any], Any] = lambda part: (part * part).sum()) -> Any:
    total: Any = 0.0
    for at in PICKS:
        total = total + of(x[at])
    return total


def test_a_loop_over_steps_makes_one_array(arrays_made: list[Any]) -> None:
    x = leaf(normal(50, 2, 3))
    total: Any = 0.0
    for t in range(50):
        total = total + (x[t] * float(t)).sum()
    total.backward()
    assert arrays_made == [(50, 2, 3)]
    np.testing.assert_array_equal(x.grad.numpy(), np.broadcast_to(np.arange(50.0)[:, None, None], (50, 2, 3)))


def test_every_kind_of_index(arrays_made: list[Any]) -> None:
    x = leaf(normal(3, 4))
    summed(x).backward()
    assert arrays_made == [(3, 4)]
    wanted = np.zeros((3, 4))
    for at in PICKS:
        at = at.numpy() if isinstance(at, tg.Tensor) else at
        np.add.at(wanted, at, 2 * x.numpy()[at])
    np.testing.assert_allclose(x.grad.numpy(), wanted, 1e-13)
    assert tg.gradcheck(summed, [x]) and tg.gradgradcheck(lambda x: summed(x, lambda part: (part**3).sum()), [x])


def test_scalars() -> None:
    x = leaf(2.0)
    (x[()] * 3.0 + x[...] * 4.0 + x[None].sum() * 5.0 + x * x).backward()  # x * x, visited first, gives NumPy's scalar
    assert x.grad.item() == 16.0


@pytest.mark.parametrize("last", [False, True])
def test_a_cotangent_that_others_hold_is_not_written_to(last: bool) -> None:
    x, z, seen = leaf(np.ones((3, 2))), leaf(np.ones((3, 2))), list[Any]()
    z.register_hook(lambda g: seen.append(g.array))
    parts = [lambda: (x + z).sum(), lambda: x[0].sum() * 10.0, lambda: x[1:].sum() * 100.0]
    total: Any = 0.0
    for part in parts if last else parts[::-1]:
        total = total + part()
    total.backward(retain_graph=True)
    assert x.grad.tolist() == [[11.0] * 2, [101.0] * 2, [101.0] * 2] and z.grad.tolist() == [[1.0] * 2] * 3
    assert seen[0].tolist() == [[1.0] * 2] * 3
    total.backward()
    assert x.grad.tolist() == [[22.0] * 2, [202.0] * 2, [202.0] * 2] and z.grad.tolist() == [[2.0] * 2] * 3


def test_gradients_of_a_tensor_in_between() -> None:
    x = leaf(normal(3, 2))
    y = x * 2.0
    y.retain_grad()
    loss = y[0].sum() + y[0].sum() * 2.0 + (y * y).sum()
    found = tg.grad(loss, [y, x], retain_graph=True)
    loss.backward()
    wanted = 2 * y.numpy() + np.array([[3.0], [0.0], [0.0]])
    for g in (found[0], y.grad):
        np.testing.assert_allclose(g.numpy(), wanted, 1e-14)
    for g in (found[1], x.grad):
        np.testing.assert_allclose(g.numpy(), 2 * wanted, 1e-14)
    assert y.grad.array is not found[0].array


def test_create_graph_and_anomaly_mode_give_the_same() -> None:
    x = leaf(normal(3, 4))
    (plain,) = tg.grad(summed(x), x)
    (recorded,) = tg.grad(summed(x), x, create_graph=True)
    with tg.detect_anomaly():
        (watched,) = tg.grad(summed(x), x)
        part = x[1]
        part.register_hook(lambda g: tg.Tensor(np.full(4, np.nan)))
        loss = part.sum() + x[2].sum()  # x[2] comes first, so the cotangent of part could be added in place
        with pytest.raises(FloatingPointError, match="getitem: its backward made the first NaN"):
            loss.backward()
    for g in (recorded, watched):
        np.testing.assert_array_equal(g.numpy(), plain.numpy())


def test_on_a_gpu(cupy: Any) -> None:
    x, y = (tg.tensor(normal(3, 4), requires_grad=True, device=device) for device in ("cpu", "cuda"))
    summed(x).backward()
    summed(y).backward()
    np.testing.assert_allclose(y.grad.cpu().numpy(), x.grad.numpy(), 1e-13)
