"""`tinygrad-rnn explain`: a cell's equations and the programs that are made from them."""

from __future__ import annotations

import argparse
from typing import Any

from ..cells import BUILT_IN
from .options import command, sentence


def add(commands: Any) -> None:
    """Add the command."""
    summary = "show a cell's equations, the adjoint that the tape derives from them, and the cost of a step"
    parser = command(commands, "explain", _explain, summary, sentence(summary))
    parser.add_argument("cell", metavar="CELL", choices=list(BUILT_IN), help=f"one of {', '.join(BUILT_IN)}")
    parser.add_argument("--code", action="store_true", help="also show the generated code of the CPU kernels")


def _explain(args: argparse.Namespace) -> int:
    from ..cells.explain import explain

    print(explain(args.cell, args.code))
    return 0
