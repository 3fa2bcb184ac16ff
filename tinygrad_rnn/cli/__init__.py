"""The command `tinygrad-rnn`: train a character model, sample from it, say what this machine can do, and measure it.

Whatever a person can get wrong ends with one line on stderr, `tinygrad-rnn: error: ...`, and exit code 1; 2 where the
command line itself is wrong. A signal ends with 128 + its number. Control characters of what is named there, of files
and of models, are made visible in all that is shown.

    options.py  what parsers are made of
    train.py  sample.py  explain.py  info.py  cache.py  bench.py  a command each
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
from . import bench, cache, explain, info, sample, train
from .options import Parser
from .train import CHECKPOINT, PICTURE, RESULTS, SAMPLE, SAMPLE_LENGTH

__all__ = ["CHECKPOINT", "PICTURE", "RESULTS", "SAMPLE", "SAMPLE_LENGTH", "build_parser", "main"]

COMMANDS = (train.add, sample.add, explain.add, info.add, cache.add, bench.add)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. SystemExit where argparse ends it: --help, a wrong option.

    In another thread than the main one no signal is handled, as Python handles none there.
    """
    try:
        with interrupts.raised(_interrupted):
            return _main(argv)
    except KeyboardInterrupt:
        return _interrupted()


def _main(argv: Sequence[str] | None) -> int:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  for the rest of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows a question mark
            stream.reconfigure(errors="replace")
    args = build_parser().parse_args(argv)
    try:
        _check_environment(args)
        _check_device(args)
        code = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough
        return 128 + 13  # what a shell reports of SIGPIPE
    except OSError as error:
        return _fail(str(error) if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}")
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except (OptionError, TextError, CheckpointError, DivergedError) as error:
        return _fail(str(error))
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)


def _interrupted() -> int:
    code = _fail("interrupted", interrupts.INTERRUPTED)
    _let_go(sys.stdout)
    _let_go(sys.stderr)
    return code


def _fail(reason: str, code: int = 1) -> int:
    print(f"tinygrad-rnn: error: {visible(' '.join(reason.split()))}", file=sys.stderr)
    return code


def _let_go(stream: Any) -> None:
    """Drop what a stream can no longer write (a closed pipe, a full disk), or Python's end would trip over it."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; a command is a module with a function that adds it."""
    description = "Recurrent networks on a minimal tape-based autograd."
    parser = Parser(prog="tinygrad-rnn", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


def _check_environment(args: argparse.Namespace) -> None:
    """OptionError where an environment variable asks the kernels for what cannot be."""
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
    """OptionError where the device is none, or models cannot run on it."""
    device = getattr(args, "device", "cpu")
    try:
        lacks = resolve_device("--device", device) != "cpu" and missing_for_kernels()
    except (RuntimeError, ValueError) as error:
        raise OptionError(str(error).replace("--device: device:", "--device:")) from error
    if lacks:
        raise OptionError(f"--device: expected 'cpu', got {device!r}: {'; '.join(lacks)}")
