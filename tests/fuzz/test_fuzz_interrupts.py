"""After interrupts at random moments of a training step, all threads work and give the same bits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cases import SEED, budget, run_seed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

PROGRAM = """
import gc, os, random, signal, sys, threading, time
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.kernels.cpu.runtime import threads

wanted, seed = int(sys.argv[1]), int(sys.argv[2])
threads.wanted_threads = lambda flops: threads.get_num_threads()
tg.set_num_threads(3)
tg.manual_seed(0)
layer, x = nn.LSTM(30, 50), tg.randn(10, 8, 30)

def step():
    layer.zero_grad()
    with tg.no_grad():
        layer(x)
    layer(x)[0].sum().backward()
    nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
    return layer.weight_hh_l0.grad.numpy().copy()

for _ in range(5):
    expected = step()
begun = time.perf_counter()
for _ in range(20):
    step()
length = (time.perf_counter() - begun) / 20

rng, count, modes = random.Random(seed), 0, 0
while count < wanted:
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 2 * length))
        for _ in range(3):
            step()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        count += 1
    if not tg.is_grad_enabled():
        modes += 1
        tg.set_grad_enabled(True)
    team = threads._current_team()
    assert not team.words[threads.BUSY], f"the team is at work for nobody after {count} interrupts"
    assert (step() == expected).all(), f"other bits after {count} interrupts"

led = threads._Team.lead
taken = []
threads._Team.lead = lambda team, *work: taken.append(led(team, *work)) or taken[-1]
step()
assert taken and all(taken), "the threads are not at work"
alive = sum(t.name.startswith("tinygrad_rnn_") for t in threading.enumerate())
assert alive == 2, f"{alive} threads in place of 2"
setter = threading.Thread(target=lambda: (tg.set_num_threads(2), step()), daemon=True)
setter.start()
setter.join(30)
assert not setter.is_alive(), "set_num_threads hangs"
print(f"{count} interrupts, {modes} left the grad mode switched off")
sys.exit(modes != 0)
"""


@pytest.mark.parametrize("interrupts", [40, pytest.param(150, marks=pytest.mark.long)])
def test_interrupts_at_random_moments(interrupts):
    seed, wanted = run_seed(), budget(interrupts)
    program = "import signal\ndef stop(*_): raise KeyboardInterrupt\nsignal.signal(signal.SIGALRM, stop)\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program, str(wanted), str(seed)], capture_output=True, text=True,
        timeout=60 + wanted, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, f"{SEED}={seed}: {done.stdout}{done.stderr}"
