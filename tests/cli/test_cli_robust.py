"""The command line in bad conditions: full disks, planted links, strange files, streams, threads, terminals."""

import errno
import io
import os
import signal
import socket
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest

from tinygrad_rnn import cli
from tinygrad_rnn.arrays import writing
from tinygrad_rnn.data import Chunks, TextError, Vocabulary, read_text
from tinygrad_rnn.lm import checkpoint
from tinygrad_rnn.lm.config import Config
from tinygrad_rnn.lm.model import CharModel, state_count, weight_shapes
from tinygrad_rnn.lm.plot import extremes, running_mean
from tinygrad_rnn.lm.progress import Progress
from tinygrad_rnn.lm.train import Trainer
from tinygrad_rnn.terminal import visible

TEXT = "She sells sea shells by the sea shore.\nThe shells she sells are sea shells, I am sure.\n" * 8
TINY = ["--hidden", "8", "--embedding", "4", "--batch", "4", "--bptt", "16", "--validate-every", "2"]


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")

    def run(*words):
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def trained(call):
    assert call("train", "--text", "text.txt", "--steps", 4, *TINY)[0] == 0


def changed(**parts):
    path = f"run/{cli.CHECKPOINT}"
    checkpoint.save(path, {**checkpoint.load(path), **parts})


# Long runs and texts


@pytest.mark.parametrize("n", [1, 3, 17, 100, 5000])
@pytest.mark.parametrize("share", [1, 2, 50])
def test_running_mean_is_the_convolution(n, share):
    values, window = np.random.default_rng(n).normal(3, 1, n), max(1, n // share)
    expected = np.convolve(values, np.ones(window) / window, mode="valid")
    np.testing.assert_allclose(running_mean(values, window), expected, rtol=1e-10)


def test_the_picture_of_a_long_run_takes_linear_time():
    losses = np.random.default_rng(0).normal(3, 1, 800_000)
    started = time.perf_counter()
    running_mean(losses, 16_000)
    shown = extremes(losses, 4000)
    assert time.perf_counter() - started < 2
    assert len(shown) < 10_000 and shown[0] == 0 and shown[-1] == len(losses) - 1
    assert losses[shown].max() == losses.max() and losses[shown].min() == losses.min()
    assert extremes(losses[:1000], 4000).tolist() == list(range(1000))


@pytest.mark.parametrize(("size", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")])
def test_ids_take_the_bytes_that_they_need(size, dtype):
    vocabulary = Vocabulary("".join(chr(i + (0x800 if i >= 0xD800 else 0)) for i in range(size)))
    ids = vocabulary.encode(vocabulary.characters, dtype=vocabulary.dtype)
    assert ids.dtype == dtype and ids.tolist() == list(range(size))
    chunk = Chunks(ids, 1, size)[0]
    assert chunk[0].dtype == np.int64 and chunk[1].tolist() == [[i] for i in range(1, size)]


def test_a_text_takes_one_byte_a_character():
    text = TEXT * 1000
    vocabulary = Vocabulary.of(text)
    config = Config(hidden=8, embedding=4)
    tracemalloc.start()
    trainer = Trainer(config, vocabulary, vocabulary.encode(text, dtype=vocabulary.dtype))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.5 * len(text) and np.shares_memory(trainer.chunks.inputs, trainer.chunks.targets)
    with pytest.raises(ValueError, match="ids: expected 0 to"):
        Trainer(config, vocabulary, np.array([1, 300, 2, 4]))


# Standard input, encodings, threads


def piped(monkeypatch, content, terminal=False):
    stream = io.TextIOWrapper(io.BytesIO(content))
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdin", stream)


def test_text_from_standard_input(call, monkeypatch):
    piped(monkeypatch, TEXT.encode())
    code, _, err = call("train", "--text", "-", "--steps", 2, *TINY)
    assert code == 0 and "text: standard input: 624 characters" in err
    code, _, err = call("train", "--resume", "--steps", 3)
    assert code == 1 and err.count("\n") == 1 and "--text FILE" in err
    assert call("train", "--resume", "--steps", 3, "--text", "text.txt")[0] == 0


def test_bad_standard_input(call, monkeypatch):
    piped(monkeypatch, b"")
    assert "standard input: expected at least 2 different characters" in call("train", "--text", "-")[2]
    piped(monkeypatch, b"abc\xff")
    assert "standard input: expected UTF-8 text, got byte 0xff" in call("train", "--text", "-")[2]
    piped(monkeypatch, b"", terminal=True)
    assert "got a terminal" in call("train", "--text", "-")[2]
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = call("train", "--text", "-")
    assert code == 1 and "which is closed" in err and err.count("\n") == 1


@pytest.mark.parametrize("text", ["plain text\n" * 9, "Привет мир, как\n" * 3, "你好,世界\n我们\n", "hi \U0001f600\n"])
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
def test_other_encodings_are_named(tmp_path, text, encoding):
    for mark in ("", "\ufeff"):
        (tmp_path / "t").write_bytes((mark + text).encode(encoding))
        with pytest.raises(TextError, match=f"expected UTF-8 text, .*iconv -f {encoding}"):
            read_text(tmp_path / "t")
    (tmp_path / "t").write_bytes((text + "\0").encode())
    assert read_text(tmp_path / "t") == text + "\0"


def test_main_in_another_thread(call):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(call("train", "--text", "text.txt", "--steps", 2, *TINY)[0]))
    thread.start()
    thread.join(120)
    assert codes == [0]


@pytest.mark.parametrize("variable", ["TQDM_MININTERVAL=abc", "TQDM_DISABLE=x", "TQDM_NCOLS=x", "TQDM_POSITION=x"])
def test_wrong_variables_of_tqdm_have_no_effect(call, monkeypatch, variable):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv(*variable.split("="))
    monkeypatch.setattr(Progress, "PAUSES", {True: 0.0, False: 60.0})
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert call("train", "--text", "text.txt", "--steps", 5, *TINY)[0] == 0
    assert "80%" in sys.stderr.getvalue() and os.environ[variable.split("=")[0]] == variable.split("=")[1]


# Hostile files


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "peephole_lstm", "cifg_lstm", "rnn_tanh"])
@pytest.mark.parametrize("layers", [1, 3])
def test_weight_shapes_are_those_of_the_model(cell, layers):
    config = Config(cell=cell, layers=layers, hidden=5, embedding=3)
    model = CharModel(7, config)
    assert list(weight_shapes(7, config).items()) == [(name, p.shape) for name, p in model.named_parameters()]
    assert state_count(config) == len(model.recurrent.step.states)


def test_nothing_is_built_for_sizes_that_do_not_fit(call, trained):
    tree = checkpoint.load(f"run/{cli.CHECKPOINT}")
    changed(config={**tree["config"], "hidden": 8192})
    for words in (["train", "--resume"], ["sample", "run"]):
        tracemalloc.start()
        code, _, err = call(*words)
        assert tracemalloc.get_traced_memory()[1] < 20e6
        tracemalloc.stop()
        assert code == 1 and "do not fit" in err and err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="POSIX files")
@pytest.mark.parametrize("kind", ["/dev/zero", "fifo", "socket", "folder", "a\0b", "\ud800", "/none/\x1b[2J"])
def test_only_regular_files_are_read(call, trained, tmp_path, kind):
    path, bound = str(tmp_path / "p") if kind.isalpha() and kind.isascii() else kind, None
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "socket":
        bound = socket.socket(socket.AF_UNIX)
        os.chdir(tmp_path)
        bound.bind("p")
    source = checkpoint.load(f"run/{cli.CHECKPOINT}")["source"]
    changed(source={**source, "path": path})
    started = time.perf_counter()
    for words in (["train", "--resume", "--steps", "9"], ["sample", path], ["train", "--out", "b", "--text", path]):
        code, _, err = call(*words)
        assert words[0] == "sample" and kind == "folder" or code in (1, 2)
        assert err.count("\n") == 1 and "\x1b" not in err and "\0" not in err, err
    assert time.perf_counter() - started < 5
    if bound is not None:
        bound.close()


def test_a_text_of_another_size_is_not_read(call, trained, tmp_path):
    with open("text.txt", "r+b") as file:
        file.truncate(2**40)  # the sparse file takes no space on the disk
    code, _, err = call("train", "--resume", "--steps", "9")
    assert code == 1 and "expected the one that the run was started with" in err and "--text FILE" in err


def test_control_characters_do_not_reach_a_terminal(call, tmp_path, monkeypatch):
    (tmp_path / "bad.txt").write_text("\x1b]0;x\x07\u202e\x9b\t" * 60)
    assert call("train", "--text", "bad.txt", "--steps", 1, *TINY)[0] == 0
    out = call("sample", "run", "--length", 99, "--prime", "\x1b")[1]
    assert "\x1b" in out  # a pipe gets the text unchanged
    shown = io.StringIO()
    shown.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", shown)
    assert cli.main(["sample", "run", "--length", "300", "--prime", "\x1b"]) == 0
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(shown.getvalue()) and r"\x1b" in shown.getvalue()
    assert visible("a\x1b\u2028\x7fé\n\tß") == r"a\x1b\u2028\x7f" + "é\n\tß"


def test_files_without_a_hash_load(call, trained, monkeypatch):
    import safetensors.numpy

    path = f"run/{cli.CHECKPOINT}"
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "sha256"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with open(path, "wb") as file:
        file.write(safetensors.numpy.save(tensors, metadata))
    assert call("train", "--resume", "--steps", 6)[0] == 0
    assert call("sample", "run", "--length", 3)[0] == 0


# Saving


def failing(monkeypatch, code, times, after=0):
    """Make os.fsync fail `times` times, after `after` calls."""
    calls, usual = [], os.fsync

    def fsync(descriptor):
        calls.append(descriptor)
        if after < len(calls) <= after + times:
            raise OSError(code, os.strerror(code))
        usual(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_files_that_cannot_be_synced(call, monkeypatch, code):
    failing(monkeypatch, code, 10**9)
    assert call("train", "--text", "text.txt", "--steps", 2, *TINY)[0] == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_is_full_for_a_while(call, monkeypatch, code):
    failing(monkeypatch, code, 3, after=2)
    code, _, err = call("train", "--text", "text.txt", "--steps", 8, "--save-every", 0, *TINY)
    assert code == 0 and err.count("warning: ") == 1 and "saved again" in err
    assert checkpoint.load(f"run/{cli.CHECKPOINT}")["step"] == 8


def test_a_last_save_that_fails_is_an_error(call, monkeypatch):
    failing(monkeypatch, errno.ENOSPC, 10**9, after=2)
    code, _, err = call("train", "--text", "text.txt", "--steps", 3, *TINY)
    said = "No space left on device: the state of step 3 could not be saved; the file has that of step 0"
    assert code == 1 and said in err.splitlines()[-1]
    assert checkpoint.load(f"run/{cli.CHECKPOINT}")["step"] == 0 and not os.path.exists("run/loss.png")


def test_interrupted_with_a_full_disk(call, monkeypatch):
    failing(monkeypatch, errno.ENOSPC, 10**9, after=2)
    step = Trainer.train_step
    monkeypatch.setattr(
        Trainer, "train_step", lambda self: (step(self), self.step == 5 and signal.raise_signal(signal.SIGINT))[0]
    )
    code, _, err = call("train", "--text", "text.txt", "--steps", 100, *TINY)
    assert code == 1 and "the state of step 5 could not be saved" in err and "and saved" not in err


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_planted_link_is_not_written_through(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("untouched")
    monkeypatch.setattr(writing.secrets, "randbits", lambda bits: 7)
    (tmp_path / f"c.{os.getpid()}-7.part").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        checkpoint.write_atomically(tmp_path / "c", b"new")
    assert (tmp_path / "victim").read_text() == "untouched"


def test_a_resume_reads_the_checkpoint_when_it_has_the_lock(call, trained, monkeypatch):
    """Another run reaches step 6 just before this one gets the lock; this one continues from there."""
    usual, done = checkpoint.locked_folder, []

    def later(folder):
        if not done:
            done.append(1)
            assert cli.main(["train", "--resume", "--steps", "6"]) == 0
        return usual(folder)

    monkeypatch.setattr(checkpoint, "locked_folder", later)
    code, _, err = call("train", "--resume", "--steps", 8)
    assert code == 0 and "resumed at step 6" in err
    assert checkpoint.load(f"run/{cli.CHECKPOINT}")["step"] == 8
