"""Generated modules and where they are kept between processes.

Numba caches the machine code of a function beside the file it is defined in, so generated code is written as a
file of its own in a cache folder, under a name that carries a hash of its text and of the generator; machine
code for another host lies under another key of Numba's. Files are put in place whole, so processes that generate
the same module at once do each other no harm.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..cache import digest, digest_of_files, folder

_lock = threading.RLock()
_loaded: dict[str, ModuleType] = {}


@functools.cache
def generator_version() -> str:
    """A hash of the sources that generated code depends on."""
    here = Path(__file__).parent
    return digest_of_files([*here.glob("*.py"), here.parent / "program.py", here.parent / "plan.py"])


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
