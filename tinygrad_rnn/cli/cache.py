"""`tinygrad-rnn cache`: show the folder of compiled code, remove stale entries, compile kernels in advance."""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from ..autograd.grad_modes import no_grad
from ..cells import find_cell
from ..cells.trace import trace
from ..kernels import cache_upkeep
from ..kernels.runtime import cache
from ..lm.config import CELLS, Config, OptionError
from ..lm.model import CharModel
from ..lm.train import OPTIMISERS
from ..tensor import Tensor
from .options import command, sentence


def add(commands: Any) -> None:
    """Add the command."""
    summary = "show the folder of compiled code, remove stale code from it, or compile code in advance"
    more = "The folder is TINYGRAD_RNN_CACHE, or ~/.cache/tinygrad_rnn by default. Without an option, only show it."
    parser = command(commands, "cache", _cache, summary, f"{sentence(summary)} {more}")
    stale = "remove the code of other versions of the library and of other processors"
    parser.add_argument("--prune", action="store_true", help=stale)
    ahead = f"compile all float32 code of layers of these cells and of `train`: {', '.join(CELLS)}"
    parser.add_argument("--build", nargs="+", metavar="CELL", choices=list(CELLS), help=ahead)


def _cache(args: argparse.Namespace) -> int:
    if args.prune:
        _prune()
    if args.build:
        _build(args.build)
    if not args.prune and not args.build:
        _show()
    return 0


@contextmanager
def _cache_errors() -> Iterator[None]:
    """Raise OptionError where a layer would only warn that the folder cannot be used, and work without it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning, module=cache.__name__)
        try:
            yield
        except RuntimeWarning as warning:
            raise OptionError(str(warning)) from None


def _show() -> None:
    """Print the path of the folder, whether it is used, and the number and size of its entries."""
    wanted = cache.wanted_folder()
    if isinstance(wanted, Path) and not os.path.lexists(wanted):
        print(f"folder   {wanted}\nused     not yet: the first compilation of a kernel makes it")
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folder = cache.folder()
    if folder is None:
        print(f"folder   {wanted}\nused     no: {caught[0].message if caught else 'unknown reason'}")
        return
    files = cache_upkeep.files(folder)
    stale = [file for file in files if not file.current]
    print(f"folder   {folder}\nused     yes: it belongs to the user or to root, and nobody else may write to it")
    print(
        f"writable {'yes' if os.access(folder, os.W_OK | os.X_OK) else 'no: each process compiles missing code again'}"
    )
    print(f"entries  {_amount(files)}" + (f"; stale, which --prune removes: {_amount(stale)}" if stale else ""))


def _amount(files: list[cache_upkeep.File]) -> str:
    return f"{len(files)}, {sum(file.size for file in files) / 1e6:.1f} MB"


def _prune() -> None:
    with _cache_errors():
        folder = cache.folder()
    if folder is None:
        return
    stale = [file for file in cache_upkeep.files(folder) if not file.current]
    cache_upkeep.remove(stale)
    left = [file for file in stale if os.path.lexists(file.path)]
    print(f"removed from {folder}: {_amount([file for file in stale if file not in left])}")
    if left:
        raise OptionError(f"{left[0].path}: cannot be removed, nor can {len(left) - 1} others")


def _build(names: list[str]) -> None:
    """Compile the kernels of some cells. Run a few training steps, which compile all other code of training."""
    with _cache_errors():
        folder = cache.folder()
        from ..kernels.cpu import ahead

        for name in dict.fromkeys(names):
            for kernel, compiled in ahead.kernels(trace(find_cell(name))):
                began = time.perf_counter()
                compiled.entry  # noqa: B018
                print(f"{name}: {kernel}, {time.perf_counter() - began:.1f} s", flush=True)
            _train(name)
    print(f"stored in {folder}")


def _train(name: str) -> None:
    """Train the character model for one step with each optimiser, then run it without gradients."""
    config = Config(cell=name, hidden=17, embedding=16, layers=2)
    ids = np.arange(40).reshape(10, 4) % 5
    for kind, optimiser in OPTIMISERS.items():
        began = time.perf_counter()
        model = CharModel(5, config)
        logits, _ = model(Tensor(ids))
        nn.functional.cross_entropy(logits.flatten(0, 1), Tensor(ids.reshape(-1))).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-6)  # so small that the gradients are scaled
        optimiser(model.parameters(), lr=config.lr).step()
        with no_grad():
            for length in (10, 1):
                model.eval()(Tensor(ids[:length]))
        print(f"{name}: training with {kind}, {time.perf_counter() - began:.1f} s", flush=True)
