"""Anomaly mode names the primitive and the line of the user's program that made the first NaN or Inf."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable

import numpy as np
import pytest
from helpers import leaf

import tinygrad_rnn as tg
from tinygrad_rnn.autograd.anomaly import watching
from tinygrad_rnn.autograd.primitive import primitive


def line_after(marker: str) -> str:
    """Return `test_anomaly.py:n in ` for the line that ends with a marker."""
    source = inspect.getsource(inspect.getmodule(line_after))  # type: ignore[arg-type]
    return f"test_anomaly.py:{1 + next(n for n, line in enumerate(source.splitlines()) if line.endswith(marker))} in "


def fault(run: Callable[[], object]) -> str:
    with np.errstate(all="ignore"), tg.detect_anomaly(), pytest.raises(FloatingPointError) as caught:
        run()
    return str(caught.value)


def test_forward() -> None:
    def model() -> None:
        x = leaf([1.0, -1.0])
        y = x.log()  # here: log
        y.sum()

    message = fault(model)
    assert message.startswith("log: made the first NaN") and "its arguments are all finite" in message
    assert line_after("# here: log") in message and "in model" in message


def test_forward_of_constants_and_divisions() -> None:
    assert fault(lambda: tg.zeros(1) / tg.zeros(1)).startswith("div: made the first NaN")
    assert fault(lambda: tg.ones(1) / 0).startswith("div: made the first Inf")
    assert fault(lambda: tg.zeros(0).mean()).startswith("mul: made the first NaN")
    assert fault(lambda: (tg.ones(1) * 1000).exp()).startswith("exp: made the first Inf")


def test_arguments_that_are_not_finite_are_named() -> None:
    assert "its argument 1 holds NaN" in fault(lambda: tg.ones(1) * tg.tensor(float("nan")))
    assert "its argument 0 holds Inf" in fault(lambda: tg.tensor([1.0, float("inf")]) + 1)


def test_backward() -> None:
    def model() -> None:
        x = leaf([0.0, 1.0])
        y = x.sqrt()  # here: sqrt
        (y * 2).sum().backward()

    message = fault(model)
    assert message.startswith("sqrt: its backward made the first Inf")
    assert line_after("# here: sqrt") in message and message.endswith("the gradient that reached it was finite")


def test_backward_of_a_graph_recorded_outside() -> None:
    y = leaf([0.0]).sqrt().sum()
    assert "recorded at a line that ran outside detect_anomaly()" in fault(y.backward)


def test_a_given_gradient_that_is_not_finite() -> None:
    y = leaf([1.0]) * 2
    message = fault(lambda: y.backward(np.array([np.nan])))
    assert message.startswith("mul: its backward made the first NaN") and message.endswith("was not finite")


def test_backward_of_several_results_and_of_a_recorded_backward() -> None:
    def split() -> None:
        a, b = leaf([0.0, 1.0]).split(1)
        (a.sqrt() + b).sum().backward()

    def twice() -> None:
        x = leaf([0.0])
        (g,) = tg.grad((x**1.5).sum(), x, create_graph=True)
        g.sum().backward()

    assert fault(split).startswith("sqrt: its backward made the first Inf")
    assert "its backward made the first" in fault(twice)
    broken = primitive("broken", lambda x: (x, x), lambda needs, g: [g.parts[0] * np.nan], combined=True)
    assert fault(lambda: broken(leaf([1.0]))[0].sum().backward()).startswith("broken: its backward made the first NaN")


def test_off_outside_of_the_block() -> None:
    with np.errstate(all="ignore"):
        with tg.detect_anomaly():
            with tg.detect_anomaly():
                pass
            assert watching.on
        assert not watching.on
        x = leaf([0.0])
        x.sqrt().sum().backward()
        assert np.isinf(x.grad.numpy()).all()
        with pytest.raises(FloatingPointError):
            with tg.detect_anomaly():
                tg.zeros(1).log()
        assert not watching.on and np.isinf(tg.zeros(1).log().item())


def test_as_a_decorator_and_for_its_own_thread() -> None:
    @tg.detect_anomaly()
    def log(x: tg.Tensor) -> tg.Tensor:
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(watching.on))
        thread.start()
        thread.join()
        assert seen == [False] and watching.on
        return x.log()

    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        log(tg.zeros(1))
    assert not watching.on and log(tg.ones(1)).item() == 0


def test_finite_programs_and_integers_pass() -> None:
    with tg.detect_anomaly():
        x = leaf([1.0, 2.0])
        (x.softmax().log() * tg.tensor([1.0, 0.0], dtype="float64")).sum().backward()
        assert (tg.arange(3) * 2).tolist() == [0, 2, 4]
    assert x.grad is not None


def test_lines_of_the_library_are_never_the_users():
    """The message names the line in this file, though the error comes from deep inside the package."""
    layer = tg.nn.Sequential(tg.nn.Linear(2, 2), tg.nn.Tanh())
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"test_anomaly\.py:\d+ in test_lines_of"):
        layer(tg.tensor([[float("nan"), 1.0]]))
