"""The loss of connectionist temporal classification, and the checks of its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.box import Box
from ...arrays.device import device_of, to_numpy
from ...autograd.primitives.elementwise import move
from ...autograd.primitives.shape import reshape
from ...autograd.primitives.static import as_int
from ...sequence.ctc import Targets, ctc
from ...tensor.creation import own_tensor
from .reduction import check_reduction, reduced


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """Return -log p(target), summed over all alignments of the target with the steps of each sequence.

    An alignment emits one class in each step, with the probability e^log_probs. It spells the target if that remains
    after repeated classes are merged and blanks are dropped: a a _ a b b spells a a b, where _ is the blank.

    log_probs: [T, N, C], or [T, C] for one sequence, usually from `log_softmax`.
    targets: labels, integers in [0, C) other than the blank: [N, S], padded with anything, or all labels one after the
        other, [sum of target_lengths].
    input_lengths, target_lengths: [N] integers in [0, T] and [0, S]; numbers for one sequence. Steps past a sequence's
        length are not read and have gradient 0.
    blank: the class that stands for no label.
    reduction: 'none' (a loss per sequence, [N]; a scalar for [T, C]), 'sum', or 'mean': each loss is divided by its
        target length, at least 1, then averaged over the batch. The mean over no sequences is NaN.
    zero_infinity: if the steps are too few to spell a target, the loss is inf and the gradient at these steps NaN. With
        zero_infinity both are 0.

    The gradient is that of log_probs as independent variables, -p(step t emits class c | target). PyTorch returns
    e^log_probs more, which is the gradient only through a log_softmax. At the logits before it the two are equal. The
    computation is in log space and in float64. It runs on the CPU: log_probs on a GPU are copied there and the losses
    back. Graves et al., Connectionist temporal classification (2006), section 4.1.

    Raises ValueError for shapes and lengths that do not fit and a blank in the targets, IndexError for labels outside
    [0, C), TypeError for wrong dtypes.
    """
    check_reduction("ctc_loss", reduction)
    given = log_probs if isinstance(log_probs, Box) else own_tensor(log_probs, "ctc_loss: log_probs")
    x = time_batch_classes("ctc_loss", given)
    batch, classes = x.shape[1:]
    blank = blank_class("ctc_loss", blank, classes)
    steps = checked_lengths("ctc_loss: input_lengths", input_lengths, batch, x.shape[0])
    lengths, labels = _labels(targets, target_lengths, batch, classes, blank)
    weights = 1.0 / (np.maximum(lengths, 1) * batch) if reduction == "mean" else np.ones(batch)
    found = ctc(move(x, "cpu"), Targets(labels, steps, 2 * lengths + 1, weights, bool(zero_infinity)))
    if reduction == "none":
        return move(found if len(given.shape) == 3 else reshape(found, ()), device_of(given))
    return move(reduced(found, "sum" if batch else reduction), device_of(given))


def time_batch_classes(name: str, log_probs: Any) -> Any:
    """Return log_probs [T, N, C] or [T, C] as [T, N, C]. Raise ValueError or TypeError unless they are such."""
    shape = log_probs.shape
    if len(shape) not in (2, 3) or not shape[-1]:
        raise ValueError(f"{name}: log_probs: expected shape [T, N, C], or [T, C] for one sequence, got {shape}")
    if log_probs.dtype.kind != "f":
        raise TypeError(f"{name}: log_probs: expected float32 or float64, got {log_probs.dtype}")
    return log_probs if len(shape) == 3 else reshape(log_probs, (shape[0], 1, shape[1]))


def blank_class(name: str, blank: Any, classes: int) -> int:
    """Return blank as an int. Raise ValueError unless it is a class, TypeError if it is no whole number."""
    blank = as_int(f"{name}: blank", blank)
    if not 0 <= blank < classes:
        raise ValueError(f"{name}: blank: expected a class from 0 to {classes - 1}, got {blank}")
    return blank


def checked_lengths(name: str, lengths: Any, batch: int, longest: int) -> np.ndarray:
    """Return lengths as an array [N] of int64. Raise unless they are N whole numbers from 0 to `longest`."""
    found = np.atleast_1d(_integers(name, lengths))
    if found.shape != (batch,):
        raise ValueError(f"{name}: expected {batch} whole numbers, one for each sequence, got shape {found.shape}")
    if batch and not 0 <= found.min() <= found.max() <= longest:
        worst = found.min() if found.min() < 0 else found.max()
        raise ValueError(f"{name}: expected whole numbers from 0 to {longest}, got {worst}")
    return found.astype(np.int64)


def _labels(targets: Any, lengths: Any, batch: int, classes: int, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the checked target lengths [N], and the label of each state [N, 2 S + 1]; see `kernels.reference.ctc`."""
    found, name = _integers("ctc_loss: targets", targets), "ctc_loss: target_lengths"
    if found.ndim not in (1, 2) or found.ndim == 2 and len(found) != batch:
        raise ValueError(
            f"ctc_loss: targets: expected shape [{batch}, S], or [sum of target_lengths], got {found.shape}"
        )
    lengths = checked_lengths(name, lengths, batch, found.shape[-1])
    if found.ndim == 1 and lengths.sum() != len(found):
        raise ValueError(f"{name}: expected a sum of {len(found)}, as targets has labels, got {lengths.sum()}")
    real = np.arange(lengths.max() if batch else 0) < lengths[:, None]
    flat = found if found.ndim == 1 else found[:, : real.shape[1]][real]
    if flat.size and not 0 <= flat.min() <= flat.max() < classes:
        worst = flat.min() if flat.min() < 0 else flat.max()
        raise IndexError(f"ctc_loss: targets: expected labels from 0 to {classes - 1}, got {worst}")
    if (flat == blank).any():
        raise ValueError(f"ctc_loss: targets: expected labels other than the blank, {blank}, got the blank")
    labels = np.full((batch, 2 * real.shape[1] + 1), blank, np.int64)
    labels[:, 1::2][real] = flat
    return lengths, labels


def _integers(name: str, values: Any) -> np.ndarray:
    found = to_numpy(values, name, any_dtype=True)
    if not found.size and isinstance(values, (list, tuple)):
        found = found.astype(np.int64)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {found.dtype}")
    return found
