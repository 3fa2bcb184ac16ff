"""Checkpoints: one safetensors file with a tree of tensors and plain values, replaced atomically.

A tree is nested dicts (with text keys), lists and tuples of arrays, tensors, numbers, text, booleans and None. Its
arrays become the tensors of the file, under dotted names; the rest is JSON in the file's metadata, together with
the name and version of the format and a hash of it all. Nothing is pickled, so loading runs no code from the file.
`load` expects that a file may be damaged, or made to do harm.

Files of versions before the hash lack it; they load without that one check.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.box import Box
from ..arrays.device import on_gpu, to_numpy
from ..arrays.writing import write_atomically
from ..data.files import open_regular
from .header import DTYPES, Entry, read_header, strict_json
from .lock import InUseError, locked_folder

__all__ = ["CheckpointError", "InUseError", "load", "locked_folder", "reading", "save", "write_atomically"]

FORMAT = "tinygrad_rnn.lm"
VERSION = 1
_CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


class CheckpointError(ValueError):
    """A file is not a usable checkpoint; the message gives the reason in one line."""


def save(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Write a tree to a file, atomically as `write_atomically` does. Raises OSError, with the path, if it fails.

    Raises TypeError for a value that a tree cannot hold.
    """
    import safetensors.numpy

    tensors: dict[str, np.ndarray] = {}
    text = json.dumps(_pack(tree, "", tensors))
    digest = _start_hash(text, {name: (_CODES[array.dtype], array.shape) for name, array in tensors.items()})
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(np.uint8).data)
    metadata = {"format": FORMAT, "version": str(VERSION), "tree": text, "sha256": digest.hexdigest()}
    write_atomically(Path(path), safetensors.numpy.save(tensors, metadata))


def load(path: str | os.PathLike[str], check: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Return the tree of a file that `save` wrote, with arrays for tensors and lists for tuples.

    check: `load` calls this function before it reads the tensors' numbers. The tree that it passes holds stand-ins,
    which take no memory, for the tensors. An error of `check` becomes a CheckpointError, as in `reading`.

    Raises OSError for a file that cannot be read or is not regular, CheckpointError for one that is truncated, damaged
    (even by a single changed bit), of another kind or of a newer version.
    """
    name = os.fspath(path)
    with open_regular(path) as file:
        try:
            metadata, entries = read_header(file)
        except ValueError as error:
            reason = f"expected a checkpoint, got a truncated or foreign file ({error})"
            raise CheckpointError(f"{name}: {reason}") from error
        _check_format(name, metadata)  # first: other programs' files may have dtypes that NumPy does not have
        with reading(name):
            skeleton = strict_json(metadata["tree"])
            stand_ins = {key: entry.stand_in() for key, entry in entries.items()}
            unused = set(entries)
            tree = _unpack(skeleton, stand_ins, unused)
            if unused or not isinstance(tree, dict):
                raise TypeError(f"expected a tree with all tensors, got {type(tree).__name__} without {len(unused)}")
            if check is not None:
                check(tree)
            return _unpack(skeleton, _read(name, file, metadata, entries), set(entries))


def _read(name: str, file: io.FileIO, metadata: dict[str, str], entries: dict[str, Entry]) -> dict[str, np.ndarray]:
    """Return the numbers of all tensors. Raise CheckpointError unless the content has the hash in the file."""
    tensors = {key: entry.read(file) for key, entry in entries.items()}
    if "sha256" in metadata:
        digest = _start_hash(metadata["tree"], {key: (entry.code, entry.shape) for key, entry in entries.items()})
        for key in sorted(tensors):
            digest.update(tensors[key].reshape(-1).view(np.uint8).data)
        if digest.hexdigest() != metadata["sha256"]:
            raise CheckpointError(f"{name}: expected the content that was written, got another: the file is damaged")
    return tensors


def _start_hash(text: str, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> Any:
    """Return the hash of everything except the tensors' numbers; the caller adds them in the order of their names."""
    heads = [[name, code, list(shape)] for name, (code, shape) in sorted(tensors.items())]
    return hashlib.sha256(json.dumps([text, heads]).encode())


def _check_format(name: str, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{name}: expected a checkpoint of tinygrad-rnn train, got tensors of another origin")
    if metadata.get("version") != str(VERSION):
        raise CheckpointError(f"{name}: expected version {VERSION} of the format, got {metadata.get('version')}")
    unknown = sorted(metadata.keys() - {"format", "version", "tree", "sha256"})
    if unknown:
        raise CheckpointError(f"{name}: expected a whole checkpoint, got parts that do not fit ({unknown[0]!r:.40})")


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the errors of missing or wrong parts within the block into a CheckpointError that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error!s:.300}"
        raise CheckpointError(f"{name}: expected a whole checkpoint, got parts that do not fit ({reason})") from error


def _pack(tree: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
    """Put the arrays of a tree into `tensors`. Return its JSON, with {"tensor": name} in place of each array."""
    if isinstance(tree, (Box, np.ndarray)) or on_gpu(tree):
        array = np.asarray(to_numpy(tree), order="C")
        if array.dtype not in _CODES or name in tensors:
            got = f"a second {name}" if name in tensors else array.dtype
            raise TypeError(f"save: {name}: expected each array once, of a dtype that safetensors has, got {got}")
        tensors[name] = array
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": {key: _pack(value, f"{name}.{key}" if name else key, tensors) for key, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return [_pack(value, f"{name}.{i}", tensors) for i, value in enumerate(tree)]
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"save: {name}: expected arrays, dicts, lists, numbers, text or None, got {type(tree).__name__}")


def _unpack(skeleton: Any, tensors: dict[str, np.ndarray], unused: set[str]) -> Any:
    """Return the tree that its JSON describes. Remove each named tensor from `unused`; KeyError if named twice."""
    if isinstance(skeleton, list):
        return [_unpack(value, tensors, unused) for value in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    if skeleton.keys() == {"tensor"}:
        unused.remove(skeleton["tensor"])
        return tensors[skeleton["tensor"]]
    if skeleton.keys() != {"dict"} or not isinstance(skeleton["dict"], dict):
        raise ValueError(f"expected {{'tensor': name}} or {{'dict': parts}}, got {', '.join(skeleton)!r:.40}")
    return {key: _unpack(value, tensors, unused) for key, value in skeleton["dict"].items()}
