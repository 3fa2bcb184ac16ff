"""The CUDA kernels' sources and libraries: nvcc compiles all, errors name the failed call, sizes choose a strategy."""

import ctypes
import subprocess

import numpy as np
import pytest
from cuda_shim import needs_compiler, on_the_host
from grids import spread
from user_cells import USER_CELLS

import tinygrad_rnn as tg
from tinygrad_rnn.cells import BUILT_IN, STANDARD, cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.cuda import (
    arrays,
    build,
    emit,
    strategy,
    tiles,
)
from tinygrad_rnn.kernels.ir import plan as plans

CELLS = {**BUILT_IN, **USER_CELLS}
WARNINGS = ("-Werror=all-warnings", "-Xcompiler=-Wall")
needs_nvcc = pytest.mark.skipif(build.find_nvcc() is None, reason="nvcc is not there to compile the CUDA kernels")


def text_of(name, projected=False, products="float32"):
    return emit.source(plans.plan(trace(CELLS[name]), projected), products)


TAKEN = [(name, False, "float32") for name in (*STANDARD, "slstm", "ind_rnn")]
TAKEN += [("lstm", True, "float32"), ("gru", False, "float64")]
TAKEN += [("lstm", False, "tf32"), ("gru_reset_before", False, "bf16")]


@needs_nvcc
@pytest.mark.parametrize(("name", "projected", "products"), spread(TAKEN[::-1], 1, unpack=True))
def test_nvcc_takes_it_without_a_warning(name, projected, products, tmp_path):
    (tmp_path / "cell.cu").write_text(text_of(name, projected, products))
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in (80, 90)]
    flags = [f for f in build.FLAGS if f != "--shared"]
    command = [build.find_nvcc(), *flags, *WARNINGS, *codes, "-c", "-o", str(tmp_path / "cell.o"), tmp_path / "cell.cu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


@needs_nvcc
def test_every_architecture_that_nvcc_has_and_ptx():
    flags = build.architectures(build.find_nvcc(), build.EVERY)
    assert "-gencode=arch=compute_90,code=sm_90" in flags and "-gencode=arch=compute_90,code=compute_90" in flags
    assert build.architectures("nvcc", "90") == ["-arch=sm_90"]


@needs_nvcc
def test_messages_of_nvcc_are_shown(tmp_path):
    with pytest.raises(build.BuildError, match=r"failed\n(.|\n)*error: .*is undefined"):
        build.build("int f() { return nothing; }", "90", tmp_path / "x.so")
    assert not list(tmp_path.iterdir())


def test_without_nvcc_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDACXX", str(tmp_path / "nvcc"))
    with pytest.raises(build.BuildError, match=r"nvcc: not found.*CUDACXX"):
        build.build(text_of("gru"), "90", tmp_path / "gru.so")


def test_cuda_home_comes_before_the_path(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDACXX", raising=False)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "nvcc"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert build.find_nvcc() == str(program)


def test_one_description_of_the_interface_for_both_sides():
    ffi = build.interface()
    assert ffi.sizeof("rnn_operand") == arrays.OPERAND.itemsize
    offsets = {name: arrays.OPERAND.fields[name][1] for name in arrays.OPERAND.names}
    assert offsets == {name: ffi.offsetof("rnn_operand", name) for name in arrays.OPERAND.names}


def test_infinity_and_nan_in_c():
    @cell(gates="h")
    def edges(a, s):
        return tg.where(a.h > float("inf"), float("nan"), tg.maximum(a.h, -float("inf")) * 0.1)

    text = emit.source(plans.plan(trace(edges), False), "float64")
    assert "T(INFINITY)" in text and "T(-INFINITY)" in text and "T(NAN)" in text and (0.1).hex() in text


def gates(count, units):
    return (strategy.StageSize(units, ((count, units),)),)


H200, A100 = strategy.DeviceLimits(132, 232448, 256, (66, 32, 15)), strategy.DeviceLimits(108, 166912, 256)


@pytest.mark.parametrize(
    ("count", "units", "rows", "products", "name"),
    [
        (4, 64, 32, "float32", "single_block"), (3, 64, 64, "bf16", "single_block"),
        (1, 128, 1, "float32", "single_block"),
        (4, 128, 16, "float32", "cluster"), (4, 256, 1, "float32", "cluster"), (4, 256, 128, "float32", "cluster"),
        (3, 256, 64, "tf32", "cluster"), (4, 256, 64, "bf16", "cluster"),
        (4, 512, 64, "float32", "cooperative"), (4, 1024, 1, "float32", "cooperative"),
        (4, 1024, 128, "float32", "cooperative"), (3, 1024, 32, "float32", "cooperative"),
        (4, 128, 64, "bf16", "cluster"), (4, 1024, 128, "bf16", "cooperative"), (4, 1024, 128, "tf32", "cooperative"),
        (4, 2048, 64, "float32", "streamed_weights"), (4, 1024, 8, "float64", "streamed_weights"),
    ],
)  # fmt: skip
def test_size_chooses_the_strategy(count, units, rows, products, name):
    assert strategy.choose(H200, gates(count, units), rows, products).name == name


def test_strategies_without_clusters():
    assert strategy.choose(A100, gates(4, 128), 16, "float32").name == "cooperative"
    assert strategy.choose(A100, gates(3, 128), 16, "bf16").name == "single_block"


@pytest.mark.parametrize(("rows", "group_size"), [(1, 8), (15, 8), (16, 4), (64, 8), (1000, 2)])
def test_a_cluster_has_the_size_with_least_work_for_a_block(rows, group_size):
    found = strategy.choose(H200, gates(4, 128), rows, "float32")
    assert (found.name, found.group_size) == ("cluster", group_size)


@pytest.mark.parametrize(
    "limits", [H200, A100, strategy.DeviceLimits(46, 101376, 256, (20, 10, 3)), strategy.DeviceLimits(6, 65536, 256)]
)
@pytest.mark.parametrize("products", tiles.TILES)
def test_blocks_that_wait_for_each_other_run_at_once_and_fit(limits, products):
    for units in (1, 17, 64, 128, 650, 1024, 3000):
        for rows in (1, 2, 7, 64, 1000):
            for count in (1, 4):
                for stages in (
                    gates(count, units),
                    (strategy.StageSize(units, ()),),
                    gates(count, units) + gates(1, units),
                ):
                    found = strategy.choose(limits, stages, rows, products)
                    tile = tiles.TILES[products][found.tile]
                    assert -(-rows // found.group_rows) * found.group_size <= limits.blocks
                    assert found.shared <= limits.shared and found.tile_bits >= tile.least_bits
                    elements = tile.pass_rows(found.row_bits) << found.tile_bits
                    assert elements <= limits.threads  # each element has a thread
                    assert tile.filled(found.depth) == found.depth
                    assert found.source % 16 == found.sums % 16 == 0 and not any(w % 16 for w in found.weights)


STUCK = """
#include <cuda_runtime.h>
struct Given { int all_come; };
void meet(Given given) { if (given.all_come || threadIdx.x > 0) __syncthreads(); }
extern "C" int launch(int all_come) {
    Given given = {all_come};
    void *arguments[] = {&given};
    return cudaLaunchKernel(meet, dim3(1), dim3(64), arguments, 0, nullptr);
}
"""


@needs_compiler
class TestLibraries:
    @pytest.fixture(autouse=True)
    def _host(self):
        with on_the_host():
            yield

    def library(self):
        return build.library(plans.plan(trace(BUILT_IN["rnn_tanh"]), False), "float32", "host")

    def test_a_missing_device_is_an_error(self):
        with pytest.raises(RuntimeError, match="cudaSetDevice: invalid argument"):
            self.scan(arrays.Device(7, "host", 0))

    def test_a_launch_that_fails_names_the_call(self):
        with pytest.raises(RuntimeError, match="cudaLaunchCooperativeKernel: too many blocks in cooperative launch"):
            self.scan(group_size=99)
        with pytest.raises(RuntimeError, match="cudaLaunchKernel: invalid argument"):
            self.scan(shared=1 << 30)

    def test_blocks_count_their_barriers(self):
        arrived = np.zeros(32, np.uint32)
        self.library().barriers(arrays.Device(0, "host", 0), 5, 7, arrays.address(arrived))
        assert arrived[0] == 5 * 7 and not arrived[1:].any()

    def test_arguments_that_do_not_fit_the_function_are_refused(self):
        with pytest.raises(
            RuntimeError, match="rnn_scan: the numbers of stages, sources or operands are not the function's"
        ):
            self.scan(operands=3)
        with pytest.raises(RuntimeError, match="rnn_scan: there is no tile of this number"):
            self.scan(tile=2)
        with pytest.raises(RuntimeError, match="rnn_scan: expected fewer sequences at once"):
            self.scan(sequences=self.library().most_sequences + 1)

    def scan(self, device=None, group_size=1, shared=1024, operands=None, tile=1, sequences=1):
        library = self.library()
        arrived = np.zeros((9, 32), np.uint32)
        work = library.ffi.new(
            "rnn_work *", {"rows": 1, "group_rows": 1, "group_size": group_size, "sequences": sequences}
        )
        work.arrived = library.ffi.cast("uint32_t *", arrived.ctypes.data)
        stages, sources = library.ffi.new("rnn_stage[]", 1), np.zeros(sequences, arrays.SOURCE)
        table = np.zeros(6 if operands is None else operands, arrays.OPERAND)
        library.scan(device or arrays.Device(0, "host", 0), "train", tile, work, stages, sources, table, shared)

    def test_each_library_is_loaded_once(self, monkeypatch):
        first = self.library()
        monkeypatch.setattr(build, "build", lambda *_: pytest.fail("built again"))
        assert self.library() is first
        build._loaded.clear()
        assert self.library() is not first

    def test_libraries_built_ahead_are_found(self, monkeypatch, tmp_path):
        plan = plans.plan(trace(BUILT_IN["rnn_tanh"]), False)
        build.build_ahead([plan], tmp_path)
        monkeypatch.setattr(build, "BUILT", tmp_path)
        monkeypatch.setattr(build, "build", lambda *_: pytest.fail("built again"))
        build._loaded.clear()
        assert build._path(plan, "float32", "90").parent == tmp_path
        with pytest.raises(pytest.fail.Exception, match="built again"):  # it has no code for so old a device
            build._path(plan, "float32", "75")

    def test_the_shim_finds_a_barrier_that_not_all_reach(self, tmp_path):
        build.build(STUCK, "host", tmp_path / "stuck.so")
        code = ctypes.CDLL(str(tmp_path / "stuck.so"))
        assert [code.launch(all_come) for all_come in (1, 0)] == [0, 719]
