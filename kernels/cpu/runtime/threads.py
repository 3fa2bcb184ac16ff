"""The thread team: the threads that run a command list together.

The team is given a whole list of jobs, each a kernel with its arguments. All threads take their share of a job and wait
at a barrier before the next job. The caller has rank 0; the workers have the ranks from 1 on. Waking a thread takes as
long as running a small layer. So the workers first look for the next list for about a millisecond, which costs a core
each, and then sleep.

One native call announces a list, runs it and waits for it, and the workers stay in native code as long as the team
lives. So no interrupt can come between two of these steps, and no step waits for Python's interpreter lock.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import math
import os
import threading
from pathlib import Path
from types import ModuleType

import numpy as np

from ...runtime import locks

VARIABLE = "TINYGRAD_RNN_THREADS"
QUOTA = "/sys/fs/cgroup/cpu.max"  # the file in which Linux tells a container its share of the cores' time
PATIENCE = 60_000  # how often a worker looks for new work before it sleeps: about 1 ms
WORTH_SHARING = 1.5e6  # flops from which a list is worth the barriers of several threads: about 20 us of one core
WORTH_WAKING = 2e7  # flops from which a list is worth waking workers

# The words that the team shares. Each is in a cache line (8 words) of its own. At RANKS each rank has a line with three
# words: the core on which the worker ran last, whether it sleeps, and its bell.
CALLS, JOBS, BARRIER, DONE, BUSY, RANKS = 0, 8, 16, 24, 32, 40
CORE, ASLEEP, BELL = 0, 1, 2

UNAVAILABLE = -1  # `lead` returns it if the team works for another thread, or was dismissed

TEXT = f'''"""Generated: how a thread team runs lists of jobs."""

from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import barrier, call, core, count_up, look, publish, relax, ring_bell
from tinygrad_rnn.kernels.cpu.codegen.native import swap, wait_for_bell, word


@njit("void(intp, intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def perform(team, jobs, thread, threads):
    """Run a thread's share of each job, with a barrier between jobs.

    jobs: the number of jobs, then for each the address of its kernel and the distance from `jobs` to its arguments.
    """
    n = word(jobs, 0)
    for k in range(n):
        call(word(jobs, 1 + 2 * k), jobs + word(jobs, 2 + 2 * k), thread, threads)
        if k + 1 < n:
            barrier(team + 8 * {BARRIER}, threads)


@njit("void(intp, intp)", cache=True, nogil=True, error_model="numpy")
def wake(team, threads):
    """Wake the sleeping workers of the ranks below `threads`. Only the thread that clears a flag rings its bell."""
    for rank in range(1, threads):
        own = team + 8 * ({RANKS} + 8 * rank)
        if look(own + 8 * {ASLEEP}) and swap(own + 8 * {ASLEEP}, 0):
            ring_bell(word(own, {BELL}))


@njit("intp(intp, intp)", cache=True, nogil=True, error_model="numpy")
def sleepers(team, threads):
    """Return how many workers of the ranks below `threads` sleep."""
    count = 0
    for rank in range(1, threads):
        count += look(team + 8 * ({RANKS} + 8 * rank + {ASLEEP}))
    return count


@njit("intp(intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def lead(team, jobs, threads):
    """Run jobs on the caller and the workers of the ranks below `threads`: announce, take part, wait.

    Return the rank of a worker that was on the caller's core, or 0. Return {UNAVAILABLE}, with nothing done, if the
    team cannot take part.
    """
    if swap(team + 8 * {BUSY}, 1):
        return {UNAVAILABLE}
    calls = look(team + 8 * {CALLS})
    if calls < 0:
        publish(team + 8 * {BUSY}, 0)
        return {UNAVAILABLE}
    publish(team + 8 * {BARRIER}, 0)
    publish(team + 8 * {DONE}, 0)
    publish(team + 8 * {JOBS}, jobs)
    publish(team + 8 * {CALLS}, (calls // 1024 + 1) * 1024 + threads)
    wake(team, threads)
    perform(team, jobs, 0, threads)
    spins, here, crowded = 0, core(), 0
    while look(team + 8 * {DONE}) < threads - 1:
        relax(spins)
        spins += 1
    for rank in range(1, threads):
        if here >= 0 and crowded == 0 and look(team + 8 * ({RANKS} + 8 * rank + {CORE})) == here:
            crowded = rank
    publish(team + 8 * {BUSY}, 0)
    return crowded


@njit("void(intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def serve(team, thread, patience):
    """Run every announced list, and sleep after `patience` looks without one, until the team is dismissed."""
    own, idle, seen = team + 8 * ({RANKS} + 8 * thread), 0, 0
    while True:
        now = look(team + 8 * {CALLS})
        if now < 0:
            break
        if now != seen:
            seen, threads = now, now % 1024
            if thread < threads:
                idle = 0
                perform(team, look(team + 8 * {JOBS}), thread, threads)
                publish(own + 8 * {CORE}, core())
                count_up(team + 8 * {DONE})
        elif idle < patience:
            relax(0)
            idle += 1
        else:
            # An announcement between the last look and the sleep would be lost. So set the flag before one more look:
            # the announcing thread looks at the flag after it announces. If the flag is cleared by now, that thread
            # rings, and this one must wait for the bell.
            publish(own + 8 * {ASLEEP}, 1)
            if look(team + 8 * {CALLS}) == seen or swap(own + 8 * {ASLEEP}, 0) == 0:
                wait_for_bell(word(own, {BELL}))
            idle = 0


@njit("void(intp, intp)", cache=True, nogil=True, error_model="numpy")
def dismiss(team, size):
    """End the workers, after the list that they run."""
    while swap(team + 8 * {BUSY}, 1):
        relax(1 << 30)
    publish(team + 8 * {CALLS}, -1)
    wake(team, size)
    publish(team + 8 * {BUSY}, 0)
'''


@functools.cache
def _code() -> ModuleType:
    from . import cache  # imports Numba, which get_num_threads does not need

    return cache.load("team", TEXT)


def _bell() -> int:
    """Return the address of a new lock of Python's, locked. It is never freed: it takes a few bytes for each worker."""
    api = ctypes.pythonapi
    api.PyThread_allocate_lock.restype = ctypes.c_void_p
    api.PyThread_acquire_lock.argtypes = ctypes.c_void_p, ctypes.c_int
    bell = api.PyThread_allocate_lock()
    if not bell:
        raise MemoryError("a lock for a thread could not be allocated")
    api.PyThread_acquire_lock(bell, 1)
    return int(bell)


class _Team:
    """The thread that calls, and size - 1 workers. Any thread may call."""

    def __init__(self, size: int):
        from .memory import aligned

        self.code = _code()
        self.words = aligned((RANKS + 8 * size) * 8).view(np.int64)
        self.words[:] = 0
        self.words[RANKS + CORE :: 8] = -1
        self.at = self.words.ctypes.data
        self.size = size
        for rank in range(1, size):
            self.words[RANKS + 8 * rank + BELL] = _bell()
        # A worker reads the team's words as long as it runs. So it must refer to the team, by the bound method.
        start = lambda i: threading.Thread(target=self._serve, args=(i,), name=f"tinygrad_rnn_{i}", daemon=True)
        self.workers = [start(rank) for rank in range(1, size)]
        for worker in self.workers:
            worker.start()

    def _serve(self, rank: int) -> None:
        self.code.serve(self.at, rank, PATIENCE)

    def lead(self, jobs: int, threads: int) -> bool:
        """Run jobs on `threads` threads. Return False, with nothing done, if the team is not available."""
        crowded = self.code.lead(self.at, jobs, threads)
        if crowded > 0:
            _move_away(self.workers[crowded - 1], int(self.words[RANKS + 8 * crowded + CORE]))
        return bool(crowded != UNAVAILABLE)

    def sleepers(self, threads: int) -> int:
        """Return how many workers of the ranks below `threads` sleep."""
        return int(self.code.sleepers(self.at, threads))

    def wake(self, threads: int) -> None:
        """Wake the sleeping workers of the ranks below `threads`, so that they look for work."""
        self.code.wake(self.at, threads)

    def dismiss(self) -> None:
        """End the workers."""
        self.code.dismiss(self.at, self.size)


def _move_away(worker: threading.Thread, core: int) -> None:
    """Move a worker from the caller's core to another one, if there is one.

    The scheduler does not move a thread that has just run. It would leave both threads on one core for tens of
    milliseconds, at half the speed, because they wait for each other in turn.
    """
    cores = os.sched_getaffinity(0)
    if cores - {core} and worker.native_id is not None:
        with contextlib.suppress(OSError):  # the thread may have ended
            os.sched_setaffinity(worker.native_id, cores - {core})
            os.sched_setaffinity(worker.native_id, cores)


_team: _Team | None = None
_count = 0
_ended = False  # at the interpreter's end there is no team, and no thread can be started
_lock = locks.renewed_at_fork(globals(), "_lock", threading.Lock)


@functools.cache
def usable_cores() -> int:
    """Return how many cores this process may use, at most the container's share of the cores' time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path(QUOTA).read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # there is no such file, or it says "max" for no limit
        return cores


def get_num_threads() -> int:
    """Return the number of threads that the kernels use."""
    global _count
    if not _count:
        wanted = os.environ.get(VARIABLE) or str(usable_cores())
        if not wanted.isascii() or not wanted.isdigit() or not 1 <= int(wanted) < 1024:
            raise ValueError(f"{VARIABLE}: expected a whole number from 1 to 1023, got {wanted!r}")
        _count = int(wanted)
    return _count


def set_num_threads(count: int) -> None:
    """Use `count` threads in the kernels. No bit of a result depends on their number."""
    global _count
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < 1024:
        raise ValueError(f"set_num_threads: expected a whole number from 1 to 1023, got {count!r}")
    _count = count


def _current_team() -> _Team | None:
    """Return the team of the current size; None at the interpreter's end, when no thread can be started."""
    global _team
    team = _team
    if team is not None and team.size == _count:
        return team
    with locks.held(_lock):
        if _team is not None and _team.size != get_num_threads():
            _team.dismiss()
            _team = None
        if _team is None and not _ended:
            _team = _Team(get_num_threads())
        return _team


def wanted_threads(flops: float) -> int:
    """Return the number of threads to use for work of `flops`, at most the number of cores.

    More threads than cores would only wait for each other. Work that is not worth waking workers runs on one thread,
    but wakes them for later work.
    """
    if flops < WORTH_SHARING:
        return 1
    count = min(get_num_threads(), usable_cores())
    if count == 1:
        return 1
    if flops < WORTH_WAKING:
        team = _current_team()
        if team is not None and team.sleepers(count):
            team.wake(count)
            return 1
    return count


def run(jobs: int, threads: int) -> None:
    """Run the list of jobs at an address on `threads` threads.

    If the team works for another Python thread, or there is no team, the caller runs all jobs: results are the same.
    """
    if threads > 1:
        team = _current_team()
        if team is not None and team.lead(jobs, min(threads, team.size)):
            return
    _code().perform(0, jobs, 0, 1)


@atexit.register
def _end() -> None:
    """Dismiss the team while its threads can still end."""
    global _team, _ended
    with locks.held(_lock):
        team, _team, _ended = _team, None, True
    if team is not None:
        team.dismiss()


# A forked child has no threads but its own.
locks.renewed_at_fork(globals(), "_team", lambda: None)
