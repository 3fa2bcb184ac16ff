"""Memory: a cell that is defined again takes none, and unused blocks go back to the system."""

import gc
import os
import subprocess
import sys

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells.trace import trace

START = """
import gc, os, time
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import nn

def resident():
    "Megabytes of this process."
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def define(number):
    @tg.cell(gates="fn")
    def again(a, s):
        f = tg.sigmoid(a.f) * number
        return s.h + f * (tg.tanh(a.n) - s.h)
    return again

def use(cell):
    layer = nn.Recurrent(cell, 3, 5)
    layer(tg.randn(2, 2, 3))[0].sum().backward()
    with tg.no_grad():
        layer(tg.randn(2, 2, 3))
"""
linux = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")


def run(program):
    done = subprocess.run([sys.executable, "-c", START + program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_equal_cells_share_a_step_and_others_do_not():
    def define(number):
        @tg.cell(gates="fn")
        def again(a, s):
            f = tg.sigmoid(a.f) * number
            return s.h + f * (tg.tanh(a.n) - s.h)

        return again

    one, same, other = define(0.5), define(0.5), define(0.25)
    assert trace(one) is trace(same) is not trace(other)
    x = tg.randn(4, 2, 3)
    layers = [nn.Recurrent(cell, 3, 5) for cell in (one, same, other)]
    for layer in layers[1:]:
        layer.load_state_dict(layers[0].state_dict())
    results = [layer(x)[0].detach().numpy() for layer in layers]
    assert (results[0] == results[1]).all() and not (results[0] == results[2]).all()
    del one, same, layers
    gc.collect()
    assert trace(other) is trace(other)


@linux
def test_a_cell_defined_again_in_a_loop_takes_no_memory():
    run("""
for _ in range(20):
    use(define(0.5))
gc.collect()
before = resident()
for _ in range(200):
    use(define(0.5))
gc.collect()
assert resident() - before < 15, resident() - before
""")


@linux
def test_blocks_of_one_long_sequence_go_back():
    run("""
layer = nn.LSTM(16, 128)
use(define(0.5))
layer(tg.randn(10, 16, 16))[0].sum().backward()
gc.collect()
before = resident()
layer(tg.randn(4000, 16, 16))[0].sum().backward()
layer.zero_grad()
gc.collect()
held = resident() - before
assert held > 150, held
time.sleep(8)
left = resident() - before
assert left < 110, (held, left)
tg.empty_cache()
assert resident() - before < 60, resident() - before
layer(tg.randn(10, 16, 16))[0].sum().backward()  # and all is made again
with tg.no_grad():
    layer(tg.randn(10, 16, 16))
""")
