"""`tinygrad-rnn sample`: text from a trained model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..lm import checkpoint
from ..lm.check import layout
from ..lm.config import Allowed, Config
from ..lm.sample import sample
from ..lm.train import model_of
from ..terminal import visible
from .options import command, device, option, path
from .train import CHECKPOINT


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "sample",
        _sample,
        "write text with a trained model",
        "Write text with a model that `tinygrad-rnn train` has trained, character by character. On a terminal control "
        "characters are spelled out, but for line ends and tabs; in a file or a pipe the text is as it is.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=path, help="the file, or the folder it is in")
    parser.add_argument("--prime", metavar="TEXT", default="", help="the text to go on from (default: a new line)")
    temperature = Allowed("below 1: likelier text, above 1: more varied", float, 0, 1e6, above=True)
    option(parser, "temperature", temperature, 0.8, " (default: 0.8)")
    option(parser, "length", Allowed("characters to write", high=10**12), 500, " (default: 500)")
    parser.add_argument("--greedy", action="store_true", help="always the likeliest character")
    device(parser)
    option(parser, "seed", Config.allowed()["seed"], None, "; without one every text is another")


def _sample(args: argparse.Namespace) -> int:
    file: Path = args.checkpoint / CHECKPOINT if args.checkpoint.is_dir() else args.checkpoint
    tree = checkpoint.load(file, layout)
    with checkpoint.reading(str(file)):
        model, vocabulary = model_of(tree, args.device)
    characters = sample(model, vocabulary, args.length, args.prime, args.temperature, args.greedy, args.seed)
    sys.stdout.write(shown(args.prime))
    for character in characters:
        sys.stdout.write(shown(character))
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


def shown(text: str) -> str:
    """A text as it is written: on a terminal with its control characters made visible, elsewhere as it is."""
    return visible(text) if sys.stdout.isatty() else text
