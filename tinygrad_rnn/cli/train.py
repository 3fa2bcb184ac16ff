"""`tinygrad-rnn train`: a training run, with its results in a folder."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from ..lm import checkpoint
from ..lm.config import DEFAULT_LIMITS, STANDARD_INPUT, Allowed, Config, Limits, OptionError
from ..lm.progress import Progress, clock
from ..lm.run import Interruption, Run
from ..lm.sample import sample
from ..terminal import visible
from .options import command, device, option, path, path_text

CHECKPOINT, PICTURE, SAMPLE = RESULTS = ("checkpoint.safetensors", "loss.png", "sample.txt")
SAMPLE_LENGTH = 500


def add(commands: Any) -> None:
    """Add the command."""
    parser = command(
        commands,
        "train",
        _train,
        "train a character-level language model on text",
        "Train a character-level language model on a text: a file, or Python's language reference, which comes with "
        "Python. Write a checkpoint, a plot of the loss and a sample into a folder. Ctrl-C saves the run and ends it.",
    )
    files = parser.add_argument_group("text and files")
    text = "UTF-8 file to train on, or - for standard input (default: Python's language reference)"
    files.add_argument("--text", metavar="FILE", type=path_text, help=text)
    files.add_argument(
        "--out", metavar="FOLDER", type=path, default=Path("run"), help="folder for the results (default: run)"
    )
    files.add_argument("--resume", action="store_true", help="continue the run whose checkpoint is in the folder")
    device(files)
    option(files, "save_every", Allowed("seconds between checkpoints", float, 0, 1e6), 30.0, " (default: 30)")
    limits = parser.add_argument_group("length: the run ends at the first limit that it reaches")
    for name, allowed in Limits.allowed().items():
        usual = getattr(DEFAULT_LIMITS, name)
        option(limits, name, allowed, None, f" (default: {usual}, if no limit is given)" if usual else "")
    model = parser.add_argument_group("model and training")
    for name, allowed in Config.allowed().items():
        aliases = ["--optimizer"] if name == "optimiser" else []
        option(model, name, allowed, argparse.SUPPRESS, f" (default: {getattr(Config, name)})", *aliases)


def _train(args: argparse.Namespace) -> int:
    given = {name: getattr(args, name) for name in Config.allowed() if hasattr(args, name)}
    limits = Limits(args.epochs, args.steps, args.minutes)
    file: Path = args.out / CHECKPOINT
    _check_results(args)
    new: Run | None = None
    if args.resume:
        file.stat()  # raises the system's own error if there is none
    else:
        new = Run(Config(**given), limits if limits.any() else DEFAULT_LIMITS, args.text, file, args.device)
        args.out.mkdir(parents=True, exist_ok=True)
    try:
        with checkpoint.locked_folder(args.out):  # check again: another process may have written until now
            _check_results(args)
            return _train_on(new or Run.resumed(file, given, limits, args.text, args.device), args)
    except checkpoint.InUseError:
        raise OptionError(f"--out: {args.out}: another training is at work there") from None


def _check_results(args: argparse.Namespace) -> None:
    """Raise OptionError if files of the user would be overwritten."""
    if args.out.exists() and not args.out.is_dir():
        raise OptionError(f"--out: expected a folder, got {args.out}, which is none")
    for name in RESULTS:
        file = args.out / name
        if not file.exists():
            continue
        if not args.resume and name == CHECKPOINT:
            raise OptionError(f"--out: {file} is there already: pass --resume to go on with it, or another folder")
        if not args.resume:
            raise OptionError(f"--out: {file} is there already, and would be overwritten: name another folder")
        if args.text not in (None, STANDARD_INPUT) and os.path.exists(args.text) and file.samefile(args.text):
            raise OptionError(f"--text: {args.text} would be overwritten by the results in {args.out}")


def _train_on(run: Run, args: argparse.Namespace) -> int:
    progress = Progress()
    _announce(run, progress, args.resume)
    with Interruption() as interruption:
        try:
            run.train(progress, args.save_every, interruption.requested)
        except BrokenPipeError:  # nobody reads the progress any more; the state between two steps is whole
            run.save_at_last()
            raise
        finally:
            progress.close()
    if interruption.signal is not None:
        name = signal.Signals(interruption.signal).name
        resume = f"tinygrad-rnn train --resume --out {shlex.quote(str(args.out))}"
        message = f"stopped by {name} at step {run.trainer.step:,} and saved; go on with: {resume}"
        print(visible(message), file=sys.stderr)
        return 128 + interruption.signal
    _conclude(run, args.out)
    return 0


def _announce(run: Run, progress: Progress, resumed: bool) -> None:
    trainer, config = run.trainer, run.trainer.config
    count = sum(parameter.numel() for parameter in trainer.model.parameters())
    sizes = f"{trainer.chunks.targets.size:,} characters to learn, {trainer.tail.targets.size:,} held out"
    progress.line(f"text: {run.source.label}: {sizes}, {len(trainer.vocabulary)} different")
    progress.line(f"model: {config.layers} x {config.cell} of {config.hidden}, {count:,} parameters")
    if trainer.chunks.batch < config.batch:
        progress.line(f"note: the text is short: {trainer.chunks.batch} streams in place of {config.batch}")
    if resumed:
        progress.line(f"resumed at step {trainer.step:,}")
    if run.done >= 1:
        progress.line("note: the run is complete: a higher --epochs, --steps or --minutes makes it go on")


def _conclude(run: Run, folder: Path) -> None:
    """Write the plot and the sample of a finished run, and print the sample and the loss."""
    trainer = run.trainer
    _plot(run, folder / PICTURE)
    prime = "\n" if "\n" in trainer.vocabulary.characters else trainer.vocabulary.characters[0]
    text = "".join(sample(trainer.model, trainer.vocabulary, SAMPLE_LENGTH, prime, 0.8, seed=trainer.config.seed))
    checkpoint.write_atomically(folder / SAMPLE, (text + "\n").encode())
    print(f"\n{visible(text) if sys.stdout.isatty() else text}\n")
    step, bits = trainer.validations[-1]
    print(f"{bits:.3f} bits per character on the held-out text after {step:,} steps, {clock(run.seconds)} of training")
    print(visible(f"results: {folder}: {', '.join(sorted(entry.name for entry in folder.iterdir()))}"))


def _plot(run: Run, path: Path) -> None:
    import numpy as np

    from ..lm.plot import plot_loss

    trainer = run.trainer
    title = f"Character model, {trainer.config.layers} x {trainer.config.cell} of {trainer.config.hidden}"
    try:
        plot_loss(path, np.array(trainer.losses), np.array(trainer.validations), len(trainer.chunks), title)
    except ImportError:
        print("no loss.png: matplotlib is not installed: pip install tinygrad_rnn[plot]", file=sys.stderr)
