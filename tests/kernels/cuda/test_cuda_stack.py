"""The CUDA driver, on the host, runs a stack of layers as a wavefront; each layer agrees with the reference."""

import dataclasses
import itertools

import numpy as np
import pytest
from cuda_examples import TOLERANCE, agree, as_stack, equal, layer_by_layer, layers_of
from cuda_shim import BACKWARDS, forced, launches, needs_compiler, on_the_host
from grids import spread
from sequences import some_lengths

from tinygrad_rnn.kernels.cuda import driver, strategy, wavefront

FITTING = [("single_block", 0, 4), ("single_block", 1, 2), ("cooperative", 0, 2), ("streamed_weights", 1, 3)]
"""Strategies and tiles, each with a number of layers for which the stand-in device has enough blocks."""


@pytest.fixture
def host():
    with on_the_host():
        yield


@pytest.fixture
def many_pieces(monkeypatch):
    """Cut even a few steps into several pieces."""
    monkeypatch.setattr(wavefront, "RUN", 0.5)


NAMES = ["lstm", "gru", "several_products", "zoneout_lstm", "ind_rnn"]
STACKS = list(itertools.product(NAMES, [None, some_lengths(7, 9)], TOLERANCE))


@needs_compiler
@pytest.mark.usefixtures("host", "many_pieces")
class TestAgainstTheReference:
    @pytest.mark.parametrize(("name", "lengths", "dtype"), spread(STACKS, 6, unpack=True))
    def test_agrees(self, name, lengths, dtype):
        for kind, tile, count in FITTING:
            step, layers = layers_of(name, count, 7, 9, 3, 17, dtype, lengths=lengths)
            with forced(kind, tile):
                found = as_stack(driver, step, layers)
                inferred = driver.forward_stack(step, [seq for seq, _, _ in layers], False)
            for wanted, got, (outputs, final, _) in zip(layer_by_layer(step, layers), found, inferred):
                assert got.keys() == wanted.keys()
                agree(got, wanted, 4 * TOLERANCE[dtype])
                of_inference = {"output 0": outputs[0]} | {f"final {i}": s for i, s in enumerate(final)}
                agree(of_inference, wanted, 4 * TOLERANCE[dtype])

    @pytest.mark.parametrize("shape", [(1, 1, 1, 1), (0, 3, 2, 5), (3, 0, 2, 5), (100, 1, 3, 3), (1, 17, 5, 3)])
    def test_odd_sizes(self, shape):
        step, layers = layers_of("lstm", 3, *shape)
        with forced("single_block", 1):
            found = as_stack(driver, step, layers)
        for got, wanted in zip(found, layer_by_layer(step, layers)):
            agree(got, wanted, 4 * TOLERANCE["float32"])

    def test_projected(self):
        step, layers = layers_of("lstm", 2, 5, 4, 3, 13, proj=5, lengths=some_lengths(5, 4))
        with forced("cooperative", 0):
            found = as_stack(driver, step, layers)
        for got, wanted in zip(found, layer_by_layer(step, layers)):
            agree(got, wanted, 4 * TOLERANCE["float32"])

    def test_cotangents_may_be_missing_and_stay_as_they_are(self):
        step, layers = layers_of("gru", 3, 6, 3, 4, 9)
        given = [d_outputs[0] for _, d_outputs, _ in layers]
        before = [d.copy() for d in given]
        zero = np.zeros_like
        some = [(seq, [d if i == 1 else None], [None]) for i, ((seq, _, _), d) in enumerate(zip(layers, given))]
        same = [
            (seq, [d if i == 1 else zero(d)], [zero(d[0])]) for i, ((seq, _, _), d) in enumerate(zip(layers, given))
        ]
        with forced("single_block", 0):
            found = as_stack(driver, step, some)
        for got, wanted in zip(found, layer_by_layer(step, same)):
            agree(got, wanted, 4 * TOLERANCE["float32"])
        for a, b in zip(given, before):
            np.testing.assert_array_equal(a, b)


@needs_compiler
@pytest.mark.usefixtures("host", "many_pieces")
class TestLaunches:
    def test_a_wave_is_one_launch(self):
        step, layers = layers_of("lstm", 2, 6, 4, 3, 5)
        with forced("single_block", 0), launches() as launched:
            as_stack(driver, step, layers)
        forward = [[(0, 2)], [(2, 4), (0, 2)], [(4, 6), (2, 4)], [(4, 6)]]
        assert launched == [("train", sequences) for sequences in forward] + [
            ("backward", sequences) for sequences in forward[::-1]
        ]

    def test_as_many_layers_at_once_as_fit(self):
        step, layers = layers_of("lstm", 3, 8, 4, 3, 5)
        choose = lambda *size: dataclasses.replace(chosen(*size), sequences=min(size[-1], 2))
        with forced("single_block", 0), pytest.MonkeyPatch.context() as patch, launches() as launched:
            chosen = strategy.choose
            patch.setattr(strategy, "choose", choose)
            found = as_stack(driver, step, layers)
        for got, wanted in zip(found, layer_by_layer(step, layers)):
            agree(got, wanted, 4 * TOLERANCE["float32"])
        assert max(len(sequences) for _, sequences in launched) == 2
        assert launched[5] == ("train", [(0, 8)])  # the third layer runs alone, in one piece

    @pytest.mark.parametrize(("kind", "tile", "count"), FITTING)
    def test_the_order_in_which_threads_run_changes_no_bit(self, kind, tile, count, monkeypatch):
        step, layers = layers_of("gru_reset_before", count, 5, 9, 3, 21, lengths=some_lengths(5, 9))
        with forced(kind, tile):
            forwards = as_stack(driver, step, layers)
            monkeypatch.setenv(BACKWARDS, "1")
            for found, wanted in zip(as_stack(driver, step, layers), forwards):
                equal(found, wanted)


@pytest.mark.parametrize("T", [0, 1, 2, 17, 100, 512, 10_000])
@pytest.mark.parametrize(("layers", "at_once"), [*itertools.product((1, 2, 3, 5), (1, 2, 4))])
def test_waves(T, layers, at_once):
    """Waves run each step of a layer once, after earlier steps and the layer below; backward reverses the order."""
    waves = wavefront.waves(T, layers, at_once)
    done, undone = [0] * layers, [T] * layers
    for wave in waves:
        assert 1 <= len(wave) <= at_once
        reached = list(done)
        for i, steps in wave:
            assert steps.start == reached[i] and (i == 0 or steps.stop <= reached[i - 1])
            done[i] = steps.stop
    for wave in reversed(waves):
        reached = list(undone)
        for i, steps in wave:
            assert steps.stop == reached[i] and (i == layers - 1 or steps.start >= reached[i + 1])
            undone[i] = steps.start
    assert done == [T] * layers and undone == [0] * layers


def test_the_number_of_pieces_takes_least_time():
    def cost(count, T, layers):
        return (count + layers - 1) * (T / count + wavefront.RUN)

    for T, layers in itertools.product((50, 512, 10_000), (2, 3, 4)):
        found = len(wavefront.pieces(T, layers))
        assert cost(found, T, layers) <= 1.02 * min(cost(count, T, layers) for count in range(1, T + 1))
    assert len(wavefront.pieces(512, 1)) == 1


@pytest.mark.parametrize(
    ("units", "rows", "at_once"), [(64, 32, 4), (512, 16, 4), (1024, 64, 1), (768, 64, 2), (4096, 64, 4)]
)
def test_size_says_how_many_run_at_once(units, rows, at_once):
    """On an H200, as many LSTM layers run at once as fit with resident weights; all, where not even one fits."""
    limits = strategy.DeviceLimits(132, 232448, 256)
    assert strategy.choose(limits, (strategy.StageSize(units, ((4, units),)),), rows, "float32", 4).sequences == at_once
