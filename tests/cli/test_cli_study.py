"""`tinygrad-rnn study`: what it prints and writes, and its errors."""

import os
import signal
import subprocess
import sys

import pytest

from tinygrad_rnn import cli
from tinygrad_rnn.study import CLAIMS


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_list_shows_every_claim(call):
    code, out, err = call("study", "--list")
    assert (code, err) == (0, "") and [line.split()[0] for line in out.splitlines()] == list(CLAIMS)


def test_a_claim_is_printed_once_and_drawn(call, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, err = call("study", "repeated-factor", "repeated-factor", "--out", "new/folder")
    assert code == 0 and out.count("repeated-factor: ") == 1 and "wrong: " in out and "490" in out
    assert err.startswith("repeated-factor: ") and os.listdir(tmp_path / "new/folder") == ["study_repeated_factor.png"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 1, "study: expected the name of a claim, --all or --list, got none"),
        (["depht"], 1, "got 'depht'"),
        (["depth", "--all"], 1, "--all: expected no names beside it, got depth"),
        (["depth", "--seed", "x"], 2, "argument --seed: expected a whole number from 0 to 2147483647, got 'x'"),
        (["depth", "--out", "file"], 1, "--out: expected a folder, got file"),
        (["depth", "--markdown", "."], 1, "--markdown: expected a file, got ."),
        (["repeated-factor", "--markdown", "file/page.md"], 1, "file: "),
        (["depth", "--markdown", "text"], 1, "--markdown: text is there already, and is no such page"),
    ],
)
def test_errors_are_one_line(call, tmp_path, words, code, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "text").write_text("mine")
    got, _, err = call("study", *words)
    last = err.splitlines()[-1]
    assert got == code and last.startswith("tinygrad-rnn: error: ") and message in last and "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_an_interrupt_ends_it_with_one_line():
    words = [sys.executable, "-m", "tinygrad_rnn", "study", "repeated-factor", "elman-and-jordan"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("repeated-factor: ")  # the second claim begins
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1] == "tinygrad-rnn: error: interrupted"
    assert "Traceback" not in err
