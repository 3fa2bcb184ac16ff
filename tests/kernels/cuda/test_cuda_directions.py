"""The CUDA driver, on the host, runs both directions of a layer at once; each agrees with the reference."""

import dataclasses
import itertools

import numpy as np
import pytest
from cuda_examples import TOLERANCE, agree, by_name, equal, example
from cuda_shim import BACKWARDS, STRATEGIES, forced, launches, needs_compiler, on_the_host
from grids import spread
from sequences import some_lengths

from tinygrad_rnn.kernels.cuda import driver, strategy, tiles
from tinygrad_rnn.kernels.reference import driver as reference

pytestmark = needs_compiler

FORCED = list(itertools.product(STRATEGIES, (0, 1)))


@pytest.fixture(scope="module", autouse=True)
def _host():
    with on_the_host():
        yield


def both(name, *shape, dtype="float32", **options):
    """Return a step and, for each direction, a sequence of the same x and cotangents of its outputs and last states."""
    step, ahead, d_outputs, d_final = example(name, *shape, dtype, **options)
    _, back, _, _ = example(name, *shape, dtype, seed=1, reverse=True, **options)
    back = dataclasses.replace(back, x=ahead.x)
    return step, [(ahead, d_outputs, d_final), (back, [-d for d in d_outputs], [0.5 * d for d in d_final])]


def together(step, sequences):
    """Run both directions at once. Return all results of each direction, by name."""
    runs = driver.forward_directions(step, [seq for seq, _, _ in sequences], True)
    given = [(seq, saved, d_out, d_last) for (seq, d_out, d_last), (_, _, saved) in zip(sequences, runs)]
    gradients = driver.backward_directions(step, given)
    return [by_name(outputs, final, d) for (outputs, final, _), d in zip(runs, gradients)]


def apart(chosen, step, sequences):
    """Run one direction after the other with a driver. Return the same results."""
    found = []
    for seq, d_outputs, d_final in sequences:
        outputs, final, saved = chosen.forward(step, seq, True)
        found.append(by_name(outputs, final, chosen.backward(step, seq, saved, d_outputs, d_final)))
    return found


CELLS = ["lstm", "gru", "several_products", "zoneout_lstm"]
CASES = itertools.product(CELLS, [None, some_lengths(5, 9)], TOLERANCE)


@pytest.mark.parametrize(("name", "lengths", "dtype"), spread(CASES, 5, unpack=True))
def test_agrees_with_the_reference(name, lengths, dtype):
    step, sequences = both(name, 5, 9, 3, 17, dtype=dtype, lengths=lengths)
    expected = apart(reference, step, sequences)
    for kind, tile in FORCED:
        with forced(kind, tile), launches() as launched:
            found = together(step, sequences)
            inferred = driver.forward_directions(step, [seq for seq, _, _ in sequences], False)
        assert launched == [(function, [(0, 5)] * 2) for function in ("train", "backward", "infer")]
        for wanted, got, (outputs, final, _) in zip(expected, found, inferred):
            assert got.keys() == wanted.keys()
            agree(got, wanted, TOLERANCE[dtype])
            of_inference = {"output 0": outputs[0]} | {f"final {i}": s for i, s in enumerate(final)}
            agree(of_inference, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("proj", [0, 5])
def test_the_same_bits_as_one_after_the_other(proj):
    step, sequences = both("lstm", 4, 7, 3, 13, proj=proj, lengths=some_lengths(4, 7))
    with forced("single_block", 1):
        for got, wanted in zip(together(step, sequences), apart(driver, step, sequences)):
            equal(got, wanted)


@pytest.mark.parametrize(("kind", "tile"), FORCED)
def test_the_order_in_which_threads_run_changes_no_bit(kind, tile, monkeypatch):
    step, sequences = both("gru_reset_before", 5, 9, 3, 21, lengths=some_lengths(5, 9))
    with forced(kind, tile):
        forwards = together(step, sequences)
        monkeypatch.setenv(BACKWARDS, "1")
        for found, wanted in zip(together(step, sequences), forwards):
            equal(found, wanted)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
def test_no_steps_and_no_rows(shape):
    step, sequences = both("lstm", *shape, 2, 5)
    for got, wanted in zip(together(step, sequences), apart(reference, step, sequences)):
        agree(got, wanted, TOLERANCE["float32"])


def test_one_after_the_other_where_both_do_not_fit():
    step, sequences = both("lstm", 3, 4, 2, 20)
    with forced("cooperative", 1), pytest.MonkeyPatch.context() as patch:
        choose = strategy.choose
        patch.setattr(strategy, "choose", lambda *size: dataclasses.replace(choose(*size), sequences=1))
        with launches() as launched:
            found = together(step, sequences)
    assert launched == [("train", [(0, 3)])] * 2 + [("backward", [(0, 3)])] * 2
    for got, wanted in zip(found, apart(reference, step, sequences)):
        agree(got, wanted, TOLERANCE["float32"])


H200 = strategy.DeviceLimits(132, 232448, 256, (66, 32, 15))


@pytest.mark.parametrize(
    ("count", "units", "rows", "at_once"),
    [(4, 64, 32, 2), (4, 512, 64, 2), (3, 768, 128, 2), (4, 1024, 64, 1), (4, 2048, 64, 2)],
)
def test_size_says_whether_they_run_at_once(count, units, rows, at_once):
    stages = (strategy.StageSize(units, ((count, units),)),)
    found, single = (strategy.choose(H200, stages, rows, "float32", sequences) for sequences in (2, 1))
    assert found.sequences == at_once and single.sequences == 1
    assert found.resident == single.resident
    if at_once == 1:
        assert found == single


@pytest.mark.parametrize(
    "limits",
    [
        H200,
        strategy.DeviceLimits(46, 101376, 256),
        strategy.DeviceLimits(6, 65536, 256),
        strategy.DeviceLimits(1, 65536, 256),
    ],
)
@pytest.mark.parametrize("products", tiles.TILES)
def test_both_fit(limits, products):
    for units, rows in itertools.product((1, 64, 650, 3000), (1, 7, 1000)):
        found = strategy.choose(limits, (strategy.StageSize(units, ((4, units),)),), rows, products, 2)
        assert -(-rows // found.group_rows) * found.group_size * found.sequences <= limits.blocks
        assert found.shared <= limits.shared


def test_a_second_run_gives_the_same_bits():
    step, sequences = both("peephole_lstm", 3, 4, 2, 9, lengths=np.array([3, 1, 2, 0]))
    first, second = together(step, sequences), together(step, sequences)
    for a, b in zip(first, second):
        equal(a, b)
