"""Libraries of compiled cells: generated, built by nvcc, stored in the cache folder, loaded through cffi."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np

from ..ir.plan import Plan
from ..ir.program import Step
from ..runtime import locks
from ..runtime.cache import (
    digest,
    digest_of_files,
    folder,
    read,
    sources,
    temporary,
    write,
)
from . import emit
from .arrays import Device, address

HERE = Path(__file__).parent
DEVICE = HERE / "device"
BUILT = HERE / "built"
"""The folder of libraries that were built ahead of time, for all of ARCHITECTURES."""

ARCHITECTURES = (80, 86, 89, 90, 100, 120)
FIRST_OF_CLUSTERS = 90
"""A library for all architectures has PTX of this one, too: PTX of an older one would skip the barriers of clusters."""

EVERY = "every"
"""The target of a library for all of ARCHITECTURES that nvcc supports, with PTX for later ones."""

FLAGS = ("-std=c++17", "-O3", "--shared", "-Xcompiler=-fPIC", f"-I{DEVICE}")


class BuildError(RuntimeError):
    """nvcc is missing, or it failed; then the message has its output."""


def find_nvcc() -> str | None:
    """Return the path of nvcc, or None: as CUDACXX names it, or else in CUDA_HOME or on the search path."""
    if named := os.environ.get("CUDACXX"):
        return shutil.which(named)
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    return (shutil.which("nvcc", path=os.path.join(home, "bin")) if home else None) or shutil.which("nvcc")


def command(target: str) -> list[str]:
    """Return the command that builds a library for a target: an architecture such as "90", or EVERY."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise BuildError(
            "nvcc: not found. It builds the GPU's kernels: install the CUDA toolkit, or set CUDACXX to the path of nvcc"
        )
    return [nvcc, *FLAGS, *architectures(nvcc, target)]


def architectures(nvcc: str, target: str) -> list[str]:
    """Return nvcc's flags for a target."""
    if target != EVERY:
        return [f"-arch=sm_{target}"]
    listed = subprocess.run([nvcc, "--list-gpu-arch"], check=True, capture_output=True, text=True).stdout.split()
    known = [a for a in ARCHITECTURES if f"compute_{a}" in listed]
    real = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in known]
    virtual = [a for a in known if a in (FIRST_OF_CLUSTERS, known[-1])]
    ptx = [f"-gencode=arch=compute_{a},code=compute_{a}" for a in virtual]
    return [*real, *ptx, "--threads=0"]


@functools.cache
def sources_version() -> str:
    """Return a hash of the headers that every library is built from."""
    return digest_of_files(_headers())


def _headers() -> list[Traversable]:
    return sources(__name__.rpartition(".")[0] + ".device", ".cuh", ".h")


def _name(plan: Plan, products: str, text: str) -> str:
    projected = "_projected" if plan.projected else ""
    cell = re.sub("[^0-9A-Za-z_]", "_", plan.step.name)[:80]
    return f"{cell}{projected}_{products}_{digest(sources_version() + text)}"


def build(text: str, target: str, path: Path) -> Path:
    """Build a library and return its path: `path`, or a file in a folder of this process if `path` cannot be written.

    The file has a hash after the library's end. The loader does not read that far.
    """
    library = compiled(text, target)
    if write(path, library):
        return path
    elsewhere = temporary() / path.name
    if not write(elsewhere, library):
        raise BuildError(f"{path}: cannot be written, nor can {elsewhere}")
    return elsewhere


def compiled(text: str, target: str) -> bytes:
    """Return a library as bytes, built in a folder that only this user can enter."""
    with tempfile.TemporaryDirectory(prefix="tinygrad_rnn_") as work:
        source, output = Path(work) / "cell.cu", Path(work) / "cell.so"
        source.write_text(text, encoding="utf-8")
        for header in () if DEVICE.is_dir() else _headers():  # imported from a zip file
            (Path(work) / header.name).write_bytes(header.read_bytes())
        done = subprocess.run([*command(target), "-o", str(output), str(source)], capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{' '.join(done.args)}: failed\n{done.stdout}{done.stderr}")
        return output.read_bytes()


def build_ahead(plans: Sequence[Plan], into: Path) -> None:
    """Build float32 libraries for all ARCHITECTURES into a folder. `library` looks for them in BUILT."""
    into.mkdir(parents=True, exist_ok=True)
    for plan in plans:
        text = emit.source(plan, "float32")
        path = into / f"{_name(plan, 'float32', text)}.so"
        if build(text, EVERY, path) != path:
            raise BuildError(f"{path}: cannot be written")


@dataclass(frozen=True, eq=False)
class Library:
    """A cell's compiled functions."""

    ffi: Any
    code: Any

    def _check(self, failed: int) -> None:
        if failed:
            raise RuntimeError(self.ffi.string(self.code.rnn_error()).decode())

    def _pointers(self, *arrays: Any) -> list[Any]:
        return [self.ffi.cast("void *", address(a)) for a in arrays]

    @property
    def most_sequences(self) -> int:
        """RNN_MOST_SEQUENCES of interface.h."""
        return int(self.code.RNN_MOST_SEQUENCES)

    @functools.cache  # noqa: B019  libraries stay as long as the process
    def facts(self, device: int) -> Any:
        """rnn_facts of interface.h."""
        found = self.ffi.new("rnn_device *")
        self._check(self.code.rnn_facts(device, found))
        return found

    def scan(
        self,
        at: Device,
        function: str,
        tile: int,
        work: Any,
        stages: Any,
        sources: np.ndarray,
        operands: np.ndarray,
        shared: int,
    ) -> None:
        """rnn_scan of interface.h. Raise RuntimeError with the name of the call that failed and CUDA's reason."""
        stream, number = self.ffi.cast("void *", at.stream), emit.FUNCTIONS.index(function)
        source_table, operand_table = self._pointers(sources, operands)
        tables = stages, len(stages), source_table, len(sources), operand_table, len(operands)
        self._check(self.code.rnn_scan(at.number, stream, number, tile, work, *tables, shared))

    def store(self, at: Device, matrix: Any, to: Any) -> None:
        """rnn_store of interface.h, of a matrix that is contiguous."""
        stream, (source, goal) = self.ffi.cast("void *", at.stream), self._pointers(matrix, to)
        self._check(self.code.rnn_store(at.number, stream, source, *matrix.shape, goal, to.shape[1]))

    def barriers(self, at: Device, blocks: int, count: int, arrived: int) -> None:
        """rnn_barriers of interface.h; arrived: an address."""
        stream, counter = self.ffi.cast("void *", at.stream), self.ffi.cast("uint32_t *", arrived)
        self._check(self.code.rnn_barriers(at.number, stream, blocks, count, counter))


@functools.cache
def interface() -> Any:
    """Return cffi's view of interface.h."""
    import cffi

    ffi = cffi.FFI()
    text = next(file for file in _headers() if file.name == "interface.h").read_text(encoding="utf-8")
    ffi.cdef("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return ffi


_lock = locks.renewed_at_fork(globals(), "_lock", threading.Lock)
_locks: dict[tuple[Step, bool, str, str], threading.Lock] = locks.renewed_at_fork(globals(), "_locks", dict)
_loaded: dict[tuple[Step, bool, str, str], Library] = {}


def library(plan: Plan, products: str, target: str) -> Library:
    """Return the library of a step's plan for an architecture. Build it if neither BUILT nor the cache folder has it.

    products: the type of the factors of its products, a key of TILES.
    """
    key = plan.step, plan.projected, products, target  # a Step is hashed by identity, a Plan by all its fields
    with locks.held(_lock):
        own = _locks.setdefault(key, threading.Lock())
    with locks.held(own):  # other libraries may be built at the same time
        if key not in _loaded:
            path = _path(plan, products, target)
            try:
                code = interface().dlopen(str(path))
            except OSError:  # the file is intact, but cannot be loaded here
                code = interface().dlopen(str(_path(plan, products, target, rebuild=True)))
            _loaded[key] = Library(interface(), code)
        return _loaded[key]


def _path(plan: Plan, products: str, target: str, rebuild: bool = False) -> Path:
    """Return the path of the library, built if needed. rebuild: build it even if it is there."""
    text = emit.source(plan, products)
    name = _name(plan, products, text)
    ahead = BUILT / f"{name}.so"
    if not rebuild and target.isdecimal() and int(target) >= ARCHITECTURES[0] and read(ahead, trusted=True) is not None:
        return ahead
    path = (folder() or temporary()) / f"{name}_{target}.{sources_version()}.so"
    if not rebuild and read(path) is not None:
        return path
    return build(text, target, path)
