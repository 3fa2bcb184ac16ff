"""clip_grad_norm_ and clip_grad_value_: their results equal PyTorch's, and extreme norms are right."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.utils import clip_grad_norm_, clip_grad_value_

SHAPES = [(3, 4), (5,), (), (0, 2)]


def parameters(seed=0, dtype="float64", scale=1.0):
    rng = np.random.default_rng(seed)
    made = [nn.Parameter(np.zeros(shape, dtype)) for shape in SHAPES]
    for p in made:
        p.grad = tg.tensor(scale * rng.standard_normal(p.shape), dtype=dtype)
    return [*made, nn.Parameter(np.zeros(2))]  # the last has no gradient


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, 0.5, math.inf, 2])
@pytest.mark.parametrize(("max_norm", "scale"), [(0.0, 1.0), (0.5, 1.0), (100.0, 1.0), (1e-7, 1e-6)])
def test_clip_grad_norm_is_that_of_pytorch(dtype, norm_type, max_norm, scale):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    ours = parameters(dtype=dtype, scale=scale)
    theirs = [torch.nn.Parameter(torch.zeros(p.shape, dtype=getattr(torch, dtype))) for p in ours]
    for p, q in zip(ours[:3], theirs):  # PyTorch has no inf norm of the empty gradient, so leave it out
        q.grad = torch.tensor(p.grad.numpy().copy())
    total = clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert isinstance(total, tg.Tensor) and total.shape == () and total.dtype == dtype
    rtol = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(total.item(), expected.item(), rtol=rtol)
    for p, q in zip(ours[:3], theirs):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=rtol, atol=1e-15)
    assert ours[-1].grad is None


def test_clipping_gives_the_limit_and_does_not_change_a_small_gradient():
    ps = parameters()
    clip_grad_norm_(iter(ps), 0.25)
    assert clip_grad_norm_(ps, 1e9).item() == pytest.approx(0.25, rel=1e-5)
    kept = [p.grad for p in ps]
    clip_grad_norm_(ps, 1.0)
    assert all(p.grad is g for p, g in zip(ps, kept))


def test_a_gradient_someone_holds_does_not_change():
    p = parameters()[0]
    held = p.grad
    before = held.numpy().copy()
    clip_grad_norm_(p, 0.1)
    clip_grad_value_(p, 0.01)
    np.testing.assert_array_equal(held.numpy(), before)
    assert abs(p.grad.numpy()).max() <= 0.01


def test_no_gradients_have_norm_0():
    assert clip_grad_norm_([nn.Parameter(np.zeros(2))], 1.0).item() == 0.0
    assert clip_grad_norm_([], 1.0).item() == 0.0


def test_a_norm_whose_square_overflows_is_right_and_leaves_no_warning():
    p = nn.Parameter(np.zeros(20, np.float32))
    p.grad = tg.full((20,), 1e30)
    assert clip_grad_norm_(p, 1.0).item() == pytest.approx(1e30 * 20**0.5)
    np.testing.assert_allclose(p.grad.numpy(), 20**-0.5, 1e-6)
    p.grad = tg.full((20,), 3e38)  # the norm itself is beyond the largest float32
    assert clip_grad_norm_(p, 1.0, error_if_nonfinite=True).item() == math.inf
    np.testing.assert_allclose(p.grad.numpy(), 20**-0.5, 1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(bad):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    p, q = nn.Parameter(np.zeros(2)), torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    p.grad, q.grad = tg.tensor(np.array([1.0, bad])), torch.tensor([1.0, bad], dtype=torch.float64)
    with pytest.raises(RuntimeError, match="expected gradients with a finite norm"):
        clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.numpy()[0] == 1.0
    total = clip_grad_norm_(p, 1.0)
    assert str(total.item()) == str(torch.nn.utils.clip_grad_norm_(q, 1.0).item())
    np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_clip_grad_value_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    p = parameters(dtype="float32", scale=3.0)[0]
    q = torch.nn.Parameter(torch.zeros(p.shape))
    q.grad = torch.tensor(p.grad.numpy().copy())
    clip_grad_value_([p], 0.7)
    torch.nn.utils.clip_grad_value_([q], 0.7)
    np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
    assert p.grad.dtype == np.float32


def test_errors():
    with pytest.raises(ValueError, match="clip_grad_norm_: max_norm: expected a number from 0 up, got -1"):
        clip_grad_norm_(parameters(), -1)
    with pytest.raises(ValueError, match="max_norm: expected a number from 0 up, got nan"):
        clip_grad_norm_(parameters(), math.nan)
    with pytest.raises(ValueError, match="norm_type: expected a number above 0 or inf, got 0"):
        clip_grad_norm_(parameters(), 1.0, 0)
    with pytest.raises(ValueError, match=r"clip_value: expected a number from 0 up, got -0\.5"):
        clip_grad_value_(parameters(), -0.5)
    with pytest.raises(TypeError, match=r"parameters\[0\]: expected a tensor, got ndarray"):
        clip_grad_norm_([np.ones(2)], 1.0)


@pytest.mark.parametrize("dtype, scales", [
    ("float32", [1e-44, 1e-38, 1e-30, 1e-20, 1e18, 1e20, 1e30, 1e38]),
    ("float64", [5e-324, 1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e300, 1e307]),
])  # fmt: skip
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, 0.5, math.inf])
def test_norms_whose_squares_overflow_or_underflow(dtype, scales, norm_type):
    for scale in scales:
        ps = [nn.Parameter(np.zeros(n, dtype)) for n in (1, 3, 17, 5000)]
        rng = np.random.default_rng(0)
        for p in ps:
            p.grad = tg.tensor(np.asarray(scale * rng.uniform(-1, 1, p.shape), dtype))
        wide = np.concatenate([p.grad.numpy().astype(np.longdouble) for p in ps])
        top = abs(wide).max()
        if not top:
            continue
        exact = top * (abs(wide / top) ** np.longdouble(norm_type)).sum() ** (1 / np.longdouble(norm_type))
        exact = top if norm_type == math.inf else exact
        found = clip_grad_norm_(ps, 1e-12 if exact < 1 else 2.0, norm_type).item()
        with np.errstate(over="ignore", under="ignore"):
            np.testing.assert_allclose(found, float(np.asarray(exact, dtype)), 2e-6, np.finfo(dtype).smallest_subnormal)
        limit = min(exact, 1e-12 * exact / (exact + 1e-6) if exact < 1 else 2.0)
        after = np.concatenate([p.grad.numpy().astype(np.longdouble) for p in ps])
        if limit > 1e-30:
            np.testing.assert_allclose(after, wide * (limit / exact), 1e-4, float(limit) * 1e-6)


def test_a_used_up_iterator_gives_a_warning_but_an_empty_list_does_not():
    layer = nn.Linear(2, 3)
    parameters = layer.parameters()
    list(parameters)
    with pytest.warns(UserWarning, match="clip_grad_norm_: parameters: expected some, got an iterator that is used up"):
        clip_grad_norm_(parameters, 1.0)
    with pytest.warns(UserWarning, match="clip_grad_value_"):
        clip_grad_value_(parameters, 1.0)
    assert clip_grad_norm_([], 1.0).item() == 0
