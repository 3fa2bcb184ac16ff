"""Benchmarks: measurements, messages about failures, results, and the pages and pictures made from them."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import cli
from tinygrad_rnn.bench import ceilings, groups, layers, peers, plots, readme, report, results, run, timing, vectors
from tinygrad_rnn.bench.case import KINDS, OURS, Case
from tinygrad_rnn.bench.results import Result, Results, ResultsError, Spread
from tinygrad_rnn.kernels.cpu.runtime.host import VARIABLE

ROOT = Path(__file__).parents[2]


def numbers(*values):
    return lambda _: lambda: [np.array(values, np.float32)]


def made_up(contenders, **options):
    """Return a case of contenders that give fixed numbers."""
    return Case("layers", "LSTM", "train", {"T": 1, "N": 2, "I": 3, "H": 4}, contenders, 100.0, 50.0, **options)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Measure in one turn without rests, and restore the number of threads after the test."""
    monkeypatch.setattr(timing, "REST", 0.0)
    monkeypatch.setattr(timing, "TURN", 0.0)
    monkeypatch.setattr(run, "SECONDS", 0.0)
    monkeypatch.setattr(run, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr(ceilings, "bandwidth", lambda threads: 1e10)
    monkeypatch.setattr(ceilings, "peak", lambda threads: 1e11)
    before = tg.get_num_threads()
    yield
    peers.set_threads(before)


# comparing and timing


def test_a_contender_that_disagrees_is_named_and_not_timed():
    contenders = {OURS: numbers(1, 2), "torch": numbers(1, 2), "torch loop": numbers(1, 3), "numpy": numbers(1)}
    result = timing.measure(made_up(contenders), 1, 0.0, 1) if not peers.why_missing("torch") else None
    if result:
        assert set(result.found) == {OURS, "torch"}
    runs = {name: build(1) for name, build in contenders.items()}
    failed = timing.disagreeing(runs)
    assert set(failed) == {"torch loop", "numpy"}
    assert "Mismatched elements: 1 / 2" in failed["torch loop"] and "expected shape (2,), got (1,)" in failed["numpy"]


def test_comparison_is_of_every_call():
    values = iter([1.0, 1.0, 1.0, 2.0])
    runs = {OURS: lambda: [np.ones(1)], "numpy": lambda: [np.array([next(values)])]}
    assert timing.disagreeing(runs, 3) == {}
    values = iter([1.0, 1.0, 2.0])
    assert set(timing.disagreeing(runs, 3)) == {"numpy"}


def test_nan_is_no_agreement():
    runs = {OURS: numbers(1)(1), "numpy": numbers(np.nan)(1)}
    assert set(timing.disagreeing(runs)) == {"numpy"}


def test_missing_peers_are_left_out(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda package: "")
    result = timing.measure(made_up({OURS: numbers(1), "jax": numbers(1), "numpy": numbers(1)}), 1, 0.0, 1)
    assert result.left_out == {"jax": "jax and jaxlib not installed", "numpy": "numpy not installed"}
    assert set(result.found) == {OURS}
    assert "left out: jax: jax and jaxlib not installed (2 cases)" in report.absences([result, result])


def test_contenders_take_turns(monkeypatch):
    order = []
    run = lambda name: lambda: order.append(name) or []
    monkeypatch.setattr(timing, "WARMING", 0.0)
    monkeypatch.setattr(timing, "TURN", 0.0)
    times = timing.timed({"a": run("a"), "b": run("b")}, 0.0, 3)
    assert "".join(order) == "aabb" * 3  # each turn has one untimed call and one timed call
    assert [len(found) for found in times.values()] == [3, 3]


def test_calls_are_timed_for_as_long_as_asked():
    found = timing._calls(lambda: time.sleep(0.002), 0.02)
    assert 2 <= len(found) <= 10 and min(found) >= 0.002 and sum(found) >= 0.02


def test_noise_and_ceilings(monkeypatch):
    monkeypatch.undo()
    assert ceilings.peak(1) > 1e8 and ceilings.bandwidth(2, 1 << 20) > 1e7 and ceilings.last_cache() >= 1 << 25
    quiet = Result("layers", "LSTM", "train", {"T": 1}, 1.0, 1.0, 1, found={OURS: Spread(2.0, 1.5, 2.5, 9)})
    assert timing.noise([quiet], [1.0, 1.0, 1.0]) == {"records": 0.5, "loop": 0.0}
    assert timing.calibration() > 0


# vectors


@pytest.fixture
def restarted(monkeypatch):
    """Return the programs that the process would have been replaced with, each with its environment."""
    started = []
    monkeypatch.setattr(os, "execve", lambda program, words, environment: started.append((program, words, environment)))
    for name in {name for limits in vectors.LIMITS.values() for name in limits}:
        monkeypatch.delenv(name, raising=False)
    return started


@pytest.mark.parametrize("bits", vectors.LIMITS)
def test_a_limit_of_vectors_starts_the_command_again(restarted, monkeypatch, capsys, bits):
    monkeypatch.setattr(vectors, "host_features", lambda: {"avx2": True, "fma": True})
    assert vectors.limited() == 0 and "limited" not in vectors.described()
    assert vectors.comparable(peers.PEERS) == peers.PEERS
    vectors.run_limited(bits)
    [(program, words, environment)] = restarted
    assert program == sys.executable and words[1:] == sys.orig_argv[1:]
    assert environment[VARIABLE] == str(bits) and environment["PATH"] == os.environ["PATH"]
    assert f"vectors of {bits} bits, without onnxruntime and jax" in capsys.readouterr().out
    for name, value in vectors.LIMITS[bits].items():
        monkeypatch.setenv(name, value)
    assert vectors.limited() == bits and vectors.described().endswith("to which all libraries are limited")
    assert vectors.comparable(["torch", "jax", "onnxruntime"]) == ("torch",)
    vectors.run_limited(bits)
    assert len(restarted) == 1


def test_a_processor_without_the_vectors_is_refused(restarted, monkeypatch):
    monkeypatch.setattr(vectors, "host_features", lambda: {"sse4.2": True})
    with pytest.raises(ValueError, match="expected a processor with avx2 and fma, got one without"):
        vectors.run_limited(256)
    assert not restarted


# results


def sample(**changes):
    """Return results with records of every kind."""
    spread = lambda median: Spread(median, median / 2, median * 2, 7)
    found = lambda *medians: dict(zip((OURS, "torch", "jax"), map(spread, medians)))
    records = [
        Result("layers", cell, task, dict(zip("TNIH", shape)), 1e6 * k, 1e5, 2, found=found(0.001, k / 1000, 0.004))
        for cell in KINDS
        for task in ("train", "infer")
        for k, shape in enumerate(layers.GRID, 1)
    ]
    records += [
        Result("tape", "x + a", "train", {"primitives": 20}, 0, 0, 1, found=found(1e-4, 2e-4)),
        Result("memory", "GRU", "train", {"T": 9}, 0, 0, 2, "bytes", found=found(2.0**21, 2.0**20)),
        Result("cells", "slstm", "train", {"T": 9}, 0, 0, 2, found=found(1e-3), left_out={"torch": "not installed"}),
    ]
    growing = [
        Result("growth", kind, "train", {"T": T, "N": 1}, 0, 0, 2, unit, "T", found(T / 1000, T / 500))
        for kind in KINDS
        for unit in ("s", "bytes")
        for T in (10, 100)
    ]
    machine = {"processor": "A processor", "cores": 2, "memory_gib": 8.0, "system": "Linux x86_64", "python": "3.11.7"}
    facts = {"machine": machine, "versions": {"numpy": "2.4"}, "date": "2026-01-02", "threads": 2, "quick": False}
    ceiling = {"ceilings": {"flops": 1e11, "bytes": 1e10}, "noise": {"records": 0.01, "loop": 0.02}}
    return Results(**facts | ceiling | {"records": [*records, *growing]} | changes)


def test_json_and_back(tmp_path):
    results.save(tmp_path / "a.json", sample())
    assert results.load(tmp_path / "a.json") == sample()
    tree = json.loads((tmp_path / "a.json").read_text())
    assert tree["machine"]["processor"] == "A processor" and len(tree["records"]) == len(sample().records)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}', '{"format": 1, "records": [{"group": 1}]}'])
def test_other_json_is_an_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ResultsError, match="expected results of tinygrad-rnn bench, got something else"):
        results.load(tmp_path / "a.json")


def test_the_machine_is_described():
    found = results.machine()
    assert found["processor"] and found["cores"] >= 1 and found["python"].startswith("3.")
    assert peers.versions()["numpy"] == np.__version__


def test_ratios_and_means():
    found = {OURS: Spread(0.1, 0, 0, 1), "jax": Spread(0.4, 0, 0, 1)}
    r = Result("layers", "GRU", "train", {}, 1e9, 1e8, 2, found=found)
    assert r.best() == ("jax", pytest.approx(4.0)) and r.ratio("torch") is None
    fast = replace(r, found={**r.found, "torch": Spread(0.05, 0, 0, 1), f"{OURS} other": Spread(0.01, 0, 0, 1)})
    assert fast.best() == ("torch", 0.5)
    assert results.means([r, fast])["layers", "GRU", "train"] == pytest.approx([4.0, 0.5])
    assert sample().fractions(r) == (pytest.approx(0.1), pytest.approx(0.1))
    assert results.geometric_mean([2, 8]) == pytest.approx(4)


def test_the_report():
    text = report.report(sample())
    for wanted in (
        "A processor, 2 cores, 8 GiB", "ceilings: 100 Gflop/s", "noise", "left out: torch: not installed (1 cases)",
        "25 x 128 x 1024 x 1024", "2.00 MiB", "100 us",
    ):  # fmt: skip
        assert wanted in text
    means = next(line for line in text.splitlines() if line.startswith("layers  LSTM   train"))
    assert means.split()[3:5] == ["12", "x3.28"]  # the geometric mean of min(k, 4) for k = 1..12
    assert [report.shown(v) for v in (1.234, 0.01234, 4.56e-5)] == ["1.23 s", "12.3 ms", "45.6 us"]


PICTURES = ["ratios.png", "summary.png", "roofline.png", "growth.png"]


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    assert [path.name for path in plots.draw(tmp_path, sample())] == PICTURES
    for path in tmp_path.iterdir():
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# the README


def test_the_readme_is_made_of_the_results(tmp_path, capsys):
    (tmp_path / "README.md").write_text("a\n<!-- bench:tape -->\nold\n<!-- /bench:tape -->\n<!-- bench:dense -->\n"
                                        "<!-- /bench:dense -->\nb\n")  # fmt: skip
    results.save(tmp_path / "bench.json", sample())
    words = [str(tmp_path / "README.md"), "--results", str(tmp_path)]
    assert readme.main(words) == 0
    text = (tmp_path / "README.md").read_text()
    assert "| `x + a` | 5.00 | 10.0 |" in text and "old" not in text and "Not measured in this run." in text
    assert text.startswith("a\n") and text.endswith("b\n") and (tmp_path / "ratios.png").exists()
    assert readme.main(words) == 0 and (tmp_path / "README.md").read_text() == text
    (tmp_path / "bench.json").write_text("{")
    assert readme.main(words) == 1
    assert re.fullmatch(r"readme: error: .*bench.json: expected results .*\n", capsys.readouterr().err)


def test_other_machines_have_a_section_of_their_own():
    text = f"<!-- bench:{readme.OTHERS} -->\n<!-- /bench:{readme.OTHERS} -->\n"
    assert "Not measured yet." in readme.rewritten(text, sample())
    machine = sample().machine | {"processor": "Another processor", "vectors": "16 registers of 256 bits"}
    page = readme.rewritten(text, sample(), [sample(machine=machine), sample()])
    assert "Another processor, 16 registers of 256 bits, 2 cores" in page and "A processor, 2 cores" in page
    assert "LSTM, training step" in page


@pytest.mark.parametrize("name", readme.SECTIONS)
def test_every_section_has_its_figures(name):
    text = readme.rewritten(f"<!-- bench:{name} -->\n<!-- /bench:{name} -->\n", sample())
    assert ("Not measured" in text) == (name in ("around", "dense", "language_model", "cold")) and len(text) > 60
    with pytest.raises(ResultsError, match="got nothing"):
        readme.rewritten("<!-- bench:nothing -->\n<!-- /bench:nothing -->\n", sample())


def test_the_pages_agree_with_the_committed_results():
    found = readme.read(ROOT / "bench" / "results")
    for page, least in zip(readme.PAGES, (1, 10)):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert len(readme.MARKED.findall(text)) >= least
        assert readme.rewritten(text, found, readme.read_others(ROOT / "bench" / "results")) == text


# the command


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in an empty folder and returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def bench(*words):
        try:
            code = cli.main(["bench", *map(str, words)])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return bench


def offer(monkeypatch, *cases):
    monkeypatch.setitem(groups.GROUPS, "layers", lambda: list(cases))


def test_the_command_prints_writes_and_draws(call, monkeypatch, tmp_path):
    offer(monkeypatch, made_up({OURS: numbers(1), "numpy": numbers(1)}, quick=True))
    code, out, err = call("--only", "layers", "--peers", "numpy", "--quick", "--json", "all.json", "--threads", 1)
    assert code == 0, err
    assert "geometric means" in out and "results: run/bench: bench.json, ratios.png, roofline.png" in out
    found = results.load(tmp_path / "all.json")
    assert found == results.load(tmp_path / "run/bench/bench.json")
    assert found.quick and found.threads == 1 and set(found.records[0].found) == {OURS, "numpy"}


def test_other_groups_of_the_same_day_stay(call, monkeypatch, tmp_path):
    offer(monkeypatch, made_up({OURS: numbers(1)}))
    monkeypatch.setitem(groups.GROUPS, "tape", lambda: [replace(made_up({OURS: numbers(1)}), group="tape")])
    path = tmp_path / "run/bench/bench.json"
    for group, there in (("tape", ["tape"]), ("layers", ["layers", "tape"]), ("tape", ["layers", "tape"])):
        assert call("--only", group, "--peers", "numpy")[0] == 0
        assert [r.group for r in results.load(path).records] == there
    monkeypatch.setattr(ceilings, "peak", lambda threads: 2e10)  # a disturbed measurement, too low for the machine
    assert call("--only", "layers", "--peers", "numpy")[0] == 0
    assert results.load(path).ceilings == {"flops": 1e11, "bytes": 1e10}
    path.write_text(path.read_text().replace('"date": "', '"date": "1'))
    assert call("--only", "layers", "--peers", "numpy")[0] == 0
    assert [r.group for r in results.load(path).records] == ["layers"]


def test_a_failed_comparison_is_named_and_the_others_go_on(call, monkeypatch):
    wrong = made_up({OURS: numbers(1), "numpy": numbers(2)})
    offer(monkeypatch, wrong, replace(wrong, cell="GRU", contenders={OURS: numbers(1), "numpy": numbers(1)}))
    code, out, err = call("--only", "layers", "--peers", "numpy")
    assert code == 1
    assert "FAILED: layers: LSTM train 1 x 2 x 3 x 4: numpy: AssertionError" in out and "FAILED" in err
    assert re.search(r"GRU +train .* numpy ", out)


def test_a_missing_peer_is_reported(call, monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda package: "")
    offer(monkeypatch, made_up({OURS: numbers(1), "jax": numbers(1)}))
    code, out, _ = call("--only", "layers")
    assert code == 0 and "left out: jax and jaxlib not installed" in out


def test_growth_has_files_of_its_own(call, monkeypatch, tmp_path):
    points = [replace(made_up({OURS: numbers(1)}), group="growth", axis="T", shape={"T": T}) for T in (1, 2)]
    monkeypatch.setitem(groups.GROUPS, "growth", lambda: points)
    assert call("--only", "growth", "--out", "there", "--peers", "numpy")[0] == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["growth.json", "growth.png"]


@pytest.mark.parametrize(("stop", "files"), [(0, []), (1, []), (2, ["bench.json"]), (3, ["bench.json"])])
def test_an_interrupted_run_keeps_whole_groups(call, monkeypatch, tmp_path, stop, files):
    first = [made_up({OURS: numbers(1)})] * 2
    offer(monkeypatch, *first)
    monkeypatch.setitem(groups.GROUPS, "step", lambda: [replace(r, group="step") for r in first])
    measure, count = timing.measure, itertools.count()

    def interrupted(*args):
        if next(count) == stop:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(timing, "measure", interrupted)
    code, out, err = call("--only", "layers", "step", "--peers", "numpy", "--out", "there")
    assert code == 130 and "interrupted" in err and ("layers" in out) == (stop > 0)
    assert sorted(path.name for path in (tmp_path / "there").glob("*.json")) == files
    if files:
        assert [r.group for r in results.load(tmp_path / "there" / "bench.json").records] == ["layers"] * 2


def test_the_options_of_a_quick_run(call, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "run", lambda options: seen.append(options) or 0)
    assert call("--quick")[0] == 0 and call()[0] == 0
    quick, full = seen
    assert quick.quick and quick.groups == groups.QUICK and quick.peers == peers.QUICK and quick.cells == KINDS
    assert (
        not full.quick and full.groups == groups.DEFAULT and full.peers == peers.PEERS and str(full.out) == "run/bench"
    )


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--only", "nothing"], 2, "argument --only: invalid choice: 'nothing'"),
        (["--cells", "lstm"], 2, "argument --cells: invalid choice: 'lstm'"),
        (["--peers", "keras"], 2, "argument --peers: invalid choice: 'keras'"),
        (["--threads", "0"], 2, "expected a whole number from 1 to 1023"),
        (["--growht"], 2, "unrecognized arguments: --growht"),
        (["--quick", "--only", "growth"], 1, "--quick: expected --only with layers or step or tape, got growth"),
        (["--json", "no/such/folder.json"], 1, "no/such/folder.json: No such file or directory"),
        (["--out", "/dev/null/x"], 1, "Not a directory"),
    ],
)
def test_a_bad_option_is_one_line(call, words, code, reason):
    got, out, err = call(*words)
    assert got == code and out == ""
    assert err.startswith("tinygrad-rnn: error: ") and reason in err and err.count("\n") == 1
