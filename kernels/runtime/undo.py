"""The parts of `with` blocks that are undone whatever is raised within them, at any moment.

CPython can raise a KeyboardInterrupt before any line of Python, also before the first line of an `__exit__`; then the
block would never be undone. So no Python code runs between the first and the last moment of such a block: the callables
that do and undo are built before the block is entered, from parts written in C.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import Any

consume: Callable[..., None] = deque[Any](maxlen=0).extend
"""Take every item of an iterator and keep none: consume(map(f, arguments)) calls f in C."""


class Undo(io.IOBase):
    """Call `close` when `__exit__` is called, or when nobody holds this any more, whichever comes first.

    IOBase is the standard library's context manager in C whose `__exit__`, and whose destructor, call `close()`. It is
    held by the frame of the `with` block alone, which drops it in whatever way the block is left.
    """

    __slots__ = ("close",)
    close: Callable[[], None]
