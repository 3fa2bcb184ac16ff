"""Any name of a gate, state, parameter or input works: it does not clash with names in generated code."""

import keyword
import pickle

import numpy as np
import pytest
from cuda_examples import TOLERANCE, agree, everything, mapped
from cuda_shim import forced, needs_compiler, on_the_host
from grids import spread
from sequences import random_sequence, some_lengths

import tinygrad_rnn as tg
from tinygrad_rnn import nn, tanh
from tinygrad_rnn.cells import STANDARD, cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu import driver as cpu
from tinygrad_rnn.kernels.cuda import driver as cuda
from tinygrad_rnn.kernels.reference import driver as reference

WORDS = ["projection", "next", "kept", "h", "x", "carry", "out", "first", "active", "values", "tile", "slots", "t"]


@cell(gates=WORDS, states=WORDS, params=WORDS, inputs=WORDS)
def everywhere(a, s, p, e):
    return tuple(tanh(getattr(a, w) + getattr(s, w) * getattr(p, w) + getattr(e, w)) for w in WORDS)


@cell(gates=WORDS, states=["next", "projection"])
def of_another(a, s):
    found = a.next
    for w in WORDS[::2]:
        found = found + getattr(a, w).recurrent(tanh(s.projection)) / len(WORDS)
    return tanh(found), tanh(found - s.projection + a.kept.x)


@cell(gates=["projection"], states=["kept"])
def alone(a, s):
    return tanh(a.projection)


CELLS = {"everywhere": everywhere, "of_another": of_another, "alone": alone}


def case(name, proj=0, reverse=False):
    options = {"reverse": reverse, "lengths": some_lengths(5, 4), "requires_grad": False, "dtype": "float32"}
    seq = mapped(random_sequence(CELLS[name], 5, 4, 3, 9, proj=proj, **options), lambda t: t.data)
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype("float32")
    return trace(CELLS[name]), seq, [draw(5, *s.shape) for s in seq.initial], [draw(*s.shape) for s in seq.initial]


NAMED = [("everywhere", 0), ("of_another", 0), ("alone", 0), ("alone", 3)]


@pytest.mark.parametrize(("name", "proj"), spread(NAMED, 1, unpack=True))
def test_on_the_cpu(name, proj):
    for reverse in (False, True):
        given = case(name, proj, reverse)
        agree(everything(cpu, *given), everything(reference, *given), TOLERANCE["float32"])


@needs_compiler
@pytest.mark.parametrize(("name", "proj"), spread([("of_another", 0), ("alone", 3)], 1, unpack=True))
def test_on_a_gpu(name, proj):
    given = case(name, proj)
    with on_the_host(), forced("cooperative", 1):
        agree(everything(cuda, *given), everything(reference, *given), TOLERANCE["float32"])


def test_names_are_normalised_as_in_python():
    @cell(gates=["\u00b5"])  # the micro sign, which Python turns into the Greek letter
    def micro(a, s):
        return tanh(getattr(a, chr(0x3BC)))

    assert trace(micro).gates == ("\u03bc",)


def test_a_function_of_any_name():
    for name in ("f" * 300, "<lambda>", keyword.kwlist[0]):
        function = lambda a, s: tanh(a.n)
        function.__name__ = name
        layer = nn.Recurrent(cell(gates="n")(function), 2, 3)
        assert layer(tg.ones(2, 1, 2))[0].shape == (2, 1, 3)

    class Callable:
        def __call__(self, a, s):
            return tanh(a.n)

    assert "Callable" in repr(cell(gates="n")(Callable()))


@pytest.mark.parametrize("name", [*STANDARD, "alone"])
def test_cells_are_pickled_by_name(name):
    layer = nn.Recurrent(CELLS.get(name, name), 2, 3)
    again = pickle.loads(pickle.dumps(layer))
    assert again.cell is layer.cell and again.step is layer.step
    x = tg.ones(2, 1, 2)
    np.testing.assert_array_equal(again(x)[0].numpy(), layer(x)[0].numpy())
