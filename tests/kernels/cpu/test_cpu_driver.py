"""The compiled driver agrees with the reference for every cell, dtype, vector width and odd shape; its bits repeat."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinygrad_rnn.cells import BUILT_IN, STANDARD
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu import driver
from tinygrad_rnn.kernels.cpu import layer_commands as record
from tinygrad_rnn.kernels.cpu.runtime import threads
from tinygrad_rnn.kernels.cpu.runtime.host import VARIABLE, vector_unit
from tinygrad_rnn.kernels.ir.sequence_args import SequenceArgs
from tinygrad_rnn.kernels.reference import driver as reference

CELLS = list(STANDARD)
SHAPES = [(1, 1, 1, 1), (2, 2, 1, 3), (5, 7, 3, 17), (3, 5, 2, 100), (4, 13, 6, 64)]
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}


def example(name, T, N, I, H, dtype="float32", lengths=None, reverse=False, bias=True, seed=0):
    """Return a step, a sequence for it, and cotangents of its outputs and of its last states."""
    rng = np.random.default_rng(seed)
    step = trace(BUILT_IN[name])
    gates = len(step.gates)
    draw = lambda *shape: (0.5 * rng.standard_normal(shape)).astype(dtype)
    sequence = SequenceArgs(
        draw(T, N, I),
        draw(gates * H, I),
        draw(gates * H, H) / np.sqrt(H).astype(dtype),
        draw(gates * H) if bias else None,
        draw(gates * H) if bias else None,
        params={p: draw(H) for p in step.params},
        initial=tuple(draw(N, H) for _ in step.states),
        lengths=lengths,
        reverse=reverse,
    )
    d_outputs = [draw(T, N, H) for _ in step.states]
    if lengths is not None:
        d_outputs = [np.where((lengths > np.arange(T)[:, None])[:, :, None], d, 0).astype(dtype) for d in d_outputs]
    return step, sequence, d_outputs, [draw(N, H) for _ in step.states]


def flat(found):
    """Return all arrays of the SequenceArgs of cotangents."""
    named = [found.x, found.weight_ih, found.weight_hh, found.bias_ih, found.bias_hh]
    return [a for a in (*named, *found.params.values(), *found.initial) if a is not None]


def everything(driver_module, step, sequence, d_outputs, d_final):
    outputs, final, saved = driver_module.forward(step, sequence, True)
    return [*outputs, *final, *flat(driver_module.backward(step, sequence, saved, d_outputs, d_final))]


def check(name, *shape, dtype="float32", **options):
    case = example(name, *shape, dtype, **options)
    expected = everything(reference, *case)
    found = everything(driver, *case)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(
            a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(1, np.abs(b).max(initial=0))
        )
    outputs, final, _ = driver.forward(case[0], case[1], False)
    for a, b in zip([outputs[0], *final], [expected[0], *expected[len(case[2]) :]]):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_agrees_with_the_reference(name, dtype, shape):
    for reverse in (False, True):
        check(name, *shape, dtype=dtype, reverse=reverse, bias=shape[3] != 17)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[0, 4, 2, 4, 1], [3, 3, 3, 3, 3], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize("name", CELLS)
def test_unequal_lengths(name, lengths, reverse):
    check(name, 4, 5, 3, 17, lengths=np.array(lengths), reverse=reverse)


@pytest.mark.parametrize("bits", ["128", "256", "512"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_every_vector_width(name, bits, monkeypatch, request):
    if int(bits) > vector_unit().bits:
        pytest.skip(f"this processor has no {bits}-bit vectors")
    monkeypatch.setenv(VARIABLE, bits)
    vector_unit.cache_clear()
    request.addfinalizer(vector_unit.cache_clear)
    assert vector_unit().bits == int(bits)
    for shape in SHAPES[1:4]:
        check(name, *shape)
    check(name, 3, 5, 2, 17, dtype="float64", lengths=np.array([3, 0, 1, 2, 3]))


def test_missing_cotangents_are_zero():
    step, sequence, d_outputs, d_final = example("lstm", 4, 3, 2, 17)
    for missing in range(4):
        some = [None if i == missing else d for i, d in enumerate([*d_outputs, *d_final])]
        zeros = [np.zeros_like(d) if i == missing else d for i, d in enumerate([*d_outputs, *d_final])]
        _, _, saved = driver.forward(step, sequence, True)
        for a, b in zip(
            flat(driver.backward(step, sequence, saved, some[:2], some[2:])),
            flat(driver.backward(step, sequence, saved, zeros[:2], zeros[2:])),
        ):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def thread_count():
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


@pytest.mark.parametrize("name", CELLS)
def test_the_result_does_not_depend_on_the_threads(name, thread_count, monkeypatch):
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    case = example(name, 6, 11, 5, 40, lengths=np.arange(11) % 7)
    found = []
    for count, size in ((1, 1), (2, 1), (2, 2), (5, 1), (5, 5), (4, 2)):  # the second: threads that share a row
        thread_count(count)
        monkeypatch.setattr(record._Layer, "group_size", lambda *_, size=size: size)
        for recorded in (record.build_forward, record.build_backward):
            recorded.cache_clear()
        found.append(everything(driver, *case))
    for others in found[1:]:
        for a, b in zip(found[0], others):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CELLS)
def test_a_sequence_has_the_same_result_alone_and_in_any_batch(name):
    lengths = np.array([5, 2, 6, 6, 1, 3, 4, 6, 2, 5, 1])
    step, sequence, _, _ = example(name, 6, 11, 5, 40, lengths=lengths)
    outputs, final, _ = driver.forward(step, sequence, True)
    for n, length in enumerate(lengths):
        alone = SequenceArgs(
            sequence.x[:length, n : n + 1],
            *(sequence.weight_ih, sequence.weight_hh, sequence.bias_ih, sequence.bias_hh),
            params=sequence.params,
            initial=tuple(s[n : n + 1] for s in sequence.initial),
        )
        own_outputs, own_final, _ = driver.forward(step, alone, False)
        np.testing.assert_array_equal(own_outputs[0][:, 0], outputs[0][:length, n])
        for a, b in zip(own_final, final):
            np.testing.assert_array_equal(a[0], b[n])


def test_padding_is_never_read():
    lengths = np.array([2, 0, 4])
    for reverse in (False, True):
        step, sequence, d_outputs, d_final = example("lstm", 4, 3, 2, 17, lengths=lengths, reverse=reverse)
        expected = everything(driver, step, sequence, d_outputs, d_final)
        past = np.arange(4)[:, None] >= lengths
        sequence.x[past] = np.nan
        found = everything(driver, step, sequence, [np.where(past[:, :, None], np.nan, d) for d in d_outputs], d_final)
        for a, b in zip(found, expected):
            np.testing.assert_array_equal(a, b)


def test_eight_threads_at_once_give_the_serial_bits(monkeypatch):
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    cases = [example("lstm", 5, 6, 4, 33, seed=seed) for seed in range(8)]
    expected = [everything(driver, *case) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for found, right in zip(pool.map(lambda case: everything(driver, *case), cases), expected):
                for a, b in zip(found, right):
                    np.testing.assert_array_equal(a, b)


def test_the_number_of_threads_is_checked(monkeypatch):
    for wrong in (0, -1, 1.5, True, 1024):
        with pytest.raises(ValueError, match="set_num_threads: expected a whole number from 1 to 1023"):
            threads.set_num_threads(wrong)
    monkeypatch.setattr(threads, "_count", 0)
    monkeypatch.setenv(threads.VARIABLE, "many")
    with pytest.raises(ValueError, match="TINYGRAD_RNN_THREADS: expected a whole number from 1 to 1023, got 'many'"):
        threads.get_num_threads()


@pytest.mark.filterwarnings("ignore:.*fork.*")  # Python warns that the child may hang
def test_a_forked_child_can_go_on(monkeypatch):
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    case = example("lstm", 5, 6, 4, 33)
    expected = everything(driver, *case)  # starts the threads, which the child does not inherit
    child = os.fork()
    if child == 0:
        same = all((a == b).all() for a, b in zip(everything(driver, *case), expected))
        os._exit(0 if same else 1)
    for _ in range(600):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
    assert ended and status == 0
