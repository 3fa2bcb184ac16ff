"""The argument `reduction` of losses: the losses themselves, their sum or their mean."""

from __future__ import annotations

from typing import Any

from ...autograd.primitives.reduce import mean, sum


def check_reduction(name: str, reduction: str, *further: str) -> str:
    """Return reduction. Raise ValueError unless it is 'mean', 'sum', 'none' or one of `further`."""
    if reduction not in ("mean", "sum", "none", *further):
        allowed = ", ".join(map(repr, (*further, "mean", "sum")))
        raise ValueError(f"{name}: reduction: expected {allowed} or 'none', got {reduction!r}")
    return reduction


def reduced(losses: Any, reduction: str) -> Any:
    """Return the losses, their sum or their mean. The mean of no losses is NaN."""
    return losses if reduction == "none" else sum(losses) if reduction == "sum" else mean(losses)
