"""Machine code of generated functions: read from the cache folder, or compiled by Numba and stored there.

Numba's own cache is not used, because it unpickles any file in its folder. Numba calls two methods of a cache,
`load_overload` and `save_overload`; `Entry` implements them for one function and one file.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy.ma  # noqa: F401  Numba's first call would import it; a fork at that moment would leave its lock held

from ...runtime import cache
from .cache import PREFIX, version

KERNEL = "void(intp, intp, intp)"
"""The signature of kernels: see `native.py`."""


def njit(signature: str, cache: bool = False, **options: Any) -> Callable[[Callable], Any]:
    """Return Numba's `njit` with one signature and Numba's options. With `cache=True` it uses this library's cache."""

    def make(function: Callable) -> Any:
        dispatcher: Any = numba.njit(**options)(function)
        if cache:
            dispatcher._cache = Entry(function)
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return make


def machine_code(function: Callable) -> Any:
    """Return a kernel with C's calling convention. Its `address` is valid as long as this object lives."""
    options: Any = {"error_model": "numpy"}
    code: Any
    try:
        from numba.core.ccallback import CFunc
        from numba.core.sigutils import normalize_signature

        code = CFunc(function, normalize_signature(KERNEL), {}, options)
    except (ImportError, TypeError) as error:
        _missing(error)
        return numba.cfunc(KERNEL, **options)(function)
    code._cache = Entry(function)
    code.compile()
    return code


class Entry:
    """The machine code of one function in the cache folder, with the interface of Numba's caches."""

    def __init__(self, function: Callable):
        self.function = function

    @property
    def path(self) -> Path | None:
        """Return the function's file; None without a cache folder, or for a function outside of generated modules."""
        module, folder = self.function.__module__, cache.folder()
        if folder is None or not module.startswith(PREFIX) or version() is None:
            return None
        return folder / f"{module.removeprefix(PREFIX)}.{self.function.__name__}.{version()}.code"

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled function, or None if it is missing or unusable."""
        content = self.path and cache.read(self.path)
        if not content:
            return None
        try:
            from numba.core.compiler import CompileResult

            target.refresh()
            return CompileResult._rebuild(target, *pickle.loads(content))
        except Exception:  # the file is intact, but this process cannot load it: compile again
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Store the compiled function. If that fails, the function can still be used."""
        path = self.path
        if path is None or getattr(result.library, "has_dynamic_globals", False):
            return
        try:
            from numba.core.serialize import dumps

            content = dumps(result._reduce())
        except Exception as error:
            return _missing(error)
        cache.write(path, content)

    def flush(self) -> None:
        """Do nothing: Numba calls this before it compiles again."""

    cache_path = None


def _missing(error: Exception) -> None:
    cache.warn_once(f"the cache folder is not used: this version of Numba ({numba.__version__}) has changed: {error}")
