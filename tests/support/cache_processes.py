"""New processes that compile a small kernel, or read it from a cache folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
    """Run a program in a new process. Return its output and a list of its warnings."""
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
    """Run the small kernel. Check how many functions it compiles, and that its one warning, if any, matches `warns`."""
    printed, said = run(**options)
    assert len(said) == (1 if warns else 0), said
    if warns:
        assert re.search(warns, said[0]) and "RuntimeWarning" in said[0] and "TINYGRAD_RNN_CACHE" in said[0], said
    if count is not None:
        assert printed == f"compiled {count}"
