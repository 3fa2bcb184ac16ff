"""`tinygrad-rnn sample`: text from a trained model."""

from __future__ import annotations

import argparse
import dataclasses
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
        "Write text, character by character, with a model that `tinygrad-rnn train` has trained. A terminal shows "
        "control characters, except line ends and tabs, as escapes; a file or a pipe gets the text unchanged.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=path, help="the checkpoint file, or its folder")
    parser.add_argument("--prime", metavar="TEXT", default="", help="the text to continue (default: a line break)")
    temperature = Allowed("below 1 gives more likely text, above 1 more varied text", float, 0, 1e6, above=True)
    option(parser, "temperature", temperature, 0.8, " (default: 0.8)")
    option(parser, "top_k", Allowed("draw only from the N most likely characters"), None, " (default: all)")
    nucleus = "draw only from the most likely characters that together have this share of the probability"
    option(parser, "top_p", Allowed(nucleus, float, 0, 1, above=True), None, " (default: all)")
    option(parser, "length", Allowed("number of characters to write", high=10**12), 500, " (default: 500)")
    parser.add_argument("--greedy", action="store_true", help="always write the most likely character")
    device(parser)
    option(
        parser,
        "seed",
        dataclasses.replace(Config.allowed()["seed"], help="seed of the random choices"),
        None,
        "; without it every text differs",
    )


def _sample(args: argparse.Namespace) -> int:
    file: Path = args.checkpoint / CHECKPOINT if args.checkpoint.is_dir() else args.checkpoint
    tree = checkpoint.load(file, layout)
    with checkpoint.reading(str(file)):
        model, vocabulary = model_of(tree, args.device)
    choice = (args.temperature, args.greedy, args.seed, args.top_k, args.top_p)
    characters = sample(model, vocabulary, args.length, args.prime, *choice)
    sys.stdout.write(shown(args.prime))
    for character in characters:
        sys.stdout.write(shown(character))
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


def shown(text: str) -> str:
    """Return a text for standard output: with visible control characters for a terminal, unchanged otherwise."""
    return visible(text) if sys.stdout.isatty() else text
