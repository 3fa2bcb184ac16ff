"""A function that holds a lock releases it after an exception before any of its opcodes."""

import sys
import threading

import pytest

from tinygrad_rnn.kernels.runtime import locks


def raised_before_each_opcode(work):
    """Run `work` repeatedly and raise an exception one opcode later each time. Yield after each run."""
    events, at = 0, 0

    def watch(frame, event, arg):
        nonlocal events
        if frame.f_code is not work.__code__ and "locks" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        events += event in ("opcode", "call")
        if events == at:
            raise KeyboardInterrupt
        return watch

    while at <= events:  # until a run ends before its exception
        events, at, before = 0, at + 1, sys.gettrace()
        sys.settrace(watch)
        try:
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        yield at


def free(lock):
    """Return whether another thread can acquire a lock."""
    found = []

    def look():
        found.append(lock.acquire(timeout=0.01))
        if found[0]:
            lock.release()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_no_exception_leaves_a_lock_held(make):
    lock = make()

    def work():
        with locks.held(lock):
            assert not free(lock)

    held_too_long = [at for at in raised_before_each_opcode(work) if not free(lock)]
    assert not held_too_long and free(lock)


def test_the_plain_block_can_be_left_with_its_lock_held():
    """So the test above can find such a fault."""
    lock = threading.RLock()

    def work():
        with lock:
            pass

    assert any(not free(lock) for _ in raised_before_each_opcode(work))


def test_a_thread_acquires_its_lock_again_and_others_wait():
    lock, order = threading.RLock(), []

    def other():
        with locks.held(lock):
            order.append("other")

    with locks.held(lock):
        thread = threading.Thread(target=other)
        thread.start()
        with locks.held(lock):
            order.append("inner")
        assert not free(lock)
        order.append("outer")
    thread.join()
    assert order == ["inner", "outer", "other"] and free(lock)
