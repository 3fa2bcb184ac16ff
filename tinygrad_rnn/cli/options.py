"""What the commands' parsers are made of: errors of one line, options with limits, paths."""

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
    """Add a command. kernels: whether it uses kernels, so that what the environment asks of them is checked first."""
    parser = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
    parser.set_defaults(run=run, kernels=kernels)
    return parser


def option(parser: Any, name: str, allowed: Allowed, default: Any, said: str = "", *aliases: str) -> None:
    """Add --name with its limits. default: argparse.SUPPRESS leaves it out of the result where it is not given."""

    def parse(text: str) -> Any:
        try:
            return allowed.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    metavar = "NAME" if allowed.choices else "N" if allowed.kind is int else "X"
    choices = f": {', '.join(allowed.choices)}" if allowed.choices else ""
    words = [f"--{name.replace('_', '-')}", *aliases]
    said = allowed.help + choices + said
    parser.add_argument(*words, dest=name, metavar=metavar, type=parse, default=default, help=said)


def path_text(text: str) -> str:
    """A path as it was given; argparse's error for one that no file of this system can have."""
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise argparse.ArgumentTypeError(f"expected a path that a file can have, got {text!a}")
    return text


def path(text: str) -> Path:
    """The same as a Path."""
    return Path(path_text(text))


def device(parser: Any) -> None:
    """Add --device, which is checked before the command runs."""
    parser.add_argument("--device", metavar="NAME", default="cpu", help="cpu, or cuda for a GPU (default: cpu)")
