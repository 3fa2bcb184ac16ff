"""setup.py: when it builds the CUDA kernels of the built-in cells ahead, and its messages about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NVCC = """#!/bin/sh
[ "$1" = --list-gpu-arch ] && echo compute_80 && exit
while [ $# -gt 0 ]; do
    [ "$1" = -o ] && {does}
    shift
done
"""
WORKS, FAILS = 'echo code > "$2" && exit', 'echo "nvcc fatal: no" >&2 && exit 1'


@pytest.fixture
def build(tmp_path):
    """Return a function that builds the packages with a given nvcc. It returns the process and the libraries' names."""
    pytest.importorskip("setuptools", reason="setuptools is not installed to run setup.py")
    into = tmp_path / "lib"

    def run(does, ahead=None):
        program = tmp_path / "nvcc"
        if does:
            program.write_text(NVCC.replace("{does}", does))
            program.chmod(0o755)
        environment = {**os.environ, "CUDACXX": str(program)}
        environment.pop("TINYGRAD_RNN_CUDA_AHEAD", None)
        environment |= {} if ahead is None else {"TINYGRAD_RNN_CUDA_AHEAD": ahead}
        command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(into)]
        # A new session has no terminal, so messages go to stdout and stderr.
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, start_new_session=True
        )
        return done, sorted(path.name for path in (into / "tinygrad_rnn/kernels/cuda").glob("built/*.so"))

    return run


def test_kernels_are_built_on_request(build):
    done, libraries = build(WORKS, ahead="1")
    assert done.returncode == 0, done.stderr
    assert len(libraries) == 8 and any(name.startswith("lstm_projected_float32_") for name in libraries)
    assert "CUDA kernels for all architectures, 8 of 8: lstm, projected" in done.stdout


def test_kernels_are_not_built_without_a_request(build):
    build(WORKS, ahead="1")
    for ahead in (None, "0", ""):
        done, libraries = build(WORKS, ahead)
        assert done.returncode == 0 and not libraries  # libraries of the earlier build are removed
        assert "CUDA" not in done.stdout + done.stderr


def test_an_install_fails_where_the_kernels_cannot_be_built(build):
    done, _ = build(FAILS, ahead="1")
    assert "nvcc fatal: no" in done.stderr
    assert done.returncode and "TINYGRAD_RNN_CUDA_AHEAD: the CUDA kernels could not be built" in done.stderr
