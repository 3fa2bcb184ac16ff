"""The cache folder: what is damaged in it is made anew, and trouble with it is no error.

Each process here is a fresh one with a small kernel of its own, so that it compiles in a moment.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from grids import spread

from tinygrad_rnn.kernels.cpu.codegen.native import Kernel
from tinygrad_rnn.kernels.cpu.runtime import cache
from tinygrad_rnn.kernels.runtime import cache as store

ROOT = Path(__file__).parents[3]
TEXT = """
def kernel(args, thread, threads):
    pass
"""
SMALL = '''
import ctypes, os, sys
os.chdir(os.environ.get("GO_TO", "."))
from tinygrad_rnn.kernels.cpu.runtime import cache, compiled
from tinygrad_rnn.kernels.cpu.codegen import native
TEXT = """
from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.packing import put

@njit("intp(intp)", cache=True, error_model="numpy")
def twice(x):
    return 2 * x

def kernel(args, thread, threads):
    put(64, args, float(twice(thread) + threads))
"""
compiles = []
saves = compiled.Entry.save_overload
compiled.Entry.save_overload = lambda self, *rest: (compiles.append(self.function.__name__), saves(self, *rest))
out = (ctypes.c_double * 1)()
kernel = native.Kernel(cache.load("small", TEXT).kernel, ())
ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 3)(kernel.entry)(ctypes.addressof(out), 20, 2)
assert out[0] == 42.0, out[0]
print("compiled", len(compiles))
'''
as_root = pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can act as several users")
ANOTHER = 54321  # a user that the system does not know


def run(program=SMALL, user=None, folder=None, expect=0, cwd=None, arguments=(), **environment):
    """Run a program in a fresh process; returns (what it printed, the warnings it gave, one a line)."""
    given = {k: v for k, v in os.environ.items() if not k.startswith(("TINYGRAD", "NUMBA", "XDG", "PYTHON"))}
    given |= {"PYTHONDONTWRITEBYTECODE": "1"} | ({"TINYGRAD_RNN_CACHE": str(folder)} if folder is not None else {})
    given |= environment
    given = {name: value for name, value in given.items() if value is not None}
    command = [sys.executable, "-c", program] if program else [sys.executable, *arguments]
    who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        done = subprocess.run(command, env=given, cwd=cwd, capture_output=True, text=True, timeout=300, **who)
    except PermissionError:
        pytest.skip("another user may not run this Python")
    assert done.returncode == expect, done.stderr
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]
    return done.stdout.strip(), said


def compiles(count=None, warns=None, **options):
    """Run the small kernel: how often it compiles, and what its one warning says, if it gives one."""
    printed, said = run(**options)
    assert len(said) == (1 if warns else 0), said
    if warns:
        assert re.search(warns, said[0]) and "RuntimeWarning" in said[0] and "TINYGRAD_RNN_CACHE" in said[0], said
    if count is not None:
        assert printed == f"compiled {count}"


@pytest.fixture
def room(tmp_path):
    """A folder that every user can come into."""
    for path in (tmp_path, *tmp_path.parents[:-2]):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o711)
    return tmp_path


# In one process


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load the module as a new process would, from a folder of its own."""
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
def test_damaged_files_are_made_anew(load, tmp_path, damage):
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


def test_what_does_not_compile_says_so(load, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "TEXT", "def kernel(args, thread, threads):\n    nothing()\n")
    for _ in range(2):
        with pytest.raises(Exception, match="nothing"):
            load().entry  # noqa: B018


@pytest.mark.parametrize("name", ["<lambda>", "zelle_ä漢" * 60, "../up", "a b"])
def test_any_name_of_a_cell_is_fit_for_a_file(load, monkeypatch, tmp_path, name):
    assert Kernel(cache.load(name, TEXT).kernel, ()).entry
    assert len(list(tmp_path.iterdir())) == 1


def test_generated_text_asks_for_this_cache():
    for path in (ROOT / "kernels").rglob("*.py"):
        if path.name != "native.py":  # what it compiles with Numba's own is not kept
            assert "from numba import njit" not in path.read_text(), path


# Damage, in fresh processes


@pytest.mark.long
def test_bits_that_flip_and_files_that_are_cut(tmp_path):
    """Correct results, no end by a signal, whatever is damaged, and the folder is whole again afterwards."""
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


def test_a_damaged_or_unwritable_folder_of_numbas_is_nothing_to_us(tmp_path):
    theirs = tmp_path / "numba"
    theirs.mkdir()
    compiles(2, folder=tmp_path / "ours", NUMBA_CACHE_DIR=str(theirs))
    assert not list(theirs.iterdir())
    (tmp_path / "file").write_text("")
    compiles(0, folder=tmp_path / "ours", NUMBA_CACHE_DIR=str(tmp_path / "file"))


@pytest.mark.parametrize(
    "name", ["{key}.py", "__pycache__/{key}.cpython-311.pyc", "__pycache__/{key}.kernel-3.py311.nbi"]
)
def test_what_lies_there_is_not_run(tmp_path, name):
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


# Which folder


def test_the_folder_is_the_users_alone_and_settled_once(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.chmod(tmp_path / "elsewhere", 0o755)
    program = SMALL + "os.chdir('elsewhere'); from tinygrad_rnn.kernels.runtime.cache import folder; print(folder())"
    printed, said = run(program, folder="sub/folder", cwd=tmp_path)
    assert not said and printed.endswith(str((tmp_path / "sub" / "folder").resolve()))
    assert stat.S_IMODE((tmp_path / "sub" / "folder").stat().st_mode) == 0o700
    assert not list((tmp_path / "elsewhere").iterdir())
    compiles(0, folder="folder", cwd=tmp_path / "sub")


def test_a_link_to_a_folder_is_that_folder(tmp_path):
    compiles(2, folder=tmp_path / "folder")
    (tmp_path / "link").symlink_to("folder")
    compiles(0, folder=tmp_path / "link")


def test_home_is_expanded(tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    compiles(2, folder="~/kept", HOME=str(home), cwd=work)
    assert [path.name for path in home.iterdir()] == ["kept"]
    compiles(2, HOME=str(home), cwd=work)
    assert list((home / ".cache" / "tinygrad_rnn").iterdir())
    compiles(0, HOME=str(home), cwd=work, XDG_CACHE_HOME="relative", folder="")
    assert not list(work.iterdir())


HOMES = itertools.product([None, "~", "~/x"], ["", "relative"])


@pytest.mark.parametrize(("folder", "home"), spread(HOMES, 3, unpack=True))
def test_a_home_that_is_none(tmp_path, home, folder):
    compiles(2, "home folder", folder=folder, HOME=home, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_user_who_is_not_there(tmp_path):
    compiles(2, "home folder", folder="~nobody_of_that_name/x", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@as_root
def test_a_user_without_a_home(room):
    room.chmod(0o777)
    compiles(2, "home folder", user=ANOTHER, HOME=None, cwd=room)
    assert not list(room.iterdir())


def test_a_path_that_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    compiles(2, "File exists|Not a directory", folder=tmp_path / "file")
    compiles(2, "Not a directory", folder=tmp_path / "file" / "folder")
    compiles(2, "name too long", folder=tmp_path / ("x" * 300))
    (tmp_path / "loop").symlink_to("loop")
    compiles(2, "cache folder", folder=tmp_path / "loop")


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path):
    folder = tmp_path / "folder"
    compiles(2, folder=folder)
    for mode in (0o770, 0o707, 0o1777):
        folder.chmod(mode)
        compiles(2, f"others may write to it.*{mode:04o}", folder=folder)
        assert stat.S_IMODE(folder.stat().st_mode) == mode  # it is the user's to say
    folder.chmod(0o755)
    compiles(0, folder=folder)


def test_a_file_that_others_may_write_to_is_made_anew(tmp_path):
    compiles(2, folder=tmp_path)
    path = next(path for path in tmp_path.iterdir() if "kernel" in path.name)
    path.chmod(0o664)
    compiles(1, "others may write to it", folder=tmp_path)
    compiles(0, folder=tmp_path)


@as_root
def test_files_and_folders_of_another_user(tmp_path):
    compiles(2, folder=tmp_path / "folder")
    for path in (tmp_path / "folder").iterdir():
        os.chown(path, ANOTHER, ANOTHER)
    compiles(2, "belongs to another user", folder=tmp_path / "folder")
    compiles(0, folder=tmp_path / "folder")
    os.chown(tmp_path / "folder", ANOTHER, ANOTHER)
    compiles(2, "belongs to another user", folder=tmp_path / "folder")


@as_root
def test_a_folder_that_may_not_be_read(room):
    (room / "folder").mkdir(mode=0o700)
    compiles(2, "Permission denied|written to", user=ANOTHER, folder=room / "folder")
    compiles(2, "Permission denied", user=ANOTHER, folder=room / "folder" / "within")


@as_root
def test_a_folder_filled_ahead_is_used_where_it_may_not_be_written_to(room):
    compiles(2, folder=room / "folder")
    (room / "folder").chmod(0o755)
    compiles(0, user=ANOTHER, folder=room / "folder")
    next(path for path in (room / "folder").iterdir() if "kernel" in path.name).unlink()
    compiles(1, "cannot be written to: Permission denied", user=ANOTHER, folder=room / "folder")


@as_root
def test_a_full_disk(tmp_path):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "none", tmp_path], capture_output=True
    ).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        compiles(2, "No space left on device", folder=tmp_path)
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
        subprocess.run(["mount", "-o", "remount,size=1m", tmp_path], check=True)
        compiles(2, folder=tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        compiles(0, folder=tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_disk_that_fills_up_while_it_is_written_to(tmp_path):
    full = "import os, errno\nimport tinygrad_rnn.kernels.runtime.cache as c\n"
    full += "def no(*a): raise OSError(errno.ENOSPC, 'full')\n"
    compiles(2, "cannot be written to: full", program=full + "c.os.replace = no\n" + SMALL, folder=tmp_path)
    assert not list(tmp_path.iterdir())


# How it was installed


@pytest.mark.parametrize("how", spread(["zip", "pyc", "pyc in a zip"], 1))
def test_a_package_without_files_of_source(tmp_path, how):
    package = tmp_path / "site" / "tinygrad_rnn"
    away = shutil.ignore_patterns("__pycache__", "kernels", "bench")
    shutil.copytree(ROOT / "tinygrad_rnn", package, ignore=away)
    for name in ("kernels", "bench"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    if "pyc" in how:
        subprocess.run([sys.executable, "-m", "compileall", "-qb", package], check=True)
        for path in package.rglob("*.py"):
            path.unlink()
    place = tmp_path / "site"
    if "zip" in how:
        place = tmp_path / "site.zip"
        with zipfile.ZipFile(place, "w") as file:
            for path in package.rglob("*"):
                file.write(path, path.relative_to(tmp_path / "site"))
        shutil.rmtree(tmp_path / "site")
    program = SMALL + "import tinygrad_rnn; print(tinygrad_rnn.__file__)\n"
    program += "from tinygrad_rnn.kernels.cuda import build; build.interface(); build.sources_version()"
    for count in (2, 0):
        printed, said = run(program, folder=tmp_path / "folder", PYTHONPATH=str(place), cwd=tmp_path)
        assert not said and f"compiled {count}\n{place}" in printed


LAYER = "import tinygrad_rnn as tg; o = tg.nn.GRU(3, 4)(tg.zeros(2, 1, 3))[0]; o.sum().backward(); print(o.shape)"


def test_numba_without_its_compiler(tmp_path):
    program = f"try:\n    {LAYER}\nexcept ValueError as error:\n    print(error)"
    printed, _ = run(program, folder=tmp_path, NUMBA_DISABLE_JIT="1")
    assert printed.startswith("NUMBA_DISABLE_JIT: expected 0 or nothing, got '1'") and "DRIVER=reference" in printed
    printed, _ = run(LAYER, folder=tmp_path, NUMBA_DISABLE_JIT="1", TINYGRAD_RNN_DRIVER="reference")
    assert printed == "(2, 1, 4)"
    train = ("-m", "tinygrad_rnn", "train", "--steps", "1", "--hidden", "4", "--out", str(tmp_path / "run"))
    _, said = run(None, arguments=train, folder=tmp_path, NUMBA_DISABLE_JIT="1", expect=1)
    assert len(said) == 1 and "the environment variable NUMBA_DISABLE_JIT" in said[0]
    assert not (tmp_path / "run").exists()
