"""Beam search: against brute force, greedy choice, a plain search, and the scores of the model itself."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
from helpers import normal

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.decode import beam_search, generate
from tinygrad_rnn.decode.state import select

V, END = 4, 2
TABLE = normal(997, V, seed=3) * 1.5


def step(ids, state):
    """Logits that depend on all ids so far: the state is a number made of them, [N]."""
    state = (state.numpy() * 31 + ids.numpy() + 1) % 997
    return tg.tensor(TABLE[state]), tg.tensor(state)


def first_state(n):
    return tg.tensor(np.arange(n) * 7)


def log_p(start, n, ids):
    """Return log p of one sequence in row n."""
    total, last, state = 0.0, start, first_state(n + 1)[n:]
    for i in ids:
        logits, state = step(tg.tensor([last]), state)
        total, last = total + float(logits[0].log_softmax()[i]), i
    return total


def every_sequence(length):
    """Return all sequences that end with END or have `length` ids."""
    for k in range(1, length + 1):
        for ids in itertools.product(range(V), repeat=k):
            if END not in ids[:-1] and (ids[-1] == END or k == length):
                yield list(ids)


def as_lists(found, n):
    """Return the (score, ids) of a row, without places that hold none."""
    ids, lengths, scores = (part[n].tolist() for part in found)
    return [(s, row[:k]) for s, row, k in zip(scores, ids, lengths) if k]


@pytest.mark.parametrize("penalty", [0, 0.6, 1, 2.5])
def test_exhaustive_width_equals_brute_force(penalty):
    for length in (1, 3):
        sequences = list(every_sequence(length))
        found = beam_search(step, first_state(2), [0, 3], length, END, len(sequences) + 5, penalty)
        for n, start in enumerate((0, 3)):
            expected = sorted(((log_p(start, n, s) / len(s) ** penalty, s) for s in sequences), reverse=True)
            got = as_lists(found, n)
            assert [s for _, s in got] == [s for _, s in expected]
            assert [s for s, _ in got] == pytest.approx([s for s, _ in expected], rel=1e-9)
        assert found.ids.shape == (2, len(sequences) + 5, length)
        assert found.scores[:, -5:].tolist() == [[-math.inf] * 5] * 2 and not found.lengths[:, -5:].numpy().any()
        assert (found.ids.numpy()[:, -5:] == END).all()


@pytest.mark.parametrize("penalty", [0, 1])
def test_width_1_is_greedy(penalty):
    greedy = generate(step, first_state(17), np.arange(17) % V, 9, END)
    found = beam_search(step, first_state(17), np.arange(17) % V, 9, END, 1, penalty)
    assert found.ids[:, 0].tolist() == greedy.ids.tolist()
    assert found.lengths[:, 0].tolist() == greedy.lengths.tolist()
    flat = lambda ids, state: (tg.zeros(len(ids), 5), None)  # of equal ids both take the first
    assert beam_search(flat, None, 0, 3, 4, 1).ids.tolist() == [[[0, 0, 0]]]


def plain_search(start, n, length, width, penalty):
    """Return (score, ids) of one row, by lists."""
    beam = [(0.0, [])]
    for _ in range(length):
        pool = []
        for _, ids in beam:
            done = ids[-1:] == [END]
            pool += [ids] if done else [[*ids, i] for i in range(V)]
        ranked = [(log_p(start, n, ids) / len(ids) ** penalty, ids) for ids in pool]
        beam = sorted(ranked, key=lambda pair: -pair[0])[:width]
    return beam


@pytest.mark.parametrize("width", [2, 3, 6])
def test_equals_a_plain_search(width):
    for penalty in (0, 1):
        found = beam_search(step, first_state(4), [0, 1, 3, 1], 5, END, width, penalty)
        for n, start in enumerate((0, 1, 3, 1)):
            expected, got = plain_search(start, n, 5, width, penalty), as_lists(found, n)
            assert [ids for _, ids in got] == [ids for _, ids in expected]
            assert [s for s, _ in got] == pytest.approx([s for s, _ in expected], rel=1e-9)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_the_states_of_layers_follow_their_hypotheses(kind):
    """The score of each hypothesis is what the model gives to its ids when it reads them in one call."""
    tg.manual_seed(2)
    embedding, layer, readout = nn.Embedding(9, 4), getattr(nn, kind)(4, 6, num_layers=2), nn.Linear(6, 9)
    readout.weight.detach().numpy()[...] *= 6
    readout.bias.detach().numpy()[0] += 2.5

    def layer_step(ids, state):
        output, state = layer(embedding(ids)[None], state)
        return readout(output[0]), state

    ids, lengths, scores = beam_search(layer_step, None, [1, 5, 7], 6, 0, 4)
    assert (np.diff(scores.numpy()) <= 0).all() and len(set(lengths.numpy().flat)) > 1
    for n, start in enumerate((1, 5, 7)):
        for k in range(4):
            chosen = ids[n, k, : int(lengths[n, k])].tolist()
            output, _ = layer(embedding([start, *chosen[:-1]])[:, None])
            logs = readout(output[:, 0]).log_softmax().detach().numpy()
            assert scores[n, k].item() == pytest.approx(logs[range(len(chosen)), chosen].mean(), rel=1e-5)


def test_a_memory_of_each_row():
    """A part of the state with the batch in dimension 0 beside a layer's state."""
    memory, layer = tg.tensor(normal(3, 5, V).astype("f") * 3), nn.RNN(V, 6)
    readout = nn.Linear(6, V)

    def attending(ids, state):
        h, memory = state
        output, h = layer(memory[:, 0][None] + memory[range(len(ids)), ids.numpy()][None], h)
        return readout(output[0]) * 4 + memory[:, 1], (h, memory)

    found = beam_search(attending, (None, memory), [0, 1, 3], 4, END, 3, batch_dim=(1, 0))
    for n, start in enumerate((0, 1, 3)):
        alone = beam_search(attending, (None, memory[n : n + 1]), start, 4, END, 3, batch_dim=(None, 0))
        assert alone.ids[0].tolist() == found.ids[n].tolist()
    with pytest.raises(ValueError, match=r"state\[1\]: .* batch of 3 in dimension 1, got .*5, 4"):
        beam_search(attending, (None, memory), [0, 1, 3], 4, END, 3)


def test_finished_hypotheses_compete_with_open_ones():
    """By the mean a long sequence wins; by the sum the short one."""
    logits = np.log([[0.5, 0.1, 0.4], [0.7, 0.1, 0.2]])  # of the first step, and of the second

    def two(ids, state):
        return tg.tensor(logits[state.numpy()]), state * 0 + 1

    start = lambda: tg.tensor([0])
    short, long = (pytest.approx(math.log(0.4)), [END]), (pytest.approx(math.log(0.35)), [0, 0])
    assert as_lists(beam_search(two, start(), 0, 2, END, 2, 0), 0) == [short, long]
    assert as_lists(beam_search(two, start(), 0, 2, END, 2, 1), 0) == [
        (pytest.approx(math.log(0.35) / 2), [0, 0]),
        short,
    ]


def test_steps_stop_when_all_are_finished():
    steps = []

    def ending(ids, state):
        steps.append(len(ids))
        return tg.tensor(np.where(np.arange(V) == END, 9.0, -np.inf)[None].repeat(len(ids), 0)), None

    found = beam_search(ending, None, [0, 1], 5, END, 3)
    assert steps == [2] and as_lists(found, 0) == [(0.0, [END])] and found.ids.shape == (2, 3, 5)


def test_rows_do_not_depend_on_the_batch():
    found = beam_search(step, first_state(3), [0, 3, 1], 6, END, 3)
    for n, start in enumerate((0, 3, 1)):
        alone = beam_search(step, first_state(3)[n : n + 1], start, 6, END, 3)
        for part, whole in zip(alone, found):
            assert part[0].tolist() == whole[n].tolist()


def test_nothing_is_recorded():
    weight = tg.ones(V, V, requires_grad=True)
    found = beam_search(lambda ids, state: (weight[ids], state), None, 0, 2, END)
    assert not any(part.requires_grad for part in found) and tg.is_grad_enabled()


class Pair(NamedTuple):
    h: object
    rest: object


def test_select_reaches_every_part():
    x = normal(3, 3, 2)
    state = Pair(tg.tensor(x), {"mask": [tg.tensor(x[:, :, 0]), None], "array": x[:, 0, 0], "count": 3, "empty": ()})
    found = select(state, np.array([2, 0]), 3)
    assert isinstance(found, Pair) and found.rest["count"] == 3 and found.rest["mask"][1] is None
    np.testing.assert_array_equal(found.h.numpy(), x[:, [2, 0]])
    np.testing.assert_array_equal(found.rest["mask"][0].numpy(), x[[2, 0], :, 0])
    np.testing.assert_array_equal(found.rest["array"], x[[2, 0], 0, 0])
    assert select(state, np.arange(3), 3).h is state.h
    found = select(state, np.array([1]), 3, (0, {"mask": -1, "array": None, "count": 0, "empty": 0}))
    np.testing.assert_array_equal(found.h.numpy(), x[[1]])
    np.testing.assert_array_equal(found.rest["mask"][0].numpy(), x[:, [1], 0])


def test_select_refuses():
    x, index = tg.ones(3, 2), np.array([0])
    with pytest.raises(ValueError, match=r"state\['a'\]\[1\]: .* the batch of 4 in dimension 0, got shape \(3, 2\)"):
        select({"a": (None, x)}, index, 4)
    with pytest.raises(ValueError, match=r"dimension 2, got shape \(3, 2\): batch_dim names another"):
        select(x, index, 3, 2)
    with pytest.raises(ValueError, match=r"expected one for each part of state, \[0, 1\], got \(0,\)"):
        select((x, x), index, 3, (0,))
    with pytest.raises(ValueError, match=r"dimension 0, got shape \(\)"):
        select(tg.tensor(1.0), index, 3)
    with pytest.raises(TypeError, match="state: expected tensors in tuples, lists and dicts, or None, got set"):
        select({1, 2}, index, 3)
    with pytest.raises(TypeError, match="batch_dim: expected a whole number or None, got 'x'"):
        select(x, index, 3, "x")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"width": 0}, ValueError, "width: expected a whole number from 1 up, got 0"),
        ({"width": 2.0}, TypeError, "width: expected a whole number"),
        ({"length": 0}, ValueError, "length: expected a whole number from 1 up, got 0"),
        ({"end": V}, ValueError, "end: expected an id below 4"),
        ({"end": None}, TypeError, "end: expected an id, got None"),
        ({"length_penalty": -1}, ValueError, "length_penalty: expected a finite number from 0 up, got -1"),
        ({"length_penalty": math.nan}, ValueError, "length_penalty: .* got nan"),
        ({"start": [0.0]}, TypeError, "start: expected whole numbers"),
        ({"step": lambda ids, s: (tg.tensor([[0.0, math.nan]]), s)}, ValueError, "step: .*got nan in row 0"),
        ({"step": lambda ids, s: tg.zeros(1, V)}, TypeError, r"step: expected it to return \(logits, state\)"),
    ],
)
def test_errors(options, error, words):
    given = {"step": step, "state": first_state(1), "start": 0, "length": 3, "end": END, **options}
    with pytest.raises(error, match=f"beam_search: {words}"):
        beam_search(**given)


def test_on_a_gpu(cupy):
    found = []
    for device in ("cpu", "cuda"):
        table = tg.tensor(normal(V, V).astype("f"), device=device)
        gpu_step = lambda ids, s, table=table: (nn.functional.embedding(ids, table) * s[:, None], s + 0.5)
        state = tg.tensor([1.0, 2.0], device=device)
        ids, _, scores = beam_search(gpu_step, state, [0, 1], 4, END, 3)
        tg.manual_seed(0)
        drawn = generate(gpu_step, state, [0, 1], 4, END, 0.7, 3, 0.9).ids
        assert ids.device == drawn.device == "cpu"
        found.append((ids.tolist(), drawn.tolist(), scores.numpy()))
    assert found[0][:2] == found[1][:2]
    np.testing.assert_allclose(found[0][2], found[1][2], 1e-6)
