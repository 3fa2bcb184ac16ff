"""What a `with` block undoes whatever is raised within it, wherever: the parts that such blocks are made of.

CPython can raise a KeyboardInterrupt before any line of Python, also before the first one of an `__exit__`; what is
undone there would stay done for good. So nothing between the first and the last moment of a block is Python: the
callables that do and undo are built before the block is entered, of parts written in C.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import Any

consume: Callable[..., None] = deque[Any](maxlen=0).extend
"""Take every item of an iterator and keep none: run_through(map(f, arguments)) calls f in C."""


class Undo(io.IOBase):
    """Call `close`, as `__exit__` is called, or when nobody holds this any more, whichever comes first.

    IOBase is the standard library's context manager in C whose `__exit__`, and whose destructor, call `close()`. It is
    held by the frame of the `with` block alone, which lets go of it in whatever way the block is left.
    """

    __slots__ = ("close",)
    close: Callable[[], None]
