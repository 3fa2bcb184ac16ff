"""Arrays that do not fit each other never reach a kernel: each way to it raises an error that names one of them."""

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.kernels.cpu import dense, elementwise
from tinygrad_rnn.kernels.ir.program import Op, Program


def replaced(layer, hidden, names=("weight_ih", "weight_hh", "bias_ih", "bias_hh")):
    """Give the layer weights of another hidden size, which fit each other, and return it."""
    other = type(layer)(layer.input_size, hidden)
    for name in names:
        setattr(layer, f"{name}_l0", getattr(other, f"{name}_l0"))
    return layer


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("hidden", [1, 3, 17, 100, 4096])
@pytest.mark.parametrize("record", [True, False])
def test_weights_of_another_hidden_size_are_refused(kind, hidden, record):
    with tg.set_grad_enabled(record), pytest.raises(ValueError, match="initial h: expected shape"):
        replaced(kind(3, 4), hidden)(tg.randn(5, 2, 3))


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
@pytest.mark.parametrize("record", [True, False])
def test_one_weight_that_does_not_fit_is_named(name, record):
    layer = replaced(nn.GRU(3, 4), 7, (name,))
    with tg.set_grad_enabled(record), pytest.raises(ValueError, match=r"expected shape .* got"):
        layer(tg.randn(5, 2, 3))


def test_a_strided_weight_is_accepted():
    layer = nn.LSTM(3, 4)
    x, expected = tg.randn(5, 2, 3), None
    expected = layer(x)[0].detach().numpy()
    weight = np.zeros((32, 6), "f")
    weight[::2, ::2] = layer.weight_ih_l0.detach().numpy()
    layer.weight_ih_l0 = tg.tensor(weight)[::2, ::2]
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), expected)
    with tg.no_grad():
        np.testing.assert_array_equal(layer(x)[0].numpy(), expected)


def test_elementwise_refuses_arrays_that_do_not_fit():
    program = Program(("x", "y"), (Op("mul", (0, 1)),), (("out", 2),))
    x, out = np.ones(100, "f"), np.zeros(100, "f")
    elementwise.elementwise(program, [({"x": x, "y": x}, {"out": out})], {})
    assert out.all()
    frozen = np.zeros(100, "f")
    frozen.flags.writeable = False
    misfits = {
        "strided": ({"x": x, "y": x}, {"out": np.ones(200, "f")[::2]}),
        "read-only": ({"x": x, "y": x}, {"out": frozen}),
        "size": ({"x": x[:99], "y": x}, {"out": out}),
        ">f4": ({"x": x.astype(">f4"), "y": x.astype(">f4")}, {"out": out.astype(">f4")}),
        "float64": ({"x": x, "y": x.astype("d")}, {"out": out}),
    }
    for word, job in misfits.items():
        with pytest.raises((ValueError, TypeError), match="expected"):
            print(word)
            elementwise.elementwise(program, [job], {})


def test_products_of_arrays_that_are_not_aligned():
    raw = np.zeros(64 * 64 * 4 + 1, "u1")
    odd = raw[1:].view("f4").reshape(64, 64)
    odd[...] = np.random.default_rng(0).standard_normal((64, 64))
    np.testing.assert_allclose(dense.matmul(odd, odd), odd @ odd, 1e-4, 1e-4)


GUARDED = """
import ctypes, mmap, random, sys
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import nn
rng = random.Random(int(sys.argv[1]))
for case in range(int(sys.argv[2])):
    kind = rng.choice([nn.RNN, nn.LSTM, nn.GRU])
    layer = kind(rng.choice([1, 3, 17]), rng.choice([1, 3, 17, 100]))
    sizes = [1, 3, 17, 100, 4096]
    for name, p in list(layer.named_parameters()):
        if rng.random() < 0.4:
            shape = tuple(rng.choice([n, n, rng.choice(sizes), 2 * n, n - 1 or 1]) for n in p.shape)
            setattr(layer, name, nn.Parameter(tg.randn(*shape)))
    x = tg.randn(rng.choice([1, 3, 5]), rng.choice([1, 2, 17]), layer.input_size)
    try:
        if rng.random() < 0.5:
            with tg.no_grad():
                layer(x)
        else:
            layer(x)[0].sum().backward()
    except (ValueError, TypeError) as error:
        assert str(error), case
print("alive")
"""


def test_no_weights_crash_the_process():
    seed = int.from_bytes(np.random.default_rng().bytes(3), "little")
    done = subprocess.run([sys.executable, "-c", GUARDED, str(seed), "200"], capture_output=True, text=True)
    assert done.returncode == 0 and "alive" in done.stdout, f"seed {seed}: {done.stderr}"
