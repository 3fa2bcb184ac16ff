"""The update rules: SGD, Adagrad, RMSprop, Adam and AdamW, with PyTorch's formulas, names and defaults.

In the equations x is a number of a parameter, g its gradient, t the number of the update, from 1. With weight_decay
w, g + w x first replaces g (AdamW differs, see there). A parameter whose `grad` is None stays unchanged. params:
leaf tensors of any shape, float32 or float64, or groups of them. Every option is a number from 0 up, or True or False.
Any other value raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from ..autograd.primitives.elementwise import maximum, sqrt
from .optimizer import Optimizer

Group = dict[str, Any]


def _decayed(x: Any, g: Any, o: SimpleNamespace) -> Any:
    """Return the gradient of the loss + weight_decay / 2 * |x|^2."""
    return g + o.weight_decay * x if o.weight_decay else g


class SGD(Optimizer):
    """Gradient descent, with momentum:

        v_t = momentum v_(t-1) + (1 - dampening) g      (v_1 = g)
        x  <- x - lr v_t                                (nesterov: x - lr (g + momentum v_t))

    Robbins and Monro, A stochastic approximation method (1951); Sutskever et al., On the importance of
    initialization and momentum in deep learning (2013), section 2. Without momentum there is no state.
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

    def numbers(self, group: Group, step: int) -> dict[str, float]:
        return {"g_factor": 1.0 if step == 1 else 1.0 - group["dampening"]}

    def rule(self, x: Any, g: Any, o: SimpleNamespace, momentum_buffer: Any = None) -> dict[str, Any]:
        g = _decayed(x, g, o)
        if momentum_buffer is None:
            return {"x": x - o.lr * g}
        v = o.momentum * momentum_buffer + o.g_factor * g
        return {"x": x - o.lr * (g + o.momentum * v if o.nesterov else v), "momentum_buffer": v}


class Adagrad(Optimizer):
    """Gradient descent, with a step that shrinks for each number as its squared gradients add up:

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

    def numbers(self, group: Group, step: int) -> dict[str, float]:
        return {"rate": group["lr"] / (1.0 + (step - 1) * group["lr_decay"])}

    def rule(self, x: Any, g: Any, o: SimpleNamespace, sum: Any) -> dict[str, Any]:
        g = _decayed(x, g, o)
        s = sum + g * g
        return {"x": x - o.rate * g / (sqrt(s) + o.eps), "sum": s}


class RMSprop(Optimizer):
    """The gradient divided by its recent magnitude:

        s  <- alpha s + (1 - alpha) g^2
        m  <- alpha m + (1 - alpha) g                   (centered; otherwise m = 0)
        u   = g / (sqrt(s - m^2) + eps)
        v  <- momentum v + u
        x  <- x - lr v

    Tieleman and Hinton, Neural networks for machine learning, lecture 6.5 (2012); with `centered`, Graves,
    Generating sequences with recurrent neural networks (2013), eq. 38 to 42, which add eps inside of the root.
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

    def numbers(self, group: Group, step: int) -> dict[str, float]:
        return {"one_minus_alpha": 1.0 - group["alpha"]}

    def rule(
        self, x: Any, g: Any, o: SimpleNamespace, square_avg: Any, momentum_buffer: Any = None, grad_avg: Any = None
    ) -> dict[str, Any]:
        g = _decayed(x, g, o)
        new = {"square_avg": o.alpha * square_avg + o.one_minus_alpha * (g * g)}
        variance = new["square_avg"]
        if grad_avg is not None:
            m = new["grad_avg"] = o.alpha * grad_avg + o.one_minus_alpha * g
            variance = maximum(variance - m * m, 0.0)  # rounding can take it below 0
        u = g / (sqrt(variance) + o.eps)
        if momentum_buffer is not None:
            u = new["momentum_buffer"] = o.momentum * momentum_buffer + u
        return {"x": x - o.lr * u} | new


class Adam(Optimizer):
    """The mean of recent gradients divided by their recent magnitude:

        m  <- b1 m + (1 - b1) g
        v  <- b2 v + (1 - b2) g^2                       (b1, b2 = betas)
        x  <- x - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    With amsgrad the largest v so far replaces v. Kingma and Ba, Adam: a method for stochastic
    optimization (2015), algorithm 1; Reddi et al., On the convergence of Adam and beyond (2018), algorithm 2.
    """

    flags = frozenset({"amsgrad"})
    decoupled = False  # True: weight decay multiplies x itself and does not enter g

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

    def numbers(self, group: Group, step: int) -> dict[str, float]:
        (b1, b2), lr = group["betas"], group["lr"]
        found = {"b1": b1, "b2": b2, "one_minus_b1": 1.0 - b1, "one_minus_b2": 1.0 - b2, "rate": lr / (1.0 - b1**step)}
        return found | {"root": math.sqrt(1.0 - b2**step), "decay_factor": 1.0 - lr * group["weight_decay"]}

    def rule(
        self, x: Any, g: Any, o: SimpleNamespace, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any = None
    ) -> dict[str, Any]:
        if not self.decoupled:
            g = _decayed(x, g, o)
        elif o.weight_decay:
            x = o.decay_factor * x
        m = o.b1 * exp_avg + o.one_minus_b1 * g
        v = o.b2 * exp_avg_sq + o.one_minus_b2 * (g * g)
        new = {"exp_avg": m, "exp_avg_sq": v}
        if max_exp_avg_sq is not None:
            v = new["max_exp_avg_sq"] = maximum(max_exp_avg_sq, v)
        return {"x": x - o.rate * m / (sqrt(v) / o.root + o.eps)} | new


class AdamW(Adam):
    """Adam with decoupled weight decay: x <- (1 - lr weight_decay) x first, then Adam's step for g alone.

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
