"""Checkpoints with hostile changes: each loads or fails with a short error, fast and in little memory.

Each run has a new seed, which a failure names. The long form: TINYGRAD_RNN_FUZZ=20 pytest tests/fuzz
"""

import copy
import hashlib
import io
import json
import os
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from tinygrad_rnn.data import TextError
from tinygrad_rnn.lm import checkpoint
from tinygrad_rnn.lm.check import layout
from tinygrad_rnn.lm.checkpoint import CheckpointError
from tinygrad_rnn.lm.config import Config, Limits, OptionError
from tinygrad_rnn.lm.progress import Progress
from tinygrad_rnn.lm.run import Run
from tinygrad_rnn.lm.train import model_of

TRIES = 150 * int(os.environ.get("TINYGRAD_RNN_FUZZ", "1"))
TEXT = "the quick brown fox jumps over the lazy dog. " * 12
CONFIG = Config(hidden=8, embedding=5, batch=4, bptt=16, dropout=0.3, validate_every=2)
SECONDS, BYTES = 3.0, 60e6

PLAIN = [None, True, False, 0, 1, -1, 2, 8192, 65536, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, -1e308]
PLAIN += [float("nan"), float("inf"), float("-inf"), "", "a", "\0", "\x1b]0;x\x07", "\ud800", "lstm", "gru", "sgd"]
PLAIN += ["/dev/zero", "/dev/stdin", "/", ".", "x" * 5000, "1" * 5000, [], {}, [[]], {"dict": {}}, {"tensor": "losses"}]
PLAIN += [{"tensor": 3}, {"tensor": []}, {"dict": []}, {"dict": {}, "tensor": "losses"}, {"dict": {"": None}}]


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Return the tree (as JSON) and the tensors of a valid checkpoint, and its file."""
    folder = tmp_path_factory.mktemp("fuzz")
    text = folder / "text.txt"
    text.write_text(TEXT)
    path = folder / "checkpoint.safetensors"
    Run(CONFIG, Limits(steps=3), str(text), path).train(Progress(io.StringIO()))
    with safetensors.safe_open(path, framework="numpy") as file:
        tree = json.loads(file.metadata()["tree"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tree, tensors, path


def places(tree, path=()):
    """Yield the path of keys to every part of a JSON value."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def change_tree(chance, tree, tensors):
    paths = [path for path in places(tree) if path]
    if not paths:  # an earlier change emptied the tree
        return
    path = chance.choice(paths)
    parent = at(tree, path[:-1])
    kind = chance.randrange(8)
    if kind == 0:
        del parent[path[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent[chance.choice(["", "x", "step", "hidden", "\x1b"])] = parent[path[-1]]
    elif kind == 2:
        parent[path[-1]] = copy.deepcopy(at(tree, chance.choice(list(places(tree)))))
    else:
        parent[path[-1]] = chance.choice(PLAIN)


def change_tensor(chance, tree, tensors):
    if not tensors:
        return
    name = chance.choice(list(tensors))
    array = tensors[name]
    kind = chance.randrange(6)
    if kind == 0:
        tensors[chance.choice(["x", name + "x", "losses"])] = tensors.pop(name)
    elif kind == 1:
        tensors[name] = array.reshape(chance.choice([(-1,), (*array.shape, 1), (1, *array.shape)]))
    elif kind == 2:
        with np.errstate(all="ignore"):
            tensors[name] = array.astype(chance.choice("?bBhiqfde"))
    elif kind == 3:
        tensors[name] = np.zeros([chance.choice([0, 1, 2, 3, 7]) for _ in range(chance.randrange(5))], array.dtype)
    elif kind == 4 and array.size:
        array = tensors[name] = array.copy()
        array.reshape(-1)[chance.randrange(array.size)] = chance.choice([np.nan, np.inf, -np.inf, -1, 1e30, 0.5])
    else:
        del tensors[name]


def written(chance, tree, tensors):
    """Return the bytes of a checkpoint file; its hash is right, or missing as in files of earlier versions."""
    text = json.dumps(tree)
    metadata = {"format": checkpoint.FORMAT, "version": "1", "tree": text}
    if chance.random() < 0.5:
        codes = {name: (checkpoint._CODES[array.dtype], array.shape) for name, array in tensors.items()}
        digest = checkpoint._start_hash(text, codes)
        for name in sorted(tensors):
            digest.update(np.ascontiguousarray(tensors[name]).tobytes())
        metadata["sha256"] = digest.hexdigest()
    return safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in tensors.items()}, metadata)


def change_bytes(chance, raw):
    raw = bytearray(raw)
    kind = chance.randrange(5)
    head = 8 + int.from_bytes(raw[:8], "little")
    if kind == 0:
        return bytes(raw[: chance.randrange(len(raw))])
    if kind == 1:
        raw[:8] = struct.pack("<Q", chance.choice([0, 1, 2**63, 2**64 - 1, len(raw), chance.randrange(len(raw))]))
    elif kind == 2:
        raw += bytes(chance.randrange(1, 100))
    elif kind == 3:
        heads = [b"[" * 50_000, b'{"a":' * 20_000, b"{}", b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b"1" * 9999]
        new = chance.choice(heads)
        return struct.pack("<Q", len(new)) + new + bytes(raw[head:])
    else:
        for _ in range(chance.randrange(1, 4)):
            raw[chance.randrange(head)] = chance.randrange(256)
    return bytes(raw)


def attempt(path):
    """Load a file, build its model and resume it. Return the name of the first expected error, or "loaded"."""
    try:
        tree = checkpoint.load(path, layout)
        with checkpoint.reading(str(path)):
            model_of(tree)
        Run.resumed(path, {}, Limits(), None)
    except (CheckpointError, OptionError, TextError) as error:
        assert len(str(error)) < 12_000  # the message may hold a long path
        return type(error).__name__
    return "loaded"


def test_changed_checkpoints(valid, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    tree, tensors, good = valid
    before = hashlib.sha256(good.read_bytes()).hexdigest()
    path, found = tmp_path / "c", dict[str, int]()
    assert attempt(good) == "loaded"  # imports and compiles before the measurements
    for k in range(TRIES):
        where = f"seed {seed}, try {k}"
        a, b = copy.deepcopy(tree), dict(tensors)
        try:
            for _ in range(chance.choice([1, 1, 1, 2, 3])):
                chance.choice([change_tree, change_tree, change_tensor])(chance, a, b)
            raw = written(chance, a, b)
        except (KeyError, ValueError, TypeError, OverflowError):  # the changes leave a tree that cannot be written
            continue
        if chance.random() < 0.25:
            raw = change_bytes(chance, raw)
        path.write_bytes(raw)
        tracemalloc.start()
        started = time.perf_counter()
        try:
            outcome = attempt(path)
        except BaseException as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert time.perf_counter() - started < SECONDS, where
        assert peak < BYTES, where
        found[outcome] = found.get(outcome, 0) + 1
        assert path.read_bytes() == raw and [entry.name for entry in tmp_path.iterdir()] == ["c"], where
    assert hashlib.sha256(good.read_bytes()).hexdigest() == before
    print(found)
    assert found.get("CheckpointError", 0) > TRIES // 4, (seed, found)


def test_flipped_bits_are_found(valid, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    whole = valid[2].read_bytes()
    for k in range(TRIES):
        raw = bytearray(whole)
        place = chance.randrange(len(raw))
        raw[place] ^= 1 << chance.randrange(8)
        (tmp_path / "c").write_bytes(raw)
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path / "c")
            raise AssertionError(f"seed {seed}, try {k}: a flip of byte {place} was not found")
