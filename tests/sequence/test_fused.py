"""The fused node: unrolled equations == fused node == reference driver, values and gradients, in every setting."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import weakref

import numpy as np
import pytest
from grids import spread
from helpers import normal
from sequences import (
    assert_same_gradients,
    gradients,
    named,
    random_cotangents,
    random_sequence,
    some_lengths,
)
from user_cells import USER_CELLS, flat_state, minimal_gated, passing, several_products, zoneout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import (
    kernels,
    nn,
    tanh,
    where,
)
from tinygrad_rnn.cells import BUILT_IN, cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu import driver as cpu_driver
from tinygrad_rnn.kernels.reference import driver as reference
from tinygrad_rnn.sequence import fused
from tinygrad_rnn.sequence.unrolled import unrolled

ALL = BUILT_IN | USER_CELLS
LSTM = BUILT_IN["lstm"]

# (T, N, I, H), each odd in another way
SIZES = [(0, 2, 1, 3), (1, 1, 1, 1), (2, 5, 5, 1), (13, 7, 5, 17), (2, 2, 1, 100), (3, 0, 2, 3), (13, 2, 1, 3)]
SETTINGS = [dict(zip(("lengths", "reverse", "bias"), flags)) for flags in itertools.product((False, True), repeat=3)]


def flat(results):
    """The sequences and the last states as one list."""
    outputs, final = results
    return [*outputs, *final]


def climb(cell, size, lengths=False, **options):
    """Hold the fused node against unrolled equations and the reference driver: all states, all gradients."""
    time, batch = size[:2]
    seq = random_sequence(cell, *size, lengths=some_lengths(time, batch) if lengths else None, **options)
    outputs, final = fused.run(cell, seq, every_state=True)
    slow_outputs, slow_final = unrolled(cell, trace(cell), seq)
    for got, wanted in zip([*outputs, *final], [*slow_outputs, *slow_final]):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        np.testing.assert_allclose(got.detach().numpy(), wanted.detach().numpy(), 1e-11, 1e-12)
    raw_outputs, raw_final, _ = reference.forward(trace(cell), arrays_of(seq), keep=False)
    for got, wanted in zip([*outputs, *final], [*raw_outputs, *raw_final]):
        np.testing.assert_allclose(got.detach().numpy(), wanted, 1e-11, 1e-12)
    fast = gradients([*outputs, *final], named(seq))
    slow = gradients([*slow_outputs, *slow_final], named(seq))
    assert_same_gradients(fast, slow)
    return seq, fast


def arrays_of(seq):
    """The sequence with arrays for tensors."""
    bare = lambda a: a if a is None else a.detach().numpy()
    return dataclasses.replace(
        seq,
        **{n: bare(getattr(seq, n)) for n in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")},
        params={n: bare(p) for n, p in seq.params.items()},
        inputs={n: bare(e) for n, e in seq.inputs.items()},
        initial=[bare(s) for s in seq.initial],
    )


# The ladder


GRID = [
    pytest.param(name, setting, id=f"{name}-{'-'.join(k for k, v in setting.items() if v) or 'none'}", marks=marks)
    for k, (name, setting) in enumerate(itertools.product(ALL, SETTINGS))
    for marks in [[] if k % 5 == 0 else [pytest.mark.long]]
]


@pytest.mark.parametrize(("name", "setting"), GRID)
def test_settings(name, setting):
    _, found = climb(ALL[name], (4, 5, 2, 3), **setting)
    dead = {"clockwork": {"e_tick"}}.get(name, set())
    assert all(g.any() for key, g in found.items() if key not in dead), "a gradient is all zeros: nothing is tested"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", BUILT_IN)
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
    """One sequence of a batch, cut to its real length."""
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
    """Outputs, last states, and the gradients of what belongs to the sequence."""
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
def test_what_stands_in_the_padding_reaches_nothing(name, create_graph):
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


# Second order


@pytest.mark.parametrize("name", ["lstm", "gru", "several_products"])
@pytest.mark.parametrize("reverse", [False, True])
def test_second_order_with_lengths(name, reverse):
    cell = ALL[name]
    seq = random_sequence(cell, 3, 3, 2, 2, lengths=np.array([2, 0, 3]), reverse=reverse)
    tensors = named(seq)

    def run(*arguments):
        return flat(fused.run(cell, with_tensors(seq, dict(zip(tensors, arguments))), every_state=True))

    if name != "several_products":  # which detaches a part on purpose
        assert tg.gradcheck(run, list(tensors.values()), directions=1)
        assert tg.gradgradcheck(run, list(tensors.values()))
    slow = lambda *arguments: flat(unrolled(cell, trace(cell), with_tensors(seq, dict(zip(tensors, arguments)))))
    both = []
    for f in (run, slow):
        outs = f(*tensors.values())
        first = tg.grad(outs, list(tensors.values()), random_cotangents(outs), create_graph=True)
        both.append(gradients([(g * g).sum() for g in first], tensors))
    assert_same_gradients(both[0], both[1], 1e-9)


@tg.cell(gates="fn")
def hard_gate(a, s):
    keep = tg.where(a.f > 0, 1.0, 0.25)
    return keep * s.h + (1.0 - keep) * tg.tanh(a.n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_choice_between_two_numbers_has_the_dtype_of_the_layer(dtype):
    layer, x = nn.Recurrent(hard_gate, 3, 4, dtype=dtype), tg.tensor(normal(5, 2, 3).astype(dtype), requires_grad=True)
    (g,) = tg.grad(layer(x)[0].sum(), x, create_graph=True)
    assert g.dtype == dtype
    (second,) = tg.grad((g * g).sum(), x)
    assert second.dtype == dtype and np.isfinite(second.numpy()).all()
    if dtype == "float64":
        assert tg.gradcheck(lambda x: layer(x)[0], [x]) and tg.gradgradcheck(lambda x: layer(x)[0], [x])
    assert tg.where(x > 0, 1.0, 0.0).dtype == "float32"  # as ever elsewhere


def with_tensors(seq, tensors):
    pick = lambda prefix, names: {n: tensors[prefix + n] for n in names}
    weights = {n: tensors.get(n) for n in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")}
    initial = [tensors[f"initial_{i}"] for i in range(len(seq.initial))]
    return dataclasses.replace(
        seq, **weights, params=pick("p_", seq.params), inputs=pick("e_", seq.inputs), initial=initial
    )


def test_second_order_where_arguments_depend_on_each_other():
    """An argument computed from another one: the recorded backward is by the arguments alone."""
    seq = random_sequence(LSTM, 3, 2, 2, 2)
    w = seq.weight_hh

    def run(run_sequence):
        tied = dataclasses.replace(seq, weight_ih=w * 2.0, x=seq.x * w.mean())
        outs = flat(run_sequence(tied))
        (first,) = tg.grad(outs, [w], random_cotangents(outs), create_graph=True)
        return first, *tg.grad((first * first).sum(), [w])

    fast = run(lambda s: fused.run(LSTM, s, every_state=True))
    slow = run(lambda s: unrolled(LSTM, trace(LSTM), s))
    for a, b in zip(fast, slow):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-10)


# Memory


@pytest.mark.parametrize("cell", [LSTM, passing, minimal_gated, zoneout_lstm, flat_state], ids=lambda c: c.name)
def test_no_two_gradients_share_memory(cell):
    for time in (0, 1, 3):
        seq = random_sequence(cell, time)
        tensors = named(seq)
        results = flat(fused.run(cell, seq, every_state=True))
        (sum((r * 1.0).sum() for r in results) if time else sum(r.sum() for r in results)).backward()
        arrays = {n: t.grad.data for n, t in tensors.items() if t.grad is not None}
        arrays |= {"data of " + n: t.data for n, t in tensors.items()}
        for (a, x), (b, y) in itertools.combinations(arrays.items(), 2):
            assert not np.shares_memory(x, y), f"{a} and {b}"
        for t in tensors.values():
            if t.grad is not None:
                before = t.grad.numpy().copy()
                t.grad.data += 1.0  # writable, and nobody else's
                np.testing.assert_array_equal(t.grad.numpy(), before + 1)


@pytest.mark.parametrize("time", [0, 3])
def test_the_drivers_gradients_are_arrays_of_their_own(time):
    seq = arrays_of(random_sequence(passing, time))
    outputs, final, saved = reference.forward(trace(passing), seq, keep=True)
    given = [np.ones_like(a) for a in (*outputs, *final)]
    found = reference.backward(trace(passing), seq, saved, given[:3], given[3:])
    arrays = [*(a for a in named(found).values() if a is not None), *given, *named(seq).values()]
    for x, y in itertools.combinations(arrays, 2):
        assert not np.shares_memory(x, y)


def test_one_leaf_as_two_states_gets_the_sum():
    seq = random_sequence(LSTM)
    shared = tg.tensor(seq.initial[0].detach().numpy(), requires_grad=True)
    (out,), _ = fused.run(LSTM, dataclasses.replace(seq, initial=[shared, shared]))
    (got,) = tg.grad(out.sum(), [shared])
    apart = dataclasses.replace(seq, initial=[tg.tensor(shared.detach().numpy(), requires_grad=True) for _ in range(2)])
    (out,), _ = fused.run(LSTM, apart)
    wanted = tg.grad(out.sum(), apart.initial)
    np.testing.assert_allclose(got.numpy(), wanted[0].numpy() + wanted[1].numpy(), 1e-12)


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_nothing_is_kept_where_nothing_requires_a_gradient(monkeypatch, name):
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: name)
    kept = []
    module = reference if name == "reference" else cpu_driver
    forward = module.forward

    def watched(step, seq, keep):
        out = forward(step, seq, keep)
        kept.append(out[2])
        return out

    monkeypatch.setattr(module, "forward", watched)
    (out,), _ = fused.run(LSTM, random_sequence(LSTM, requires_grad=False))
    assert not out.requires_grad and kept == [None]
    with tg.no_grad():
        (out,), _ = fused.run(LSTM, random_sequence(LSTM))
    assert not out.requires_grad and kept == [None, None]
    (out,), _ = fused.run(LSTM, random_sequence(LSTM))
    assert out.requires_grad and kept[2] is not None
    saved = weakref.ref(kept.pop())
    out.sum().backward()
    gc.collect()
    assert saved() is None, "a backward frees what the forward kept"


def test_the_arguments_are_not_written_to():
    for lengths in (None, np.array([1, 5, 0])):
        seq = random_sequence(LSTM, lengths=lengths, proj=2)
        before = {n: t.detach().numpy().copy() for n, t in named(seq).items()}
        for t in named(seq).values():
            t.data.flags.writeable = False
        gradients(flat(fused.run(LSTM, seq, True)), named(seq))
        for n, t in named(seq).items():
            np.testing.assert_array_equal(t.detach().numpy(), before[n])


@pytest.mark.parametrize("name", spread(ALL, 4))
def test_float32_stays_float32(name):
    rnn = ALL[name]
    for lengths in (None, np.array([5, 0, 2])):
        seq = random_sequence(rnn, dtype="float32", lengths=lengths)
        results = flat(fused.run(rnn, seq, True))
        assert {str(r.dtype) for r in results} == {"float32"}, name
        found = gradients(results, named(seq))
        assert {str(g.dtype) for g in found.values() if g is not None} == {"float32"}, name
        recorded = gradients(flat(fused.run(rnn, seq, True)), named(seq), create_graph=True)
        assert_same_gradients(recorded, found, 1e-4)


def test_the_node_bears_the_cells_name():
    (out,), _ = fused.run(minimal_gated, random_sequence(minimal_gated))
    assert "minimal_gated" in {p.name for p in out.node.parents if p is not None}
    seq = random_sequence(minimal_gated)
    seq.x = seq.x.float()
    with pytest.raises(TypeError, match=r"minimal_gated: weight_ih: expected float32 as x is, got float64"):
        fused.run(minimal_gated, seq)


@cell(gates="nq")
def dead_product(a, s):
    a.q.recurrent(tanh(s.h))
    return tanh(a.n)


@cell(gates="n")
def whole_numbers(a, s):
    both = (a.n > 0) & (s.h < 10)
    return tanh(a.n) * where(both, 1, 0) + tg.maximum(where(a.n > 0.5, 2, 1), 1) * s.h


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rnn", [dead_product, whole_numbers], ids=lambda c: c.name)
def test_second_order_of_what_comes_to_nothing_and_of_whole_numbers(rnn, dtype):
    layer = nn.Recurrent(rnn, 2, 3, dtype=dtype)
    x = tg.tensor(normal(4, 2, 2).astype(dtype), requires_grad=True)
    (first,) = tg.grad(layer(x)[0].sum(), [x])
    (again,) = tg.grad(layer(x)[0].sum(), [x], create_graph=True)
    np.testing.assert_allclose(again.numpy(), first.numpy(), 1e-5, 1e-6)
    assert tg.grad((again * again).sum(), [x])[0].dtype == dtype


def test_constants_that_differ_in_sign_alone():
    @cell(gates="n", inputs="m")
    def signs(a, s, e):
        return tanh(1.0 / (e.m * 0.0)) + 2.0 * tanh(1.0 / (e.m * -0.0)) + 0.0 * tanh(a.n)

    output = nn.Recurrent(signs, 1, 2)(tg.ones(1, 1, 1), inputs={"m": tg.ones(2)})[0]
    np.testing.assert_array_equal(output.numpy().ravel(), [-1, -1])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["rnn_tanh", "gru", "lstm", "gru_reset_before"])
def test_a_state_that_no_step_reads_is_in_no_gradient(name, reverse):
    layer = nn.Recurrent(name, 2, 5, bidirectional=reverse)
    states = [normal(2 if reverse else 1, 3, 5).astype("f") for _ in layer.step.states]
    for state in states:
        state[:, 1] = np.nan  # of a sequence of no steps
    output, _ = layer(tg.tensor(normal(4, 3, 2).astype("f")), tuple(map(tg.tensor, states)), lengths=[4, 0, 2])
    output.sum().backward()
    for name, p in layer.named_parameters():
        assert np.isfinite(p.grad.numpy()).all(), name
