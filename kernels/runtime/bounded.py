"""Tables of results that are expensive to compute. Every table has a bound, and `release` empties all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
_releases: list[Callable[[], object]] = []


def bounded(size: int) -> Callable[[Function], Function]:
    """Return a decorator that stores a function's last `size` results until `release` is called."""

    def keeping(function: Function) -> Function:
        cached: Any = functools.lru_cache(size)(function)
        _releases.append(cached.cache_clear)
        return cached

    return keeping


def on_release(release_it: Callable[[], object]) -> Callable[[], object]:
    """Make `release` call a function, too. Return the function."""
    _releases.append(release_it)
    return release_it


def release() -> None:
    """Empty all tables. Compiled code stays, because its memory cannot be given back."""
    for release_it in _releases:
        release_it()
