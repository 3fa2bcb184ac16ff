"""recompute_every gives the same numbers with less memory."""

import itertools

import numpy as np
import pytest
from ladder import ALL
from sequences import assert_same_gradients, gradients, named, random_sequence, some_lengths

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells import STANDARD
from tinygrad_rnn.kernels.cpu import driver
from tinygrad_rnn.sequence import fused

CELLS = {name: ALL[name] for name in (*STANDARD, "zoneout_lstm", "slstm", "minimal_gated", "ind_rnn")}


@pytest.mark.parametrize("every_state", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_agrees_with_a_run_that_saves_everything(name, every_state):
    for lengths, reverse, every in itertools.product((False, True), (False, True), (1, 2, 3, 100)):
        seq = random_sequence(CELLS[name], 7, 5, 2, 3, lengths=some_lengths(7, 5) if lengths else None, reverse=reverse)
        wanted = [x for part in fused.run(CELLS[name], seq, every_state) for x in part]
        found = [x for part in fused.run(CELLS[name], seq, every_state, every) for x in part]
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        assert_same_gradients(gradients(found, named(seq)), gradients(wanted, named(seq)))


def test_layers_take_it(monkeypatch):
    """A bidirectional stack with lengths saves at most recompute_every steps at a time; its gradients are the same."""
    kept, forward = [], driver.forward
    monkeypatch.setattr(
        driver, "forward", lambda step, seq, keep: kept.append(keep and len(seq.x)) or forward(step, seq, keep)
    )
    x = tg.tensor(np.random.default_rng(0).standard_normal((10, 3, 4)), requires_grad=True)
    layer = nn.LSTM(4, 5, 2, bidirectional=True, dtype="float64", recompute_every=4)
    plain = nn.LSTM(4, 5, 2, bidirectional=True, dtype="float64")
    plain.load_state_dict(layer.state_dict())
    assert "recompute_every=4" in repr(layer)
    found = []
    for each in (plain, layer):
        kept.clear()
        x.grad = None
        each(x, lengths=[10, 3, 7])[0].sum().backward()
        found.append([x.grad.numpy(), *(p.grad.numpy() for p in each.parameters())])
    assert set(kept) == {False, 2, 4}
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, 1e-12, 1e-12)


def test_values_other_than_a_number_of_steps_are_refused():
    for wrong in (-1, 1.5, True, None):
        with pytest.raises(ValueError, match="LSTM: recompute_every: expected a whole number from 0 up"):
            nn.LSTM(2, 3, recompute_every=wrong)
