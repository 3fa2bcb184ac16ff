"""Forked children and exiting interpreters can compute: locks are free, and they do not wait for dead threads."""

import itertools
import os
import subprocess
import sys

import pytest
from grids import spread

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

START = """
import os, signal, sys, threading, time, warnings
warnings.filterwarnings("ignore", ".*fork.*")
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.kernels.cpu.runtime import threads

threads.wanted_threads = lambda flops: threads.get_num_threads()
tg.set_num_threads(3)

def step(layer, x):
    layer.zero_grad()
    layer(x)[0].sum().backward()
    return layer.weight_hh_l0.grad.numpy().copy()

def check_children(count, compute, expected, pause):
    "Fork that often; each child computes; return how many hang or differ."
    failed = 0
    for i in range(count):
        child = os.fork()
        if child == 0:
            os._exit(0 if (compute() == expected).all() else 1)
        for _ in range(600):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            time.sleep(0.05)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = 1
        failed += status != 0
        time.sleep(pause * i / count)
    return failed
"""

IN_BACKWARD = """
tg.manual_seed(0)
layer, x = nn.LSTM(30, 70), tg.randn(20, 8, 30)
mine, expected = nn.LSTM(30, 70), None
mine.load_state_dict(layer.state_dict())
expected = step(mine, x)

def work():
    while True:
        step(layer, x)

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
os._exit(check_children(30, lambda: step(mine, x), expected, 0.01))
"""

COMPILING = """
@tg.cell(gates="fn")
def fresh_cell(a, s):
    f = tg.sigmoid(a.f) * NUMBER
    return s.h + f * (tg.tanh(a.n) - s.h)

tg.manual_seed(0)
layer, fresh, x = nn.GRU(3, 17), nn.Recurrent(fresh_cell, 3, 17), tg.randn(5, 2, 3)
both = lambda: np.concatenate([step(layer, x), step(fresh, x)])
threading.Thread(target=lambda: step(nn.Recurrent(fresh_cell, 3, 17), x), daemon=True).start()
time.sleep(PAUSE)
reads, writes = os.pipe()
child = os.fork()
found = both().tobytes()
if child == 0:
    os.write(writes, found)
    os._exit(0)
os.close(writes)
theirs = os.fdopen(reads, "rb").read()
os._exit(len(found) < 1000 or theirs != found or os.waitpid(child, 0)[1] != 0)
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program], timeout=300, capture_output=True, text=True, env=os.environ | environment
    )


def test_children_forked_while_others_are_in_backward_go_on():
    done = run(START + IN_BACKWARD)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pause", spread([0.4, 0.05, 1.0, 2.5], 1))
def test_a_child_forked_while_another_thread_compiles_goes_on(pause):
    """As the pause grows, the other thread imports Numba, compiles the library's code, or compiles the cell's."""
    number = int.from_bytes(os.urandom(4), "little") / 2**32 + 0.5  # so that no cache has the cell
    program = START + COMPILING.replace("NUMBER", str(number)).replace("PAUSE", str(pause))
    done = subprocess.run([sys.executable, "-c", program], timeout=120, capture_output=True)
    assert done.returncode == 0, done.stderr[-500:]


AT_EXIT = """
tg.manual_seed(0)
layer, x = nn.LSTM(30, 70), tg.randn(20, 8, 30)
expected = step(layer, x)
tg.set_num_threads(COUNT)

class Last:
    def __del__(self, step=step, layer=layer, x=x, expected=expected, os=os, sys=sys):
        if not (step(layer, x) == expected).all():
            os._exit(3)
        print("computed at the end", flush=True)

HOW
"""


ENDS = [
    "import atexit; last = Last(); atexit.register(last.__del__)",
    "import weakref; weakref.finalize(layer, Last().__del__)",
    "threading.Thread(target=lambda: (time.sleep(0.3), Last())).start()",
]


@pytest.mark.parametrize(("how", "count"), spread(itertools.product(ENDS, [1, 2, 4]), 3, unpack=True))
def test_a_layer_called_at_the_interpreters_end_is_right(how, count):
    done = run(START + AT_EXIT.replace("HOW", how).replace("COUNT", str(count)))
    assert done.returncode == 0, done.stderr
    assert "computed at the end" in done.stdout


def test_daemon_threads_at_work_do_not_keep_the_process():
    program = """
tg.manual_seed(0)
layer, x = nn.LSTM(30, 70), tg.randn(20, 8, 30)
def work():
    while True:
        step(layer, x)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
"""
    for _ in range(3):
        done = run(START + program)
        assert done.returncode == 0, done.stderr
