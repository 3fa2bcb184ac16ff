"""The folder of generated code: what is damaged in it is made anew, and a temporary one does not stay."""

import os
import subprocess
import sys

import pytest
from tinygrad_rnn.kernels.cpu import cache
from tinygrad_rnn.kernels.cpu.native import Kernel

TEXT = """
def kernel(args, thread, threads):
    pass
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load the module as a new process would, from a folder of its own."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)

    def anew():
        cache._loaded.clear()
        return Kernel(cache.load("damaged", TEXT).kernel, ())

    monkeypatch.setattr(cache, "_loaded", {})
    return anew


DAMAGES = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "other": lambda content: b"\x80nonsense(" * 20,
}


@pytest.mark.parametrize("suffix", [".py", ".nbi", ".nbc", ".pyc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_made_anew(load, tmp_path, damage, suffix):
    assert load().entry
    files = [path for path in tmp_path.rglob("*") if path.suffix == suffix]
    if not files:
        pytest.skip(f"no {suffix} is written here")
    for path in files:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert load().entry
    assert load().entry  # as it should be again


def test_what_does_not_compile_says_so(load, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "TEXT", "def kernel(args, thread, threads):\n    nothing()\n")
    for _ in range(2):
        with pytest.raises(Exception, match="nothing"):
            load().entry  # noqa: B018


def test_a_temporary_folder_goes_with_its_process(tmp_path):
    code = "from tinygrad_rnn.kernels.cache import folder; print(folder())"
    file = tmp_path / "no folder"
    file.touch()
    environment = os.environ | {"TINYGRAD_RNN_CACHE": str(file)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() and not os.path.exists(done.stdout.strip())
