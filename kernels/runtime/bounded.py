"""Things that are kept from call to call as they are dear to make: never without bound, and released in one place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
_releases: list[Callable[[], object]] = []


def bounded(size: int) -> Callable[[Function], Function]:
    """Keep a function's last `size` results, for as long as nobody calls `release`."""

    def keeping(function: Function) -> Function:
        cached: Any = functools.lru_cache(size)(function)
        _releases.append(cached.cache_clear)
        return cached

    return keeping


def on_release(release_it: Callable[[], object]) -> Callable[[], object]:
    """Have `release` call a function too; returns the function."""
    _releases.append(release_it)
    return release_it


def release() -> None:
    """Forget all that is kept but for compiled code, which cannot be given back; it is made again when it is wanted."""
    for release_it in _releases:
        release_it()
