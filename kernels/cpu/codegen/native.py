"""Argument blocks, atomic words, the barrier and calls by address: what generated kernels need besides arithmetic.

A kernel is a function of three machine words, `kernel(args, thread, threads)`: args is the address of a block of
words (sizes, strides and addresses). All threads call a kernel at once, each for its share of the work.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from ...runtime import locks
from ..runtime.compiled import machine_code
from ..runtime.host import architecture
from ..runtime.memory import LINE
from .vector import declared

WORD = ir.IntType(64)
SPINS = 4000  # looks at a counter, some 60 us, before a waiting thread yields its core: it may not return for ms


def require_literals(given: tuple[Any, ...]) -> None:
    """Make Numba pass the values of these arguments, and not only their types."""
    if not all(isinstance(kind, types.Literal) for kind in given):
        raise RequireLiteralValue(str(given))


@intrinsic
def word(typing: Any, address: Any, index: Any) -> Any:
    """Return the word with an index in a block of words."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        block = builder.inttoptr(args[0], WORD.as_pointer())
        return builder.load(builder.gep(block, [args[1]]), align=8)

    return types.intp(types.intp, types.intp), emit


@intrinsic
def put_word(typing: Any, address: Any, value: Any) -> Any:
    """Write a word."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], WORD.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), emit


@intrinsic
def look(typing: Any, address: Any) -> Any:
    """Read a word that other threads write. Everything that they wrote before it is visible afterwards."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(args[0], WORD.as_pointer()), "seq_cst", 8)

    return types.intp(types.intp), emit


@intrinsic
def publish(typing: Any, address: Any, value: Any) -> Any:
    """Write a word for other threads, after everything that this thread wrote before."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        builder.store_atomic(args[1], builder.inttoptr(args[0], WORD.as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), emit


@intrinsic
def count_up(typing: Any, address: Any) -> Any:
    """Add 1 to a shared word and return its old value."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(args[0], WORD.as_pointer()), WORD(1), "seq_cst")

    return types.intp(types.intp), emit


@intrinsic
def swap(typing: Any, address: Any, value: Any) -> Any:
    """Write a shared word and return its old value."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", builder.inttoptr(args[0], WORD.as_pointer()), args[1], "seq_cst")

    return types.intp(types.intp, types.intp), emit


@intrinsic
def wait_for_bell(typing: Any, bell: Any) -> Any:
    """Sleep until another thread rings the bell: one of Python's locks, which needs no interpreter lock."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        number = ir.IntType(32)
        acquire = declared(builder.module, "PyThread_acquire_lock", number, [WORD, number])
        builder.call(acquire, [args[0], number(1)])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@intrinsic
def ring_bell(typing: Any, bell: Any) -> Any:
    """Wake the thread that waits, or is about to wait, for this bell."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        builder.call(declared(builder.module, "PyThread_release_lock", ir.VoidType(), [WORD]), [args[0]])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@intrinsic
def call(typing: Any, function: Any, args: Any, thread: Any, threads: Any) -> Any:
    """Call the kernel at an address."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, given: Any) -> Any:
        kernel = ir.FunctionType(ir.VoidType(), [WORD] * 3).as_pointer()
        builder.call(builder.inttoptr(given[0], kernel), given[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), emit


@intrinsic
def stack(typing: Any, size: Any) -> Any:
    """Return the address of `size` bytes (a literal) that begin a cache line and stay as long as the kernel runs.

    An array of Numba's would not do: Numba frees it after the last line that names it, even if its address is in use.
    """
    require_literals((size,))

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        with builder.goto_entry_block():
            block = builder.alloca(ir.ArrayType(ir.IntType(8), size.literal_value))
        block.align = LINE
        return builder.ptrtoint(block, WORD)

    return types.intp(size), emit


@intrinsic
def relax(typing: Any, spins: Any) -> Any:
    """Pause for a moment in a loop that waits. After SPINS turns, yield the core to other threads."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        number, nothing = ir.IntType(32), ir.VoidType()
        if architecture() == "x86":
            builder.call(declared(builder.module, "llvm.x86.sse2.pause", nothing, []), [])
        elif architecture() == "arm":
            builder.call(declared(builder.module, "llvm.aarch64.hint", nothing, [number]), [number(1)])
        if sys.platform != "win32":
            with builder.if_then(builder.icmp_signed(">", args[0], WORD(SPINS)), likely=False):
                builder.call(declared(builder.module, "sched_yield", number, []), [])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@intrinsic
def core(typing: Any) -> Any:
    """Return the number of the core that this thread runs on, or -1 if the system does not tell."""

    def emit(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> Any:
        if sys.platform != "linux":
            return WORD(-1)
        return builder.sext(builder.call(declared(builder.module, "sched_getcpu", ir.IntType(32), []), []), WORD)

    return types.intp(), emit


@njit(error_model="numpy")
def barrier(counter: int, threads: int) -> None:
    """Wait until all threads have come here. The counter starts at 0 and serves any number of barriers."""
    if threads == 1:
        return
    goal = (count_up(counter) // threads + 1) * threads  # type: ignore[call-arg]
    spins = 0
    while look(counter) < goal:
        relax(spins)
        spins += 1


def unpacked(names: tuple[str, ...]) -> str:
    """Return the lines of a kernel that read its arguments from their block."""
    return "\n".join(f"    {name} = word(args, {i})" for i, name in enumerate(names))


class Kernel:
    """A kernel and the names of its arguments. It is compiled, or read from the cache, at its first use."""

    def __init__(self, function: Callable, names: tuple[str, ...]):
        self.function, self.names = function, names

        self._compiled: Any = None

    @property
    def entry(self) -> int:
        """Return the kernel's address."""
        with locks.held(locks.building):
            if self._compiled is None:
                with _log_if_long(self.function):
                    self._compiled = machine_code(self.function)
        return int(self._compiled.address or 0)


class _log_if_long:
    """Log that a function is being compiled, if that takes more than a second."""

    def __init__(self, function: Callable):
        module = function.__module__.removeprefix("tinygrad_rnn_generated_").rpartition("_")[0]
        what = f"{function.__name__} of {module}"
        log = logging.getLogger("tinygrad_rnn")
        self.timer = threading.Timer(1.0, log.warning, ("compiling %s (about 3 s, once for this machine)", what))
        self.timer.daemon = True

    def __enter__(self) -> None:
        self.timer.start()

    def __exit__(self, *_: Any) -> None:
        self.timer.cancel()
