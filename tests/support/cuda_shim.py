"""The CUDA kernels without a GPU: g++ builds them against the folder shim, and the CUDA driver runs them on NumPy."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinygrad_rnn.kernels.cuda import (
    build,
    scans,
    strategy,
    tiles,
)
from tinygrad_rnn.kernels.runtime.cache import digest, digest_of_files, folder

SHIM = Path(__file__).parent / "shim"
THREADS = {"float32": 64, "float64": 64}  # of a block: fewer than on a device, because each is a fiber
COMPILER = shutil.which("g++")
FLAGS = (
    "-std=c++17", "-O0", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC", "-fno-gnu-unique",
    "-U_FORTIFY_SOURCE", f"-I{SHIM}", f"-I{build.DEVICE}", "-x", "c++",
)  # fmt: skip
BACKWARDS = "RNN_SHIM_BACKWARDS"  # environment variable: threads run in the opposite order

STRATEGIES = {
    "single_block": {"group_size": 1, "resident": True},
    "cluster": {"group_size": 2, "resident": True, "cluster": True},
    "cooperative": {"group_size": 3, "resident": True},
    "streamed_weights": {"group_size": 2, "resident": False},
}
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="g++ is not there to build the CUDA kernels for the host")


@contextmanager
def on_the_host() -> Iterator[None]:
    """Build libraries with g++ against the shim; they stay in the cache folder, under a hash of the shim."""
    into = folder() / f"shim_{digest_of_files(SHIM.iterdir())}_{digest(repr(FLAGS))}"
    into.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "command", lambda target: [str(COMPILER), *FLAGS])
        patch.setattr(build, "folder", lambda: into)
        for products, threads in THREADS.items():
            patch.setitem(tiles.THREADS, products, threads)
        yield


@contextmanager
def launches() -> Iterator[list[tuple[str, list[tuple[int, int]]]]]:
    """Yield a list that gets every launch: the function, and where the steps of each of its sequences begin and end."""
    found, scan = list[tuple[str, list[tuple[int, int]]]](), build.Library.scan

    def noted(self, at, function, tile, work, *rest):
        found.append((function, list(zip(work.begin, work.end))[: work.sequences]))
        scan(self, at, function, tile, work, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build.Library, "scan", noted)
        yield found


@contextmanager
def forced(name: str, tile: int, group_rows: int = 4, keeps: bool = True) -> Iterator[None]:
    """Force a strategy for every size. A group has group_rows rows, or more where fewer groups can run at once.

    keeps: whether the sources of a single block or cluster fit into its shared memory.
    """

    def choose(limits, stages, rows, products, sequences=1):
        group_size = STRATEGIES[name]["group_size"]
        at_most = (
            group_rows if group_size == 1 else max(group_rows, -(-rows // (limits.blocks // sequences // group_size)))
        )
        partition = strategy.Partition(tile=tile, group_rows=at_most, **STRATEGIES[name])
        found = strategy.layout(limits, stages, products, partition)
        while found.source_rows and not keeps:
            found = strategy.layout(dataclasses.replace(limits, shared=found.shared - 1), stages, products, partition)
        assert (
            found is not None
            and found.name == name
            and bool(found.source_rows) == (keeps and name in ("single_block", "cluster"))
        )
        return dataclasses.replace(found, sequences=sequences)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy, "PART", 0)  # parts of a source are as short as possible, so that there are several
        patch.setattr(strategy, "choose", choose)
        scans._chosen.cache_clear()
        yield
    scans._chosen.cache_clear()
