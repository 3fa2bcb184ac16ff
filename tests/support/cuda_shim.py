"""The CUDA kernels without a GPU: built as C++ against the folder shim, run by the very same driver on NumPy."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinygrad_rnn.kernels.cuda import (
    build,
    tiles,
)
from tinygrad_rnn.kernels.cuda import (
    scans as walks,
)
from tinygrad_rnn.kernels.cuda import (
    strategy as regime,
)
from tinygrad_rnn.kernels.runtime.cache import digest, digest_of_files, folder

SHIM = Path(__file__).parent / "shim"
THREADS = {"float32": 64, "float64": 64}  # of a block: fewer than on a device, as each is a fiber
COMPILER = shutil.which("g++")
FLAGS = (
    "-std=c++17", "-O1", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC", "-fno-gnu-unique",
    "-U_FORTIFY_SOURCE", f"-I{SHIM}", f"-I{build.DEVICE}", "-x", "c++",
)  # fmt: skip
BACKWARDS = "RNN_SHIM_BACKWARDS"  # in the environment: threads take turns in the other order

WAYS = {
    "alone": {"members": 1, "resident": True},
    "cluster": {"members": 2, "resident": True, "cluster": True},
    "together": {"members": 3, "resident": True},
    "streamed": {"members": 2, "resident": False},
}
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="g++ is not there to build the CUDA kernels for the host")


@contextmanager
def on_the_host() -> Iterator[None]:
    """Libraries are built by g++ against the shim; they stay in the cache folder, under a hash of the shim."""
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
    """What is launched meanwhile: each function, with where each of its ways begins and ends."""
    found, walk = list[tuple[str, list[tuple[int, int]]]](), build.Library.walk

    def noted(self, at, function, tile, work, *rest):
        found.append((function, list(zip(work.begin, work.end))[: work.ways]))
        walk(self, at, function, tile, work, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build.Library, "walk", noted)
        yield found


@contextmanager
def way(name: str, tile: int, team_rows: int = 4, keeps: bool = True) -> Iterator[None]:
    """One of the regimes, whatever the size: so many rows to a team, if as many teams can be at work as that takes.

    keeps: whether a team of one has room for its sources.
    """

    def choose(room, loads, rows, products, ways=1):
        members = WAYS[name]["members"]
        at_most = team_rows if members == 1 else max(team_rows, -(-rows // (room.blocks // ways // members)))
        sharing = regime.Sharing(tile=tile, team_rows=at_most, **WAYS[name])
        found = regime.laid_out(room, loads, products, sharing)
        while found.kept_rows and not keeps:
            found = regime.laid_out(dataclasses.replace(room, shared=found.shared - 1), loads, products, sharing)
        assert (
            found is not None
            and found.name == name
            and bool(found.kept_rows) == (keeps and name in ("alone", "cluster"))
        )
        return dataclasses.replace(found, ways=ways)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regime, "PART", 0)  # as few numbers of a source's row at a time as can be: it takes several times
        patch.setattr(regime, "choose", choose)
        walks._chosen.cache_clear()
        yield
    walks._chosen.cache_clear()
