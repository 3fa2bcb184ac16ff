"""The parts of the commands' parsers: errors of one line, options with limits, paths."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ..lm.config import Allowed
from ..terminal import visible

Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tinygrad-rnn: error: {visible(message, keep='')} (see {self.prog} --help)\n")


def command(commands: Any, name: str, run: Run, help: str, description: str, kernels: bool = True) -> Any:
    """Add a command. kernels: the command uses kernels, so check their environment variables first."""
    parser = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
    parser.set_defaults(run=run, kernels=kernels)
    return parser


def sentence(text: str) -> str:
    """Return a help text as a sentence: with a capital at its start and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def option(parser: Any, name: str, allowed: Allowed, default: Any, suffix: str = "", *aliases: str) -> None:
    """Add --name with its limits. suffix: text after its help. default: argparse.SUPPRESS gives no attribute."""

    def parse(text: str) -> Any:
        try:
            return allowed.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    metavar = "NAME" if allowed.choices else "N" if allowed.kind is int else "X"
    choices = f": {', '.join(allowed.choices)}" if allowed.choices else ""
    flags = [f"--{name.replace('_', '-')}", *aliases]
    text = allowed.help + choices + suffix
    parser.add_argument(*flags, dest=name, metavar=metavar, type=parse, default=default, help=text)


def path_text(text: str) -> str:
    """Return a path unchanged. Raise argparse's error for one that no file of this system can have."""
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise argparse.ArgumentTypeError(f"expected a path that a file can have, got {text!a}")
    return text


def path(text: str) -> Path:
    """Return the text as a Path; errors as in `path_text`."""
    return Path(path_text(text))


def device(parser: Any) -> None:
    """Add --device. `main` checks it before the command runs."""
    parser.add_argument(
        "--device", metavar="NAME", default="cpu", help="cpu, or cuda for a GPU, cuda:N for GPU number N (default: cpu)"
    )
