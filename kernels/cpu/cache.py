"""Generated modules and where they are kept between processes.

Numba caches the machine code of a function beside the file it is defined in, so generated code is written as a
file of its own in a cache folder, under a name that carries a hash of its text and of the generator; machine
code for another host lies under another key of Numba's. Files are put in place whole, so processes that generate
the same module at once do each other no harm.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "TINYGRAD_RNN_CACHE"
"""Environment variable that names the cache folder."""

_lock = threading.RLock()
_loaded: dict[str, ModuleType] = {}


@functools.cache
def generator_version() -> str:
    """A hash of the sources that generated code depends on."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted([*here.glob("*.py"), here.parent / "program.py"]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def folder() -> Path:
    """The cache folder, made if need be; a temporary one, with a warning, where it cannot be written to."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    wanted = Path(os.environ.get(VARIABLE) or os.path.join(home, "tinygrad_rnn"))
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError as error:
        warnings.warn(
            f"the cache folder {wanted} cannot be written to ({error.strerror}): kernels are compiled anew in each "
            f"process; {VARIABLE} names another folder",
            RuntimeWarning,
            stacklevel=2,
        )
        return Path(tempfile.mkdtemp(prefix="tinygrad_rnn_"))


def filled(template: str, values: Mapping[str, Any]) -> str:
    """A template with each {name} replaced by its value; other braces are left alone."""
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def load(name: str, text: str) -> ModuleType:
    """The module with this text, imported from the cache folder, where it is written first if it is not there."""
    key = f"{name}_{digest(generator_version() + text)}"
    with _lock:
        if key not in _loaded:
            path = folder() / f"{key}.py"
            if not path.exists():
                _write(path, text)
            spec = importlib.util.spec_from_file_location(f"tinygrad_rnn_generated_{key}", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            _loaded[key] = module
        return _loaded[key]


def _write(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
