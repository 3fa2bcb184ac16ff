"""The command `tinygrad-rnn`: train a character model, sample from it, describe this machine, and measure it.

An error of the user ends the command with one line on stderr, `tinygrad-rnn: error: ...`, and exit code 1, or 2 for a
wrong command line. A signal ends it with 128 + its number. All output shows the control characters of arguments, files
and models as escapes.

    options.py  the parser, options with limits, paths
    train.py  sample.py  explain.py  info.py  cache.py  bench.py  study.py  one command each
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from .. import __version__, interrupts
from ..arrays.cuda import missing_for_kernels
from ..arrays.device import resolve_device
from ..data import TextError
from ..lm.checkpoint import CheckpointError
from ..lm.config import DivergedError, OptionError
from ..terminal import visible
from . import bench, cache, explain, info, sample, study, train
from .options import Parser
from .train import CHECKPOINT, PICTURE, RESULTS, SAMPLE, SAMPLE_LENGTH

__all__ = ["CHECKPOINT", "PICTURE", "RESULTS", "SAMPLE", "SAMPLE_LENGTH", "build_parser", "main"]

COMMANDS = (train.add, sample.add, explain.add, info.add, cache.add, bench.add, study.add)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. argparse raises SystemExit for --help and a wrong option.

    Outside of the main thread, where Python handles no signals, Ctrl-C is not handled.
    """
    try:
        with interrupts.raised(_interrupted):
            return _main(argv)
    except KeyboardInterrupt:
        return _interrupted()


def _main(argv: Sequence[str] | None) -> int:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller has closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  it stays open until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # show a question mark for a character that the terminal does not have
            stream.reconfigure(errors="replace")
    args = build_parser().parse_args(argv)
    try:
        _check_environment(args)
        _check_device(args)
        code = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough
        return 128 + 13  # the exit code that a shell reports for SIGPIPE
    except OSError as error:
        return _fail(str(error) if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}")
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except (OptionError, TextError, CheckpointError, DivergedError) as error:
        return _fail(str(error))
    finally:
        _flush_or_discard(sys.stdout)
        _flush_or_discard(sys.stderr)


def _interrupted() -> int:
    code = _fail("interrupted", interrupts.INTERRUPTED)
    _flush_or_discard(sys.stdout)
    _flush_or_discard(sys.stderr)
    return code


def _fail(reason: str, code: int = 1) -> int:
    print(f"tinygrad-rnn: error: {visible(' '.join(reason.split()))}", file=sys.stderr)
    return code


def _flush_or_discard(stream: Any) -> None:
    """Flush a stream. If that fails (a closed pipe, a full disk), discard the rest, or Python's exit would fail."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. Each command is a module whose `add` adds it."""
    description = "Recurrent networks on a minimal tape-based autograd."
    parser = Parser(prog="tinygrad-rnn", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


def _check_environment(args: argparse.Namespace) -> None:
    """Raise OptionError for a wrong value of an environment variable that the kernels read."""
    from ..kernels import wanted_driver
    from ..kernels.cpu.runtime import host, threads

    if not args.kernels:
        return
    for read in (wanted_driver, host.vector_unit, threads.get_num_threads):
        try:
            read()
        except ValueError as error:
            raise OptionError(f"the environment variable {error}") from error


def _check_device(args: argparse.Namespace) -> None:
    """Raise OptionError for an unknown device, or one that models cannot run on."""
    device = getattr(args, "device", "cpu")
    try:
        missing = resolve_device("--device", device) != "cpu" and missing_for_kernels()
    except (RuntimeError, ValueError) as error:
        raise OptionError(str(error).replace("--device: device:", "--device:")) from error
    if missing:
        raise OptionError(f"--device: expected 'cpu', got {device!r}: {'; '.join(missing)}")
