"""Division of whole numbers that rounds up."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up to a whole number, for b > 0."""
    return -(-a // b)


def round_up(n: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least n."""
    return -(-n // multiple) * multiple
