"""The tape: recording, the backward pass and the memory that it frees, hooks, modes and threads."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
from helpers import leaf, on_tape

import tinygrad_rnn as tg
from tinygrad_rnn.autograd.primitive import primitive


def watched(calls: list[str], name: str) -> Any:
    """Return a primitive of two arguments with VJPs that append their names to `calls`."""

    def first(g: Any, y: Any) -> Any:
        calls.append(name + ".0")
        return g * y

    def second(g: Any, y: Any) -> Any:
        calls.append(name + ".1")
        return g * 0.0

    return primitive(name, lambda x, y: x * y, first, second)


# Accumulation and freeing


def test_leaves_accumulate_over_calls() -> None:
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_the_vjp_of_a_shared_subexpression_runs_once() -> None:
    calls: list[str] = []
    f = watched(calls, "f")
    x = leaf(2.0)
    y = f(x, 3.0)
    (y * y + y).backward()
    assert x.grad.item() == 2 * 6 * 3 + 3
    assert calls == ["f.0"]


def test_a_value_used_twice_in_one_primitive() -> None:
    x = leaf([3.0])
    (x * x * x - x - x).sum().backward()
    assert x.grad.tolist() == [25.0]


def test_intermediate_values_have_no_grad_unless_asked() -> None:
    x = leaf([3.0])
    y = x * 2
    z = y * y
    z.retain_grad()
    y.retain_grad()
    z.sum().backward()
    assert y.grad.tolist() == [12.0] and z.grad.tolist() == [1.0] and x.grad.tolist() == [24.0]
    w = (x * 2) * 1
    assert w.grad is None


def test_second_backward_needs_retain_graph() -> None:
    x = leaf([1.0])
    y = (x.exp() * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * np.e)
    with pytest.raises(RuntimeError, match=r"'sum' was freed.*retain_graph=True"):
        y.backward()
    with pytest.raises(RuntimeError, match="freed"):
        tg.grad(y * 2, x)


def test_backward_of_a_part_frees_that_part() -> None:
    x = leaf([1.0])
    h = x * 2
    (h * h).sum().backward()
    with pytest.raises(RuntimeError, match="'mul' was freed"):
        (h * 3).sum().backward()


def test_backward_wants_a_scalar_or_a_gradient() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match=r"gradient: expected one of shape \(2,\)"):
        (x * 2).backward()
    (x * 2).backward(tg.tensor([1.0, 10.0], dtype="float64"))
    assert x.grad.tolist() == [2.0, 20.0]
    (x * 2).backward(np.array([1.0, 0.0]))
    assert x.grad.tolist() == [4.0, 20.0]
    with pytest.raises(ValueError, match=r"expected float64 of shape \(2,\), got float64 of shape \(3,\)"):
        (x * 2).backward(tg.zeros(3, dtype="float64"))
    with pytest.raises(ValueError, match="got float32"):
        (x * 2).backward(tg.zeros(2))
    with pytest.raises(RuntimeError, match="got a constant"):
        tg.ones(1).backward()
    (x[:1] * 2).backward()
    assert x.grad.tolist() == [6.0, 20.0]


def test_backward_of_a_leaf_itself() -> None:
    x = leaf(2.0)
    x.backward()
    x.backward()
    assert x.grad.item() == 2.0 and isinstance(x.grad.data, np.ndarray)


def test_gradients_of_scalars_are_arrays() -> None:
    x = leaf(2.0)
    (x * x).backward()
    assert type(x.grad.data) is np.ndarray and x.grad.shape == ()
    (g,) = tg.grad(x.exp() * x, x)
    assert type(g.data) is np.ndarray
    seen: list[Any] = []
    y = x * 3
    y.register_hook(lambda g: seen.append(type(g.data)))
    (y * y).backward()
    assert seen == [np.ndarray]


# Gradients are owned


def test_no_two_gradients_share_an_array() -> None:
    for create in (False, True):
        x, y, seed = leaf([1.0, 2.0]), leaf([3.0, 4.0]), tg.tensor([1.0, 1.0], dtype="float64")
        z = x + y
        z.retain_grad()
        z.backward(seed, create_graph=create)
        arrays = [x.grad.data, y.grad.data, z.grad.data, seed.data]
        assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
        assert x.grad is not y.grad
        with tg.no_grad():
            y.grad.data *= 0.5
        assert x.grad.tolist() == [1.0, 1.0] and seed.tolist() == [1.0, 1.0] and z.grad.tolist() == [1.0, 1.0]
        gx, gy = tg.grad(x + y, [x, y], seed, create_graph=create)
        assert not np.shares_memory(gx.data, gy.data) and not np.shares_memory(gx.data, seed.data)


def test_views_as_gradients_are_copied() -> None:
    x, y = leaf(np.ones((2, 3))), leaf(np.ones(6))
    (x.reshape(6) + y).sum().backward()
    assert x.grad.data.flags.writeable and y.grad.data.flags.writeable
    x.grad.data *= 5
    assert y.grad.tolist() == [1.0] * 6


def test_a_combined_vjp_may_return_one_array_twice() -> None:
    def vjp(needs: list[bool], g: Any) -> list[Any]:
        both = g * 2.0
        return [both, both, None]

    f = primitive("f", lambda x, y, z: x + y, vjp, combined=True)
    x, y, z = leaf([1.0]), leaf([1.0]), leaf([1.0])
    older = x * 5  # backward reaches it after f, and adds in place to the gradient of x from f
    (f(x, y, z) + older).sum().backward()
    assert x.grad.tolist() == [7.0] and y.grad.tolist() == [2.0] and z.grad is None


def test_accumulating_does_not_write_into_a_retained_gradient() -> None:
    x = leaf([1.0])
    y = x * 2
    y.retain_grad()
    (y + x * 5).sum().backward()
    assert y.grad.tolist() == [1.0] and x.grad.tolist() == [7.0]
    first = x.grad
    (x * 1).sum().backward()
    assert first.tolist() == [7.0] and x.grad.tolist() == [8.0]


# tg.grad


def test_grad_leaves_grad_alone_and_takes_any_input() -> None:
    x, y = leaf([2.0]), leaf([5.0])
    h = x * y
    gx, gh, gz = tg.grad((h * h).sum(), [x, h, h], retain_graph=True)
    assert (gx.tolist(), gh.tolist(), gz.tolist()) == ([100.0], [20.0], [20.0])
    assert x.grad is None and y.grad is None
    out = (h * 3).sum()
    assert tg.grad(out, out)[0].item() == 1.0


def test_grad_of_several_outputs() -> None:
    x = leaf([2.0, 3.0])
    a, b = x * x, x.sum()
    (g,) = tg.grad([a, b, a], x, [tg.tensor([1.0, 2.0], dtype="float64"), None, np.ones(2)])
    assert g.tolist() == [4 + 1 + 4, 12 + 1 + 6]
    with pytest.raises(ValueError, match="expected one for each of 2 outputs, got 1"):
        tg.grad([a, b], x, [None])


def test_grad_of_unused_inputs() -> None:
    x, y = leaf([2.0]), leaf([5.0])
    with pytest.raises(RuntimeError, match=r"inputs\[1\].*allow_unused=True"):
        tg.grad((x * 2).sum(), [x, y])
    gx, gy = tg.grad((x * 2).sum(), [x, y], allow_unused=True)
    assert gx.tolist() == [2.0] and gy is None
    with pytest.raises(RuntimeError, match=r"inputs\[0\]: expected a tensor with requires_grad"):
        tg.grad((x * 2).sum(), tg.ones(1))
    with pytest.raises(RuntimeError, match="got float"):
        tg.grad(2.0, x)  # type: ignore[arg-type]


def test_only_the_vjps_on_the_way_run() -> None:
    calls: list[str] = []
    f, g, h = (watched(calls, name) for name in "fgh")
    x, y, z = leaf([2.0]), leaf([5.0]), leaf([7.0])
    tg.grad(h(f(x, 2.0), g(y, z)).sum(), x)
    assert calls == ["h.0", "f.0"]
    calls.clear()
    h(f(x, 2.0), g(y, z)).sum().backward()
    assert sorted(calls) == ["f.0", "g.0", "g.1", "h.0", "h.1"]


def test_create_graph_to_the_third_order() -> None:
    x = leaf([1.5, -2.0])
    y = (x**4 + x.sin()).sum()
    (first,) = tg.grad(y, x, create_graph=True)
    (second,) = tg.grad(first.sum(), x, create_graph=True)
    (third,) = tg.grad(second.sum(), x)
    np.testing.assert_allclose(third.numpy(), 24 * x.numpy() - np.cos(x.numpy()))
    assert not third.requires_grad and second.requires_grad


def test_backward_with_create_graph_gives_gradients_on_the_tape() -> None:
    x = leaf([3.0])
    (x**3).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    (g,) = tg.grad(x.grad.sum(), x)
    assert g.tolist() == [18.0]


def test_missing_gradients_of_some_outputs() -> None:
    for create in (False, True):
        x = leaf(np.arange(6.0))
        a, _, c = x.split(2)
        (g,) = tg.grad((a * c).sum(), x, create_graph=create)
        assert g.tolist() == [4.0, 5.0, 0.0, 0.0, 0.0, 1.0]


# Modes


def test_modes_nest_and_decorate() -> None:
    x = leaf([1.0])

    @tg.no_grad()
    def constant() -> tg.Tensor:
        with tg.enable_grad():
            assert (x * 2).requires_grad
        return x * 2

    assert not constant().requires_grad and tg.is_grad_enabled()
    with tg.set_grad_enabled(False):
        assert not (x * 2).requires_grad
        with tg.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not tg.is_grad_enabled()
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert tg.is_grad_enabled()
    assert not tg.set_grad_enabled(False)(lambda: x * 2)().requires_grad
    assert tg.is_grad_enabled()
    assert x.detach().node is None and not (x.detach() * 2).requires_grad


def test_set_grad_enabled_as_a_statement_holds_from_there_on() -> None:
    x = leaf([1.0])
    tg.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        tg.set_grad_enabled(True)
    assert (x * 2).requires_grad


def test_constants_record_nothing() -> None:
    assert (tg.ones(2) * 3).node is None
    x = leaf([1.0, 2.0])
    assert on_tape((x > 1), x.argmax()) == []


def test_a_mode_belongs_to_its_thread() -> None:
    x, seen = leaf([1.0]), []
    inside, leave = threading.Event(), threading.Event()

    @tg.no_grad()
    def wait() -> None:
        inside.set()
        leave.wait(10)

    def other() -> None:
        with tg.no_grad():
            wait()
            seen.append(tg.is_grad_enabled())
        seen.append(tg.is_grad_enabled())

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    assert tg.is_grad_enabled() and (x * 2).requires_grad
    threading.Timer(0.05, leave.set).start()
    wait()  # the same decorated function on two threads at once, entered under different modes
    thread.join()
    assert seen == [False, True] and tg.is_grad_enabled()


def test_threads_share_a_leaf() -> None:
    x = leaf(np.ones(50))
    rounds, start, interval = 60, threading.Barrier(8), sys.getswitchinterval()

    def work(k: int) -> None:
        start.wait()
        for _ in range(rounds):
            ((x * k).tanh() * 0 + x * k).sum().backward()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    sys.setswitchinterval(1e-6)  # so that threads switch in the middle of operations
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert x.grad.tolist() == [28.0 * rounds] * 50


# Hooks


def test_hooks_see_and_replace_gradients() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    seen: list[list[float]] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    remove = y.register_hook(lambda g: g * 10)
    y.retain_grad()
    (y * y).sum().backward(retain_graph=True)
    assert seen == [[4.0, 8.0]] and y.grad.tolist() == [40.0, 80.0] and x.grad.tolist() == [80.0, 160.0]
    remove()
    remove()
    x.grad = None
    (y * 1).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_hook_on_a_leaf_changes_what_is_stored() -> None:
    x = leaf([1.0])
    mine = tg.tensor([7.0], dtype="float64")
    x.register_hook(lambda g: mine)
    (x * 2 + x).sum().backward()
    assert x.grad.tolist() == [7.0] and not np.shares_memory(x.grad.data, mine.data)


def test_wrong_hooks_are_refused() -> None:
    for wrong, got in ((tg.zeros(3), r"\(3,\)"), (tg.zeros(1), "float32"), (np.zeros(1), "float64"), (1.0, "float")):
        x = leaf([1.0])
        x.register_hook(lambda g, wrong=wrong: wrong)
        with pytest.raises(ValueError, match=rf"hook on 'leaf': expected None or a tensor, float64.*{got}"):
            (x * 2).sum().backward()
    with pytest.raises(RuntimeError, match=r"register_hook.*got a constant"):
        tg.ones(1).register_hook(lambda g: None)
    with pytest.raises(RuntimeError, match=r"retain_grad.*got a constant"):
        tg.ones(1).retain_grad()
