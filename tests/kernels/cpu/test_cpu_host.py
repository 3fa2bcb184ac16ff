"""The host as the kernels see it: its instruction sets, and the sizes of its caches."""

import math
import platform
import sys

import numpy as np
import pytest

from tinygrad_rnn.cells import find_cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cpu.layer_shapes import FEW_ROWS, Shapes
from tinygrad_rnn.kernels.cpu.runtime import caches, host
from tinygrad_rnn.kernels.cpu.runtime.caches import Caches
from tinygrad_rnn.kernels.cpu.runtime.host import VARIABLE, host_features, vector_unit


@pytest.fixture
def environment(monkeypatch):
    """Set variables of the environment, and return the vector unit that is then used."""

    def unit(**variables):
        for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", VARIABLE):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        host_features.cache_clear()
        return vector_unit.__wrapped__()

    yield unit
    host_features.cache_clear()


def test_the_unit_follows_numbas_processor(environment):
    assert environment(NUMBA_CPU_FEATURES="+avx2,+fma").name == "256x16f"
    assert environment(NUMBA_CPU_FEATURES="+avx2,-fma").name == "256x16"
    assert environment(NUMBA_CPU_FEATURES="+avx512f,+avx512vl,+fma").name == "512x32f"
    assert environment(NUMBA_CPU_FEATURES="").name == "128x16"
    assert environment(NUMBA_CPU_NAME="generic").name == "128x16"


def test_64_bit_arm_has_neon_even_if_llvm_does_not_report_it(environment, monkeypatch):
    monkeypatch.setattr(host, "architecture", lambda: "arm")
    assert environment(NUMBA_CPU_FEATURES="").name == environment(NUMBA_CPU_FEATURES="+neon").name == "128x32f"


@pytest.mark.parametrize(("machine", "name"), [("AMD64", "x86"), ("arm64", "arm"), ("aarch64", "arm"), ("riscv64", "")])
def test_names_of_architectures(monkeypatch, machine, name):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert host.architecture.__wrapped__() == name


def test_a_unit_that_numbas_processor_lacks_is_refused(environment):
    with pytest.raises(ValueError, match="at most 128"):
        environment(NUMBA_CPU_NAME="generic", **{VARIABLE: "256"})


def cache_folder(root, *entries):
    for i, (level, kind, size) in enumerate(entries):
        folder = root / f"index{i}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    return root


@pytest.fixture
def read(monkeypatch):
    """Return the caches of a folder such as Linux has."""

    def caches_of(folder):
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(caches, "FOLDER", folder)
        return caches.caches.__wrapped__()

    return caches_of


def test_cache_sizes_are_linuxs(tmp_path, read):
    entries = ("1", "Data", "48K"), ("1", "Instruction", "64K"), ("2", "Unified", "1024K"), ("3", "Unified", "32M")
    found = read(cache_folder(tmp_path, *entries))
    assert found == Caches(48 << 10, 1 << 20, 32 << 20)
    assert str(found) == "level 1: 48 KiB, level 2: 1024 KiB, level 3: 32768 KiB"


@pytest.mark.parametrize("size", ["", "many", "-4K", "0K", "12Q"])
def test_cache_sizes_that_cannot_be_read_are_assumed(tmp_path, read, size):
    assert read(cache_folder(tmp_path, ("1", "Data", "32K"), ("2", "Unified", size))) == Caches()
    assert read(tmp_path / "missing") == Caches()


def test_a_host_without_a_third_cache(tmp_path, read):
    found = read(cache_folder(tmp_path, ("1", "Data", "32K"), ("2", "Unified", "4M")))
    assert found == Caches(32 << 10, 4 << 20, 0) and "level 3" not in str(found)


@pytest.mark.skipif(sys.platform == "darwin", reason="here macOS tells the sizes")
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_sizes_too(monkeypatch, platform):
    """The C library of this system has no `sysctlbyname`."""
    monkeypatch.setattr(sys, "platform", platform)
    assert caches.caches.__wrapped__() == Caches()


def test_this_hosts_caches_grow_from_level_to_level():
    found = caches.caches()
    assert 4 << 10 <= found.first <= found.second and (not found.third or found.second <= found.third)


def test_a_step_of_few_rows_costs_as_much_as_reading_its_weights():
    step, unit = trace(find_cell("lstm")), vector_unit()
    hidden = 1 + math.isqrt(caches.caches().second // (4 * 8))  # its weights do not fit into the second cache
    flops = lambda rows, H: (
        Shapes(step, unit, np.dtype("float32"), 3, rows, H, H, H, False, True, True, False, False).flops
    )
    assert flops(1, hidden) == flops(FEW_ROWS, hidden) == flops(100 * FEW_ROWS, hidden) / 100
    assert flops(1, 4) == flops(FEW_ROWS, 4) / FEW_ROWS
