"""The locks of the library, and their renewal at a fork.

A forked child has one thread, the one that forked. A lock that another thread held at that moment would stay locked in
the child for ever, so every lock is created here, and created again in the child. That does not help while another
thread imports or compiles code, because compilers have locks and unfinished state of their own. So a fork waits for
imports and compilations.
"""

from __future__ import annotations

import contextlib
import logging  # noqa: F401  its lock must be registered before ours: a fork takes the last first, and compilers log
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from .undo import Undo, consume

WAIT = 120.0  # seconds that a fork waits for a compilation at most

_registry: list[tuple[dict[str, Any], str, Callable[[], Any]]] = []


def renewed_at_fork(namespace: dict[str, Any], name: str, make: Callable[[], Any]) -> Any:
    """Return make(), and bind `name` in a module's namespace to another make() in every forked child.

    The module must read the lock under this name each time that it takes it.
    """
    _registry.append((namespace, name, make))
    return make()


class _Acquire:
    """`__enter__` of `held`: a `with` block reads it from the class before the block is entered, and gets C code."""

    def __get__(self, block: held, owner: type) -> Callable[[], None]:
        return partial(block.taken.extend, map(block.lock.acquire, (True,)))


class _Release:
    """`__exit__` of `held`, in the same way: it releases the lock as often as the block has taken it."""

    def __get__(self, block: held, owner: type) -> Callable[..., None]:
        back = Undo()
        back.close = partial(consume, map(block.lock.__exit__, block.taken))
        return back.__exit__


class held:
    """`with held(lock):` is `with lock:`, but no interrupt can leave the lock held.

    Between the last line of a `with lock:` block and the lock's release, Python code can run and raise: a function for
    tracing or profiling, or one that a garbage collection calls.
    """

    __slots__ = ("lock", "taken")

    def __init__(self, lock: Any):
        self.lock = lock
        self.taken: list[bool] = []

    __enter__ = _Acquire()
    __exit__ = _Release()


building = renewed_at_fork(globals(), "building", threading.RLock)
"""The lock for importing, generating and compiling code. Take it as `with locks.held(locks.building)`."""


def _before() -> None:
    building.acquire(timeout=WAIT)


def _after_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # the wait timed out: another thread has it
        building.release()


def _after_in_child() -> None:
    for namespace, name, make in _registry:
        namespace[name] = make()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
