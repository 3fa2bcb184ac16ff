"""The argument `reduction` of losses: the losses themselves, their sum or their mean."""

from __future__ import annotations

from typing import Any

from ..autograd.primitives.reduce import mean, sum


def check_reduction(name: str, reduction: str) -> str:
    """Return reduction. Raise ValueError unless it is 'mean', 'sum' or 'none'."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")
    return reduction


def reduced(losses: Any, reduction: str) -> Any:
    """Return the losses, their sum or their mean. The mean of no losses is NaN."""
    return losses if reduction == "none" else sum(losses) if reduction == "sum" else mean(losses)
