"""`tinygrad-rnn study`: the claims of lecture notes on recurrent networks, each tried by a measurement."""

from __future__ import annotations

import argparse
from typing import Any

from ..lm.config import Allowed, OptionError
from .options import command, option, path


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "study",
        _study,
        "measure the claims that lecture notes on recurrent networks make",
        "Measure claims that lecture notes on recurrent networks make, and print for each the claim, the figures and "
        "a verdict: confirmed, qualified or wrong. All claims together take about three minutes.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="claims to measure: see --list")
    parser.add_argument("--all", action="store_true", help="measure all claims")
    parser.add_argument("--list", action="store_true", help="list all claims, and measure none")
    parser.add_argument("--out", metavar="FOLDER", type=path, help="folder for the pictures (default: draw none)")
    page = "also write all findings as a page, its pictures into the folder `pictures` beside it unless --out is given"
    parser.add_argument("--markdown", metavar="FILE", type=path, help=page)
    option(parser, "seed", Allowed("seed of weights and data", low=0, high=2**31 - 1), 0, " (default: 0)")


def _study(args: argparse.Namespace) -> int:
    from ..study import CLAIMS, report, run

    if args.list:
        print(report.listing())
        return 0
    if not args.names and not args.all:
        raise OptionError("study: expected the name of a claim, --all or --list, got none")
    if args.names and args.all:
        raise OptionError(f"--all: expected no names beside it, got {' '.join(args.names)}")
    for name in args.names:
        if name not in CLAIMS:
            raise OptionError(f"study: expected one of {', '.join(CLAIMS)}, got {name!r}")
    for given, file in (("--out", args.out), ("--markdown", args.markdown)):
        if file is not None and file.exists() and file.is_dir() != (given == "--out"):
            raise OptionError(f"{given}: expected a {'folder' if given == '--out' else 'file'}, got {file}")
    if args.markdown is not None and args.markdown.exists() and not report.is_page(args.markdown):
        raise OptionError(f"--markdown: {args.markdown} is there already, and is no such page: name another file")
    run(list(dict.fromkeys(args.names)) or list(CLAIMS), args.seed, args.out, args.markdown)
    return 0
