"""The fused node: second order, ownership of memory, dtypes and names."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import weakref

import numpy as np
import pytest
from grids import spread
from helpers import normal
from ladder import ALL, LSTM, arrays_of, flat
from sequences import (
    assert_same_gradients,
    gradients,
    named,
    random_cotangents,
    random_sequence,
)
from user_cells import flat_state, minimal_gated, passing, zoneout_lstm

import tinygrad_rnn as tg
from tinygrad_rnn import (
    kernels,
    nn,
    tanh,
    where,
)
from tinygrad_rnn.cells import cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu import driver as cpu_driver
from tinygrad_rnn.kernels.reference import driver as reference
from tinygrad_rnn.sequence import fused
from tinygrad_rnn.sequence.unrolled import unrolled

# Second order


@pytest.mark.parametrize("name", ["lstm", "gru", "several_products"])
@pytest.mark.parametrize("reverse", [False, True])
def test_second_order_with_lengths(name, reverse):
    cell = ALL[name]
    seq = random_sequence(cell, 3, 3, 2, 2, lengths=np.array([2, 0, 3]), reverse=reverse)
    tensors = named(seq)

    def run(*arguments):
        return flat(fused.run(cell, with_tensors(seq, dict(zip(tensors, arguments))), every_state=True))

    if name != "several_products":  # this cell detaches a part on purpose
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
    assert tg.where(x > 0, 1.0, 0.0).dtype == "float32"  # the default dtype outside a cell


def with_tensors(seq, tensors):
    pick = lambda prefix, names: {n: tensors[prefix + n] for n in names}
    weights = {n: tensors.get(n) for n in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")}
    initial = [tensors[f"initial_{i}"] for i in range(len(seq.initial))]
    return dataclasses.replace(
        seq, **weights, params=pick("p_", seq.params), inputs=pick("e_", seq.inputs), initial=initial
    )


def test_second_order_where_arguments_depend_on_each_other():
    """The recorded backward treats arguments as independent, though one is computed from another."""
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
                t.grad.data += 1.0  # it is writable, and no other tensor has its memory
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
def test_nothing_is_saved_where_nothing_requires_a_gradient(monkeypatch, name):
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


def test_the_node_has_the_cells_name():
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


ODD = list(itertools.product([dead_product, whole_numbers], ["float32", "float64"]))


@pytest.mark.parametrize(("rnn", "dtype"), spread(ODD, 2, unpack=True))
def test_second_order_with_a_dead_product_and_with_whole_numbers(rnn, dtype):
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
        state[:, 1] = np.nan  # the state of a sequence of 0 steps
    output, _ = layer(tg.tensor(normal(4, 3, 2).astype("f")), tuple(map(tg.tensor, states)), lengths=[4, 0, 2])
    output.sum().backward()
    for name, p in layer.named_parameters():
        assert np.isfinite(p.grad.numpy()).all(), name
