"""Ctrl-C ends the command line's program without a traceback, from the program's first line to its last.

Python raises KeyboardInterrupt wherever it happens to be: in the half second in which NumPy and the rest are imported,
in the clean-up after `main` has returned, or in a destructor, where the exception is printed and lost. While nobody can
handle the exception, the signal therefore has its default action and ends the program in silence; a shell reports 130
all the same.

Only a process whose program is `tinygrad-rnn` or `python -m tinygrad_rnn` is changed, and only if Ctrl-C would have
raised KeyboardInterrupt there. A library must not touch its user's signals.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

PROGRAM, MODULE = "tinygrad-rnn", "tinygrad_rnn"
INTERRUPTED = 128 + signal.SIGINT  # the exit code
_ours = False  # whether the signal's default action is there because `watch` chose it


def watch() -> None:
    """Give Ctrl-C its default action. The command line's process calls this before it imports anything else."""
    global _ours
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            _ours = True


def is_program() -> bool:
    """Return whether Python was started with the program, or with -m and the package."""
    words = getattr(sys, "argv", [""]) or [""]
    if words[0] != "-m":  # sys.argv[0] is "-m" while Python still looks for the module
        name = os.path.basename(words[0])
        return name.removesuffix(".exe").removesuffix("-script.pyw") == PROGRAM
    module = sys.orig_argv[len(sys.orig_argv) - len(words)]
    return module.removeprefix("-m") == MODULE


@contextlib.contextmanager
def raised(fail: Any) -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt within the block, but only once: a second Ctrl-C ends the program immediately.

    fail: a function to call if the exception comes in a destructor, which would print and lose it; then the program
    ends.
    """
    if not _ours:
        yield
        return
    try:
        with contextlib.suppress(ValueError):  # not the main thread
            sys.unraisablehook = _hook(fail)
            signal.signal(signal.SIGINT, _raise_once)
        yield
    finally:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _raise_once(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def _hook(fail: Any) -> Any:
    usual = sys.unraisablehook

    def hook(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            usual(lost)
            return
        fail()
        os._exit(INTERRUPTED)

    return hook
