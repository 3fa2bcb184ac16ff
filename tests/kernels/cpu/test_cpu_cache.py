"""The files of the cache folder: a kernel with a damaged file is compiled again, without an error.

Each process here is a new one that compiles only a small kernel, in a moment.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys

import pytest
from cache_processes import ROOT, SMALL, TEXT, compiles

from tinygrad_rnn.kernels.cpu.codegen.native import Kernel
from tinygrad_rnn.kernels.cpu.runtime import cache
from tinygrad_rnn.kernels.runtime import cache as store

# In one process


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads the kernel as a new process would, from this test's folder."""
    monkeypatch.setattr(store, "folder", lambda: tmp_path)
    monkeypatch.setattr(cache, "_loaded", {})

    def anew():
        cache._loaded.clear()
        return Kernel(cache.load("damaged", TEXT).kernel, ())

    return anew


DAMAGES = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut a little": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
    "other": lambda content: b"\x80nonsense(" * 20,
    "sealed, but no machine code": lambda content: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_compiled_again(load, tmp_path, damage):
    assert load().entry
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    damaged = DAMAGES[damage](whole)
    if damaged is None:
        assert store.write(path, b"\x80nonsense")
    else:
        path.write_bytes(damaged)
    assert load().entry
    assert path.read_bytes() not in (damaged, b"\x80nonsense") and store.read(path)
    assert load().entry


def test_a_file_under_another_name_is_not_taken(tmp_path):
    assert store.write(tmp_path / "a", b"content") and store.read(tmp_path / "a") == b"content"
    shutil.copy(tmp_path / "a", tmp_path / "b")
    assert store.read(tmp_path / "b") is None
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert [store.read(tmp_path / name) for name in ("link", "pipe", "folder", "nothing")] == [None] * 4


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(store.secrets, "token_hex", lambda n: "known")
    (tmp_path / "a.known.tmp").symlink_to(tmp_path / "target")
    monkeypatch.setattr(store, "_warned", True)
    assert not store.write(tmp_path / "a", b"content") and not (tmp_path / "target").exists()


def test_an_error_of_the_compiler_is_raised(load, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "TEXT", "def kernel(args, thread, threads):\n    nothing()\n")
    for _ in range(2):
        with pytest.raises(Exception, match="nothing"):
            load().entry  # noqa: B018


@pytest.mark.parametrize("name", ["<lambda>", "zelle_ä漢" * 60, "../up", "a b"])
def test_a_cell_of_any_name_has_a_file(load, monkeypatch, tmp_path, name):
    assert Kernel(cache.load(name, TEXT).kernel, ()).entry
    assert len(list(tmp_path.iterdir())) == 1


def test_generated_text_asks_for_this_cache():
    for path in (ROOT / "kernels").rglob("*.py"):
        if path.name != "native.py":  # it does not cache the code that it compiles with Numba's njit
            assert "from numba import njit" not in path.read_text(), path


# Damage, in new processes


@pytest.mark.long
def test_bits_that_flip_and_files_that_are_cut(tmp_path):
    """With damaged files, a process computes correct results, does not crash, and makes the folder whole again."""
    compiles(2, folder=tmp_path)
    compiles(0, folder=tmp_path)
    files = sorted(tmp_path.iterdir())
    whole = [path.read_bytes() for path in files]
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    for _ in range(8):
        for path, content in zip(files, whole):
            damaged = bytearray(content)
            if draw.random() < 0.3:
                del damaged[draw.randrange(len(damaged)) :]
            for _ in range(draw.choice([1, 1, 8]) if damaged else 0):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
        compiles(2, folder=tmp_path)
        assert all(store.read(path) for path in files)
    compiles(0, folder=tmp_path)


def test_every_kind_of_damage_is_seen_before_a_file_is_used(tmp_path):
    draw = random.Random()
    path = tmp_path / "entry"
    assert store.write(path, draw.randbytes(5000))
    whole = path.read_bytes()
    for _ in range(2000):
        damaged = bytearray(whole)
        if draw.random() < 0.5:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        else:
            del damaged[draw.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        assert store.read(path) is None


def test_numbas_cache_folder_is_not_used(tmp_path):
    theirs = tmp_path / "numba"
    theirs.mkdir()
    compiles(2, folder=tmp_path / "ours", NUMBA_CACHE_DIR=str(theirs))
    assert not list(theirs.iterdir())
    (tmp_path / "file").write_text("")
    compiles(0, folder=tmp_path / "ours", NUMBA_CACHE_DIR=str(tmp_path / "file"))


@pytest.mark.parametrize(
    "name", ["{key}.py", "__pycache__/{key}.cpython-311.pyc", "__pycache__/{key}.kernel-3.py311.nbi"]
)
def test_code_put_into_the_folder_is_not_run(tmp_path, name):
    compiles(2, folder=tmp_path)
    key = next(path.name.partition(".")[0] for path in tmp_path.iterdir())
    planted = tmp_path / name.format(key=key)
    planted.parent.mkdir(exist_ok=True)
    planted.write_bytes(b"import os; os._exit(7)")
    compiles(0, folder=tmp_path)


@pytest.mark.long
def test_ten_cold_starts_at_once(tmp_path):
    command = [sys.executable, "-c", SMALL]
    environment = os.environ | {"TINYGRAD_RNN_CACHE": str(tmp_path / "folder")}
    started = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(10)]
    assert [(p.communicate()[1], p.returncode) for p in started] == [(b"", 0)] * 10
    assert len(list((tmp_path / "folder").iterdir())) == 2
    compiles(0, folder=tmp_path / "folder")
