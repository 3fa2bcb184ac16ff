"""The update rules: SGD, Adagrad, RMSprop, Adam and AdamW, with PyTorch's formulas, names and defaults.

In the equations x is a parameter, g its gradient, t the number of the update, from 1. With weight_decay w, g is
first replaced by g + w x (but for AdamW, see there). A parameter whose `grad` is None is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .optimizer import Optimizer

Group = dict[str, Any]


def _decayed(x: np.ndarray, g: np.ndarray, group: Group) -> np.ndarray:
    """The gradient of the loss with weight_decay / 2 * |x|^2 added."""
    return g + group["weight_decay"] * x if group["weight_decay"] else g


def _average(into: np.ndarray, values: np.ndarray, keep: float) -> None:
    """into <- keep into + (1 - keep) values, in place."""
    into *= keep
    into += (1.0 - keep) * values


class SGD(Optimizer):
    """Gradient descent, with momentum:

        v_t = momentum v_(t-1) + (1 - dampening) g      (v_1 = g)
        x  <- x - lr v_t                                (nesterov: x - lr (g + momentum v_t))

    Robbins and Monro, A stochastic approximation method (1951); Sutskever et al., On the importance of
    initialization and momentum in deep learning (2013), section 2. Without momentum nothing is kept.
    """

    flags = frozenset({"nesterov"})

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        options = {"lr": lr, "momentum": momentum, "dampening": dampening}
        super().__init__(params, **options, weight_decay=weight_decay, nesterov=nesterov)

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            got = f"momentum {group['momentum']} and dampening {group['dampening']}"
            raise ValueError(f"SGD: nesterov: expected momentum above 0 and dampening 0, got {got}")

    def slots(self, group: Group) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def rule(self, x: Any, g: Any, group: Group, step: int, momentum_buffer: Any = None) -> Any:
        g = _decayed(x, g, group)
        if momentum_buffer is not None:
            momentum_buffer *= group["momentum"]
            momentum_buffer += g if step == 1 else (1.0 - group["dampening"]) * g
            g = g + group["momentum"] * momentum_buffer if group["nesterov"] else momentum_buffer
        return x - group["lr"] * g


class Adagrad(Optimizer):
    """A step that shrinks where gradients have been large:

        s  <- s + g^2                                   (s_0 = initial_accumulator_value)
        x  <- x - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    Duchi et al., Adaptive subgradient methods for online learning and stochastic optimization (2011), section 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ):
        options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay}
        super().__init__(params, **options, initial_accumulator_value=initial_accumulator_value, eps=eps)

    def slots(self, group: Group) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def rule(self, x: Any, g: Any, group: Group, step: int, sum: Any) -> Any:
        g = _decayed(x, g, group)
        sum += g * g
        return x - group["lr"] / (1.0 + (step - 1) * group["lr_decay"]) * g / (np.sqrt(sum) + group["eps"])


class RMSprop(Optimizer):
    """The gradient over its recent magnitude:

        s  <- alpha s + (1 - alpha) g^2
        m  <- alpha m + (1 - alpha) g                   (centered; otherwise m = 0)
        u   = g / (sqrt(s - m^2) + eps)
        v  <- momentum v + u
        x  <- x - lr v

    Tieleman and Hinton, Neural networks for machine learning, lecture 6.5 (2012); with `centered`, Graves,
    Generating sequences with recurrent neural networks (2013), eq. 38 to 42, but for where eps stands.
    """

    flags = frozenset({"centered"})

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, **options, momentum=momentum, centered=centered)

    def slots(self, group: Group) -> dict[str, float]:
        names = ["square_avg"] + ["momentum_buffer"] * bool(group["momentum"]) + ["grad_avg"] * bool(group["centered"])
        return dict.fromkeys(names, 0.0)

    def rule(
        self,
        x: Any,
        g: Any,
        group: Group,
        step: int,
        square_avg: Any,
        momentum_buffer: Any = None,
        grad_avg: Any = None,
    ) -> Any:
        g = _decayed(x, g, group)
        _average(square_avg, g * g, group["alpha"])
        variance = square_avg
        if grad_avg is not None:
            _average(grad_avg, g, group["alpha"])
            variance = np.maximum(square_avg - grad_avg * grad_avg, 0.0)  # rounding can take it below 0
        u = g / (np.sqrt(variance) + group["eps"])
        if momentum_buffer is not None:
            momentum_buffer *= group["momentum"]
            momentum_buffer += u
            u = momentum_buffer
        return x - group["lr"] * u


class Adam(Optimizer):
    """The mean of recent gradients over their recent magnitude:

        m  <- b1 m + (1 - b1) g
        v  <- b2 v + (1 - b2) g^2                       (b1, b2 = betas)
        x  <- x - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    With amsgrad the largest v so far stands in place of v. Kingma and Ba, Adam: a method for stochastic
    optimization (2015), algorithm 1; Reddi et al., On the convergence of Adam and beyond (2018), algorithm 2.
    """

    flags = frozenset({"amsgrad"})
    decoupled = False  # whether weight decay acts on x itself, beside the gradient

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def slots(self, group: Group) -> dict[str, float]:
        return dict.fromkeys(["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"]), 0.0)

    def rule(
        self, x: Any, g: Any, group: Group, step: int, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any = None
    ) -> Any:
        (b1, b2), lr = group["betas"], group["lr"]
        if self.decoupled:
            x = x * (1.0 - lr * group["weight_decay"])
        else:
            g = _decayed(x, g, group)
        _average(exp_avg, g, b1)
        _average(exp_avg_sq, g * g, b2)
        if max_exp_avg_sq is not None:
            exp_avg_sq = np.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        scale = np.sqrt(exp_avg_sq)
        scale /= math.sqrt(1.0 - b2**step)
        scale += group["eps"]
        return x - lr / (1.0 - b1**step) * exp_avg / scale


class AdamW(Adam):
    """Adam, with weight decay beside the gradient: x <- (1 - lr weight_decay) x first, then Adam's step for g alone.

    Loshchilov and Hutter, Decoupled weight decay regularization (2019), algorithm 2.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
