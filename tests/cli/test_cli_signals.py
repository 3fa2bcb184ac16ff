"""A process that is killed or interrupted at a random moment loses nothing, and its resumed run is exact."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tinygrad_rnn import cli
from tinygrad_rnn.lm import checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")

TEXT = "How much wood would a woodchuck chuck if a woodchuck could chuck wood?\n" * 20
STEPS = 300
OPTIONS = f"--hidden 8 --embedding 4 --batch 4 --bptt 16 --dropout 0.3 --steps {STEPS}".split()
PROGRAM = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a process that a shell started with & ignores it
    "from tinygrad_rnn import cli\n"
    "from tinygrad_rnn.lm.train import Trainer\n"
    "step = Trainer.train_step\n"
    "Trainer.train_step = lambda self: time.sleep(0.003) or step(self)\n"  # so that a signal arrives during the run
    "sys.exit(cli.main(sys.argv[1:]))\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def start(*words, stdout=subprocess.PIPE):
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def step_of(path):
    return checkpoint.load(path)["step"] if path.exists() else -1


def wait_for_step(process, path, step):
    """Wait until the checkpoint has reached a step. Each checkpoint before it must load, too."""
    deadline = time.monotonic() + 120
    while step_of(path) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def results(folder):
    tree = checkpoint.load(folder / cli.CHECKPOINT)
    weights = {name: array.tobytes() for name, array in tree["model"].items()}
    return weights, tree["losses"].tolist(), tree["validations"].tolist(), tree["random_state"]


@pytest.fixture
def uninterrupted(folder, capsys):
    assert cli.main(["train", "--text", "text.txt", "--out", "whole", *OPTIONS]) == 0
    return results(folder / "whole")


def test_killed_at_random_moments_and_resumed(folder, uninterrupted, capsys):
    path = folder / "run" / cli.CHECKPOINT
    chance = random.Random()
    words = ["--text", "text.txt", *OPTIONS]
    for least in (1, 60):
        process = start("train", "--save-every", "0", *words)
        wait_for_step(process, path, chance.randrange(least, least + 60))
        time.sleep(chance.random() * 0.02)
        process.kill()
        _, err = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, err
        assert 0 < step_of(path) < STEPS
        words = ["--resume"]
    assert cli.main(["train", "--resume"]) == 0
    assert results(folder / "run") == uninterrupted


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_and_resumed(folder, uninterrupted, capsys, name):
    path = folder / "run" / cli.CHECKPOINT
    number = getattr(signal, name)
    process = start("train", "--text", "text.txt", "--save-every", "0", *OPTIONS)
    wait_for_step(process, path, 20)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    step = step_of(path)
    assert f"stopped by {name} at step {step} and saved; go on with: tinygrad-rnn train --resume --out run" in err
    assert cli.main(["train", "--resume"]) == 0
    assert results(folder / "run") == uninterrupted


def test_a_closed_pipe_ends_sample_quietly(folder, uninterrupted):
    process = start("sample", "whole", "--length", "1000000")
    assert len(process.stdout.read(50)) == 50
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=120) == 128 + signal.SIGPIPE
    assert err == ""
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_to_a_full_disk_ends_in_one_line(folder, uninterrupted):
    with open("/dev/full", "w") as full:
        process = start("sample", "whole", "--length", "5", stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err == "tinygrad-rnn: error: [Errno 28] No space left on device\n"


def test_interrupted_sample_ends_in_one_line(folder, uninterrupted):
    process = start("sample", "whole", "--length", "1000000")
    assert len(process.stdout.read(50)) == 50
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert err == "tinygrad-rnn: error: interrupted\n"


def test_characters_missing_in_the_encoding_are_question_marks(folder, capsys, monkeypatch):
    (folder / "umlauts.txt").write_text("äöü€" * 60, encoding="utf-8")
    assert cli.main(["train", "--text", "umlauts.txt", "--steps", "1", "--hidden", "4"]) == 0
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = start("sample", "run", "--length", "5")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "?????\n", "")


@pytest.mark.parametrize("name", ["TINYGRAD_RNN_THREADS", "TINYGRAD_RNN_VECTOR"])
def test_a_wrong_environment_variable_is_one_line(folder, monkeypatch, name):
    monkeypatch.setenv(name, "7x")
    process = start("train", "--text", "text.txt", *OPTIONS)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.startswith(f"tinygrad-rnn: error: the environment variable {name}: ") and err.count("\n") == 1
    process = start("info")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "") and "cannot be told" in out
