"""`tinygrad-rnn explain`: a cell's equations and what becomes of them."""

from __future__ import annotations

import argparse
from typing import Any

from ..cells import BUILT_IN
from .options import command


def add(commands: Any) -> None:
    """Add the command."""
    says = "show a cell's equations, the adjoint that the tape derives from them, and what a step costs"
    parser = command(commands, "explain", _explain, says, f"{says.capitalize()}.")
    parser.add_argument("cell", metavar="CELL", choices=list(BUILT_IN), help=", ".join(BUILT_IN))
    parser.add_argument("--code", action="store_true", help="also the text that the CPU's loops are built from")


def _explain(args: argparse.Namespace) -> int:
    from ..cells.explain import explain

    print(explain(args.cell, args.code))
    return 0
