"""Layers without recurrence and their functions: values and gradients equal PyTorch's."""

import numpy as np
import pytest
from helpers import leaf, normal

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F

TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-11, "atol": 1e-12}}


def wanted(*shape, seed=0):
    return leaf(normal(*shape, seed=seed))


def assert_like_pytorch(ours, theirs, *inputs, dtype="float64"):
    """Check that outputs and gradients equal those of PyTorch's module with the same weights."""
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    theirs = theirs.to(getattr(torch, dtype))
    ours.to(dtype).load_state_dict(theirs.state_dict())
    xs = [tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    ys = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    out, expected = ours(*xs), theirs(*ys)
    assert out.shape == tuple(expected.shape) and out.dtype == dtype
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), **TOLERANCE[dtype])
    g = normal(*out.shape, seed=9).astype(dtype)
    out.backward(tg.tensor(g))
    expected.backward(torch.tensor(g))
    pairs = [(x, y) for x, y in zip(xs, ys) if x.requires_grad]
    pairs += [(p, dict(theirs.named_parameters())[name]) for name, p in ours.named_parameters()]
    assert pairs
    for ours_one, theirs_one in pairs:
        np.testing.assert_allclose(ours_one.grad.numpy(), theirs_one.grad.numpy(), **TOLERANCE[dtype])


# Linear


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(17, 3), (1, 3), (3,), (2, 1, 3), (0, 3), (5, 0, 3), (2, 3, 4, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_that_of_pytorch(shape, bias, dtype):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    ours, theirs = nn.Linear(3, 5, bias), torch.nn.Linear(3, 5, bias)
    assert_like_pytorch(ours, theirs, normal(*shape).astype(dtype), dtype=dtype)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 3), (3,)])
def test_linear_derivatives(shape):
    assert tg.gradcheck(F.linear, [wanted(*shape), wanted(2, 3), wanted(2)])
    assert tg.gradgradcheck(F.linear, [wanted(*shape), wanted(2, 3), wanted(2)])


def test_linear_errors():
    layer = nn.Linear(3, 5)
    with pytest.raises(ValueError, match=r"linear: expected x \[.*, I\] .*, got x \(2, 4\) and weight \(5, 3\)"):
        layer(tg.randn(2, 4))
    with pytest.raises(ValueError, match="linear: expected x"):
        layer(tg.tensor(1.0))
    with pytest.raises(TypeError, match="linear: expected arguments of one dtype, got float64 and float32"):
        layer(tg.randn(2, 3, dtype="float64"))
    with pytest.raises(TypeError, match="one dtype, got int64 and float32"):
        layer(tg.arange(3))
    with pytest.raises(ValueError, match=r"bias: expected shape \(5,\) as weight has rows, got \(1,\)"):
        F.linear(tg.randn(2, 3), layer.weight, tg.zeros(1))
    with pytest.raises(ValueError, match="Linear: in_features: expected a whole number from 0 up, got -3"):
        nn.Linear(-3, 5)
    with pytest.raises(ValueError, match=r"Linear: out_features: expected a whole number from 0 up, got 2\.5"):
        nn.Linear(3, 2.5)


# Embedding


@pytest.mark.parametrize("shape", [(17,), (1,), (), (3, 4), (0,), (2, 0)])
@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
def test_embedding_is_that_of_pytorch(shape, padding_idx):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    index = np.random.default_rng(0).integers(0, 5, shape)
    ours, theirs = nn.Embedding(5, 3, padding_idx), torch.nn.Embedding(5, 3, padding_idx)
    assert ours.padding_idx == theirs.padding_idx
    assert_like_pytorch(ours, theirs, index)


def test_the_padding_row_begins_as_zeros_and_gets_no_gradient():
    layer = nn.Embedding(4, 2, padding_idx=-2)
    np.testing.assert_array_equal(np.abs(layer.weight.numpy()).min(1) > 0, [True, True, False, True])
    layer(tg.tensor([2, 1, 2])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[0, 0], [1, 1], [0, 0], [0, 0]])
    layer.weight.data[2] = 7.0
    assert layer(tg.tensor(2)).numpy().tolist() == [7.0, 7.0]


def test_embedding_derivatives():
    index = tg.tensor([[0, 1], [1, 3]])
    for padding in (None, 1):
        assert tg.gradgradcheck(lambda w, padding=padding: F.embedding(index, w * w, padding), [wanted(4, 2)])
    assert tg.gradcheck(lambda w: F.embedding(index, w), [wanted(4, 2)])


def test_embedding_errors():
    with pytest.raises(IndexError, match="embedding: index: expected numbers from 0 to 3, got 4"):
        nn.Embedding(4, 2)(tg.tensor([4]))
    with pytest.raises(TypeError, match="index: expected integers"):
        nn.Embedding(4, 2)(tg.tensor([1.0]))
    with pytest.raises(ValueError, match="Embedding: padding_idx: expected a whole number from -4 to 3, got 4"):
        nn.Embedding(4, 2, padding_idx=4)


def test_one_hot_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    index = np.array([[0, 2], [1, 1]])
    for classes in (-1, 3, 6):
        expected = torch.nn.functional.one_hot(torch.tensor(index), classes).numpy()
        np.testing.assert_array_equal(F.one_hot(tg.tensor(index), classes).numpy(), expected)
    assert F.one_hot(tg.tensor(index)).dtype == np.int64
    with pytest.raises(IndexError, match="one_hot: index: expected class indices from 0 to 1, got 2"):
        F.one_hot(tg.tensor(index), 2)
    with pytest.raises(TypeError, match="one_hot: index: expected integers, got float32"):
        F.one_hot(tg.ones(2))


@pytest.mark.parametrize("padding_idx", [None, 1])
@pytest.mark.parametrize("freeze", [True, False])
def test_a_pretrained_embedding_is_that_of_pytorch(freeze, padding_idx):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    rows, index = normal(5, 3), np.array([[1, 4], [0, 1]])
    ours = nn.Embedding.from_pretrained(tg.tensor(rows), freeze, padding_idx)
    theirs = torch.nn.Embedding.from_pretrained(torch.tensor(rows), freeze, padding_idx)
    assert (ours.num_embeddings, ours.embedding_dim, ours.padding_idx) == (5, 3, theirs.padding_idx)
    assert ours.weight.requires_grad is theirs.weight.requires_grad is not freeze
    np.testing.assert_array_equal(ours(tg.tensor(index)).numpy(), theirs(torch.tensor(index)).detach().numpy())
    if not freeze:
        assert_like_pytorch(ours, theirs, index)


def test_a_pretrained_embedding_shares_its_array_and_draws_nothing():
    rows, state = tg.randn(4, 2), tg.get_rng_state()
    layer = nn.Embedding.from_pretrained(rows)
    assert layer.weight.array is rows.array and tg.get_rng_state() == state
    assert nn.Embedding.from_pretrained([[1.0, 2.0]]).weight.shape == (1, 2)
    with pytest.raises(ValueError, match=r"embeddings: expected shape \[num_embeddings, embedding_dim\], got \(3,\)"):
        nn.Embedding.from_pretrained(tg.ones(3))
    with pytest.raises(TypeError, match="from_pretrained: embeddings: expected a floating dtype, got int64"):
        nn.Embedding.from_pretrained(tg.arange(4).reshape(2, 2))
    with pytest.raises(ValueError, match="Embedding: padding_idx: expected a whole number from -4 to 3, got 4"):
        nn.Embedding.from_pretrained(rows, padding_idx=4)


# LayerNorm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "normalized"), [((17, 3), 3), ((1, 5), (5,)), ((2, 3, 4), (3, 4)), ((4,), 4), ((0, 3), 3)]
)
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.1}])
def test_layer_norm_is_that_of_pytorch(shape, normalized, options, dtype):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    ours, theirs = nn.LayerNorm(normalized, **options), torch.nn.LayerNorm(normalized, **options)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    assert_like_pytorch(ours, theirs, normal(*shape).astype(dtype), dtype=dtype)


def test_layer_norm_derivatives_and_errors():
    def normed(x, weight, bias):
        return F.layer_norm(x, (3, 2), weight, bias)

    assert tg.gradcheck(normed, [wanted(4, 3, 2), wanted(3, 2), wanted(3, 2)])
    assert tg.gradgradcheck(normed, [wanted(4, 3, 2), wanted(3, 2), wanted(3, 2)])
    with pytest.raises(ValueError, match=r"layer_norm: x: expected last dimensions \(3,\), got shape \(2, 4\)"):
        nn.LayerNorm(3)(tg.randn(2, 4))
    with pytest.raises(ValueError, match=r"layer_norm: weight: expected shape \(3,\), got \(1,\)"):
        F.layer_norm(tg.randn(2, 3), 3, tg.ones(1))
    with pytest.raises(ValueError, match="LayerNorm: normalized_shape: expected at least one size, got none"):
        nn.LayerNorm(())
    with pytest.raises(ValueError, match=r"LayerNorm: normalized_shape\[1\]: expected a whole number from 1 up, got 0"):
        nn.LayerNorm((3, 0))


# Modules without weights


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: lib.Tanh(),
        lambda lib: lib.Sigmoid(),
        lambda lib: lib.ReLU(),
        lambda lib: lib.GELU(),
        lambda lib: lib.GELU(approximate="tanh"),
        lambda lib: lib.Softplus(),
        lambda lib: lib.SiLU(),
        lambda lib: lib.ELU(),
        lambda lib: lib.ELU(alpha=0.3),
        lambda lib: lib.LeakyReLU(),
        lambda lib: lib.LeakyReLU(negative_slope=0.3),
        lambda lib: lib.Softmax(dim=-1),
        lambda lib: lib.Softmax(dim=0),
        lambda lib: lib.LogSoftmax(dim=1),
        lambda lib: lib.Identity(),
        lambda lib: lib.Flatten(),
        lambda lib: lib.Flatten(0, 1),
        lambda lib: lib.Sequential(lib.Flatten(), lib.Linear(12, 2), lib.Tanh(), lib.LayerNorm(2)),
    ],
)
def test_modules_are_those_of_pytorch(make):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    assert_like_pytorch(make(nn), make(torch.nn), normal(5, 3, 4))


def test_functional_has_functions_of_tensors_too():
    x = wanted(3, 4)
    for name in ("tanh", "sigmoid", "relu", "softplus", "gelu", "softmax", "log_softmax"):
        np.testing.assert_array_equal(getattr(F, name)(x).numpy(), getattr(x, name)().numpy())
    assert F.pad(x, (1, 2)).shape == (3, 7)
    assert all(hasattr(F, name) for name in F.__all__)


def test_activations_at_and_far_from_zero():
    x = leaf([-1e4, 0.0, 1e4])
    for f, slopes in ((F.elu, [0, 1, 1]), (F.leaky_relu, [0.01, 0.01, 1]), (F.silu, [0, 0.5, 1])):
        (g,) = tg.grad(f(x).sum(), x)
        np.testing.assert_allclose(g.numpy(), slopes, atol=1e-12)
    for f in (F.elu, F.leaky_relu, F.silu):
        assert tg.gradgradcheck(f, [wanted(5)])


# Dropout


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p, dtype):
    tg.manual_seed(3)
    x = tg.ones(200, 500, dtype=dtype, requires_grad=True)
    y = nn.Dropout(p)(x)
    assert y.dtype == dtype and set(np.unique(y.numpy())) == {0.0, np.dtype(dtype).type(1 / (1 - p))}
    dropped = (y.numpy() == 0).mean()
    assert abs(dropped - p) < 5 * np.sqrt(p * (1 - p) / y.numel())
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())  # the mask of the forward


def test_dropout_at_its_ends_and_in_evaluation():
    x = wanted(3, 4)
    assert F.dropout(x, 0.0, True) is x and F.dropout(x, 1.0, False) is x
    gone = F.dropout(x, 1.0, True)
    gone.sum().backward()
    assert not gone.numpy().any() and not x.grad.numpy().any()
    layer = nn.Dropout(0.5).eval()
    assert layer(x) is x
    assert F.dropout(tg.zeros(0, 3), 0.5, True).shape == (0, 3)


def test_dropout_repeats_with_the_seed_in_either_dtype():
    masks = []
    for dtype in ("float32", "float32", "float64"):
        tg.manual_seed(1)
        masks.append(F.dropout(tg.ones(50, dtype=dtype), 0.3).numpy() > 0)
    assert np.array_equal(masks[0], masks[1]) and np.array_equal(masks[0], masks[2])
    assert not np.array_equal(F.dropout(tg.ones(50), 0.3).numpy() > 0, masks[0])


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "half", True])
def test_dropout_errors(p):
    with pytest.raises(ValueError, match="Dropout: p: expected a number from 0 to 1, got"):
        nn.Dropout(p)
    with pytest.raises(ValueError, match="dropout: p: expected a number from 0 to 1, got"):
        F.dropout(tg.ones(1), p)
