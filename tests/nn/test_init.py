"""Initial values: ranges, moments and seeds; layers have the same distributions as PyTorch's."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import init


@pytest.fixture(autouse=True)
def seed():
    tg.manual_seed(11)


def assert_uniform(tensor, bound):
    """Check the range [-bound, bound), mean and variance within five standard errors, and numbers near both ends."""
    x = tensor.numpy().astype(np.float64)
    assert np.abs(x).max() <= bound
    assert abs(x.mean()) < 5 * bound / math.sqrt(3 * x.size)
    assert abs(x.var() / (bound**2 / 3) - 1) < 5 * math.sqrt(0.8 / x.size)
    assert x.max() > 0.99 * bound and x.min() < -0.99 * bound


def assert_normal(tensor, mean, std):
    x = tensor.numpy().astype(np.float64)
    assert abs(x.mean() - mean) < 5 * std / math.sqrt(x.size)
    assert abs(x.var() / std**2 - 1) < 5 * math.sqrt(2 / x.size)
    assert abs(((x - mean) ** 4).mean() / std**4 - 3) < 5 * math.sqrt(96 / x.size)  # it is not uniform


def weight(*shape, dtype="float32"):
    return nn.Parameter(np.full(shape, 7.0, dtype))


def test_distributions():
    assert_uniform(init.uniform_(weight(100, 90), -0.25, 0.25), 0.25)
    assert_normal(init.normal_(weight(100, 90), 2.0, 0.3), 2.0, 0.3)
    assert_uniform(init.xavier_uniform_(weight(100, 90), gain=2.0), 2.0 * math.sqrt(6 / 190))
    assert_normal(init.xavier_normal_(weight(100, 90)), 0.0, math.sqrt(2 / 190))
    assert_uniform(init.kaiming_uniform_(weight(100, 90)), math.sqrt(2) * math.sqrt(3 / 90))
    outward = init.kaiming_uniform_(weight(100, 90), mode="fan_out", nonlinearity="tanh")
    assert_uniform(outward, 5 / 3 * math.sqrt(3 / 100))
    assert_uniform(init.kaiming_uniform_(weight(20, 5, 6, 3), a=math.sqrt(5)), 1 / math.sqrt(90))
    assert (init.constant_(weight(3), 2.5).numpy() == 2.5).all()
    assert (init.zeros_(weight(3)).numpy() == 0).all() and (init.ones_(weight(3)).numpy() == 1).all()


def test_layers_begin_as_those_of_pytorch():
    assert_uniform(nn.Linear(90, 400).weight, 1 / math.sqrt(90))
    assert_uniform(nn.Linear(90, 4000).bias, 1 / math.sqrt(90))
    assert_uniform(nn.Conv2d(5, 400, (6, 3)).weight, 1 / math.sqrt(90))
    assert_uniform(nn.Conv2d(5, 4000, (6, 3)).bias, 1 / math.sqrt(90))
    assert_normal(nn.Embedding(300, 40).weight, 0.0, 1.0)
    norm = nn.LayerNorm((2, 3))
    assert (norm.weight.numpy() == 1).all() and (norm.bias.numpy() == 0).all()


@pytest.mark.parametrize("name", ["Linear", "Conv2d", "Embedding"])
def test_layers_have_the_spread_of_pytorchs(name):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    arguments = {"Linear": (70, 300), "Conv2d": (7, 300, 3), "Embedding": (300, 70)}[name]
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    for parameter, p in ours.named_parameters():
        q = getattr(theirs, parameter).detach().numpy()
        assert p.shape == q.shape and p.dtype == q.dtype
        assert abs(p.numpy().std() / q.std() - 1) < 0.15


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 3, 2), (1, 6), (6, 1)])
def test_orthogonal(shape):
    w = init.orthogonal_(weight(*shape, dtype="float64"), gain=1.5).numpy().reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 2.25 * np.eye(min(w.shape)), atol=1e-12)


def test_orthogonal_matrices_are_drawn_uniformly():
    """The trace of a uniformly drawn orthogonal matrix has mean 0 and variance 1; with wrong signs it would not."""
    traces = np.array([np.trace(init.orthogonal_(weight(3, 3)).numpy()) for _ in range(2000)])
    assert abs(traces.mean()) < 5 / math.sqrt(2000)
    assert abs(traces.var() - 1) < 0.25


def test_the_seed_decides_and_the_dtype_only_rounds():
    drawn = []
    for dtype in ("float32", "float32", "float64"):
        tg.manual_seed(5)
        drawn.append(nn.Linear(3, 4, dtype=dtype).weight.numpy())
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2].astype(np.float32))
    assert drawn[2].dtype == np.float64
    assert not np.array_equal(nn.Linear(3, 4).weight.numpy(), drawn[0])


def test_parameters_stay_leaves():
    layer = nn.Linear(3, 4)
    before = layer.weight.numpy().copy()
    layer.reset_parameters()
    assert layer.weight.is_leaf and layer.weight.requires_grad and not np.array_equal(layer.weight.numpy(), before)


def test_gains_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    names = ["linear", "sigmoid", "tanh", "relu", "leaky_relu"]
    for name, slope in [*((name, None) for name in names), ("leaky_relu", 0.3)]:
        assert init.calculate_gain(name, slope) == pytest.approx(torch.nn.init.calculate_gain(name, slope))


def test_errors():
    with pytest.raises(ValueError, match=r"xavier_uniform_: tensor: expected at least two .*, got shape \(3,\)"):
        init.xavier_uniform_(weight(3))
    with pytest.raises(ValueError, match="orthogonal_: tensor: expected at least two dimensions"):
        init.orthogonal_(weight(3))
    with pytest.raises(ValueError, match="kaiming_uniform_: mode: expected 'fan_in' or 'fan_out', got 'both'"):
        init.kaiming_uniform_(weight(3, 3), mode="both")
    with pytest.raises(ValueError, match=r"calculate_gain: nonlinearity: expected one of linear, .*, got 'selu'"):
        init.calculate_gain("selu")


def test_empty_weights_are_no_error():
    for make in (init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_, init.orthogonal_):
        assert make(weight(0, 3)).shape == (0, 3) and make(weight(3, 0)).shape == (3, 0)


def test_an_integer_tensor_is_not_made_orthogonal():
    with pytest.raises(TypeError, match="orthogonal_: tensor: expected a floating dtype, got int64"):
        nn.init.orthogonal_(tg.tensor([[1, 2], [3, 4]]))
