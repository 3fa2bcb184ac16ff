"""Connectionist temporal classification: equal to sums over all alignments, to its recursion, and to PyTorch."""

import itertools
import math

import numpy as np
import pytest
from helpers import leaf, normal

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.decode import ctc_greedy_decode
from tinygrad_rnn.kernels import dense, driver
from tinygrad_rnn.kernels.cpu import ctc as compiled
from tinygrad_rnn.kernels.cpu.runtime import memory, threads
from tinygrad_rnn.kernels.reference import ctc as reference
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.sequence import ctc as node

SIZES = [(1, 1, 1, 2), (3, 1, 2, 3), (5, 3, 2, 4), (17, 7, 5, 3), (34, 5, 17, 6), (100, 3, 33, 17), (2, 100, 1, 5)]


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def problem(T, N, S, C, blank=0, seed=0):
    """Return log-probabilities [T, N, C], padded targets and lengths; all lengths may be 0 and targets too long."""
    rng = np.random.default_rng([seed, T, N, S, C])
    targets = rng.integers(0, C - 1, (N, S))
    targets += targets >= blank
    steps, lengths = rng.integers(0, T + 1, N), rng.integers(0, S + 1, N)
    steps[0], lengths[-1] = T, S
    return log_softmax(3 * rng.standard_normal((T, N, C))), targets, steps, lengths


def possible(T, N, S, C, **options):
    """Return a problem whose targets can all be spelt."""
    x, targets, _, lengths = problem(T, N, S, C, **options)
    return x, targets, np.full(N, T), np.minimum(lengths, (T + 1) // 2)


def extended(targets, lengths, blank):
    """Return the labels of the states, and their number, as the kernels take them."""
    labels = np.full((len(targets), 2 * targets.shape[1] + 1), blank)
    labels[:, 1::2] = targets
    return labels, 2 * lengths + 1


def gradients(loss, x):
    return tg.grad(loss.sum(), x, allow_unused=True)[0].numpy()


# Values and gradients


def spelt(path, blank):
    return tuple(c for c, _ in itertools.groupby(path) if c != blank)


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("driver_name", ["cpu", "reference"])
def test_losses_are_sums_over_all_alignments(blank, driver_name, monkeypatch):
    monkeypatch.setattr(driver, "wanted_driver", lambda: driver_name)
    labels = [c for c in range(3) if c != blank]
    for T in range(6):
        x = leaf(log_softmax(normal(T, 1, 3, seed=blank)))
        paths = list(itertools.product(range(3), repeat=T))
        p = np.array([math.exp(sum(x.numpy()[t, 0, c] for t, c in enumerate(path))) for path in paths])
        for target in itertools.chain.from_iterable(itertools.product(labels, repeat=S) for S in range(T + 2)):
            those = np.array([spelt(path, blank) == target for path in paths])
            loss = F.ctc_loss(x, [list(target)], [T], [len(target)], blank, "sum")
            if not those.any():
                assert loss.item() == math.inf
                continue
            np.testing.assert_allclose(loss.item(), -np.log(p[those].sum()), 1e-12, 1e-12)
            posterior = np.zeros((T, 1, 3))
            for path, weight in zip(np.array(paths, int)[those], p[those] / p[those].sum()):
                posterior[np.arange(T), 0, path] += weight
            np.testing.assert_allclose(gradients(loss, x), -posterior, 1e-10, 1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_code_is_the_reference(size, dtype):
    x, targets, steps, lengths = problem(*size)
    x, (labels, states) = x.astype(dtype), extended(targets, lengths, 0)
    wanted, wanted_saved = reference.losses(x, labels, steps, states, True)
    found, saved = compiled.losses(x, labels, steps, states, True)
    np.testing.assert_allclose(found, wanted, 1e-12, 1e-12)
    np.testing.assert_array_equal(compiled.losses(x, labels, steps, states, False)[0], found)
    g = normal(size[1]).astype(dtype)
    limit = 1e-6 if dtype == "float32" else 1e-10
    for zero in (False, True):
        w = reference.gradient(g, x, labels, steps, states, wanted, wanted_saved, zero)
        f = compiled.gradient(g, x, labels, steps, states, found, saved, zero)
        assert f.dtype == w.dtype == dtype
        np.testing.assert_allclose(f, w, limit, limit)


@pytest.mark.parametrize("size", SIZES)
def test_the_recursion_of_primitives_is_the_reference(size):
    x, targets, steps, lengths = problem(*size)
    labels, states = extended(targets, lengths, 0)
    found = node.recursion(tg.tensor(x), node.Targets(labels, steps, states, np.ones(size[1]), False)).numpy()
    wanted, _ = reference.losses(x, labels, steps, states, False)
    np.testing.assert_allclose(np.where(found > 1e29, np.inf, found), wanted, 1e-12, 1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("dtype", "zero_infinity"), [("float32", True), ("float64", True), ("float64", False)])
def test_like_pytorch(size, reduction, dtype, zero_infinity):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    blank = size[3] // 2
    _, targets, steps, lengths = problem(*size, blank=blank)
    logits = (3 * normal(*size[:2], size[3])).astype(dtype)
    limit = 5e-4 if dtype == "float32" else 1e-10  # PyTorch adds logarithms in float32
    flat = np.concatenate([row[:n] for row, n in zip(targets, lengths)])
    for labels in (targets, flat):
        x, y = tg.tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
        u, v = x.log_softmax(-1), y.log_softmax(-1)
        v.retain_grad()
        found = F.ctc_loss(u, tg.tensor(labels), tg.tensor(steps), lengths, blank, reduction, zero_infinity)
        given = [torch.tensor(a) for a in (labels, steps, lengths)]
        wanted = torch.nn.functional.ctc_loss(v, *given, blank, reduction, zero_infinity)
        assert found.dtype == dtype and found.shape == tuple(wanted.shape)
        np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), limit, limit)
        (at_log_probs,) = tg.grad(found.sum(), u, retain_graph=True)
        found.sum().backward()
        wanted.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), limit, limit)
        if reduction == "sum" and (zero_infinity or math.isfinite(found.item())):
            # the difference that the docstring tells: e^log_probs at each step of a target that can be spelt
            spelt = F.ctc_loss(u, labels, steps, lengths, blank, "none").isfinite().numpy()
            more = np.exp(u.detach().numpy()) * ((np.arange(size[0])[:, None] < steps) & spelt)[:, :, None]
            np.testing.assert_allclose(at_log_probs.numpy() + more, v.grad.numpy(), limit, limit)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_one_sequence_without_a_batch(reduction):
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    x, target = log_softmax(normal(7, 4)), [1, 3, 3]
    wanted = torch.nn.functional.ctc_loss(
        torch.tensor(x), torch.tensor(target), torch.tensor(7), torch.tensor(3), reduction=reduction
    )
    for lengths in ((7, 3), ([7], [3]), (np.int32(7), tg.tensor(3)), (tg.tensor([7]), (3,))):
        for labels in (target, [target], np.array([[*target, -5]])):
            found = F.ctc_loss(x, labels, *lengths, reduction=reduction)
            assert found.shape == () and abs(found.item() - wanted.item()) < 1e-12
    batched = F.ctc_loss(x[:, None], target, [7], [3], reduction=reduction)
    assert batched.shape == ((1,) if reduction == "none" else ())


def test_the_mean_divides_by_target_lengths_of_at_least_one():
    x, targets, *_ = problem(9, 3, 4, 5)
    lengths = np.array([0, 1, 4])
    each = F.ctc_loss(x, targets, [9] * 3, lengths, reduction="none").numpy()
    assert F.ctc_loss(x, targets, [9] * 3, lengths).item() == pytest.approx((each / [1, 1, 4]).mean(), 1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_impossible_targets(dtype):
    x = tg.tensor(log_softmax(normal(4, 3, 3)), dtype=dtype, requires_grad=True)
    given = [[1, 1, 1], [1, 2, 1], [2, 0, 0]], [4, 3, 0], [3, 3, 1]  # a repeated label needs a blank between
    loss = F.ctc_loss(x, *given, reduction="none")
    assert np.isinf(loss.numpy()).tolist() == [True, False, True]
    zeroed = F.ctc_loss(x, *given, reduction="none", zero_infinity=True)
    assert zeroed.tolist() == [0.0, loss[1].item(), 0.0]
    for create_graph in (False, True):
        (g,) = tg.grad(loss.sum(), x, retain_graph=True, create_graph=create_graph)
        (z,) = tg.grad(zeroed.sum(), x, retain_graph=True, create_graph=create_graph)
        g, z = g.detach().numpy(), z.detach().numpy()
        assert np.isnan(g[:, 0]).all() and not g[:, 2].any() and not g[3:, 1].any()
        assert not z[:, [0, 2]].any()
        np.testing.assert_array_equal(g[:, 1], z[:, 1])
        np.testing.assert_allclose(z[:3, 1].sum(1), -1.0, 1e-6)


def test_nothing_at_all():
    for T, N in ((0, 3), (4, 0), (0, 0)):  # without a step or a sequence
        x = tg.zeros(T, N, 2, requires_grad=True)
        none = F.ctc_loss(x, np.zeros((N, 0), int), [T] * N, [0] * N, reduction="none")
        assert none.tolist() == [0.0] * N
        for create_graph in (False, True):
            (g,) = tg.grad(none.sum(), x, retain_graph=True, create_graph=create_graph)
            assert g.shape == x.shape
        mean = F.ctc_loss(x, np.zeros(0, int), [T] * N, [0] * N)
        assert mean.item() == 0.0 if N else math.isnan(mean.item())
    assert F.ctc_loss(tg.zeros(0, 1, 2), [[1]], [0], [1]).item() == math.inf


def test_numbers_that_are_not_finite():
    x, targets, steps, lengths = possible(8, 3, 3, 5)
    steps, lengths = np.array([8, 6, 8]), np.array([3, 2, 1])
    clean = F.ctc_loss(x, targets, steps, lengths, reduction="none").numpy()
    dirty = x.copy()
    dirty[6:, 1] = np.nan  # past the steps of sequence 1
    dirty[3, 0, :] = np.nan
    a = tg.tensor(dirty, requires_grad=True)
    loss = F.ctc_loss(a, targets, steps, lengths, reduction="none")
    np.testing.assert_array_equal(loss.numpy(), [np.nan, *clean[1:]])
    for create_graph in (False, True):
        g = tg.grad(loss[1:].sum(), a, retain_graph=True, create_graph=create_graph)[0].detach().numpy()
        assert np.isfinite(g[:, 1:]).all() and not g[6:, 1].any()
    assert np.isnan(F.ctc_loss(a, targets, steps, lengths, zero_infinity=True).item())


@pytest.mark.parametrize("driver_name", ["cpu", "reference"])
def test_classes_of_probability_0(driver_name, monkeypatch):
    """PyTorch's gradient is NaN at such a class."""
    monkeypatch.setattr(driver, "wanted_driver", lambda: driver_name)
    x = log_softmax(normal(8, 2, 4))
    x[2, :, :3] = -np.inf  # so the only start is 1 2 3, and at step 3 state 3 cannot be reached
    a = tg.tensor(x, requires_grad=True)
    loss = F.ctc_loss(a, [[1, 2, 3], [1, 2, 3]], [8, 4], [3, 3])
    assert math.isfinite(loss.item())
    for create_graph in (False, True):
        g = tg.grad(loss, a, retain_graph=True, create_graph=create_graph)[0].detach().numpy()
        np.testing.assert_allclose(g[:3, :, 1:], np.tile(-np.eye(3)[:, None] / 6, (1, 2, 1)), 1e-12, 1e-15)
        np.testing.assert_allclose(g.sum(2)[:4], -1 / 6, 1e-12)


@pytest.mark.parametrize("scale", [1.0, 50.0, 1000.0])
def test_long_sequences_of_sure_models_lose_nothing(scale):
    x, targets, steps, lengths = possible(1000, 2, 40, 6)
    x = log_softmax(scale * x / 10) if scale < 700 else scale * x
    found = F.ctc_loss(x.astype("float32"), targets, steps, lengths, reduction="none").numpy()
    wanted, _ = reference.losses(x.astype("float32"), *_rest(targets, steps, lengths), False)
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(found, wanted, 1e-6)


def _rest(targets, steps, lengths):
    labels, states = extended(targets, lengths, 0)
    return labels, steps, states


# Derivatives


@pytest.mark.parametrize("size", [(1, 1, 1, 2), (4, 3, 2, 3), (7, 2, 3, 4)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_derivatives(size, reduction):
    x, targets, steps, lengths = possible(*size, blank=1)
    steps[0] = min(size[0], 2 * lengths[0])
    loss = lambda x: F.ctc_loss(x, targets, steps, lengths, 1, reduction)
    through = lambda x: loss(tg.log_softmax(x, -1))
    for f in (loss, through):
        assert tg.gradcheck(f, leaf(x)) and tg.gradgradcheck(f, leaf(x))


def test_a_recorded_backward_gives_the_same_gradient():
    for dtype, limit in (("float32", 1e-6), ("float64", 1e-12)):
        x, targets, steps, lengths = problem(17, 7, 5, 3)
        a = tg.tensor(x, dtype=dtype, requires_grad=True)
        loss = F.ctc_loss(a, targets, steps, lengths, zero_infinity=True)
        plain, recorded = (tg.grad(loss, a, retain_graph=True, create_graph=c)[0] for c in (False, True))
        assert recorded.requires_grad and recorded.dtype == dtype
        np.testing.assert_allclose(recorded.detach().numpy(), plain.numpy(), limit, limit)
    # a hook of the argument runs once, although the recorded backward has a backward pass of its own
    calls = []
    a = leaf(x) * 1.0
    a.register_hook(lambda g: calls.append(g))
    tg.grad(F.ctc_loss(a, targets, steps, lengths, zero_infinity=True), a, create_graph=True)
    assert len(calls) == 1


def test_a_retained_graph_gives_the_same_again_whatever_the_caller_writes():
    x, targets, steps, lengths = possible(9, 3, 4, 5)
    a = leaf(x)
    loss = F.ctc_loss(a, targets, steps, lengths)
    first = tg.grad(loss, a, retain_graph=True)[0].numpy()
    targets[...], steps[...], lengths[...] = 1, 1, 1
    np.testing.assert_array_equal(tg.grad(loss, a)[0].numpy(), first)


# The compiled code


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_depend_neither_on_threads_nor_on_the_batch(dtype, every_size_is_worth_threads):
    x, targets, steps, lengths = problem(23, 11, 9, 7)
    x = x.astype(dtype)
    found = []
    for count in (1, 2, 3):
        tg.set_num_threads(count)
        a = tg.tensor(x, requires_grad=True)
        loss = F.ctc_loss(a, targets, steps, lengths, reduction="none")
        found.append((loss.numpy(), gradients(loss, a)))
    for n in range(x.shape[1]):
        T, S = steps[n] + n % 2 * (23 - steps[n]), lengths[n]
        a = tg.tensor(x[:T, n : n + 1], requires_grad=True)
        loss = F.ctc_loss(a, targets[n : n + 1, :S], steps[n : n + 1], [S], reduction="none")
        np.testing.assert_array_equal(loss.numpy(), found[0][0][n : n + 1])
        np.testing.assert_array_equal(gradients(loss, a), found[0][1][:T, n : n + 1])
    for losses, grads in found[1:]:
        np.testing.assert_array_equal(losses, found[0][0])
        np.testing.assert_array_equal(grads, found[0][1])


def test_memory_is_written_before_it_is_read(monkeypatch):
    borrow, empty = memory.borrow, memory.empty

    def filled(array):
        array.reshape(-1).view(np.uint8)[:] = 255  # NaN
        return array

    monkeypatch.setattr(memory, "borrow", lambda size: filled(borrow(size)))
    monkeypatch.setattr(memory, "empty", lambda *given: filled(empty(*given)))
    for S in (1, 2, 3, 4, 7, 8):
        x, targets, steps, lengths = possible(20, 3, S, 5)
        labels, states = extended(targets, lengths, 0)
        found, saved = compiled.losses(x, labels, steps, states, True)
        g = compiled.gradient(np.ones(3), x, labels, steps, states, found, saved, False)
        assert np.isfinite(compiled.losses(x, labels, steps, states, False)[0]).all() and np.isfinite(g).all()


def test_threads_share_the_batch(monkeypatch):
    counts = []
    run = threads.run
    monkeypatch.setattr(threads, "run", lambda jobs, count: counts.append(count) or run(jobs, count))
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: 2 if flops > 1e6 else 1)
    for N in (32, 1):
        x, *rest = possible(34, N, 8, 12)
        compiled.losses(x, *_rest(*rest), False)
    assert counts == [2, 1]


def test_arrays_in_any_layout():
    x, targets, steps, lengths = possible(9, 3, 4, 5)
    wanted = F.ctc_loss(x, targets, steps, lengths).item()
    batch_first = tg.tensor(np.ascontiguousarray(x.transpose(1, 0, 2))).transpose(0, 1)
    assert F.ctc_loss(batch_first, targets, steps, lengths).item() == wanted
    assert F.ctc_loss(x, np.asfortranarray(targets), steps[::-1][::-1], lengths).item() == wanted
    assert (
        F.ctc_loss(x, np.repeat(targets, 2, 1)[:, ::2].astype("uint8"), steps, lengths.astype("int8")).item() == wanted
    )


def test_nothing_is_saved_without_a_backward(monkeypatch):
    kept = []
    losses = dense.ctc_losses
    monkeypatch.setattr(dense, "ctc_losses", lambda *args: kept.append(args[-1]) or losses(*args))
    x, *rest = possible(9, 3, 4, 5)
    F.ctc_loss(x, *rest)
    F.ctc_loss(leaf(x), *rest)
    with tg.no_grad():
        F.ctc_loss(leaf(x), *rest)
    assert kept == [False, True, False]


def test_on_a_gpu_it_runs_on_the_host(cupy):
    x, *rest = possible(9, 3, 4, 5)
    found = []
    for device in ("cpu", "cuda"):
        a = tg.tensor(x, device=device, requires_grad=True)
        given = [tg.tensor(r, device=device) for r in rest]
        for reduction in ("mean", "none"):
            loss = F.ctc_loss(a, *given, reduction=reduction)
            (g,) = tg.grad(loss.sum(), a)
            assert loss.device.startswith(device) and g.device.startswith(device)
            found.append((loss.cpu().numpy(), g.cpu().numpy()))
    for on_gpu, on_cpu in zip(found[2:], found[:2]):
        np.testing.assert_array_equal(on_gpu[0], on_cpu[0])
        np.testing.assert_array_equal(on_gpu[1], on_cpu[1])


def test_the_module_is_the_function():
    x, *rest = problem(9, 3, 4, 5, blank=2)
    module = nn.CTCLoss(blank=2, reduction="sum", zero_infinity=True)
    assert module(tg.tensor(x), *rest).item() == F.ctc_loss(x, *rest, 2, "sum", True).item()
    x, *rest = possible(9, 3, 4, 5)
    assert nn.CTCLoss()(x, *rest).item() == F.ctc_loss(x, *rest).item()


def test_it_learns_to_spell():
    tg.manual_seed(0)
    logits = tg.zeros(12, 2, 4, requires_grad=True)
    optimizer = tg.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.ctc_loss(logits.log_softmax(-1), [[1, 2, 2, 3], [3, 1, 0, 0]], [12, 5], [4, 2])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert ctc_greedy_decode(logits, [12, 5]) == [[1, 2, 2, 3], [3, 1]]


# Errors

X = np.zeros((5, 2, 4), "f")
LABELS = [[1, 2, 3], [3, 1, 1]]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"targets": [[1, 4, 1], [1, 1, 1]]}, IndexError, "ctc_loss: targets: expected labels from 0 to 3, got 4"),
        ({"targets": [[1, -1, 1], [1, 1, 1]]}, IndexError, "targets: expected labels from 0 to 3, got -1"),
        ({"targets": [[1, 0, 1], [1, 1, 1]]}, ValueError, "targets: expected labels other than the blank, 0, got"),
        ({"targets": [[1.0, 2.0], [1.0, 1.0]]}, TypeError, "ctc_loss: targets: expected integers, got float32"),
        ({"targets": [[True] * 3] * 2}, TypeError, "ctc_loss: targets: expected integers, got bool"),
        ({"targets": [[1, 2, 3]]}, ValueError, r"targets: expected shape \[2, S\], or .*, got \(1, 3\)"),
        ({"targets": [[[1]]]}, ValueError, r"targets: expected shape \[2, S\], or .*, got \(1, 1, 1\)"),
        ({"targets": [1, 2, 3, 1]}, ValueError, "target_lengths: expected a sum of 4, as targets has labels, got 5"),
        ({"targets": ["a", "b"]}, TypeError, "ctc_loss: targets: expected"),
        ({"input_lengths": [5, 6]}, ValueError, "input_lengths: expected whole numbers from 0 to 5, got 6"),
        ({"input_lengths": [5, -1]}, ValueError, "input_lengths: expected whole numbers from 0 to 5, got -1"),
        ({"input_lengths": [5]}, ValueError, r"input_lengths: expected 2 whole numbers, .*, got shape \(1,\)"),
        ({"input_lengths": 5}, ValueError, r"input_lengths: expected 2 whole numbers, .*, got shape \(1,\)"),
        ({"input_lengths": [5.0, 5.0]}, TypeError, "ctc_loss: input_lengths: expected integers, got float32"),
        ({"input_lengths": None}, TypeError, "ctc_loss: input_lengths: expected"),
        ({"target_lengths": [3, 4]}, ValueError, "target_lengths: expected whole numbers from 0 to 3, got 4"),
        ({"target_lengths": [3, -2]}, ValueError, "target_lengths: expected whole numbers from 0 to 3, got -2"),
        ({"target_lengths": [[3, 2]]}, ValueError, r"target_lengths: expected 2 whole numbers, .* shape \(1, 2\)"),
        ({"blank": 4}, ValueError, "ctc_loss: blank: expected a class from 0 to 3, got 4"),
        ({"blank": -1}, ValueError, "ctc_loss: blank: expected a class from 0 to 3, got -1"),
        ({"blank": 0.0}, TypeError, "ctc_loss: blank: expected a whole number, got 0.0"),
        ({"reduction": "avg"}, ValueError, "ctc_loss: reduction: expected 'mean', 'sum' or 'none', got 'avg'"),
        ({"log_probs": X[0, 0]}, ValueError, r"log_probs: expected shape \[T, N, C\], or \[T, C\] .*, got \(4,\)"),
        ({"log_probs": X[..., :0]}, ValueError, r"log_probs: expected shape \[T, N, C\], .*, got \(5, 2, 0\)"),
        ({"log_probs": X.astype(int)}, TypeError, "log_probs: expected float32 or float64, got int64"),
        ({"log_probs": X.astype("f2")}, TypeError, "ctc_loss: log_probs: dtype: expected one of"),
        ({"log_probs": X[:, :1]}, ValueError, "targets: expected shape|input_lengths: expected 1 whole numbers"),
    ],
)
def test_errors(given, error, message):
    arguments = {"log_probs": X, "targets": LABELS, "input_lengths": [5, 5], "target_lengths": [3, 2]} | given
    with pytest.raises(error, match=message):
        F.ctc_loss(**arguments)


def test_padding_may_hold_anything():
    targets = np.array([[1, 2, -7], [3, 0, 99]])
    wanted = F.ctc_loss(X, [[1, 2], [3, 1]], [5, 5], [2, 1]).item()
    assert F.ctc_loss(X, targets, [5, 5], [2, 1]).item() == wanted


def test_the_module_checks_its_reduction():
    with pytest.raises(ValueError, match="CTCLoss: reduction: expected 'mean', 'sum' or 'none', got 'avg'"):
        nn.CTCLoss(reduction="avg")
