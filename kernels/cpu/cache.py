"""Generated modules and where they are kept between processes.

Numba caches the machine code of a function beside the file it is defined in, so generated code is written as a
file of its own in a cache folder, under a name that carries a hash of its text and of the generator; machine
code for another host lies under another key of Numba's. Files are put in place whole, so processes that generate
the same module at once do each other no harm.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .. import locks
from ..cache import digest, digest_of_files, folder

Made = TypeVar("Made")
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
    """The module with this text, imported from the cache folder, where it is written first if it is not there.

    What is damaged there, as by a crash while the disk was full, is made anew.
    """
    key = f"{name}_{digest(generator_version() + text)}"
    with locks.building:
        if key not in _loaded:
            path = folder() / f"{key}.py"
            if not path.exists() or path.read_bytes() != text.encode():
                _write(path, text)
            _loaded[key] = made_again_if_damaged(path, lambda: _imported(f"tinygrad_rnn_generated_{key}", path))
        return _loaded[key]


def made_again_if_damaged(path: Path, make: Callable[[], Made]) -> Made:
    """make(), and where it fails once more without what compilers have kept of the module at a path."""
    try:
        return make()
    except Exception:  # Numba and Python meet damaged files with errors of all kinds
        kept = list((path.parent / "__pycache__").glob(f"{glob.escape(path.stem)}.*"))
        if not kept:
            raise
        for file in kept:
            file.unlink(missing_ok=True)
        return make()


def _imported(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _write(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
