"""The cache folder: its path, its owner and permissions, and packages installed without source files.

Each process here is a new one that compiles only a small kernel, in a moment.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import sys
import zipfile

import pytest
from cache_processes import ANOTHER, ROOT, SMALL, as_root, compiles, run
from grids import spread


@pytest.fixture
def shared_folder(tmp_path):
    """Return a folder that every user can enter."""
    for path in (tmp_path, *tmp_path.parents[:-2]):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o711)
    return tmp_path


# The path and its permissions


def test_the_folder_is_private_and_chosen_once(tmp_path):
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
def test_a_home_that_is_not_an_absolute_path(tmp_path, home, folder):
    compiles(2, "home folder", folder=folder, HOME=home, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_folder_of_an_unknown_user(tmp_path):
    compiles(2, "home folder", folder="~nobody_of_that_name/x", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@as_root
def test_a_user_without_a_home(shared_folder):
    shared_folder.chmod(0o777)
    compiles(2, "home folder", user=ANOTHER, HOME=None, cwd=shared_folder)
    assert not list(shared_folder.iterdir())


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
        assert stat.S_IMODE(folder.stat().st_mode) == mode  # the user decides about the mode
    folder.chmod(0o755)
    compiles(0, folder=folder)


def test_a_file_that_others_may_write_to_is_compiled_again(tmp_path):
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
def test_a_folder_that_may_not_be_read(shared_folder):
    (shared_folder / "folder").mkdir(mode=0o700)
    compiles(2, "Permission denied|written to", user=ANOTHER, folder=shared_folder / "folder")
    compiles(2, "Permission denied", user=ANOTHER, folder=shared_folder / "folder" / "within")


@as_root
def test_a_folder_filled_ahead_is_used_where_it_may_not_be_written_to(shared_folder):
    compiles(2, folder=shared_folder / "folder")
    (shared_folder / "folder").chmod(0o755)
    compiles(0, user=ANOTHER, folder=shared_folder / "folder")
    next(path for path in (shared_folder / "folder").iterdir() if "kernel" in path.name).unlink()
    compiles(1, "cannot be written to: Permission denied", user=ANOTHER, folder=shared_folder / "folder")


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


# Installations


@pytest.mark.parametrize("how", spread(["zip", "pyc", "pyc in a zip"], 1))
def test_a_package_without_source_files(tmp_path, how):
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
