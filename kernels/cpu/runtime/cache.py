"""Generated modules: run from their text, once in a process; their machine code is kept between processes.

The text itself is never read from a file. `compiled.py` keeps the machine code of each of its functions in the cache
folder, in a file whose name carries a hash of the text and one of all else that the machine code depends on.
"""

from __future__ import annotations

import functools
import linecache
import re
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...runtime import cache, locks
from ...runtime.cache import digest, digest_of_files, sources
from .host import require_compiler

PREFIX = "tinygrad_rnn_generated_"
"""Names of generated modules begin with it."""

_loaded: dict[str, ModuleType] = {}


@functools.cache
def generator_version() -> str:
    """A hash of the sources that generated code depends on."""
    here, above = __name__.rpartition(".")[0], __name__.rpartition(".cpu.")[0]
    beside = [file for file in sources(above, ".py", ".pyc") if file.name.partition(".")[0] in ("plan", "program")]
    return digest_of_files([*sources(here, ".py", ".pyc"), *beside])


@functools.cache
def version() -> str | None:
    """A hash of all that machine code depends on beside its text: generator, Python, Numba, LLVM, processor.

    None, with a warning, where it cannot be told, as the sources of the generator are not to be found.
    """
    import llvmlite
    import numba
    from numba.core.registry import cpu_target

    try:
        host = cpu_target.target_context.codegen().magic_tuple()
        versions = sys.implementation.cache_tag, numba.__version__, llvmlite.__version__
        return digest(repr((generator_version(), versions, host)))[:12]
    except Exception as error:  # loaders and versions of Numba fail in all ways
        cache.warn_once(f"the cache folder is not used: the version of the code cannot be told ({error})")
        return None


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A template with each {name} replaced by its value; other braces are left alone."""
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def load(name: str, text: str) -> ModuleType:
    """The module with this text. Raises ValueError where Numba is not allowed to compile."""
    key = f"{re.sub('[^0-9A-Za-z_]', '_', name)[:100]}_{digest(text)}"
    with locks.held(locks.building):
        if key not in _loaded:
            require_compiler()
            _loaded[key] = _run(PREFIX + key, text)
        return _loaded[key]


def _run(name: str, text: str) -> ModuleType:
    file = f"<{name}>"
    linecache.cache[file] = len(text), None, text.splitlines(True), file  # for tracebacks, and Numba's errors
    module = sys.modules[name] = ModuleType(name)  # Numba looks there for what a function's module is
    try:
        exec(compile(text, file, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
