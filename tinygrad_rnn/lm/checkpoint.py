"""Checkpoints: one safetensors file that holds a tree of tensors and plain values, and is always whole.

A tree is nested dicts (with text keys), lists and tuples of arrays, tensors, numbers, text, booleans and None. Its
arrays become the tensors of the file, under dotted names; the rest is JSON in the file's metadata, together with
the name and version of the format. Nothing is pickled: to load a file runs no code of it.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..device import host, on_gpu
from ..tape import Box

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = "tinygrad_rnn.lm"
VERSION = 1


class CheckpointError(ValueError):
    """A file that is no usable checkpoint, with the reason in one line."""


class InUseError(RuntimeError):
    """Somebody else is at work in a folder."""


def save(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Write a tree to a file. At any moment, also of a kill or a full disk, the file is the old one or the new one.

    Raises OSError, with the path, where it cannot be written; then no temporary file is left behind.
    """
    import safetensors.numpy

    tensors: dict[str, np.ndarray] = {}
    skeleton = _pack(tree, "", tensors)
    metadata = {"format": FORMAT, "version": str(VERSION), "tree": json.dumps(skeleton)}
    write_atomically(Path(path), safetensors.numpy.save(tensors, metadata))


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside the path, wait until the disk has it, then rename it to the path."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")  # another may write it too
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within the block nobody else is in a folder by this function, of whatever process: InUseError if one is.

    What a process that was killed has left half-written there is removed. Does nothing where folders cannot be locked
    (not on Windows, nor on some network drives).
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _locked(descriptor):
            for part in folder.glob("*.part"):
                if re.fullmatch(r".+\.\d+-\d+\.part", part.name):
                    part.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether a folder could be locked; InUseError where another holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUseError from None
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the renaming too, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tree of a file that `save` wrote: arrays for tensors, lists for tuples.

    Raises OSError where it cannot be read, CheckpointError where it is truncated, of another kind or newer.
    """
    import safetensors

    name = os.fspath(path)
    with open(path, "rb"):  # the system's own words for a missing file, a folder, no permission
        pass
    try:
        with safetensors.safe_open(name, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(name, metadata)  # first: NumPy has no words for some tensors of others
            with reading(name):
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{name}: expected a checkpoint, got a truncated or foreign file ({error})") from error
    with reading(name):
        tree = _unpack(json.loads(metadata["tree"]), tensors)
        if not isinstance(tree, dict):
            raise TypeError(f"expected a tree, got {type(tree).__name__}")
    return tree


def _check_format(name: str, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{name}: expected a checkpoint of tinygrad-rnn train, got tensors of another origin")
    if metadata.get("version") != str(VERSION):
        raise CheckpointError(f"{name}: expected version {VERSION} of the format, got {metadata.get('version')}")


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Within the block, parts that a checkpoint lacks or that do not fit are a CheckpointError."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{name}: expected a whole checkpoint, got parts that do not fit ({reason})") from error


def _pack(tree: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
    """The JSON of a tree, in which {"tensor": name} stands for an array that was put into `tensors`."""
    if isinstance(tree, (Box, np.ndarray)) or on_gpu(tree):
        tensors[name] = np.asarray(host(tree), order="C")
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": {key: _pack(value, f"{name}.{key}" if name else key, tensors) for key, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return [_pack(value, f"{name}.{i}", tensors) for i, value in enumerate(tree)]
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"save: {name}: expected arrays, dicts, lists, numbers, text or None, got {type(tree).__name__}")


def _unpack(skeleton: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(skeleton, list):
        return [_unpack(value, tensors) for value in skeleton]
    if isinstance(skeleton, dict) and "tensor" in skeleton:
        return tensors[skeleton["tensor"]]
    if isinstance(skeleton, dict):
        return {key: _unpack(value, tensors) for key, value in skeleton["dict"].items()}
    return skeleton
