"""The command line: its output, files, exit codes and errors."""

import errno
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import cli, kernels
from tinygrad_rnn.data import read_text
from tinygrad_rnn.kernels.cpu.runtime.host import vector_unit
from tinygrad_rnn.lm import checkpoint
from tinygrad_rnn.lm.progress import Progress, clock

TEXT = "She sells sea shells by the sea shore.\nThe shells she sells are sea shells, I am sure.\n" * 8
TINY = ["--hidden", "8", "--embedding", "4", "--batch", "4", "--bptt", "16", "--validate-every", "2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a new folder that has a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(folder, capsys):
    """Return a function that runs the command line in the folder and returns (exit code, stdout, stderr)."""

    def run(*words):
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture
def fails(call):
    """Return a function that runs a command line, which must fail, and returns its one line of error."""

    def run(*words, code=1):
        got, out, err = call(*words)
        assert got == code, err
        assert err.startswith("tinygrad-rnn: error: ") and err.count("\n") == 1 and err.endswith("\n"), err
        assert out == ""
        return err

    return run


@pytest.fixture
def trained(call):
    """Finish a run of 6 steps in the folder `run`."""
    assert call("train", "--text", "text.txt", "--steps", 6, *TINY)[0] == 0
    return "run"


def weights(folder="run"):
    tree = checkpoint.load(f"{folder}/{cli.CHECKPOINT}")
    return {name: array.tobytes() for name, array in tree["model"].items()}


# train


def test_train_writes_and_prints_its_results(call, folder):
    code, out, err = call("train", "--text", "text.txt", "--steps", 6, *TINY)
    assert code == 0
    assert sorted(entry.name for entry in (folder / "run").iterdir()) == [cli.CHECKPOINT, "loss.png", "sample.txt"]
    assert (folder / "run/loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(read_text("run/sample.txt")) == cli.SAMPLE_LENGTH + 1
    assert read_text("run/sample.txt") in out
    tree = checkpoint.load(f"run/{cli.CHECKPOINT}")
    assert tree["step"] == 6 and len(tree["losses"]) == 6 and tree["validations"][:, 0].tolist() == [2, 4, 6]
    assert f"{tree['validations'][-1, 1]:.3f} bits per character on the held-out text after 6 steps" in out
    assert "text: text.txt: 624 characters to learn, 68 held out, 19 different" in err
    assert len(re.findall(r"held-out \d+\.\d{3}$", err, re.MULTILINE)) == 3


def test_progress_in_a_pipe_is_a_few_lines(call):
    _, _, err = call("train", "--text", "text.txt", "--steps", 100, *TINY[:-1], 50)
    assert err.count("\n") == 4 and "\r" not in err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar(call, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(Progress, "PAUSES", {True: 0.0, False: 60.0})
    assert call("train", "--text", "text.txt", "--steps", 5, *TINY)[0] == 0
    shown = r"\r 80%\|[█#]+ *\| step 4 \(epoch 0\.40\), [\d,]+ char/s, 0:0\d left, \d\.\d{3} bits/char"
    assert re.search(shown, terminal.getvalue())


def test_clock():
    assert [clock(seconds) for seconds in (0, 61.4, 3600, 86399)] == ["0:00", "1:01", "1:00:00", "23:59:59"]


def test_training_is_repeatable_and_the_seed_matters(call):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert call("train", "--text", "text.txt", "--steps", 4, "--out", out, "--seed", seed, *TINY)[0] == 0
    assert weights("a") == weights("b") != weights("c")


def test_limits_end_a_run_at_the_first(call):
    call("train", "--text", "text.txt", "--epochs", 1, "--steps", 1000, "--minutes", 60, *TINY)
    assert checkpoint.load(f"run/{cli.CHECKPOINT}")["step"] == 10  # 4 streams of 156 characters: 10 chunks
    call("train", "--text", "text.txt", "--minutes", 0.0001, "--out", "short", *TINY)
    assert 0 < checkpoint.load(f"short/{cli.CHECKPOINT}")["step"] < 1000


def test_short_text_takes_fewer_streams(call, folder):
    (folder / "short.txt").write_text("abcabcabcabc")
    code, _, err = call("train", "--text", "short.txt", "--steps", 2)
    assert code == 0 and "note: the text is short: 1 streams in place of 32" in err
    (folder / "least.txt").write_text("aba")
    assert call("train", "--text", "least.txt", "--steps", 2, "--out", "least")[0] == 0


def test_without_matplotlib_there_is_a_line_in_place_of_the_picture(call, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = call("train", "--text", "text.txt", "--steps", 1, *TINY)
    assert code == 0 and "pip install tinygrad_rnn[plot]" in err
    assert not (folder / "run/loss.png").exists()


# --resume


def test_an_extended_run_equals_one_without_a_stop(call, trained):
    call("train", "--text", "text.txt", "--steps", 11, "--out", "whole", *TINY)
    code, _, err = call("train", "--resume", "--steps", 11)
    assert code == 0 and "resumed at step 6" in err
    assert weights() == weights("whole")
    a, b = (checkpoint.load(f"{name}/{cli.CHECKPOINT}") for name in ("run", "whole"))
    assert a["losses"].tolist() == b["losses"].tolist()
    assert a["validations"].tolist() == b["validations"].tolist()


def test_resume_of_a_complete_run_changes_nothing(call, trained):
    before = weights()
    code, _, err = call("train", "--resume", "--hidden", "8")  # an option with the same value is allowed
    assert code == 0 and "the run is complete" in err
    assert weights() == before


def test_resume_finds_the_text_elsewhere(call, trained, folder):
    (folder / "text.txt").rename(folder / "moved.txt")
    assert call("train", "--resume", "--steps", 7, "--text", "moved.txt")[0] == 0


def test_resume_refuses_other_options_and_texts(fails, trained, folder):
    assert "--resume: hidden: expected 8 as in run/" in fails("train", "--resume", "--hidden", 9)
    assert "cell: expected 'lstm'" in fails("train", "--resume", "--cell", "gru")
    assert "lr: expected 0.005" in fails("train", "--resume", "--lr", 1e-3)
    (folder / "text.txt").write_text(TEXT + "!")
    assert "--resume: text: expected the one that the run was started with, got" in fails("train", "--resume")
    (folder / "text.txt").unlink()
    assert "text.txt: No such file" in fails("train", "--resume")
    assert "none/checkpoint.safetensors: No such file" in fails("train", "--resume", "--out", "none")


def test_resume_refuses_a_damaged_checkpoint(fails, trained, folder):
    path = folder / "run" / cli.CHECKPOINT
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert "truncated or foreign" in fails("train", "--resume")
    tree = {"config": {"hidden": 8}, "vocabulary": "ab"}
    checkpoint.save(path, tree)
    assert "do not fit" in fails("train", "--resume")
    assert "do not fit" in fails("sample", "run")


@pytest.mark.parametrize("part", ["config", "model", "optimiser", "recurrent_state", "random_state", "step"])
def test_resume_refuses_a_checkpoint_with_a_part_missing(fails, trained, part):
    path = f"run/{cli.CHECKPOINT}"
    tree = checkpoint.load(path)
    del tree[part]
    checkpoint.save(path, tree)
    assert "do not fit" in fails("train", "--resume", "--steps", 9)


# Errors


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "expected at least 2 different characters, got 0"),
        (b"a", "expected at least 2 different characters, got 1"),
        (b"aaaaaaaa", "expected at least 2 different characters, got 1"),
        (b"ab", "expected at least 3 characters, got 2"),
        (b"abc\xff", "expected UTF-8 text, got byte 0xff at position 3"),
        ("text".encode("utf-16"), "expected UTF-8 text, got byte 0xff at position 0"),
    ],
)
def test_bad_texts(fails, folder, content, said):
    (folder / "bad.txt").write_bytes(content)
    assert said in fails("train", "--text", "bad.txt")
    assert not (folder / "run").exists()


def test_files_that_cannot_be_used(fails, folder):
    assert "none.txt: No such file or directory" in fails("train", "--text", "none.txt")
    assert "Is a directory" in fails("train", "--text", ".")
    assert "--out: expected a folder, got text.txt" in fails("train", "--text", "text.txt", "--out", "text.txt")
    assert "Not a directory" in fails("train", "--text", "text.txt", "--out", "text.txt/below")
    assert "none.safetensors: No such file or directory" in fails("sample", "none.safetensors")
    assert "text.txt: expected a checkpoint, got a truncated or foreign file" in fails("sample", "text.txt")
    assert "checkpoint.safetensors: No such file" in fails("sample", ".")


def test_a_run_is_not_overwritten(fails, trained):
    before = weights()
    assert "checkpoint.safetensors is there already: pass --resume" in fails("train", "--text", "text.txt", *TINY)
    assert weights() == before


@pytest.mark.parametrize(
    "words",
    [
        *[["--hidden", value] for value in ("0", "-1", "2.5", "x", "nan", "1000000000")],
        *[["--lr", value] for value in ("0", "-1", "nan", "inf", "")],
        *[["--clip", "0"], ["--dropout", "1"], ["--held-out", "1"], ["--cell", "lstn"], ["--optimiser", "adm"]],
        *[["--steps", "0"], ["--epochs", "-1"], ["--minutes", "0"], ["--minutes", "nan"], ["--seed", "-1"]],
        *[["--hid", "8"], ["--hidden"], ["extra"], ["--save-every", "-1"]],
    ],
)
def test_usage_of_train(fails, words):
    fails("train", "--text", "text.txt", *words, code=2)


@pytest.mark.parametrize("words", [[], ["trian"], ["sample"], ["info", "x"]])
def test_usage(fails, words):
    fails(*words, code=2)


@pytest.mark.parametrize(
    "words",
    [
        *[["--temperature", value] for value in ("0", "-1", "nan", "inf", "x")],
        *[["--length", value] for value in ("0", "-5", "1.5")],
        *[["--top-k", value] for value in ("0", "-1", "2.5")],
        *[["--top-p", value] for value in ("0", "1.1", "nan")],
    ],
)
def test_usage_of_sample(fails, words):
    assert words[0] in fails("sample", "run", *words, code=2)


def test_divergence_is_an_error_and_keeps_the_checkpoint(call, folder):
    words = ["--optimiser", "sgd", "--lr", 1000, "--clip", "inf", "--cell", "rnn_relu"]
    with np.errstate(all="ignore"):
        code, _, err = call("train", "--text", "text.txt", "--steps", 5000, *words, *TINY)
    assert code == 1 and "expected finite numbers" in err.splitlines()[-1]
    assert all(np.isfinite(array).all() for array in checkpoint.load(f"run/{cli.CHECKPOINT}")["model"].values())


@pytest.mark.parametrize("name", ["sample.txt", "loss.png"])
def test_the_users_files_are_not_overwritten(fails, folder, name):
    (folder / "out").mkdir()
    (folder / "out" / name).write_text(TEXT)
    assert f"out/{name} is there already, and would be overwritten" in fails("train", *TINY, "--out", "out")
    assert (folder / "out" / name).read_text() == TEXT


def test_the_text_is_not_among_the_results(fails, trained, folder):
    text = folder / "run" / "sample.txt"
    text.write_text(TEXT)
    assert "--text: run/sample.txt would be overwritten" in fails("train", "--resume", "--text", "run/sample.txt")
    assert "--out: expected a folder, got text.txt" in fails("train", "--out", "text.txt")
    assert text.read_text() == TEXT


def test_one_training_in_a_folder_at_a_time(fails, trained, folder):
    with checkpoint.locked_folder(folder / "run"):
        assert "--out: run: another training is at work there" in fails("train", "--resume", "--steps", "9")


def test_results_of_a_benchmark_overwrite_nothing_else(fails, folder):
    error = fails("bench", "--quick", "--only", "step", "--json", "text.txt")
    assert "--json: text.txt is there already, and holds no results" in error
    fails("bench", "--threads", "1024", code=2)


def test_a_file_of_numbers_that_numpy_does_not_have(fails, folder):
    head = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
    assert "expected a checkpoint of tinygrad-rnn train" in fails("sample", "model.safetensors")


@pytest.mark.parametrize("value", ["foo", ""])
def test_the_environment_is_checked(call, trained, monkeypatch, value):
    monkeypatch.setenv(kernels.driver.VARIABLE, value)
    kernels.wanted_driver.cache_clear()
    code, _, err = call("sample", "run", "--length", "2")
    kernels.wanted_driver.cache_clear()
    assert code == (1 if value else 0)
    if value:
        expected = f"the environment variable {kernels.driver.VARIABLE}: expected 'cpu' or 'reference', got 'foo'"
        assert err == f"tinygrad-rnn: error: {expected}\n"


@pytest.mark.skipif(os.name != "posix", reason="closes a stream as a POSIX shell does")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_obstacle(closed):
    command = f'"{sys.executable}" -m tinygrad_rnn explain lstm {closed}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""


def test_full_disk_keeps_the_previous_checkpoint(call, trained, folder, monkeypatch):
    before = weights()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, _, err = call("train", "--resume", "--steps", 9)
    assert code == 1
    assert err.splitlines()[-1] == f"tinygrad-rnn: error: run/{cli.CHECKPOINT}: No space left on device"
    assert weights() == before and not list(folder.glob("run/*.part"))
    assert call("train", "--resume", "--steps", 9)[0] == 0


# sample


def test_sample(call, trained):
    code, out, err = call("sample", f"run/{cli.CHECKPOINT}", "--prime", "She ", "--length", 30, "--seed", 1)
    assert (code, err) == (0, "") and out.startswith("She ") and out.endswith("\n") and len(out) == 35
    again = [call("sample", "run", "--prime", "She ", "--length", 30, "--seed", seed)[1] for seed in (1, 2)]
    assert again[0] == out != again[1]
    greedy = [call("sample", "run", "--greedy", "--length", 30)[1] for _ in range(2)]
    assert greedy[0] == greedy[1]
    assert len(call("sample", "run")[1]) == 501
    hot, cold = (call("sample", "run", "--temperature", t, "--seed", 3)[1] for t in (100, 0.01))
    assert len(set(hot)) > len(set(cold))
    for words in (["--top-k", 1], ["--top-p", 1e-9]):
        assert call("sample", "run", *words, "--temperature", 100, "--length", 30)[1] == greedy[0]
    assert call("sample", "run", "--top-k", 9999, "--top-p", 1, "--temperature", 100, "--seed", 3)[1] == hot


def test_sample_refuses_characters_out_of_the_vocabulary(fails, trained):
    assert r"got '\xe9' (U+00E9) at position 3" in fails("sample", "run", "--prime", "Sheé")
    assert r"got '\udcff' (U+DCFF)" in fails("sample", "run", "--prime", "\udcff")


# info


def test_info(call):
    code, out, err = call("info")
    assert (code, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["tinygrad_rnn"] == tg.__version__ and lines["numpy"] == np.__version__
    assert lines.keys() >= {"python", "numba", "processor", "features", "kernels", "threads", "BLAS", "CUDA"}
    assert f"{vector_unit().bits} bits; tiles of" in lines["kernels"] and "caches: level 1" in lines["kernels"]


def test_version_and_help(call):
    assert call("--version")[:2] == (0, f"tinygrad-rnn {tg.__version__}\n")
    for words in (["--help"], ["train", "--help"], ["sample", "--help"], ["info", "--help"]):
        code, out, err = call(*words)
        assert code == 0 and err == "" and "usage: tinygrad-rnn" in out
    helped = " ".join(call("train", "--help")[1].split())
    assert "hidden units per layer (default: 256)" in helped and "passes over the text (default: 24," in helped
