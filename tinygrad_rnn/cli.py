"""The command `tinygrad-rnn`: train a character model, sample from it, say what this machine can do, and measure it.

Whatever a person can get wrong ends with one line on stderr, `tinygrad-rnn: error: ...`, and exit code 1; 2 where the
command line itself is wrong. A signal ends with 128 + its number.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .cache_command import add_cache
from .cells import BUILT_IN
from .data import TextError
from .device import checked, kernels_lack
from .lm import checkpoint
from .lm.config import DEFAULT_LIMITS, Allowed, Config, DivergedError, Limits, OptionError
from .lm.progress import Progress, clock
from .lm.run import Interruption, Run
from .lm.sample import sample
from .lm.train import model_of

CHECKPOINT, PICTURE, SAMPLE = RESULTS = ("checkpoint.safetensors", "loss.png", "sample.txt")
SAMPLE_LENGTH = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. SystemExit where argparse ends it: --help, a wrong option."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  for the rest of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows a question mark
            stream.reconfigure(errors="replace")
    args = build_parser().parse_args(argv)
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough
        return 128 + 13  # what a shell reports of SIGPIPE
    except KeyboardInterrupt:
        return _fail("interrupted", 128 + signal.SIGINT)
    except OSError as error:
        return _fail(str(error) if error.filename is None else f"{error.filename}: {error.strerror}")
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except (OptionError, TextError, checkpoint.CheckpointError, DivergedError) as error:
        return _fail(str(error))
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)


def _fail(reason: str, code: int = 1) -> int:
    print(f"tinygrad-rnn: error: {' '.join(reason.split())}", file=sys.stderr)
    return code


def _let_go(stream: Any) -> None:
    """Drop what a stream can no longer write (a closed pipe, a full disk), or Python's end would trip over it."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tinygrad-rnn: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; a command is a function that adds itself."""
    description = "Recurrent networks on a minimal tape-based autograd."
    parser = Parser(prog="tinygrad-rnn", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_train, _add_sample, _add_explain, _add_info, add_cache, _add_bench):
        add(commands)
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, description: str) -> Any:
    parser = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _option(parser: Any, name: str, allowed: Allowed, default: Any, said: str = "", *aliases: str) -> None:
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


def _check_environment() -> None:
    """OptionError where an environment variable asks the kernels for what cannot be."""
    from .kernels import wanted_driver
    from .kernels.cpu import host, threads

    for read in (wanted_driver, host.vector_unit, threads.get_num_threads):
        try:
            read()
        except ValueError as error:
            raise OptionError(f"the environment variable {error}") from error


def _add_device(parser: Any) -> None:
    parser.add_argument("--device", metavar="NAME", default="cpu", help="cpu, or cuda for a GPU (default: cpu)")


def _check_device(args: argparse.Namespace) -> None:
    """OptionError where the device is none, or models cannot run on it."""
    try:
        lacks = checked("--device", args.device) != "cpu" and kernels_lack()
    except (RuntimeError, ValueError) as error:
        raise OptionError(str(error).replace("--device: device:", "--device:")) from error
    if lacks:
        raise OptionError(f"--device: expected 'cpu', got {args.device!r}: {'; '.join(lacks)}")


# train


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        _train,
        "train a character-level language model on text",
        "Train a character-level language model on text: on Python's language reference, which comes with Python, "
        "or on a file. Writes a checkpoint, a picture of the loss and a sample into a folder. Ctrl-C saves, then ends.",
    )
    files = parser.add_argument_group("text and files")
    files.add_argument("--text", metavar="FILE", help="a UTF-8 file (default: Python's language reference)")
    files.add_argument("--out", metavar="FOLDER", type=Path, default=Path("run"), help="for results (default: run)")
    files.add_argument("--resume", action="store_true", help="go on with the checkpoint in the folder")
    _add_device(files)
    _option(files, "save_every", Allowed("seconds between checkpoints", float, 0, 1e6), 30.0, " (default: 30)")
    limits = parser.add_argument_group("length: the first limit that is reached ends the run")
    for name, allowed in Limits.allowed().items():
        usual = getattr(DEFAULT_LIMITS, name)
        _option(limits, name, allowed, None, f" (default: {usual}, if no limit is given)" if usual else "")
    model = parser.add_argument_group("model and training")
    for name, allowed in Config.allowed().items():
        aliases = ["--optimizer"] if name == "optimiser" else []
        _option(model, name, allowed, argparse.SUPPRESS, f" (default: {getattr(Config, name)})", *aliases)


def _train(args: argparse.Namespace) -> int:
    _check_environment()
    _check_device(args)
    given = {name: getattr(args, name) for name in Config.allowed() if hasattr(args, name)}
    limits = Limits(args.epochs, args.steps, args.minutes)
    path: Path = args.out / CHECKPOINT
    _check_results(args)
    if args.resume:
        run = Run.resumed(path, given, limits, args.text, args.device)
    else:
        run = Run(Config(**given), limits if limits.any() else DEFAULT_LIMITS, args.text, path, args.device)
        args.out.mkdir(parents=True, exist_ok=True)
    try:
        with checkpoint.alone_in(args.out):
            return _train_on(run, args)
    except checkpoint.InUseError:
        raise OptionError(f"--out: {args.out}: another training is at work there") from None


def _check_results(args: argparse.Namespace) -> None:
    """OptionError where files of the user's would be overwritten."""
    if args.out.exists() and not args.out.is_dir():
        raise OptionError(f"--out: expected a folder, got {args.out}, which is none")
    for name in RESULTS:
        path = args.out / name
        if not path.exists():
            continue
        if not args.resume and name == CHECKPOINT:
            raise OptionError(f"--out: {path} is there already: pass --resume to go on with it, or another folder")
        if not args.resume:
            raise OptionError(f"--out: {path} is there already, and would be overwritten: name another folder")
        if args.text is not None and os.path.exists(args.text) and path.samefile(args.text):
            raise OptionError(f"--text: {args.text} would be overwritten by the results in {args.out}")


def _train_on(run: Run, args: argparse.Namespace) -> int:
    progress = Progress()
    _announce(run, progress, args.resume)
    with Interruption() as interruption:
        try:
            run.train(progress, args.save_every, interruption.requested)
        except BrokenPipeError:  # nobody reads the progress any more: it broke between two steps
            run.save()
            raise
        finally:
            progress.close()
    if interruption.signal is not None:
        name = signal.Signals(interruption.signal).name
        again = f"tinygrad-rnn train --resume --out {shlex.quote(str(args.out))}"
        print(f"stopped by {name} at step {run.trainer.step:,} and saved; go on with: {again}", file=sys.stderr)
        return 128 + interruption.signal
    _conclude(run, args.out)
    return 0


def _announce(run: Run, progress: Progress, resumed: bool) -> None:
    trainer, config = run.trainer, run.trainer.config
    count = sum(parameter.numel() for parameter in trainer.model.parameters())
    text = "Python's language reference" if run.source.path is None else run.source.path
    sizes = f"{trainer.chunks.targets.size:,} characters to learn, {trainer.tail.targets.size:,} held out"
    progress.line(f"text: {text}: {sizes}, {len(trainer.vocabulary)} different")
    progress.line(f"model: {config.layers} x {config.cell} of {config.hidden}, {count:,} parameters")
    if trainer.chunks.batch < config.batch:
        progress.line(f"note: the text is short: {trainer.chunks.batch} streams in place of {config.batch}")
    if resumed:
        progress.line(f"resumed at step {trainer.step:,}")
    if run.done >= 1:
        progress.line("note: the run is complete: a higher --epochs, --steps or --minutes makes it go on")


def _conclude(run: Run, folder: Path) -> None:
    """The picture, the sample and the figures of a finished run."""
    trainer = run.trainer
    _draw(run, folder / PICTURE)
    prime = "\n" if "\n" in trainer.vocabulary.characters else trainer.vocabulary.characters[0]
    text = "".join(sample(trainer.model, trainer.vocabulary, SAMPLE_LENGTH, prime, 0.8, seed=trainer.config.seed))
    checkpoint.write_atomically(folder / SAMPLE, (text + "\n").encode())
    print(f"\n{text}\n")
    step, bits = trainer.validations[-1]
    print(f"{bits:.3f} bits per character on the held-out text after {step:,} steps, {clock(run.seconds)} of training")
    print(f"results: {folder}: {', '.join(sorted(entry.name for entry in folder.iterdir()))}")


def _draw(run: Run, path: Path) -> None:
    import numpy as np

    from .lm.plot import plot_loss

    trainer = run.trainer
    title = f"Character model, {trainer.config.layers} x {trainer.config.cell} of {trainer.config.hidden}"
    try:
        plot_loss(path, np.array(trainer.losses), np.array(trainer.validations), len(trainer.chunks), title)
    except ImportError:
        print("no loss.png: matplotlib is not installed: pip install tinygrad_rnn[plot]", file=sys.stderr)


# sample


def _add_sample(commands: Any) -> None:
    parser = _command(
        commands,
        "sample",
        _sample,
        "write text with a trained model",
        "Write text with a model that `tinygrad-rnn train` has trained, character by character.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="the file, or the folder it is in")
    parser.add_argument("--prime", metavar="TEXT", default="", help="the text to go on from (default: a new line)")
    temperature = Allowed("below 1: likelier text, above 1: more varied", float, 0, 1e6, above=True)
    _option(parser, "temperature", temperature, 0.8, " (default: 0.8)")
    _option(parser, "length", Allowed("characters to write", high=10**12), 500, " (default: 500)")
    parser.add_argument("--greedy", action="store_true", help="always the likeliest character")
    _add_device(parser)
    _option(parser, "seed", Config.allowed()["seed"], None, "; without one every text is another")


def _sample(args: argparse.Namespace) -> int:
    _check_environment()
    _check_device(args)
    path: Path = args.checkpoint / CHECKPOINT if args.checkpoint.is_dir() else args.checkpoint
    tree = checkpoint.load(path)
    with checkpoint.reading(str(path)):
        model, vocabulary = model_of(tree, args.device)
    characters = sample(model, vocabulary, args.length, args.prime, args.temperature, args.greedy, args.seed)
    sys.stdout.write(args.prime)
    for character in characters:
        sys.stdout.write(character)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0


# explain


def _add_explain(commands: Any) -> None:
    says = "show a cell's equations, the adjoint that the tape derives from them, and what a step costs"
    parser = _command(commands, "explain", _explain, says, f"{says.capitalize()}.")
    parser.add_argument("cell", metavar="CELL", choices=list(BUILT_IN), help=", ".join(BUILT_IN))
    parser.add_argument("--code", action="store_true", help="also the text that the CPU's loops are built from")


def _explain(args: argparse.Namespace) -> int:
    from .explain import explain

    _check_environment()
    print(explain(args.cell, args.code))
    return 0


# info


def _add_info(commands: Any) -> None:
    says = "say the versions, the processor's features, the threads, and whether CUDA can be used"
    _command(commands, "info", _info, says, f"{says.capitalize()}.")


def _info(args: argparse.Namespace) -> int:
    from .info import report

    for name, value in report():
        print(f"{name:<14}{value}")
    return 0


# bench


def _add_bench(commands: Any) -> None:
    from .bench.groups import GROUPS, USUAL
    from .bench.peers import PEERS
    from .bench.record import KINDS

    parser = _command(
        commands,
        "bench",
        _bench,
        "time layers, cells, the tape and training beside other libraries",
        "Time this library beside others, each result compared first, and write figures and pictures into a folder. "
        "Exit code 1 where a comparison fails.",
    )
    rest = " ".join(name for name in GROUPS if name not in USUAL)
    groups = f"{', '.join(GROUPS)} (default: all but {rest})"
    cells, others = ", ".join(KINDS), f"{', '.join(PEERS)} (default: all that are installed)"
    parser.add_argument("--only", nargs="+", metavar="GROUP", choices=list(GROUPS), help=groups)
    parser.add_argument("--cells", nargs="+", metavar="CELL", choices=KINDS, default=KINDS, help=f"of layers: {cells}")
    parser.add_argument("--peers", nargs="+", metavar="PEER", choices=PEERS, help=others)
    parser.add_argument("--quick", action="store_true", help="some groups and shapes, two peers: two minutes")
    _option(parser, "threads", Allowed("threads of everyone", high=1023), None, " (default: as many as cores)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write all figures to a file")
    usual = Path("run/bench")
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=usual, help=f"for results (default: {usual})")


def _bench(args: argparse.Namespace) -> int:
    from .bench import groups, peers
    from .bench.run import Options, run
    from .kernels.cpu.threads import get_num_threads

    _check_environment()
    wanted = args.only or (groups.QUICK if args.quick else groups.USUAL)
    if args.quick and not set(wanted) & set(groups.QUICK):
        raise OptionError(f"--quick: expected --only with {' or '.join(groups.QUICK)}, got {' '.join(wanted)}")
    others = args.peers or (peers.QUICK if args.quick else peers.PEERS)
    _check_json(args.json)
    threads = args.threads or get_num_threads()
    options = Options(tuple(wanted), threads, tuple(args.cells), tuple(others), args.quick, args.json, args.out)
    return run(options)


def _check_json(path: Path | None) -> None:
    """OptionError where a file that holds something else than results would be overwritten."""
    from .bench import results

    if path is None or not path.exists() or path.is_file() and not path.stat().st_size:
        return
    try:
        results.load(path)
    except (OSError, results.ResultsError):
        raise OptionError(f"--json: {path} is there already, and holds no results: name another file") from None
