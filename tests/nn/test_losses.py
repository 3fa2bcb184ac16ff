"""Losses: values and gradients equal PyTorch's, and gradients equal finite differences."""

import itertools
import warnings

import numpy as np
import pytest
from helpers import leaf, normal, same_as_torch

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.kernels.cpu import softmax as compiled
from tinygrad_rnn.kernels.cpu.runtime import threads
from tinygrad_rnn.kernels.reference import softmax
from tinygrad_rnn.nn import functional as F

REDUCTIONS = ["mean", "sum", "none"]


def uniform(*shape, seed=0):
    return np.asarray(np.random.default_rng(seed).random(shape))


def assert_like_pytorch(name, x, target, weights=None, dtype="float64", **options):
    """Check the value, and the gradients of the input and a floating target. weights: arrays or None, by argument."""
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    given = {k: v.astype(dtype) for k, v in (weights or {}).items() if v is not None}
    ours = {k: tg.tensor(v) for k, v in given.items()}
    theirs = {k: torch.tensor(v) for k, v in given.items()}
    same_as_torch(
        lambda a, b: getattr(F, name)(a, b, **ours, **options),
        lambda a, b: getattr(torch.nn.functional, name)(a, b, **theirs, **options),
        [x, target],
        dtype,
    )


# Cross-entropy with class indices

SHAPES = [(17, 5), (1, 3), (4, 1), (3, 4, 6), (2, 3, 1, 4), (5,)]


def class_indices(shape, ignored=-100, seed=0):
    """Return targets for an input of this shape; every fifth of them is ignored."""
    rest = shape[:1] + shape[2:] if len(shape) > 1 else ()
    classes = shape[1] if len(shape) > 1 else shape[0]
    index = np.random.default_rng(seed).integers(0, classes, rest)
    return np.where(np.arange(index.size).reshape(rest) % 5 == 3, ignored, index)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("smoothing", "ignored"), list(itertools.product([0.0, 0.3], [-100, 0])))
def test_cross_entropy_is_that_of_pytorch(shape, reduction, weighted, smoothing, ignored):
    classes = shape[1] if len(shape) > 1 else shape[0]
    target = class_indices(shape, ignored)
    if (target == ignored).all():
        target[...] = classes - 1
        ignored = -100
    weights = {"weight": 0.1 + uniform(classes) if weighted else None}
    options = {"ignore_index": ignored, "reduction": reduction, "label_smoothing": smoothing}
    assert_like_pytorch("cross_entropy", 3 * normal(*shape), target, weights, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("weighted", "smoothing"), list(itertools.product([False, True], [0.0, 0.3])))
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_with_probabilities_is_that_of_pytorch(shape, reduction, weighted, smoothing):
    classes = shape[1] if len(shape) > 1 else shape[0]
    weights = {"weight": 0.1 + uniform(classes) if weighted else None}
    target = uniform(*shape, seed=1)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    assert_like_pytorch("cross_entropy", 3 * normal(*shape), target, weights, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss_is_that_of_pytorch(shape, reduction, weighted):
    classes = shape[1] if len(shape) > 1 else shape[0]
    weights = {"weight": 0.1 + uniform(classes) if weighted else None}
    assert_like_pytorch("nll_loss", normal(*shape), class_indices(shape), weights, reduction=reduction)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_float32_integers_of_any_width_and_an_empty_batch(name):
    x = 5 * normal(9, 4)
    assert_like_pytorch(name, x, class_indices((9, 4)), dtype="float32")
    for dtype in ("int8", "int32", "uint8"):
        target = class_indices((9, 4), ignored=3)
        narrow = getattr(F, name)(tg.tensor(x), tg.tensor(target.astype(dtype)))
        assert narrow.item() == getattr(F, name)(tg.tensor(x), tg.tensor(target)).item()
    for reduction in ("sum", "none"):
        assert_like_pytorch(name, x[:0], class_indices((9, 4))[:0], reduction=reduction)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_the_mean_over_nothing_is_nan_and_does_no_harm(name):
    x = leaf(normal(3, 4))
    loss = getattr(F, name)(x, tg.full((3,), -100, dtype="int64"))
    loss.backward()
    assert np.isnan(loss.item()) and not x.grad.numpy().any()
    assert np.isnan(getattr(F, name)(tg.ones(0, 4), tg.zeros(0, dtype="int64")).item())


def test_cross_entropy_of_large_and_excluded_logits():
    x = np.array([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 1000.0], [-np.inf, 0.0, 1.0], [-np.inf, 0.0, 1.0]])
    target = np.array([1, 2, 1, -100])
    for dtype in ("float32", "float64"):
        assert_like_pytorch("cross_entropy", x, target, dtype=dtype, reduction="none")
        assert_like_pytorch("cross_entropy", x, target, dtype=dtype)
        assert_like_pytorch("cross_entropy", x + 1e6, target, dtype=dtype, reduction="sum")
        assert_like_pytorch("nll_loss", x, target, dtype=dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, tg.tensor([0.5, 2.0, 1.0])])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_cross_entropy_derivatives(smoothing, weight, reduction):
    target = tg.tensor([0, 2, -100, 1])

    def loss(x):
        return F.cross_entropy(x, target, weight, reduction=reduction, label_smoothing=smoothing)

    x = leaf(2 * normal(4, 3))
    assert tg.gradcheck(loss, x) and tg.gradgradcheck(loss, x)


def test_cross_entropy_with_probabilities_derivatives():
    x, q = leaf(uniform(4, 3)), leaf(uniform(4, 3, seed=1))
    assert tg.gradcheck(F.cross_entropy, [x, q]) and tg.gradgradcheck(F.cross_entropy, [x, q])


def test_blocks_of_rows_make_no_difference(monkeypatch):
    x, index, g = normal(23, 7), np.arange(23) % 7, normal(23, seed=1)
    whole = softmax.losses(x, index, g), softmax.errors(g, x, index)
    monkeypatch.setattr(softmax, "_BLOCK", 20)
    assert len(list(softmax._blocks(x))) == 12
    np.testing.assert_array_equal(softmax.losses(x, index, g), whole[0])
    np.testing.assert_array_equal(softmax.errors(g, x, index), whole[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 64), (5, 100), (17, 1000), (100, 3)])
def test_compiled_likelihoods_are_those_of_numpy(shape, dtype):
    rng = np.random.default_rng(0)
    x, g = (30 * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape[0]).astype(dtype)
    index, weights = rng.integers(0, shape[1], shape[0]), rng.standard_normal(shape[0]).astype(dtype)
    weights[0] = 0.0
    rtol = 1e-5 if dtype == "float32" else 1e-12
    expected = softmax.losses(x.astype("float64"), index, weights.astype("float64"))
    np.testing.assert_allclose(compiled.losses(x, index, weights), expected, rtol, atol=rtol)
    expected = softmax.errors(g.astype("float64"), x.astype("float64"), index)
    np.testing.assert_allclose(compiled.errors(g, x, index), expected, rtol, atol=rtol)
    wide = np.repeat(x, 2, 1)[:, ::2]  # not contiguous
    np.testing.assert_array_equal(compiled.errors(g, wide, index.astype("int32")), compiled.errors(g, x, index))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_compiled_likelihoods_of_extreme_logits(value):
    for columns in (5, 70, 130):
        x, index = np.zeros((3, columns), np.float32), np.array([0, 1, columns - 1])
        x[1, columns - 2] = x[2, 0] = value
        with np.errstate(all="ignore"):
            ones = np.ones(3, np.float32)
            np.testing.assert_allclose(compiled.losses(x, index, ones), softmax.losses(x, index, ones), 1e-6)
            np.testing.assert_allclose(compiled.errors(ones, x, index), softmax.errors(ones, x, index), 1e-6)


def test_no_bit_of_a_likelihood_depends_on_the_threads(monkeypatch):
    before = threads.get_num_threads()
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    x, index, g = normal(23, 107).astype("float32"), np.arange(23) * 4, normal(23).astype("float32")
    found = []
    try:
        for count in (1, 2, 5):
            threads.set_num_threads(count)
            found.append((compiled.losses(x, index, g), compiled.errors(g, x, index)))
    finally:
        threads.set_num_threads(before)
    for losses, errors in found[1:]:
        np.testing.assert_array_equal(losses, found[0][0])
        np.testing.assert_array_equal(errors, found[0][1])


def test_cross_entropy_is_nll_loss_of_log_softmax():
    x, target = tg.tensor(normal(9, 4)), tg.tensor(class_indices((9, 4)))
    expected = F.nll_loss(F.log_softmax(x, 1), target).item()
    assert F.cross_entropy(x, target).item() == pytest.approx(expected, rel=1e-14)


# Squares


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(17, 3), (1,), (), (2, 3, 4)])
def test_mse_loss_is_that_of_pytorch(shape, reduction, dtype):
    assert_like_pytorch("mse_loss", normal(*shape), normal(*shape, seed=1), dtype=dtype, reduction=reduction)


def test_mse_loss_of_nothing_and_its_derivatives():
    assert np.isnan(F.mse_loss(tg.zeros(0), tg.zeros(0)).item())
    assert F.mse_loss(tg.zeros(0), tg.zeros(0), "sum").item() == 0.0
    x, y = leaf(normal(3, 2)), leaf(normal(3, 2, seed=1))
    assert tg.gradcheck(F.mse_loss, [x, y]) and tg.gradgradcheck(F.mse_loss, [x, y])


# Binary cross-entropy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, (3,), (5, 1), (5, 3)])
@pytest.mark.parametrize("pos_weight", [None, (3,)])
def test_binary_cross_entropy_is_that_of_pytorch(weight, pos_weight, reduction, dtype):
    weights = {
        "weight": None if weight is None else 0.1 + uniform(*weight, seed=2),
        "pos_weight": None if pos_weight is None else 0.1 + 3 * uniform(*pos_weight, seed=3),
    }
    x, y = 4 * normal(5, 3), uniform(5, 3, seed=1)
    assert_like_pytorch("binary_cross_entropy_with_logits", x, y, weights, dtype, reduction=reduction)


@pytest.mark.parametrize("pos_weight", [None, 5.0])
def test_binary_cross_entropy_is_stable(pos_weight):
    x = np.array([1000.0, 1000.0, -1000.0, -1000.0, 0.0], np.float32)
    y = np.array([1.0, 0.0, 1.0, 0.0, 0.5], np.float32)
    weights = {"pos_weight": None if pos_weight is None else np.array(pos_weight)}
    assert_like_pytorch("binary_cross_entropy_with_logits", x, y, weights, "float32", reduction="none")
    x = tg.tensor(x, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, tg.tensor(y), reduction="none")
    assert loss.numpy()[:4].tolist() == [0.0, 1000.0, 1000.0, 0.0]


def test_binary_cross_entropy_derivatives():
    x, y = leaf(uniform(3, 2)), leaf(uniform(3, 2, seed=1))
    weight, pos_weight = tg.tensor(uniform(2, seed=2)), tg.tensor(uniform(2, seed=3))

    def loss(x, y):
        return F.binary_cross_entropy_with_logits(x, y, weight, pos_weight)

    assert tg.gradcheck(loss, [x, y]) and tg.gradgradcheck(loss, [x, y])


# Modules


@pytest.mark.parametrize("shape", [(17, 5), (1, 3), (4,), (), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div_is_that_of_pytorch(shape, reduction, log_target):
    if shape == () and reduction == "mean" or shape == (0, 3) and reduction.endswith("mean"):
        return  # PyTorch warns of the first, and gives NaN gradients to nothing in the second
    q = 0.1 + uniform(*shape, seed=1)
    target = np.asarray(np.log(q) if log_target else q)
    options = {"reduction": reduction, "log_target": log_target}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "reduction: 'mean' divides")  # PyTorch's advice to take 'batchmean'
        for dtype in ("float32", "float64"):
            assert_like_pytorch("kl_div", np.asarray(normal(*shape)), target, dtype=dtype, **options)


def test_kl_div_of_zero_probabilities_and_its_derivatives():
    x, q = leaf(normal(2, 3)), leaf([[0.0, 0.3, 0.7], [1.0, 0.0, 0.0]])
    losses = F.kl_div(x, q, "none")
    expected = [[0.3 * (np.log(0.3) - x.numpy()[0, 1]), 0.7 * (np.log(0.7) - x.numpy()[0, 2])], [-x.numpy()[1, 0]]]
    np.testing.assert_allclose(losses.numpy()[q.numpy() > 0], np.concatenate(expected))
    losses.sum().backward()
    assert (losses.numpy()[q.numpy() == 0] == 0).all() and np.isfinite(q.grad.numpy()).all()
    for log_target in (False, True):
        loss = lambda x, q, log_target=log_target: F.kl_div(x, q, "batchmean", log_target)
        given = [leaf(normal(2, 3)), leaf(0.2 + uniform(2, 3))]
        assert tg.gradcheck(loss, given) and tg.gradgradcheck(loss, given)
    assert np.isnan(F.kl_div(tg.ones(0, 3), tg.ones(0, 3), "batchmean").item())
    log_p = tg.tensor(normal(2, 3)).log_softmax(1)
    assert abs(F.kl_div(log_p, log_p, "batchmean", True).item()) < 1e-12


def test_modules_are_the_functions():
    x, y, p = tg.tensor(normal(6, 3)), tg.tensor(class_indices((6, 3), ignored=0)), tg.tensor(uniform(6, 3))
    weight = tg.tensor([1.0, 2.0, 3.0])
    weight64 = weight.double()
    entropy = nn.CrossEntropyLoss(weight, ignore_index=0, reduction="sum", label_smoothing=0.1)
    assert entropy(x, y).item() == F.cross_entropy(x, y, weight, 0, "sum", 0.1).item()
    binary = nn.BCEWithLogitsLoss(weight64, "sum", weight64)
    assert binary(x, p).item() == F.binary_cross_entropy_with_logits(x, p, weight64, weight64, "sum").item()
    assert nn.MSELoss("sum")(x, p).item() == F.mse_loss(x, p, "sum").item()
    assert nn.KLDivLoss("batchmean", True)(x, p).item() == F.kl_div(x, p, "batchmean", True).item()
    likelihood = nn.NLLLoss(weight, ignore_index=0, reduction="sum")
    assert likelihood(x, y).item() == F.nll_loss(x, y, weight, 0, "sum").item()
    assert list(likelihood.state_dict()) == ["weight"]
    assert list(entropy.state_dict()) == ["weight"] and list(entropy.parameters()) == []
    assert list(binary.state_dict()) == ["weight", "pos_weight"]
    assert list(nn.CrossEntropyLoss().state_dict()) == []


# Errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.cross_entropy(x, tg.tensor([0, 1, 3])), IndexError, "target: expected .* from 0 to 2, got 3"),
        (lambda x: F.cross_entropy(x, tg.tensor([0, 1, -1])), IndexError, "expected class indices from 0 to 2, got -1"),
        (
            lambda x: F.cross_entropy(x, tg.tensor([0, 1])),
            ValueError,
            r"cross_entropy: target: expected class indices of shape \(3,\), got shape \(2,\)",
        ),
        (lambda x: F.cross_entropy(x, tg.ones(3)), ValueError, r"target: expected shape \(3, 3\) .*, got \(3,\)"),
        (lambda x: F.cross_entropy(x, tg.tensor([True] * 3)), TypeError, "target: expected integers, got bool"),
        (lambda x: F.cross_entropy(x, tg.tensor([0, 1, 2]), tg.ones(2)), ValueError, r"weight: expected shape \(3,\)"),
        (lambda x: F.cross_entropy(x, tg.tensor([0, 1, 2]), reduction="avg"), ValueError, "reduction: expected"),
        (lambda x: F.cross_entropy(x, x, reduction="avg"), ValueError, "reduction: expected 'mean', 'sum' or 'none'"),
        (lambda x: F.cross_entropy(x, x, label_smoothing=2), ValueError, "label_smoothing: expected a number"),
        (lambda x: F.cross_entropy(x.sum(), tg.tensor(0)), ValueError, "input: expected shape .*, got a scalar"),
        (lambda x: F.nll_loss(x, tg.tensor([0, 1, 9])), IndexError, "nll_loss: target: expected class indices"),
        (lambda x: F.mse_loss(x, tg.ones(3)), ValueError, r"mse_loss: target: expected shape \(3, 3\)"),
        (lambda x: F.binary_cross_entropy_with_logits(x, tg.ones(3)), ValueError, "target: expected shape"),
        (lambda x: F.kl_div(x, tg.ones(3)), ValueError, r"kl_div: target: expected shape \(3, 3\)"),
        (lambda x: nn.KLDivLoss("avg"), ValueError, "expected 'batchmean', 'mean', 'sum' or 'none', got 'avg'"),
        (lambda x: nn.MSELoss("batchmean"), ValueError, "MSELoss: reduction: expected 'mean', 'sum' or 'none'"),
        (lambda x: nn.MSELoss("avg"), ValueError, "MSELoss: reduction: expected 'mean', 'sum' or 'none', got 'avg'"),
        (lambda x: nn.CrossEntropyLoss(label_smoothing=-1), ValueError, "CrossEntropyLoss: label_smoothing: expected"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(tg.ones(3, 3))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_an_error_on_class_weights_names_the_loss(name):
    with pytest.raises(ValueError, match=rf"^{name}: weight: expected shape \(3,\), one for each class, got \(2,\)"):
        getattr(nn.functional, name)(np.zeros((2, 3)), [0, 1], weight=np.ones(2))
