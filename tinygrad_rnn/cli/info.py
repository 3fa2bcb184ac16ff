"""`tinygrad-rnn info`: versions, processor, threads, CUDA."""

from __future__ import annotations

import argparse
from typing import Any

from .options import command, sentence


def add(commands: Any) -> None:
    """Add the command."""
    summary = "show versions, the processor's features, the number of threads, and whether CUDA can be used"
    command(commands, "info", _info, summary, sentence(summary), kernels=False)


def _info(args: argparse.Namespace) -> int:
    from ..info import report

    for name, value in report():
        print(f"{name:<14}{value}")
    return 0
