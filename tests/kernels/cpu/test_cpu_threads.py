"""The thread team: it is resized, busy, dismissed or asleep, and its size has a limit."""

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.cpu import dense
from tinygrad_rnn.kernels.cpu.runtime import threads

A = np.random.default_rng(0).standard_normal((130, 70)).astype("f")


@pytest.fixture(autouse=True)
def all_on_the_team(monkeypatch):
    before = threads.get_num_threads()
    monkeypatch.setattr(threads, "wanted_threads", lambda flops: threads.get_num_threads())
    yield
    threads.set_num_threads(before)


def members():
    return [t for t in threading.enumerate() if t.name.startswith("tinygrad_rnn_")]


def test_a_smaller_team_ends_threads():
    expected = dense.matmul(A, A.T)
    for count in (4, 2, 1, 3):
        threads.set_num_threads(count)
        np.testing.assert_array_equal(dense.matmul(A, A.T), expected)
    for _ in range(100):
        if len(members()) == 2:
            break
        time.sleep(0.02)
    assert len(members()) == 2


def test_sleeping_threads_are_woken():
    threads.set_num_threads(3)
    expected = dense.matmul(A, A.T)
    team = threads._current_team()
    for _ in range(3):
        for _ in range(500):
            if team.sleepers(3) == 2:
                break
            time.sleep(0.01)
        assert team.sleepers(3) == 2
        np.testing.assert_array_equal(dense.matmul(A, A.T), expected)


def test_a_caller_works_alone_while_the_team_is_busy():
    threads.set_num_threads(2)
    expected = dense.matmul(A, A.T)
    words = threads._current_team().words
    words[threads.BUSY] = 1
    np.testing.assert_array_equal(dense.matmul(A, A.T), expected)
    assert words[threads.BUSY] == 1
    words[threads.BUSY] = 0


def test_a_dismissed_team_is_not_waited_for():
    threads.set_num_threads(2)
    expected = dense.matmul(A, A.T)
    threads._current_team().dismiss()
    np.testing.assert_array_equal(dense.matmul(A, A.T), expected)
    threads._team = None


@pytest.mark.skipif(sys.platform != "linux" or threads.usable_cores() < 2, reason="needs Linux and two cores")
def test_a_thread_on_the_callers_core_is_moved():
    threads.set_num_threads(2)
    dense.matmul(A, A.T)
    team, everywhere = threads._current_team(), os.sched_getaffinity(0)
    one, moved = {min(everywhere)}, False
    try:
        for _ in range(50):  # try again if the system itself moves the caller before the product begins
            os.sched_setaffinity(0, one)
            os.sched_setaffinity(team.workers[0].native_id, one)
            time.sleep(0.05)
            os.sched_setaffinity(0, everywhere)
            dense.matmul(A, A.T)
            moved = os.sched_getaffinity(team.workers[0].native_id) == everywhere
            if moved:
                break
        assert moved
    finally:
        os.sched_setaffinity(0, everywhere)
    dense.matmul(A, A.T)
    assert team.words[threads.RANKS + 8 + threads.CORE] in everywhere


def test_a_containers_share_of_time_counts(monkeypatch, tmp_path):
    plain = threads.usable_cores.__wrapped__()
    for text, cores in (("max 100000", plain), ("150000 100000", min(plain, 2)), ("1000 100000", 1), ("", plain)):
        monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
        (tmp_path / "cpu.max").write_text(text)
        assert threads.usable_cores.__wrapped__() == cores


def test_no_more_threads_work_than_there_are_cores(monkeypatch):
    monkeypatch.undo()
    threads.set_num_threads(64)
    assert threads.wanted_threads(1e12) == threads.usable_cores()


def test_a_process_with_a_team_ends():
    program = (
        "import numpy as np, tinygrad_rnn as tg; tg.set_num_threads(3); x = tg.tensor(np.ones((300, 300), 'f')); x @ x"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


@pytest.mark.long
def test_memory_stays_flat_over_many_steps():
    """10,000 training steps of a small layer do not take more memory than 1,000."""
    import resource

    layer, x = tg.nn.LSTM(3, 17), tg.tensor(np.ones((4, 2, 3), "f"))
    optimizer = tg.optim.SGD(layer.parameters(), 0.01)
    sizes = []
    for step in range(10_000):
        optimizer.zero_grad()
        layer(x)[0].sum().backward()
        optimizer.step()
        if step in (1000, 9999):
            gc.collect()
            sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert sizes[1] - sizes[0] < 4096  # KiB
