"""Fixtures of several test files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cuda_shim
import pytest
import strict_cupy
import strict_cupy_functions

import tinygrad_rnn as tg
from tinygrad_rnn import cli, kernels
from tinygrad_rnn.arrays import cuda
from tinygrad_rnn.kernels.cpu.runtime import threads


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have a second process compile common kernels into the cache while the tests run, if there are many of them."""
    if len(session.items) > 2000 and not session.config.option.collectonly and (os.cpu_count() or 1) > 1:
        script = Path(__file__).parent / "support" / "compile_ahead.py"
        session.config.stash[ahead] = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    process = session.config.stash.get(ahead, None)
    if process is not None:
        process.terminate()
        process.wait()


ahead = pytest.StashKey[subprocess.Popen]()


@pytest.fixture(params=["stand-in", pytest.param("GPU", marks=pytest.mark.gpu)])
def cupy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CuPy as `device="cuda"` uses it: a strict stand-in, and the real library where there is a GPU.

    `pytest -m gpu` runs the tests that need a GPU.
    """
    if request.param == "GPU":
        if not tg.cuda.is_available():
            pytest.skip(f"needs a GPU: {'; '.join(cuda.missing_for_tensors())}")
        yield cuda.cupy()
        return
    for name, module in strict_cupy_functions.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cuda, "_missing_driver", list)
    imported = cuda.cupy
    imported.cache_clear()
    yield strict_cupy.library
    strict_cupy.current = 0
    imported.cache_clear()


@pytest.fixture
def sequences(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let sequences run on a GPU; with the stand-in for CuPy, they run kernels that g++ builds for the host."""
    if cupy is strict_cupy.library:
        if cuda_shim.COMPILER is None:
            pytest.skip("g++ is not there to build the CUDA kernels for the host")
        monkeypatch.setattr(cli, "missing_for_kernels", list)
        with cuda_shim.on_the_host():
            yield
        return
    if cuda.missing_for_kernels():
        pytest.skip("; ".join(cuda.missing_for_kernels()))
    yield


@pytest.fixture
def every_size_is_worth_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the kernels use as many threads as `set_num_threads` says for work of any size, on any number of cores.

    Usually small work runs on one thread, so a test of small arrays would never see an error between two threads.
    """
    before = threads.get_num_threads()
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    monkeypatch.setattr(kernels.dense, "LARGE", 0)
    yield
    threads.set_num_threads(before)
