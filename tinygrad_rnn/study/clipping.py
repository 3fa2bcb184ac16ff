"""Claims on gradient clipping."""

from __future__ import annotations

import numpy as np

from .. import nn
from ..autograd.grad_modes import no_grad
from ..nn.utils import clip_grad_norm_, clip_grad_value_
from ..tensor import Tensor
from ..tensor.creation import tensor
from .finding import Curves, Finding, Progress, claim, figure, gradient_of


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of the angle between two vectors."""
    a, b = a.astype("d"), b.astype("d")
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _steep(seed: int) -> nn.RNN:
    """Return an RNN of 32 units whose recurrent weights are scaled up until some gradients explode."""
    layer = nn.RNN(4, 32)
    with no_grad():
        layer.weight_hh_l0 *= 2.6
    return layer


def _each_gradient(layer: nn.RNN, seed: int, count: int = 256) -> np.ndarray:
    """Return the gradient by all weights of each of `count` sequences of 50 steps [count, weights]."""
    draw = np.random.default_rng(seed).standard_normal
    x, target = draw((50, count, 4)).astype("f"), draw((count, 32)).astype("f")
    found = []
    for k in range(count):
        layer.zero_grad()
        output = layer(tensor(x[:, k : k + 1]))[0]
        ((output[-1] - tensor(target[k : k + 1])) ** 2).mean().backward()
        found.append(_flat(layer))
    return np.array(found)


def _flat(layer: nn.Module) -> np.ndarray:
    """Return the gradient by all weights as one vector."""
    return np.concatenate([gradient_of(p).ravel() for p in layer.parameters()])


@claim("clip-direction", "Clipping bounds an exploding gradient and keeps its direction.")
def clip_direction(seed: int, progress: Progress) -> Finding:
    each = _each_gradient(_steep(seed), seed, 64)
    mean, rows = each.mean(0), []
    norm = np.linalg.norm(mean.astype("d"))
    curves: dict[str, tuple[list[float], list[float]]] = {"by norm": ([], []), "by value": ([], [])}
    for share in (1.0, 0.3, 0.1, 0.03, 0.01):
        cosines = []
        for name, clip, limit in (
            ("by norm", clip_grad_norm_, share * norm),
            ("by value", clip_grad_value_, share * np.abs(mean).max()),
        ):
            leaf = tensor(mean, requires_grad=True)
            leaf.grad = Tensor(mean.copy())
            clip(leaf, float(limit))
            cosines.append(cosine(leaf.grad.numpy(), mean))
            curves[name][0].append(share)
            curves[name][1].append(cosines[-1])
        rows.append((figure(share), *(f"{c:.4f}" for c in cosines)))
    return Finding(
        ("limit, relative to the largest", "cosine, clipped by norm", "cosine, clipped by value"),
        rows,
        "qualified",
        "Clipping by the norm scales all elements alike, so the direction stays. Clipping each element by its value "
        "turns the gradient, the more the lower the limit.",
        Curves("limit, relative", "cosine with the true gradient", curves, log="x"),
    )


@claim("clip-bias", "Clipped gradients are biased.")
def clip_bias(seed: int, progress: Progress) -> Finding:
    each = _each_gradient(_steep(seed), seed)
    batches = each.reshape(16, 16, -1).mean(1)
    mean, rows = each.mean(0), []
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for share in (0.0, 0.1, 0.5, 0.9):
        row = [f"{share:.0%}"]
        for label, gradients in (("each sequence clipped", each), ("each batch of 16 clipped", batches)):
            c = cosine(_clipped(gradients, 1 - share).mean(0), mean)
            x, y = curves.setdefault(label, ([], []))
            x.append(share)
            y.append(c)
            row.append(figure(c))
        rows.append(row)
    size = _size(each)
    ratio = figure(size.max() / np.median(size), 2)
    return Finding(
        ("gradients above the limit", *(f"cosine, {label}" for label in curves)),
        rows,
        "confirmed",
        f"The largest of 256 single gradients is {ratio} times the median one. The mean of clipped gradients points "
        "elsewhere than the mean gradient, because rare large gradients lose their weight. Clipping the mean of each "
        "batch keeps that batch's direction, but over many batches it is biased too.",
        Curves("share of the gradients that are clipped", "cosine with the mean gradient", curves),
    )


def _size(gradients: np.ndarray) -> np.ndarray:
    """Return the norm of each gradient [count]."""
    return np.linalg.norm(gradients.astype("d"), axis=1)


def _clipped(gradients: np.ndarray, quantile: float) -> np.ndarray:
    """Return the gradients [count, weights], each clipped to the norm that this share of them does not exceed."""
    size = _size(gradients)
    return gradients * np.minimum(1.0, np.quantile(size, quantile) / size)[:, None]
