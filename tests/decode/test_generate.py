"""Generation id by id: the most likely ids, random ones, ends, and errors."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.decode import generate

V, N, END = 7, 5, 3


class Model(nn.Module):
    """Embedding, GRU, logits."""

    def __init__(self):
        super().__init__()
        self.embedding, self.gru, self.readout = nn.Embedding(V, 4), nn.GRU(4, 6), nn.Linear(6, V)
        for p in self.parameters():
            p.detach().numpy()[...] *= 3.0

    def step(self, ids, state):
        output, state = self.gru(self.embedding(ids)[None], state)
        return self.readout(output[0]), state


@pytest.fixture
def model():
    tg.manual_seed(4)
    return Model()


def cycle(ids, state):
    """The id after i is i + 1 modulo V; the state counts the steps."""
    return tg.tensor(np.eye(V)[(ids.numpy() + 1) % V]), (state or 0) + 1


def test_greedy_equals_a_loop(model):
    ids, lengths = generate(model.step, None, range(N), 20)
    assert ids.shape == (N, 20) and ids.dtype == lengths.dtype == np.int64 and lengths.tolist() == [20] * N
    for n in range(N):
        last, state, expected = n, None, []
        for _ in range(20):
            logits, state = model.step(tg.tensor([last]), state)
            last = int(logits[0].argmax())
            expected.append(last)
        assert ids[n].tolist() == expected


def test_rows_are_filled_with_the_end(model):
    free = generate(model.step, None, range(N), 20).ids.tolist()
    assert sum(END in row for row in free) >= 2
    ids, lengths = generate(model.step, None, range(N), 20, END)
    for row, found, length in zip(free, ids.tolist(), lengths.tolist()):
        assert length == (row.index(END) + 1 if END in row else 20)
        assert found == row[:length] + [END] * (20 - length)


def test_steps_stop_when_all_have_ended():
    seen = []

    def step(ids, state):
        seen.append(ids.tolist())
        return cycle(ids, state)

    ids, lengths = generate(step, None, [1, 2, 0], 9, 2)
    assert ids.tolist() == [[2] * 9, [3, 4, 5, 6, 0, 1, 2, 2, 2], [1, *[2] * 8]]
    assert lengths.tolist() == [1, 7, 2] and len(seen) == 7
    assert seen[:3] == [[1, 2, 0], [2, 3, 1], [2, 4, 2]]


def test_one_id_and_no_length():
    assert generate(cycle, None, 4, 3).ids.tolist() == [[5, 6, 0]]
    assert generate(cycle, None, tg.tensor([4, 5]), 1).ids.tolist() == [[5], [6]]
    ids, lengths = generate(cycle, None, [4, 5], 0, 1)
    assert ids.shape == (2, 0) and lengths.tolist() == [0, 0]


def test_draws_come_from_the_stream_of_the_package(model):
    draw = lambda seed: (tg.manual_seed(seed), generate(model.step, None, range(N), 30, temperature=1.0))[
        1
    ].ids.tolist()
    assert draw(1) == draw(1) != draw(2)
    tg.manual_seed(1)
    before = tg.get_rng_state()
    generate(model.step, None, range(N), 30)
    assert tg.get_rng_state() == before


def test_draws_follow_the_logits():
    logits = tg.tensor(np.log([0.5, 0.3, 0.15, 0.05]))
    step = lambda ids, state: (tg.broadcast_to(logits, len(ids), 4), state)
    tg.manual_seed(0)
    share = lambda **how: np.bincount(generate(step, None, np.zeros(200, int), 50, **how).ids.numpy().flat) / 10_000
    assert share(temperature=1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.02)
    assert share(temperature=1.0, top_k=2) == pytest.approx([0.625, 0.375], abs=0.02)
    assert share(temperature=1.0, top_p=0.9) == pytest.approx([0.526, 0.316, 0.158], abs=0.02)


def test_nothing_is_recorded(model):
    def step(ids, state):
        assert not tg.is_grad_enabled()
        logits, state = model.step(ids, state)
        assert not logits.requires_grad
        return logits, state

    generate(step, None, [0], 3)
    assert tg.is_grad_enabled()


def test_a_forbidden_id():
    """An id with the logit -inf is never chosen."""
    step = lambda ids, state: (tg.tensor([[-np.inf, 0.0, 0.0, -np.inf]] * len(ids)), state)
    for temperature in (0.0, 1.0, 1e9):
        assert set(generate(step, None, range(4), 50, temperature=temperature).ids.numpy().flat) <= {1, 2}


def given(*rows):
    return lambda ids, state: (tg.tensor(list(rows)), state)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: generate(cycle, None, [0], -1), ValueError, "length: expected a whole number from 0 up, got -1"),
        (lambda: generate(cycle, None, [0], 1.5), TypeError, "length: expected a whole number from 0 up, got 1.5"),
        (lambda: generate(cycle, None, [0.5], 1), TypeError, "start: expected whole numbers, got float"),
        (lambda: generate(cycle, None, [], 1), TypeError, "start: expected whole numbers"),
        (lambda: generate(cycle, None, [[0]], 1), ValueError, r"start: expected one id, or N of them.*\(1, 1\)"),
        (lambda: generate(cycle, None, [0], 1, -1), ValueError, "end: expected an id from 0 up, got -1"),
        (lambda: generate(cycle, None, [0], 1, V), ValueError, "end: expected an id below 7, .* got 7"),
        (lambda: generate(cycle, None, [0], 1, temperature=-1), ValueError, "temperature: .* from 0 up, got -1"),
        (lambda: generate(cycle, None, [0], 1, temperature=np.nan), ValueError, "temperature: .* got nan"),
        (lambda: generate(cycle, None, [0], 1, top_k=0), ValueError, "top_k: expected a whole number from 1 up"),
        (lambda: generate(cycle, None, [0], 1, top_k=1.5), TypeError, "top_k: expected a whole number from 1 up"),
        (lambda: generate(cycle, None, [0], 1, top_p=0), ValueError, "top_p: expected a number above 0 and up to 1"),
        (lambda: generate(cycle, None, [0], 1, top_p=np.nan), ValueError, "top_p: expected a number above 0"),
        (lambda: generate(given([0.0, np.nan]), None, [0], 1), ValueError, "without NaN and inf.* got nan in row 0"),
        (lambda: generate(given([0.0], [np.inf]), None, [0, 0], 1), ValueError, "got inf in row 1"),
        (lambda: generate(given([-np.inf, -np.inf]), None, [0], 1), ValueError, "not only -inf, got -inf in row 0"),
        (lambda: generate(given([0.0]), None, [0, 0], 1), ValueError, r"logits of shape \[2, V\], got .* \(1, 1\)"),
        (lambda: generate(given([0, 1]), None, [0], 1), ValueError, "floating logits of shape .* got int64"),
        (lambda: generate(lambda *_: tg.zeros(1, 2), 0, [0], 1), TypeError, r"return \(logits, state\), got Tensor"),
    ],
)  # fmt: skip
def test_errors(call, error, words):
    with pytest.raises(error, match=f"generate: .*{words}"):
        call()


def test_a_model_that_has_diverged(model):
    model.readout.bias.detach().numpy()[...] = np.nan
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match="generate: step: expected logits without NaN"):
            generate(model.step, None, [0, 1], 3, temperature=temperature)
