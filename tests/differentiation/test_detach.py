"""`tg.detach`: a nested state leaves the tape in its own structure."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from helpers import leaf

import tinygrad_rnn as tg
from tinygrad_rnn import nn

State = namedtuple("State", "h c")


def test_structures_stay_and_tensors_leave_the_tape() -> None:
    x = leaf([1.0, 2.0])
    y, constant = x * 2.0, tg.ones(2)
    state = [(y, None), State(y, x), {"a": y, 1: [constant]}, OrderedDict(b=(y,)), ()]
    found = tg.detach(state)
    assert [type(part) for part in found] == [tuple, State, dict, OrderedDict, tuple]
    (h, none), (c, d), table, ordered, empty = found
    assert none is None and empty == () and list(table) == ["a", 1] and found[1].h is c
    for t in (h, c, d, table["a"], ordered["b"][0], table[1][0]):
        assert type(t) is tg.Tensor and not t.requires_grad and t.is_leaf
    assert h.array is y.array and d.array is x.array and state[0][0] is y and y.requires_grad
    assert tg.detach(y).tolist() == [2.0, 4.0] and tg.detach(None) is None


def test_truncated_bptt() -> None:
    tg.manual_seed(0)
    lstm, state = nn.LSTM(3, 4, num_layers=2), None
    for _ in range(3):
        output, state = lstm(tg.randn(5, 2, 3), state)
        output.sum().backward()  # would go through the freed graph of the last turn
        state = tg.detach(state)
    assert all(np.isfinite(p.grad.numpy()).all() for p in lstm.parameters())


@pytest.mark.parametrize(
    ("state", "name", "kind"),
    [(3, "state", "int"), ([1.0], r"state\[0\]", "float"), ({"h": (None, "x")}, r"state\['h'\]\[1\]", "str")],
)
def test_errors(state: Any, name: str, kind: str) -> None:
    with pytest.raises(TypeError, match=f"detach: {name}: expected tensors, tuples, .* or None, got {kind}"):
        tg.detach(state)
