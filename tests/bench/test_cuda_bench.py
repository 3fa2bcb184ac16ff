"""The benchmark of the CUDA kernels, without a GPU: its work runs, its comparison and its report are right."""

import sys

import numpy as np
import pytest
from cuda_shim import needs_compiler, on_the_host
from grids import spread

from tinygrad_rnn.bench import cuda, peers
from tinygrad_rnn.bench.case import OURS
from tinygrad_rnn.bench.problem import Problem
from tinygrad_rnn.bench.results import Result, Results, Spread, load, save


def result(cell, H, mine, theirs, group="cuda", peer="torch", failed=None):
    found = {OURS: Spread.of([mine]), peer: Spread.of([theirs])}
    return Result(group, cell, "train", {"T": 512, "N": 8, "I": H, "H": H}, 0, 0, 0, found=found, failed=failed or {})


def test_the_report_tells_the_means_and_the_worst(tmp_path):
    results = [
        result("LSTM fp32", 64, 2e-3, 1e-3), result("LSTM fp32", 512, 1e-3, 4e-3), result("GRU fp32", 64, 1e-3, 1e-3),
        result("slstm", 512, 1.1e-3, 1e-3, "cuda cells", "lstm"), result("GRU fp32", 512, 1e-3, 3e-3, cuda.STACKED),
    ]  # fmt: skip
    found = Results(
        {"gpu": "a GPU", "largest gap": {"record": "GRU", "rest": 7.0}},
        {},
        "2026-01-01",
        0,
        False,
        {"meeting": 1.5e-6},
        {},
        results,
    )
    text = cuda.report(found)
    assert "a GPU: a barrier of all blocks takes 1.50 us" in text and "1.10x the LSTM's time" in text
    assert "the largest gap: GRU: rest 7 us" in text
    assert "all: geometric mean 1.26 of 3, the worst 0.50: LSTM fp32 train 512 x 8 x 64 x 64" in text
    assert "3.00x of cuDNN, 2 layers" in text and "2 layers: geometric mean 3.00 of 1" in text
    assert "standard algorithm: geometric mean 2.00 of 2, the worst 1.00: GRU" in text
    save(tmp_path / "cuda.json", found)
    assert load(tmp_path / "cuda.json").records[0].ratio("torch") == 0.5


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(cuda, "missing_for_tensors", lambda: ["CuPy is not installed"])
    assert cuda.main([]) == 2
    assert capsys.readouterr().err.startswith("nothing measured: CuPy is not installed")


TIMED = [("lstm", 1), ("lstm", 2), ("gru", 1), *((name, 1) for name in cuda.OTHER_CELLS)]


@needs_compiler
@pytest.mark.parametrize(("name", "layers"), spread(TIMED, 2, unpack=True))
def test_the_work_that_is_timed_runs(name, layers, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", np)
    p = Problem("GRU" if name == "gru" else "LSTM", 3, 2, 5, 5, layers)
    with on_the_host():
        arrays = cuda.ours(name, p, "train")()
        np.testing.assert_allclose(cuda.ours(name, p, "infer")()[0], arrays[0], 1e-6, 1e-6)
        if name in ("lstm", "gru") and not peers.why_missing("torch"):
            theirs = cuda.theirs(p, "train", "fp32")()
            assert cuda.disagreement(arrays, theirs, 1e-5) == ""
            assert cuda.disagreement(arrays, [theirs[0] + 1, *theirs[1:]], 1e-5).startswith("array 0: 1 apart")
            assert cuda.disagreement(cuda.ours(name, p, "infer")(), cuda.theirs(p, "infer", "fp32")(), 1e-5) == ""
    rows = cuda.GATES[p.kind] * 5
    assert [a.shape for a in arrays] == [(3, 2, 5)] * 2 + [(rows, 5), (rows, 5), (rows,), (rows,)] * layers
    assert all(np.isfinite(a).all() and a.any() for a in arrays)
