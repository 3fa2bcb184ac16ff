"""A forward in chunks of time: as many steps as wanted are projected at once, and no bit of a result depends on it."""

import numpy as np
import pytest
from user_cells import minimal_gated, slstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells import find_cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu import layer_commands
from tinygrad_rnn.kernels.cpu.layer_shapes import shapes_of
from tinygrad_rnn.kernels.cpu.runtime.caches import caches
from tinygrad_rnn.kernels.cpu.runtime.command_list import SCRATCH
from tinygrad_rnn.kernels.cpu.runtime.host import vector_unit
from tinygrad_rnn.kernels.runtime.bounded import release

LAYERS = {
    "lstm": lambda: nn.LSTM(5, 17, bidirectional=True),
    "gru": lambda: nn.GRU(5, 33, bidirectional=True),
    "rnn": lambda: nn.RNN(3, 100, bidirectional=True),
    "projection": lambda: nn.LSTM(5, 17, proj_size=3, bidirectional=True),
    "reset before": lambda: nn.GRU(5, 17, reset_after=False, bidirectional=True),
    "two stages": lambda: nn.Recurrent(minimal_gated, 5, 17, bidirectional=True),
    "four states": lambda: nn.Recurrent(slstm, 5, 17, bidirectional=True),
    "double": lambda: nn.LSTM(5, 3, dtype="float64", bidirectional=True),
}


@pytest.fixture
def chunks(monkeypatch):
    """Return a function that sets how many steps a chunk has."""

    def set_steps(steps):
        monkeypatch.setattr(layer_commands._Layer, "chunk", lambda self, weight: min(steps, max(1, self.at.T)))
        release()

    yield set_steps
    release()


def all_results(layer, x, lengths):
    """Return the results of inference, and those of a recorded forward with all gradients."""
    with tg.no_grad():
        inferred = layer(x, lengths=lengths)[0].numpy()
    x = x.detach().requires_grad_()
    layer.zero_grad()
    output, state = layer(x, lengths=lengths)
    states = state if isinstance(state, tuple) else (state,)
    cotangents = np.random.default_rng(1)
    for out in (output, *states):
        u = tg.tensor(cotangents.standard_normal(out.shape).astype(out.dtype))
        out.backward(u, retain_graph=True)
    gradients = [x.grad, *(p.grad for p in layer.parameters())]
    return [inferred, *(a.numpy() for a in (output, *states, *gradients))]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_results_do_not_depend_on_the_chunks(chunks, name, ragged):
    layer = LAYERS[name]()
    for T, N in ((1, 1), (7, 3), (17, 2)):
        rng = np.random.default_rng([T, N])
        x = tg.tensor(rng.standard_normal((T, N, layer.input_size)).astype(layer.weight_ih_l0.dtype))
        lengths = rng.integers(0, T + 1, N) if ragged else None
        chunks(T)
        expected = all_results(layer, x, lengths)
        for steps in (1, 2, 3, 16):
            chunks(steps)
            for a, b in zip(all_results(layer, x, lengths), expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_long_sequences_are_cut_and_short_ones_are_not():
    """A chunk takes memory for its own x only, which is seen in the scratch memory of inference."""

    def scratch(T):
        given = [(T, 32, 64), (768, 64), (768, 256), (768,), (768,), None, (32, 256)]
        at = shapes_of(trace(find_cell("gru")), vector_unit(), np.dtype("float32"), tuple(given))
        return layer_commands.build_forward(at, False, True, 1).run.arenas[SCRATCH]

    x_of_a_step = 32 * 768 * 4
    most = caches().second * 16
    assert scratch(10_000) - scratch(5_000) == 0
    assert most // x_of_a_step < 5_000 and scratch(5_000) < most
    assert scratch(3) - scratch(2) >= x_of_a_step


def test_chunks_give_the_same_bits_on_one_and_two_threads():
    layer, x, count = nn.GRU(64, 256), tg.randn(300, 33, 64), tg.get_num_threads()
    with tg.no_grad():
        try:
            tg.set_num_threads(1)
            expected = layer(x)[0].numpy()
            tg.set_num_threads(2)
            np.testing.assert_array_equal(layer(x)[0].numpy(), expected)
        finally:
            tg.set_num_threads(count)
