"""The fused node equals unrolled equations and the reference driver in every setting; missing gradients."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from ladder import ALL, LSTM, climb, flat
from sequences import (
    assert_same_gradients,
    gradients,
    named,
    random_cotangents,
    random_sequence,
    some_lengths,
)
from user_cells import several_products

import tinygrad_rnn as tg
from tinygrad_rnn.cells import BUILT_IN, STANDARD
from tinygrad_rnn.sequence import fused

# (T, N, I, H), each unusual in another way
SIZES = [(0, 2, 1, 3), (1, 1, 1, 1), (2, 5, 5, 1), (13, 7, 5, 17), (2, 2, 1, 100), (3, 0, 2, 3), (13, 2, 1, 3)]
SETTINGS = [dict(zip(("lengths", "reverse", "bias"), flags)) for flags in itertools.product((False, True), repeat=3)]


# The ladder


GRID = [
    pytest.param(name, setting, id=f"{name}-{'-'.join(k for k, v in setting.items() if v) or 'none'}", marks=marks)
    for k, (name, setting) in enumerate(itertools.product(ALL, SETTINGS))
    for marks in [[] if k % 7 == 0 else [pytest.mark.long]]
]


@pytest.mark.parametrize(("name", "setting"), GRID)
def test_settings(name, setting):
    _, found = climb(ALL[name], (4, 5, 2, 3), **setting)
    dead = {"clockwork_rnn": {"e_tick"}}.get(name, set())
    assert all(g.any() for key, g in found.items() if key not in dead), "a gradient is all zeros: nothing is tested"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", STANDARD)
def test_sizes(name, size):
    climb(BUILT_IN[name], size)
    climb(BUILT_IN[name], size, lengths=True, reverse=True, bias=False)


@pytest.mark.parametrize("name", ["lstm", "peephole_lstm", "cifg_lstm"])
@pytest.mark.parametrize("size, proj", [((5, 4, 2, 4), 2), ((13, 3, 1, 17), 5), ((2, 2, 3, 3), 1)])
def test_projections(name, size, proj):
    for lengths, reverse in itertools.product((False, True), repeat=2):
        climb(BUILT_IN[name], size, lengths=lengths, reverse=reverse, proj=proj)


@pytest.mark.parametrize("lengths", [[0, 0, 0], [1, 1, 1], [3, 2, 1], [1, 2, 3], [2, 2, 0]])
def test_lengths_of_every_kind(lengths):
    for reverse in (False, True):
        seq = random_sequence(LSTM, 3, 3, lengths=np.array(lengths), reverse=reverse)
        (out,), final = fused.run(LSTM, seq)
        past = np.arange(3)[:, None] >= np.array(lengths)
        assert not out.numpy()[past].any()
        for n, length in enumerate(lengths):
            alone = row_of(seq, n, length)
            (single,), single_final = fused.run(LSTM, alone)
            np.testing.assert_allclose(out.detach().numpy()[:length, n], single.detach().numpy()[:, 0], 1e-12)
            for got, wanted in zip(final, single_final):
                np.testing.assert_allclose(got.detach().numpy()[n], wanted.detach().numpy()[0], 1e-12)


def row_of(seq, n, length):
    """Return one sequence of a batch, cut to its length."""
    cut = lambda a: tg.tensor(a.detach().numpy()[:length, n : n + 1], requires_grad=True)
    state = lambda a: tg.tensor(a.detach().numpy()[n : n + 1], requires_grad=True)
    return dataclasses.replace(
        seq,
        x=cut(seq.x),
        inputs={name: cut(e) for name, e in seq.inputs.items()},
        initial=[state(s) for s in seq.initial],
        lengths=None,
    )


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "zoneout_lstm", "slstm"])
def test_a_sequence_is_the_same_alone_and_in_any_batch(name):
    """Its results are the same to the last bit; its gradients for random cotangents are the same but for rounding."""
    lengths = np.array([6, 0, 3, 1, 6])
    cell = ALL[name]
    for reverse in (False, True):
        seq = random_sequence(cell, 6, 5, lengths=lengths, reverse=reverse, seed=2)
        outputs, final = fused.run(cell, seq, every_state=True)
        seeds = random_cotangents([*outputs, *final])
        own = lambda s: {k: v for k, v in named(s).items() if k == "x" or k.startswith(("initial", "e_"))}
        found = tg.grad([*outputs, *final], list(own(seq).values()), seeds)
        for n, length in enumerate(lengths):
            alone = row_of(seq, n, length)
            results = flat(fused.run(cell, alone, every_state=True))
            steps = len(outputs)
            part = [s[:length, n : n + 1] if i < steps else s[n : n + 1] for i, s in enumerate(seeds)]
            wanted = tg.grad(results, list(own(alone).values()), part)
            for key, got, g in zip(own(seq), found, wanted):
                full = got.numpy()[n : n + 1] if key.startswith("initial") else got.numpy()[:, n : n + 1]
                if not key.startswith("initial"):
                    assert not full[length:].any(), "a gradient on padding"
                    full = full[:length]
                np.testing.assert_allclose(full, g.numpy(), 1e-10, 1e-12, err_msg=key)


@pytest.mark.parametrize("create_graph", [False, True], ids=["first", "recorded"])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "zoneout_lstm", "slstm"])
def test_padding_has_no_effect(name, create_graph):
    cell, lengths = ALL[name], np.array([3, 0, 5])
    for reverse in (False, True):
        seq = random_sequence(cell, 5, 3, lengths=lengths, reverse=reverse)
        spoilt = random_sequence(cell, 5, 3, lengths=lengths, reverse=reverse)
        for tensor in (spoilt.x, *spoilt.inputs.values()):
            for n, length in enumerate(lengths):
                tensor.data[length:, n] = np.nan
        clean, dirty = (flat(fused.run(cell, s, True)) for s in (seq, spoilt))
        for a, b in zip(clean, dirty):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        wanted, found = gradients(clean, named(seq)), gradients(dirty, named(spoilt), create_graph)
        assert_same_gradients(found, wanted, 0 if not create_graph else 1e-11)


# Gradients that are missing or unwanted


def test_any_subset_of_outputs_gives_the_gradients_of_zero_cotangents_for_the_rest():
    for lengths in (None, some_lengths(5, 3)):
        seq = random_sequence(LSTM, lengths=lengths)
        results = flat(fused.run(LSTM, seq, every_state=True))
        seeds = random_cotangents(results)
        inputs = list(named(seq).values())
        for used in itertools.product((False, True), repeat=4):
            if not any(used):
                continue
            chosen = [i for i in range(4) if used[i]]
            some = tg.grad([results[i] for i in chosen], inputs, [seeds[i] for i in chosen], retain_graph=True)
            filled = [s if u else tg.zeros_like(s) for s, u in zip(seeds, used)]
            full = tg.grad(results, inputs, filled, retain_graph=True)
            for a, b in zip(some, full):
                np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-12, 1e-13)


def test_any_subset_of_arguments_may_want_gradients():
    full_seq = random_sequence(several_products)
    full = gradients(flat(fused.run(several_products, full_seq)), named(full_seq))
    names = list(named(full_seq))
    for wanted in [*[{n} for n in names], {"x", "weight_hh"}, {"bias_hh", "p_w", "initial_1"}, set(names) - {"x"}]:
        for create_graph in (False, True):
            seq = random_sequence(several_products)
            for name, tensor in named(seq).items():
                tensor.requires_grad = name in wanted
            leaves = {n: t for n, t in named(seq).items() if n in wanted}
            found = gradients(flat(fused.run(several_products, seq)), leaves, create_graph)
            assert_same_gradients(found, {n: full[n] for n in names if n in wanted})


def test_every_state_is_an_option():
    seq = random_sequence(LSTM, lengths=np.array([5, 2, 0]))
    only_h, final = fused.run(LSTM, seq)
    every, same_final = fused.run(LSTM, seq, every_state=True)
    assert len(only_h) == 1 and len(every) == 2 and len(final) == len(same_final) == 2
    np.testing.assert_array_equal(only_h[0].detach().numpy(), every[0].detach().numpy())
    for sequence, last in zip(every, final):
        np.testing.assert_array_equal(sequence.detach().numpy()[4, 0], last.detach().numpy()[0])
        np.testing.assert_array_equal(sequence.detach().numpy()[1, 1], last.detach().numpy()[1])
    np.testing.assert_array_equal(final[1].detach().numpy()[2], seq.initial[1].detach().numpy()[2])


def test_gradients_add_up_over_two_backwards():
    seq = random_sequence(LSTM)
    (out,), _ = fused.run(LSTM, seq)
    out.sum().backward(retain_graph=True)
    once = {n: t.grad.numpy().copy() for n, t in named(seq).items()}
    out.sum().backward()
    for name, tensor in named(seq).items():
        np.testing.assert_allclose(tensor.grad.numpy(), 2 * once[name], 1e-13)
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        out.sum().backward()
