"""The cases of the benchmarks: tiny ones agree with the installed peers; their flops, bytes and lists are right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from grids import spread

from tinygrad_rnn.bench import (
    cells,
    cold,
    dense,
    groups,
    growth,
    language_model,
    layers,
    memory,
    peers,
    spawned,
    tape,
    timing,
)
from tinygrad_rnn.bench.case import KINDS, OURS
from tinygrad_rnn.bench.problem import Problem

TINY = (4, 3, 5, 6)
pytestmark = pytest.mark.filterwarnings("default")  # a warning of a peer is not an error
VARIANTS = [{}, {"layers": 2, "bidirectional": True}, {"lengths": True}, {"state": True}]


def agree(case, *names):
    """Check that the named contenders of a case agree with ours. Return them and ours."""
    runs = {name: case.contenders[name](1) for name in (OURS, *names)}
    assert timing.disagreeing(runs, case.calls) == {}
    return runs


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("peer", ["torch", "onnxruntime", "jax"])
def test_layers_agree_with_peers(kind, peer, options):
    for package in (peer, *peers.NEEDS.get(peer, ())):
        pytest.importorskip(package)
    p = Problem(kind, *TINY, **options)
    for task in ("train", "infer"):
        case = layers.case("layers", p, task)
        if peer in case.contenders and not (task == "train" and p.state):
            agree(case, peer)


@pytest.mark.parametrize("kind", KINDS)
def test_openvino_agrees(kind):
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    agree(layers.case("layers", Problem(kind, *TINY, layers=2), "infer"), "openvino")


@pytest.mark.parametrize("name", spread(cells.CELLS, 1))
def test_cells_agree_with_a_loop_in_torch(name):
    pytest.importorskip("torch")
    agree(cells.case(name, TINY), "torch loop")


def test_a_peer_that_cannot_be_compiled_is_left_out(monkeypatch):
    torch = pytest.importorskip("torch")

    def compile(loop):
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(timing, "REST", 0.0)
    monkeypatch.setattr(peers, "set_threads", lambda count: None)
    result = timing.measure(cells.case("peephole_lstm", TINY), 1, 0.0, 1)
    assert result.left_out["torch.compile"] == "torch.compile: RuntimeError: no C++ compiler"
    assert not result.failed and OURS in result.found


@pytest.mark.parametrize("task", ["train", "infer"])
def test_dense_products_agree(task):
    agree(dense.case((3, 4, 5), task), "numpy")
    pytest.importorskip("torch")
    agree(dense.case((3, 4, 5), task), "torch")


@pytest.mark.parametrize("peer", ["torch", "autograd"])
@pytest.mark.parametrize("name", tape.LINKS)
def test_the_tape_agrees(name, peer):
    pytest.importorskip(peer)
    agree(tape.case(name), peer)


@pytest.mark.parametrize("kind", KINDS)
def test_language_models_have_the_same_losses_over_several_steps(kind):
    pytest.importorskip("torch")
    case = language_model.case(kind, (2, 3, 8, 2), 11)
    runs = agree(case, "torch")
    assert case.calls > 2 and runs[OURS]()[0] < math.log(11) * 1.2


def test_a_cold_start_is_a_process_of_its_own():
    contender = cold.case("RNN").contenders[OURS](1)
    contender.environment.clear()  # so that it uses the kernels that other tests have compiled
    found = contender()
    assert len(found) == 5 and all(np.isfinite(a) for a in found)
    with pytest.raises(RuntimeError, match="its process ended with 3"):
        spawned.Spawned(["-c", "raise SystemExit(3)"])()


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="peak memory is measured on Linux only")
def test_peak_memory_rises_with_the_length():
    sizes = []
    for T in (200, 2000):
        contender = memory.build(Problem("RNN", T, 16, 64, 64), OURS)(1)
        assert len(contender()) == 6
        sizes.append(contender.bytes)
    assert sizes[1] > 2000 * 16 * 64 * 4 and sizes[1] > 3 * sizes[0]


def test_flops_and_bytes():
    p = Problem("LSTM", 10, 3, 5, 7)
    assert p.flops("infer") == 2 * 10 * 3 * (5 + 7) * 4 * 7 and p.flops("train") == 3 * p.flops("infer")
    weights = 4 * 7 * (5 + 7 + 2)
    assert p.bytes("infer") == 4 * (weights + 10 * 3 * (5 + 7)) and p.bytes("train") == 2 * p.bytes("infer")
    assert replace(p, lengths=True).flops("infer") < p.flops("infer")
    assert replace(p, layers=2, bidirectional=True).flops("infer") == 2 * 10 * 3 * 4 * 7 * 2 * (5 + 7 + 14 + 7)


def test_the_list_of_cases():
    every = {name: make() for name, make in groups.GROUPS.items()}
    assert all(r.group == name and OURS in r.contenders for name, found in every.items() for r in found)
    names = [r.name for found in every.values() for r in found]
    assert len(names) == len(set(names)) and set(groups.TITLES) == set(every)
    assert len(every["layers"]) == 3 * 12 * 2 and len(every["language_model"]) == 3 * 4 * 2
    known = {peers.peer_of(name) for found in every.values() for r in found for name in r.contenders}
    assert known == {OURS, *peers.PEERS}
    assert {r.axis for r in growth.cases()} == {"T", "N", "H", "threads"}


def test_a_choice_of_cases():
    chosen = groups.select(["layers", "tape"], ["GRU"], ["torch"], True)
    assert {r.cell for r in chosen} == {"GRU", *tape.LINKS}
    assert all(set(r.contenders) == {OURS, "torch"} for r in chosen) and all(r.quick for r in chosen)
    assert len(groups.select(["layers"], KINDS, [], True)) == 3 * len(layers.QUICK) * 2
