"""The parts of `with` blocks that are undone whatever is raised in them, at any moment.

CPython can raise a KeyboardInterrupt before any line of Python, even before the first line of an `__exit__`; then the
block would never be undone. So no Python code may run while such a block is entered or left: the callables that do and
undo it are built before the block is entered, from parts written in C.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import Any

consume: Callable[..., None] = deque[Any](maxlen=0).extend
"""Take every item of an iterator and keep none: consume(map(f, arguments)) calls f in C."""


class Undo(io.IOBase):
    """Calls `close` when `__exit__` is called, or when nothing refers to this object any more, whichever comes first.

    IOBase is the standard library's context manager in C that calls `close()` in its `__exit__` and its destructor.
    Only the frame of the `with` block refers to this object, and drops it in whatever way the block is left.
    """

    __slots__ = ("close",)
    close: Callable[[], None]
