"""Text as data: characters to ids and back, a held-out tail, and the parallel streams of truncated BPTT."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class TextError(ValueError):
    """A text that cannot be used, with the reason in one line."""


class Vocabulary:
    """Characters in an order, of a text (`of`) in that of their code points; a character's id is its place among them.

    Raises TextError where a character comes twice or where there are fewer than two.
    """

    def __init__(self, characters: Sequence[str]):
        self.characters = "".join(characters)
        self._ids = {character: i for i, character in enumerate(self.characters)}
        if len(self._ids) != len(self.characters):
            raise TextError("vocabulary: expected every character once, got one of them again")
        if len(self) < 2:
            raise TextError(f"vocabulary: expected at least 2 different characters, got {len(self)}")

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The vocabulary of a text."""
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    __hash__ = None  # type: ignore[assignment]

    def encode(self, text: str, name: str = "text") -> np.ndarray:
        """The ids of a text's characters, int64 [len(text)]; TextError names the first character that has none."""
        try:
            return np.fromiter(map(self._ids.__getitem__, text), np.int64, len(text))
        except KeyError as error:
            character = error.args[0]
            raise TextError(
                f"{name}: expected characters of the vocabulary ({len(self)} of them), "
                f"got {character!a} (U+{ord(character):04X}) at position {text.index(character)}"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a row of ids; TextError where an id is no character's."""
        try:
            found = [operator.index(i) for i in ids]
        except TypeError as error:
            raise TextError(f"ids: expected whole numbers from 0 to {len(self) - 1} ({error})") from None
        for i in found:
            if not 0 <= i < len(self):
                raise TextError(f"ids: expected whole numbers from 0 to {len(self) - 1}, got {i}")
        return "".join(self.characters[i] for i in found)


def default_text() -> str:
    """Python's language reference, about 465,000 characters of English: every CPython carries it for `help()`.

    The topics of `pydoc_data.topics` in alphabetical order. The text differs between versions of Python.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TextError("default text: this Python has no pydoc_data.topics: give a text of your own") from error
    return "\n".join(topics[name] for name in sorted(topics))


def read_text(path: str | os.PathLike[str]) -> str:
    """A file of UTF-8 text as it stands, line ends included; a byte order mark at its start is left out.

    Raises OSError where it cannot be read, TextError where it is not UTF-8.
    """
    with open(path, "rb") as file:
        raw = file.read()
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{os.fspath(path)}: expected UTF-8 text, got byte 0x{raw[error.start]:02x} at position {error.start}"
        ) from None


def split(ids: np.ndarray, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """(training part, held-out tail) of a row of ids; the tail is the fraction `held_out` of it, at least one id.

    The tail starts with the last training id, from which its first own id is predicted.
    Raises TextError for fewer than 3 ids: two to learn a transition from, one to be held out.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"split: held_out: expected a fraction between 0 and 1, got {held_out!r}")
    if len(ids) < 3:
        raise TextError(f"text: expected at least 3 characters, got {len(ids)}")
    tail = min(max(1, round(held_out * len(ids))), len(ids) - 2)
    border = len(ids) - tail
    return ids[:border], ids[border - 1 :]


class Chunks:
    """A row of ids laid out for truncated BPTT: `batch` streams that run side by side, cut into chunks of time.

    Stream n is a contiguous piece of the text; chunk k is (inputs, targets), both [T, N], where the targets are the
    inputs one character later. Chunk k + 1 goes on where chunk k stops, in every stream, so the recurrent
    state is carried from one to the next. T is `bptt`, less in the last chunk. At most N - 1 ids at the end
    of the row fit no stream.

    A row too short for `batch` streams of `bptt` ids is laid out in fewer streams: see the attribute `batch`.
    """

    def __init__(self, ids: np.ndarray, batch: int, bptt: int):
        if batch < 1 or bptt < 1:
            raise ValueError(f"Chunks: expected batch and bptt from 1 up, got {batch} and {bptt}")
        pairs = len(ids) - 1
        if pairs < 1:
            raise TextError(f"Chunks: expected at least 2 ids, got {len(ids)}")
        self.bptt = bptt
        self.batch = min(batch, max(1, pairs // bptt))
        self.length = pairs // self.batch
        used = self.length * self.batch
        self.inputs = np.ascontiguousarray(ids[:used].reshape(self.batch, self.length).T)
        self.targets = np.ascontiguousarray(ids[1 : used + 1].reshape(self.batch, self.length).T)

    def __len__(self) -> int:
        return -(-self.length // self.bptt)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= k < len(self):
            raise IndexError(f"Chunks: expected a number from 0 to {len(self) - 1}, got {k}")
        rows = slice(k * self.bptt, (k + 1) * self.bptt)
        return self.inputs[rows], self.targets[rows]
