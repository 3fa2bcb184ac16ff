"""The team of threads that runs kernels together.

A list of jobs, each a kernel with its arguments, is handed to the whole team; all take their share of a job and meet
before the next. Between lists the members look out for the next one for about a millisecond, at the price of a core,
and then sleep: a thread that sleeps takes as long to wake as a small layer takes to run.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from pathlib import Path
from types import ModuleType

import numpy as np

VARIABLE = "TINYGRAD_RNN_THREADS"
QUOTA = "/sys/fs/cgroup/cpu.max"  # where Linux tells a container its share of the cores' time
PATIENCE = 60_000  # looks for new work before a member sleeps: about 1 ms
WORTH = 1.5e6  # flops a list of jobs must have for the team to be worth its meetings, about 20 us of one core
WORTH_WAKING = 2e7  # ... and to be worth waking those who sleep

# Words that the team shares, each in a cache line of its own (8 words).
CALLS, JOBS, MEETING, DONE, CORES = 0, 8, 16, 24, 32  # and after CORES a line for each member

TEXT = f'''"""Generated: how a team of threads runs lists of jobs."""

from tinygrad_rnn.kernels.cpu.compiled import njit
from tinygrad_rnn.kernels.cpu.native import call, core, count_up, look, meet, publish, relax, word


@njit("void(intp, intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def perform(team, jobs, thread, threads):
    """jobs: their number, then for each the address of its kernel and how far behind jobs its arguments lie."""
    n = word(jobs, 0)
    for k in range(n):
        call(word(jobs, 1 + 2 * k), jobs + word(jobs, 2 + 2 * k), thread, threads)
        if k + 1 < n:
            meet(team + 8 * {MEETING}, threads)


@njit("void(intp, intp, intp)", cache=True, error_model="numpy")
def announce(team, jobs, threads):
    """Set the first `threads` members to work; their number is part of the word that they look at."""
    publish(team + 8 * {MEETING}, 0)
    publish(team + 8 * {DONE}, 0)
    publish(team + 8 * {JOBS}, jobs)
    publish(team + 8 * {CALLS}, (look(team + 8 * {CALLS}) // 1024 + 1) * 1024 + threads)


@njit("intp(intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def lead(team, jobs, threads):
    """Take part as the first thread, and wait for the others; who of them was on the same core, or 0."""
    perform(team, jobs, 0, threads)
    spins, here = 0, core()
    while look(team + 8 * {DONE}) < threads - 1:
        relax(spins)
        spins += 1
    for i in range(1, threads):
        if here >= 0 and look(team + 8 * ({CORES} + 8 * i)) == here:
            return i
    return 0


@njit("intp(intp, intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def serve(team, thread, seen, patience):
    """Run what is announced until for long nothing is; the last announcement seen."""
    idle = 0
    while idle < patience:
        now = look(team + 8 * {CALLS})
        if now == seen:
            relax(0)
            idle += 1
            continue
        seen = now
        if now < 0:
            break
        threads = now % 1024
        if thread < threads:
            idle = 0
            perform(team, look(team + 8 * {JOBS}), thread, threads)
            publish(team + 8 * ({CORES} + 8 * thread), core())
            count_up(team + 8 * {DONE})
    return seen
'''


@functools.cache
def _code() -> ModuleType:
    from . import cache  # what asks for a number of threads only is not to load Numba

    return cache.load("team", TEXT)


class _Team:
    """The calling thread, whoever it is at the time, and size - 1 threads that wait for work."""

    def __init__(self, size: int):
        from .memory import aligned

        self.code = _code()
        self.words = aligned((CORES + 8 * size) * 8).view(np.int64)
        self.words[:] = 0
        self.at = self.words.ctypes.data
        self.size = size
        self.busy = threading.Lock()
        self.sleeping: dict[int, threading.Lock] = {}
        start = lambda i: threading.Thread(target=self._member, args=(i,), name=f"tinygrad_rnn_{i}", daemon=True)
        self.members = [start(i) for i in range(1, size)]
        for member in self.members:
            member.start()

    def _member(self, i: int) -> None:
        bell, seen = threading.Lock(), 0
        bell.acquire()
        while seen >= 0:
            seen = self.code.serve(self.at, i, seen, PATIENCE)
            self.sleeping[i] = bell  # before the look at what is announced: who announces looks here afterwards
            if self.words[CALLS] == seen >= 0:
                bell.acquire()
            del self.sleeping[i]

    def lead(self, jobs: int, threads: int) -> bool:
        """Run jobs on some of the members; False where they are at work for another or dismissed."""
        if not self.busy.acquire(blocking=False):
            return False
        try:
            if self.words[CALLS] < 0:
                return False
            self.code.announce(self.at, jobs, threads)
            self.wake(threads)
            return True
        finally:  # an interrupt must not leave the others at work on memory that is given back
            if self.words[JOBS] == jobs:
                here = self.code.lead(self.at, jobs, threads)
                self.words[JOBS] = 0
                if here:
                    _move_away(self.members[here - 1], int(self.words[CORES + 8 * here]))
            self.busy.release()

    def wake(self, threads: int) -> None:
        """Have those of the first so many who sleep look out for work."""
        for i, bell in list(self.sleeping.items()):
            with contextlib.suppress(RuntimeError):  # it has been rung already
                if i < threads:
                    bell.release()

    def dismiss(self) -> None:
        """Have the members end."""
        with self.busy:
            self.words[CALLS] = -1
            self.wake(self.size)


def _move_away(member: threading.Thread, core: int) -> None:
    """Have a member go from the caller's core to another, if there is one.

    Left alone they would stay together for tens of milliseconds, at half the speed: they wait for each other in turn,
    and a scheduler does not move who has just run.
    """
    cores = os.sched_getaffinity(0)
    if cores - {core} and member.native_id is not None:
        with contextlib.suppress(OSError):  # it may have ended
            os.sched_setaffinity(member.native_id, cores - {core})
            os.sched_setaffinity(member.native_id, cores)


_team: _Team | None = None
_count = 0
_lock = threading.Lock()


@functools.cache
def usable_cores() -> int:
    """How many cores this process may use: those that it may run on, but no more than a container's share of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path(QUOTA).read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max" for no limit
        return cores


def get_num_threads() -> int:
    """How many threads the kernels use."""
    global _count
    if not _count:
        wanted = os.environ.get(VARIABLE) or str(usable_cores())
        if not wanted.isascii() or not wanted.isdigit() or not 1 <= int(wanted) < 1024:
            raise ValueError(f"{VARIABLE}: expected a whole number from 1 to 1023, got {wanted!r}")
        _count = int(wanted)
    return _count


def set_num_threads(count: int) -> None:
    """Use so many threads in the kernels; results do not depend on it, to the last bit."""
    global _count
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < 1024:
        raise ValueError(f"set_num_threads: expected a whole number from 1 to 1023, got {count!r}")
    _count = count


def _current_team() -> _Team:
    global _team
    with _lock:
        if _team is None or _team.size != get_num_threads():
            if _team is not None:
                _team.dismiss()
            _team = _Team(get_num_threads())
        return _team


def wanted_threads(flops: float) -> int:
    """How many threads some work is worth. Those who sleep are woken for the next where they are not for this.

    Never more than there are cores: they would only wait for each other.
    """
    if flops < WORTH:
        return 1
    count = min(get_num_threads(), usable_cores())
    if count == 1:
        return 1
    team = _current_team()
    if flops < WORTH_WAKING and team.sleeping and any(i < count for i in list(team.sleeping)):
        team.wake(count)
        return 1
    return count


def run(jobs: int, threads: int) -> None:
    """Run the list of jobs at an address on so many threads.

    Where the team is at work for another Python thread this one runs them alone: results are the same.
    """
    if threads > 1:
        team = _current_team()
        if team.lead(jobs, min(threads, team.size)):
            return
    _code().perform(0, jobs, 0, 1)


def _forget() -> None:
    global _team, _lock
    _team, _lock = None, threading.Lock()  # a forked child has no threads but its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
