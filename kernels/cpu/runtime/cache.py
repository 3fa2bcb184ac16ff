"""Generated modules. A process runs each of them once, from its text; their machine code is cached between processes.

The text itself is never read from a file. `compiled.py` stores the machine code of each function in the cache folder.
The file's name holds a hash of the text and a hash of everything else that the machine code depends on.
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
"""The beginning of the names of generated modules."""

GENERATOR = (".cpu", ".cpu.codegen", ".cpu.runtime", ".ir", ".runtime")
"""The packages of `kernels` that generated code depends on."""

_loaded: dict[str, ModuleType] = {}


@functools.cache
def generator_version() -> str:
    """Return a hash of the sources that generated code depends on."""
    kernels = __name__.partition(".cpu.")[0]
    return digest_of_files([file for package in GENERATOR for file in sources(kernels + package, ".py", ".pyc")])


@functools.cache
def version() -> str | None:
    """Return a hash of all that machine code depends on except its text: generator, Python, Numba, LLVM, processor.

    Return None, with a warning, if it cannot be computed, for example if the sources of the generator are not found.
    """
    import llvmlite
    import numba
    from numba.core.registry import cpu_target

    try:
        host = cpu_target.target_context.codegen().magic_tuple()
        versions = sys.implementation.cache_tag, numba.__version__, llvmlite.__version__
        return digest(repr((generator_version(), versions, host)))[:12]
    except Exception as error:  # import loaders and versions of Numba raise many types of errors
        cache.warn_once(f"the cache folder is not used: the version of the code cannot be computed ({error})")
        return None


def filled(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with each {name} replaced by its value. Other braces stay."""
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def load(name: str, text: str) -> ModuleType:
    """Return the module with this text. Raise ValueError if Numba is not allowed to compile."""
    key = f"{re.sub('[^0-9A-Za-z_]', '_', name)[:100]}_{digest(text)}"
    with locks.held(locks.building):
        if key not in _loaded:
            require_compiler()
            _loaded[key] = _run(PREFIX + key, text)
        return _loaded[key]


def _run(name: str, text: str) -> ModuleType:
    file = f"<{name}>"
    linecache.cache[file] = len(text), None, text.splitlines(True), file  # for tracebacks, and Numba's errors
    module = sys.modules[name] = ModuleType(name)  # Numba looks up a function's module there
    try:
        exec(compile(text, file, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
