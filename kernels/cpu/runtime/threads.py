"""The team of threads that runs kernels together.

A list of jobs, each a kernel with its arguments, is handed to the whole team; all take their share of a job and meet
before the next. Between lists the members look out for the next one for about a millisecond, at the price of a core,
and then sleep: a thread that sleeps takes as long to wake as a small layer takes to run.

A list is announced, run and waited for within one native call, and the members live in native code as long as the
team does. So no interrupt can come between two of these steps, and nothing waits for Python's interpreter lock.
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
QUOTA = "/sys/fs/cgroup/cpu.max"  # where Linux tells a container its share of the cores' time
PATIENCE = 60_000  # looks for new work before a member sleeps: about 1 ms
WORTH = 1.5e6  # flops a list of jobs must have for the team to be worth its meetings, about 20 us of one core
WORTH_WAKING = 2e7  # ... and to be worth waking those who sleep

# Words that the team shares, each in a cache line of its own (8 words). MEMBERS: of each member a line with the core
# on which it ran last, whether it sleeps, and its bell.
CALLS, JOBS, MEETING, DONE, BUSY, MEMBERS = 0, 8, 16, 24, 32, 40
CORE, ASLEEP, BELL = 0, 1, 2

ALONE = -1  # what `lead` returns where the team is at work for another thread, or dismissed

TEXT = f'''"""Generated: how a team of threads runs lists of jobs."""

from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import call, core, count_up, look, meet, publish, relax, ring_bell, swap
from tinygrad_rnn.kernels.cpu.codegen.native import wait_for_bell, word


@njit("void(intp, intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def perform(team, jobs, thread, threads):
    """jobs: their number, then for each the address of its kernel and how far behind jobs its arguments lie."""
    n = word(jobs, 0)
    for k in range(n):
        call(word(jobs, 1 + 2 * k), jobs + word(jobs, 2 + 2 * k), thread, threads)
        if k + 1 < n:
            meet(team + 8 * {MEETING}, threads)


@njit("void(intp, intp)", cache=True, nogil=True, error_model="numpy")
def wake(team, threads):
    """Ring for those of the first `threads` members who sleep. Who takes the flag down rings: each is rung once."""
    for i in range(1, threads):
        member = team + 8 * ({MEMBERS} + 8 * i)
        if look(member + 8 * {ASLEEP}) and swap(member + 8 * {ASLEEP}, 0):
            ring_bell(word(member, {BELL}))


@njit("intp(intp, intp)", cache=True, nogil=True, error_model="numpy")
def sleepers(team, threads):
    """How many of the first `threads` members sleep."""
    count = 0
    for i in range(1, threads):
        count += look(team + 8 * ({MEMBERS} + 8 * i + {ASLEEP}))
    return count


@njit("intp(intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def lead(team, jobs, threads):
    """Run jobs on the caller and the first members: announce them, take part, wait for the others.

    Returns a member that was on the caller's core, or 0; {ALONE}, with nothing done, where the team cannot take part.
    """
    if swap(team + 8 * {BUSY}, 1):
        return {ALONE}
    calls = look(team + 8 * {CALLS})
    if calls < 0:
        publish(team + 8 * {BUSY}, 0)
        return {ALONE}
    publish(team + 8 * {MEETING}, 0)
    publish(team + 8 * {DONE}, 0)
    publish(team + 8 * {JOBS}, jobs)
    publish(team + 8 * {CALLS}, (calls // 1024 + 1) * 1024 + threads)
    wake(team, threads)
    perform(team, jobs, 0, threads)
    spins, here, crowded = 0, core(), 0
    while look(team + 8 * {DONE}) < threads - 1:
        relax(spins)
        spins += 1
    for i in range(1, threads):
        if here >= 0 and crowded == 0 and look(team + 8 * ({MEMBERS} + 8 * i + {CORE})) == here:
            crowded = i
    publish(team + 8 * {BUSY}, 0)
    return crowded


@njit("void(intp, intp, intp)", cache=True, nogil=True, error_model="numpy")
def serve(team, thread, patience):
    """The life of a member: run what is announced, and sleep where for long nothing is; until the team is dismissed."""
    member, idle, seen = team + 8 * ({MEMBERS} + 8 * thread), 0, 0
    while True:
        now = look(team + 8 * {CALLS})
        if now < 0:
            break
        if now != seen:
            seen, threads = now, now % 1024
            if thread < threads:
                idle = 0
                perform(team, look(team + 8 * {JOBS}), thread, threads)
                publish(member + 8 * {CORE}, core())
                count_up(team + 8 * {DONE})
        elif idle < patience:
            relax(0)
            idle += 1
        else:
            # Raise the flag before the second look, so that no announcement is lost: who announces looks at the
            # flag afterwards. If the flag is down by now, somebody rings, and the bell must be waited for.
            publish(member + 8 * {ASLEEP}, 1)
            if look(team + 8 * {CALLS}) == seen or swap(member + 8 * {ASLEEP}, 0) == 0:
                wait_for_bell(word(member, {BELL}))
            idle = 0


@njit("void(intp, intp)", cache=True, nogil=True, error_model="numpy")
def dismiss(team, size):
    """Have the members end, once the team has done its work."""
    while swap(team + 8 * {BUSY}, 1):
        relax(1 << 30)
    publish(team + 8 * {CALLS}, -1)
    wake(team, size)
    publish(team + 8 * {BUSY}, 0)
'''


@functools.cache
def _code() -> ModuleType:
    from . import cache  # what asks for a number of threads only is not to load Numba

    return cache.load("team", TEXT)


def _bell() -> int:
    """Return a lock of Python's that is locked, by its address. It is never freed: a few bytes for each member."""
    api = ctypes.pythonapi
    api.PyThread_allocate_lock.restype = ctypes.c_void_p
    api.PyThread_acquire_lock.argtypes = ctypes.c_void_p, ctypes.c_int
    bell = api.PyThread_allocate_lock()
    if not bell:
        raise MemoryError("a lock for a thread could not be made")
    api.PyThread_acquire_lock(bell, 1)
    return int(bell)


class _Team:
    """The calling thread, whoever it is at the time, and size - 1 threads that wait for work."""

    def __init__(self, size: int):
        from .memory import aligned

        self.code = _code()
        self.words = aligned((MEMBERS + 8 * size) * 8).view(np.int64)
        self.words[:] = 0
        self.words[MEMBERS + CORE :: 8] = -1
        self.at = self.words.ctypes.data
        self.size = size
        for i in range(1, size):
            self.words[MEMBERS + 8 * i + BELL] = _bell()
        # A thread holds the team, and so the words that it looks at, as long as it runs.
        start = lambda i: threading.Thread(target=self._member, args=(i,), name=f"tinygrad_rnn_{i}", daemon=True)
        self.members = [start(i) for i in range(1, size)]
        for member in self.members:
            member.start()

    def _member(self, i: int) -> None:
        self.code.serve(self.at, i, PATIENCE)

    def lead(self, jobs: int, threads: int) -> bool:
        """Run jobs on some of the members; False where they are at work for another or dismissed."""
        crowded = self.code.lead(self.at, jobs, threads)
        if crowded > 0:
            _move_away(self.members[crowded - 1], int(self.words[MEMBERS + 8 * crowded + CORE]))
        return bool(crowded != ALONE)

    def sleepers(self, threads: int) -> int:
        """How many of the first so many sleep."""
        return int(self.code.sleepers(self.at, threads))

    def wake(self, threads: int) -> None:
        """Have those of the first so many who sleep look out for work."""
        self.code.wake(self.at, threads)

    def dismiss(self) -> None:
        """Have the members end."""
        self.code.dismiss(self.at, self.size)


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
_ended = False  # at the interpreter's end there is no team, and none is made
_lock = locks.renewed_at_fork(globals(), "_lock", threading.Lock)


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


def _current_team() -> _Team | None:
    """The team of as many threads as are wanted; None at the interpreter's end, when no thread can be started."""
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
    """How many threads some work is worth. Those who sleep are woken for the next where they are not for this.

    Never more than there are cores: they would only wait for each other.
    """
    if flops < WORTH:
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
    """Run the list of jobs at an address on so many threads.

    Where the team is at work for another Python thread, or there is none, this one runs them alone: results are the
    same.
    """
    if threads > 1:
        team = _current_team()
        if team is not None and team.lead(jobs, min(threads, team.size)):
            return
    _code().perform(0, jobs, 0, 1)


@atexit.register
def _end() -> None:
    """Dismiss the team while its members can still end."""
    global _team, _ended
    with locks.held(_lock):
        team, _team, _ended = _team, None, True
    if team is not None:
        team.dismiss()


# A forked child has no threads but its own.
locks.renewed_at_fork(globals(), "_team", lambda: None)
