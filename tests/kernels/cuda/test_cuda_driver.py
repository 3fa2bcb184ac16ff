"""The CUDA driver, on the host, agrees with the reference: every cell, both directions of time, all strategies.

The tests that need a GPU are in test_cuda_gpu.py.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from cuda_examples import CELLS, PROJECTED, TOLERANCE, agree, equal, everything, example, mapped, named, of_inference
from cuda_shim import BACKWARDS, STRATEGIES, forced, needs_compiler, on_the_host
from grids import spread
from sequences import some_lengths

from tinygrad_rnn.kernels.cuda import driver, scans, tiles
from tinygrad_rnn.kernels.recompute import Recompute
from tinygrad_rnn.kernels.reference import driver as reference

pytestmark = needs_compiler

FORCED = list(itertools.product(STRATEGIES, (0, 1)))
DOUBLE = ["rnn_tanh", "lstm", "gru", "gru_reset_before", "spelled_out"]
SHAPES = [(1, 1, 1, 1), (2, 2, 1, 3), (5, 7, 3, 17), (3, 5, 2, 100)]


@pytest.fixture(scope="module", autouse=True)
def _host():
    with on_the_host():
        yield


def check(case, dtype="float32", strategies=FORCED):
    """Compare training, inference and gradients with the reference, in each strategy."""
    expected = everything(reference, *case)
    for name, tile in strategies:
        with forced(name, tile):
            found = everything(driver, *case)
            assert found.keys() == expected.keys()
            agree(found, expected, TOLERANCE[dtype])
            agree(of_inference(driver, *case[:2]), expected, TOLERANCE[dtype])


KINDS = [(n, "float32") for n in CELLS] + [(n, "float64") for n in DOUBLE]


@pytest.mark.parametrize(("kind", "shape"), spread(itertools.product(KINDS, SHAPES), 10, unpack=True))
def test_agrees_with_the_reference(kind, shape):
    name, dtype = kind
    reverse = shape[3] % 2 == 0
    strategies = FORCED if shape[3] > 3 else FORCED[shape[0] % 2 :: 2]
    check(example(name, *shape, dtype, reverse=reverse, bias=shape[3] != 3), dtype, strategies)


@pytest.mark.parametrize(("name", "reverse"), spread(itertools.product(CELLS, (False, True)), 9, unpack=True))
def test_unequal_lengths(name, reverse):
    check(example(name, 5, 9, 3, 17, reverse=reverse, lengths=some_lengths(5, 9)))


@pytest.mark.parametrize("name", spread(PROJECTED, 2))
def test_projected(name):
    for reverse, lengths in ((False, None), (True, some_lengths(3, 5))):
        for proj in (3, 20):
            case = example(name, 3, 5, 2, 13, proj=proj, reverse=reverse, lengths=lengths)
            check(case, strategies=FORCED[proj % 2 :: 2])


@pytest.mark.parametrize("tile", (0, 1))
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "several_products"])
def test_a_single_block_without_space_for_its_sources(name, tile):
    for shape, lengths in (((5, 9, 3, 17), some_lengths(5, 9)), ((3, 5, 2, 100), None)):
        case = example(name, *shape, lengths=lengths, reverse=lengths is not None)
        with forced("single_block", tile, keeps=False):
            found, inferred = everything(driver, *case), of_inference(driver, *case[:2])
        expected = everything(reference, *case)
        agree(found, expected, TOLERANCE["float32"])
        agree(inferred, expected, TOLERANCE["float32"])


@pytest.mark.parametrize("name", ["lstm", "gru", "ind_rnn"])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps_and_no_rows(name, reverse):
    for T, N, lengths in ((0, 3, None), (3, 0, None), (3, 4, np.zeros(4, int)), (0, 2, np.zeros(2, int))):
        check(example(name, T, N, 2, 5, reverse=reverse, lengths=lengths), strategies=FORCED[:1])


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "passing"])
def test_missing_cotangents_are_zero(name):
    step, seq, d_outputs, d_final = example(name, 4, 3, 2, 17)
    states = len(step.states)
    _, _, saved = driver.forward(step, seq, True)
    for missing in range(2 * states):
        given = [*d_outputs, *d_final]
        some = [None if i == missing else d for i, d in enumerate(given)]
        zeros = [np.zeros_like(d) if i == missing else d for i, d in enumerate(given)]
        found = named(driver.backward(step, seq, saved, some[:states], some[states:]))
        expected = named(driver.backward(step, seq, saved, zeros[:states], zeros[states:]))
        equal(found, expected)
    assert driver.backward(step, seq, saved, d_outputs, d_final, wants_x=False).x is None


@pytest.mark.parametrize(("forced_strategy", "tile"), FORCED)
@pytest.mark.parametrize("name", ["lstm", "several_products", "recurrent_dropout_lstm"])
def test_the_order_in_which_threads_run_changes_no_bit(name, forced_strategy, tile, monkeypatch):
    """With a missing barrier, a thread would read a number too early, or after another thread has overwritten it."""
    case = example(name, 5, 9, 3, 21, lengths=some_lengths(5, 9))
    with forced(forced_strategy, tile):
        forwards = everything(driver, *case)
        monkeypatch.setenv(BACKWARDS, "1")
        backwards = everything(driver, *case)
        again = everything(driver, *case)
    equal(forwards, backwards)
    equal(backwards, again)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_never_read(reverse):
    lengths = np.array([2, 0, 4])
    step, seq, d_outputs, d_final = example("zoneout_lstm", 4, 3, 2, 17, lengths=lengths, reverse=reverse)
    expected = everything(driver, step, seq, d_outputs, d_final)
    past = np.arange(4)[:, None] >= lengths
    for padded in (seq.x, *seq.inputs.values(), *d_outputs):
        padded[past] = np.nan
    equal(everything(driver, step, seq, d_outputs, d_final), expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "several_products"])
def test_nothing_is_read_before_it_is_written(name, reverse, monkeypatch):
    case = example(name, 4, 3, 2, 17, reverse=reverse)
    expected = everything(driver, *case)
    monkeypatch.setattr(scans.Layer, "make", lambda at, *shape: np.full(shape, np.nan, at.dtype))
    equal(everything(driver, *case), expected)
    agree(of_inference(driver, *case[:2]), expected, TOLERANCE["float32"])


def test_the_arguments_are_not_written_to():
    case = example("peephole_lstm", 3, 4, 2, 9, lengths=np.array([3, 1, 2, 0]))
    before = [a.copy() for a in named(case[1]).values()] + [d.copy() for d in (*case[2], *case[3])]
    first, second = everything(driver, *case), everything(driver, *case)
    for a, b in zip(before, [*named(case[1]).values(), *case[2], *case[3]]):
        np.testing.assert_array_equal(a, b)
    equal(first, second)


def test_a_backward_can_be_done_twice():
    step, seq, d_outputs, d_final = example("gru", 4, 3, 2, 17)
    _, _, saved = driver.forward(step, seq, True)
    found = [named(driver.backward(step, seq, saved, d_outputs, d_final)) for _ in range(2)]
    equal(*found)


def test_arrays_that_are_not_contiguous():
    step, seq, d_outputs, d_final = example("zoneout_lstm", 4, 3, 2, 17)
    expected = everything(driver, step, seq, d_outputs, d_final)
    strided = lambda a: np.repeat(a, 2, -1)[..., ::2]
    seq = mapped(seq, strided)
    found = everything(driver, step, seq, list(map(strided, d_outputs)), list(map(strided, d_final)))
    agree(found, expected, 1e-5)


def test_recomputes():
    case = example("lstm", 7, 5, 3, 11, lengths=some_lengths(7, 5))
    agree(everything(Recompute(driver, 3), *case), everything(reference, *case), 5e-6)


@pytest.fixture
def precision():
    before = tiles.get_float32_matmul_precision()
    yield tiles.set_float32_matmul_precision
    tiles.set_float32_matmul_precision(before)


ROUNDED = list(itertools.product(["lstm", "gru", "gru_reset_before"], [("high", 1e-2), ("medium", 6e-2)], FORCED))


@pytest.mark.parametrize(("cell", "rounding", "forced_strategy"), spread(ROUNDED, 4, unpack=True))
def test_products_of_rounded_numbers(cell, rounding, forced_strategy, precision):
    """Results equal the reference up to rounding; inference agrees with training, and two runs give the same bits."""
    (name, wanted), (strategy, tile) = rounding, forced_strategy
    for shape in ((2, 3, 2, 3), (3, 5, 4, 17), (3, 40, 4, 70)):
        case = example(cell, *shape, lengths=some_lengths(*shape[:2]))
        precision(name)
        with forced(strategy, tile):
            found, inferred = everything(driver, *case), of_inference(driver, *case[:2])
        agree(found, everything(reference, *case), wanted)
        agree(inferred, {key: found[key] for key in inferred}, 1e-6)
    with forced(strategy, tile):
        first, second = everything(driver, *case), everything(driver, *case)
    equal(first, second)


def test_products_of_numbers_with_few_digits_are_exact(precision):
    step, seq, _, _ = example("rnn_relu", 1, 37, 2, 90)
    for a in named(seq).values():
        a[...] = np.round(a * 4) / 4
    expected = of_inference(reference, step, seq)
    for name in ("highest", "high", "medium"):
        precision(name)
        equal(of_inference(driver, step, seq), expected)


def test_double_is_not_rounded(precision):
    precision("medium")
    check(example("lstm", 3, 4, 2, 9, "float64"), "float64", FORCED[:1])
    with pytest.raises(ValueError, match="expected one of highest, high, medium, got 'low'"):
        precision("low")


def test_other_numbers_are_refused():
    step, seq, _, _ = example("lstm", 2, 2, 2, 3)
    with pytest.raises(TypeError, match="cuda: expected x of float32 or float64, got float16"):
        driver.forward(step, dataclasses.replace(seq, x=seq.x.astype("float16")), True)
