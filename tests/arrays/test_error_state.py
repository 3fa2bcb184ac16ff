"""NumPy's error state does not matter: in each, the library gives the same numbers and does not raise or warn."""

import itertools
import warnings

import numpy as np
import pytest
from grids import spread

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

F = nn.functional
SMALL = [0.0, 1e-44, -1e-38, 1e-30, -1e-20, 1e-7, -0.5, 1.0, 3.0, -20.0, 60.0, -87.0, 88.0, -110.0, 1e4, -1e10]
ONE = ["abs", "cos", "exp", "gelu", "neg", "relu", "sigmoid", "sign", "sin", "softplus", "tanh", "erf", "isfinite"]
ONE += ["log_softmax", "logsumexp", "softmax", "sum", "mean", "var", "std", "amax", "amin", "flip"]
TWO = ["add", "sub", "mul", "maximum", "minimum", "eq", "lt"]


def with_gradients(function, *arrays):
    """Return the results, the gradients, and the gradients of the gradients as arrays."""
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    out = function(*xs)
    found = [out.detach().numpy()]
    if out.requires_grad:
        grads = tg.grad((out * out).sum(), xs, create_graph=True, allow_unused=True)
        reached = [g for g in grads if g is not None]
        found += [g.detach().numpy() for g in reached]
        total = sum(g.sum() for g in reached)
        if total.requires_grad:
            found += [g.numpy() for g in tg.grad(total, xs, allow_unused=True) if g is not None]
    return found


def same_under_all_states(compute):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = compute()
    for state in ("raise", "call", "print", "warn", "ignore"):
        with np.errstate(all=state, call=lambda *_: pytest.fail("the caller's handler was called")):
            found = compute()
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ONE)
def test_functions_of_one_tensor(name, dtype, capsys):
    function = getattr(tg, name)
    call = (lambda x: function(x, 0)) if name in ("logsumexp", "flip") else function
    same_under_all_states(lambda: with_gradients(call, np.array(SMALL, dtype)))
    assert not capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_tensors(name, dtype):
    x = np.array(SMALL, dtype)
    same_under_all_states(lambda: with_gradients(getattr(tg, name), x[:, None], x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_with_poles(dtype):
    x = np.array(SMALL, dtype)
    for call in (tg.log, tg.sqrt, lambda x: 1.0 / x, lambda x: x**-2, lambda x: x**0.5, lambda x: x / x):
        same_under_all_states(lambda call=call: with_gradients(call, x))
    same_under_all_states(lambda: with_gradients(tg.matmul, x.reshape(4, 4), x.reshape(4, 4)))


LOSSES = {
    "cross_entropy": lambda x: F.cross_entropy(x, tg.tensor([1, 0, 2, 3])),
    "smoothed": lambda x: F.cross_entropy(x, [1, 0, 2, 3], [1e-30, 1e-3, 1.0, 1e-44], label_smoothing=0.1),
    "nll": lambda x: F.nll_loss(x, tg.tensor([1, 0, 2, 3])),
    "mse": lambda x: F.mse_loss(x, tg.zeros(4, 4)),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, tg.ones(4, 4)),
    "layer_norm": lambda x: F.layer_norm(x, 4),
    "dropout": lambda x: F.dropout(x, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    def compute():
        tg.manual_seed(0)
        return with_gradients(LOSSES[name], np.array(SMALL, "f").reshape(4, 4))

    same_under_all_states(compute)


RULES, LAYERS = [optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adam, optim.AdamW], [nn.RNN, nn.LSTM, nn.GRU]


@pytest.mark.parametrize(("layer", "kind"), spread(itertools.product(LAYERS, RULES), 2, unpack=True))
def test_training(kind, layer):
    def compute():
        tg.manual_seed(0)
        made = layer(3, 17, 2, dropout=0.3)
        optimiser = kind(made.parameters(), lr=1e-30)
        x = tg.tensor(np.random.default_rng(0).standard_normal((5, 4, 3)) * 1e-25, dtype="float32")
        for scale in (1e-25, 1e20):
            optimiser.zero_grad()
            (made(x)[0] * scale).sum().backward()
            nn.utils.clip_grad_norm_(made.parameters(), 1e-30)
            nn.utils.clip_grad_value_(made.parameters(), 1e-35)
            optimiser.step()
        with tg.no_grad():
            made.weight_ih_l0.copy_(np.full(made.weight_ih_l0.shape, 1e-60))
            made.weight_ih_l0[0] = 1e-50
        return [p.detach().numpy() for p in made.parameters()]

    same_under_all_states(compute)


def test_the_callers_own_arithmetic_keeps_the_callers_state():
    seen = []
    x = tg.tensor([1e-30], requires_grad=True)
    with np.errstate(all="raise"):
        (x * x).sum().backward()
        with pytest.raises(FloatingPointError):
            np.float32(1e-30) * np.float32(1e-30)
        seen.append(np.geterr())
    assert seen[0]["under"] == "raise"
