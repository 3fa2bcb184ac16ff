"""`tinygrad-rnn bench`: a comparison of speed with other libraries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..lm.config import Allowed, OptionError
from .options import command, option, path


def add(commands: Any) -> None:
    """Add the command."""
    from ..bench.case import KINDS
    from ..bench.groups import DEFAULT, GROUPS
    from ..bench.peers import PEERS
    from ..bench.vectors import LIMITS

    parser = command(
        commands,
        "bench",
        _bench,
        "compare the speed of layers, cells, the tape and training with other libraries",
        "Compare the speed of this library with others, and write the times and charts into a folder. Before timing, "
        "the results of all libraries are compared; a difference gives exit code 1.",
    )
    omitted = " ".join(name for name in GROUPS if name not in DEFAULT)
    groups = f"groups to run: {', '.join(GROUPS)} (default: all but {omitted})"
    cells = f"kinds of layers to run: {', '.join(KINDS)} (default: all)"
    others = f"libraries to compare with: {', '.join(PEERS)} (default: all that are installed)"
    parser.add_argument("--only", nargs="+", metavar="GROUP", choices=list(GROUPS), help=groups)
    parser.add_argument("--cells", nargs="+", metavar="CELL", choices=KINDS, default=KINDS, help=cells)
    parser.add_argument("--peers", nargs="+", metavar="PEER", choices=PEERS, help=others)
    parser.add_argument(
        "--quick", action="store_true", help="run some groups and shapes with two libraries, in about two minutes"
    )
    option(
        parser, "threads", Allowed("threads that each library uses", high=1023), None, " (default: the number of cores)"
    )
    shorter = "bits of the longest vectors; libraries that cannot be limited are left out (default: the processor's)"
    parser.add_argument("--vectors", metavar="BITS", type=int, choices=list(LIMITS), help=shorter)
    parser.add_argument("--json", metavar="FILE", type=path, help="also write all results to this file")
    usual = Path("run/bench")
    parser.add_argument(
        "--out", metavar="FOLDER", type=path, default=usual, help=f"folder for the results (default: {usual})"
    )


def _bench(args: argparse.Namespace) -> int:
    from ..bench import groups, peers, vectors
    from ..bench.run import Options, run
    from ..kernels.cpu.runtime.threads import get_num_threads

    if args.vectors:
        try:
            vectors.run_limited(args.vectors)
        except ValueError as error:
            raise OptionError(f"--vectors: {error}") from None
    wanted = args.only or (groups.QUICK if args.quick else groups.DEFAULT)
    if args.quick and not set(wanted) & set(groups.QUICK):
        raise OptionError(f"--quick: expected --only with {' or '.join(groups.QUICK)}, got {' '.join(wanted)}")
    others = vectors.comparable(args.peers or (peers.QUICK if args.quick else peers.PEERS))
    _check_json(args.json)
    threads = args.threads or get_num_threads()
    options = Options(tuple(wanted), threads, tuple(args.cells), others, args.quick, args.json, args.out)
    return run(options)


def _check_json(file: Path | None) -> None:
    """Raise OptionError for a file with other content than results, because the run would overwrite it."""
    from ..bench import results

    if file is None or not file.exists() or file.is_file() and not file.stat().st_size:
        return
    try:
        results.load(file)
    except (OSError, results.ResultsError):
        raise OptionError(f"--json: {file} is there already, and holds no results: name another file") from None
