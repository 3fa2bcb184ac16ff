"""Text as data: characters to ids and back, the split of a held-out tail, parallel streams for truncated BPTT."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .files import read_bytes


class TextError(ValueError):
    """A text that cannot be used, with the reason in one line."""


class Vocabulary:
    """An ordered set of characters; a character's id is its index. `of(text)` orders them by code point.

    Raises TextError for a character that comes twice, and for fewer than two characters.
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
        """Return the vocabulary of a text, ordered by code point."""
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    __hash__ = None  # type: ignore[assignment]

    @property
    def dtype(self) -> np.dtype:
        """The smallest integer dtype that holds every id: one byte for up to 256 characters."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text: str, name: str = "text", dtype: Any = np.int64) -> np.ndarray:
        """Return the ids of a text's characters, [len(text)]. Raise TextError that names the first unknown character.

        dtype: the dtype of the ids. The attribute `dtype` of a small vocabulary needs an eighth of int64's memory.
        """
        try:
            return np.fromiter(map(self._ids.__getitem__, text), dtype, len(text))
        except KeyError as error:
            character = error.args[0]
            raise TextError(
                f"{name}: expected characters of the vocabulary ({len(self)} of them), "
                f"got {character!a} (U+{ord(character):04X}) at position {text.index(character)}"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of a row of ids. Raise TextError for an id that no character has."""
        try:
            found = [operator.index(i) for i in ids]
        except TypeError as error:
            raise TextError(f"ids: expected whole numbers from 0 to {len(self) - 1} ({error})") from None
        for i in found:
            if not 0 <= i < len(self):
                raise TextError(f"ids: expected whole numbers from 0 to {len(self) - 1}, got {i}")
        return "".join(self.characters[i] for i in found)


def default_text() -> str:
    """Return Python's language reference, about 465,000 characters of English, which CPython has for `help()`.

    It is the topics of `pydoc_data.topics` in alphabetical order, and differs between versions of Python. Raise
    TextError if this Python does not have it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TextError("default text: this Python has no pydoc_data.topics: give a text of your own") from error
    return "\n".join(topics[name] for name in sorted(topics))


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a UTF-8 file, line ends unchanged, without a byte order mark at its start.

    Raises OSError for a file that cannot be read or is neither a regular file nor a pipe with a writer, TextError for
    one that is not UTF-8.
    """
    return decode_text(read_bytes(path), os.fspath(path))


def decode_text(raw: bytes, name: str) -> str:
    """Return the text of a file's bytes, as `read_text` does; errors call the file `name`."""
    try:
        text, wrong = raw.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        text, wrong = "", f"byte 0x{raw[error.start]:02x} at position {error.start}"
    for mark, encoding in _MARKS.items():
        if wrong and raw.startswith(mark):
            raise TextError(f"{name}: expected UTF-8 text, got {wrong}, a byte order mark {_advice(encoding)}")
    if not raw.startswith(b"\xef\xbb\xbf") and (likely := _encoding_by_nuls(raw, bool(wrong))):
        found = f"{raw.count(0):,} NUL bytes in {len(raw):,}, as in a text without a byte order mark"
        raise TextError(f"{name}: expected UTF-8 text, got {found} {_advice(likely)}")
    if wrong:
        raise TextError(f"{name}: expected UTF-8 text, got {wrong}")
    return text.removeprefix("\ufeff")


_MARKS = {  # longer marks first, because that of UTF-32LE begins with that of UTF-16LE
    b"\xff\xfe\x00\x00": "UTF-32LE",
    b"\x00\x00\xfe\xff": "UTF-32BE",
    b"\xff\xfe": "UTF-16LE",
    b"\xfe\xff": "UTF-16BE",
}


def _advice(encoding: str) -> str:
    return f"of {encoding}: convert it: iconv -f {encoding} -t UTF-8 FILE > NEWFILE"


def _encoding_by_nuls(raw: bytes, invalid: bool) -> str | None:
    """Return the encoding, UTF-16 or UTF-32 of either byte order, that a text's NUL bytes suggest, or None.

    In UTF-16 the NULs of Latin letters, spaces and line ends are all the first or all the second byte of a character;
    in UTF-32 every character has a NUL at its end or start. Fewer NULs than 2 % are taken for part of the text, unless
    the text is invalid as UTF-8 anyway.
    """
    zeros = np.frombuffer(raw, np.uint8) == 0
    a, b, c, d = (int(np.count_nonzero(zeros[k::4])) for k in range(4))
    high, low = a + c, b + d  # NULs in high and low bytes, if UTF-16 has the high byte first
    if high + low < (1 if invalid else max(2, 0.02 * len(raw))):
        return None
    likely = {
        "UTF-32LE": d == len(raw) // 4,
        "UTF-32BE": a == -(-len(raw) // 4),
        "UTF-16LE": low >= 3 * high,
        "UTF-16BE": high >= 3 * low,
    }
    return next((encoding for encoding, fits in likely.items() if fits and _reads_as(raw, encoding)), None)


def _reads_as(raw: bytes, encoding: str) -> bool:
    """Return whether bytes decode to a text without NULs in UTF-16 or UTF-32; the last character may be cut off."""
    size = int(encoding[4:6]) // 8
    try:
        return "\0" not in raw[: len(raw) // size * size].decode(encoding)
    except UnicodeDecodeError:
        return False


def split(ids: np.ndarray, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (training part, held-out tail) of a row of ids [K]; the tail has the fraction `held_out`, at least one id.

    The last training id also starts the tail, so that the model predicts the first held-out id from it.
    Raises ValueError for a fraction outside (0, 1), TextError for fewer than 3 ids: two for a transition to learn, and
    one to hold out.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"split: held_out: expected a fraction between 0 and 1, got {held_out!r}")
    if len(ids) < 3:
        raise TextError(f"text: expected at least 3 characters, got {len(ids)}")
    tail = min(max(1, round(held_out * len(ids))), len(ids) - 2)
    border = len(ids) - tail
    return ids[:border], ids[border - 1 :]


class Chunks:
    """A row of ids laid out for truncated BPTT: `batch` parallel streams, cut into chunks of `bptt` steps.

    Stream n is a contiguous piece of the text; chunk k is (inputs, targets), both int64 [T, N], where the targets are
    the inputs one character later. In every stream chunk k + 1 continues where chunk k stops, so a model can carry its
    recurrent state from chunk to chunk. T is `bptt`, or less in the last chunk. At most N - 1 ids at the end of the
    row fit no stream.

    A row too short for `batch` streams of `bptt` ids gets fewer streams; the attribute `batch` has their number.
    The attributes `inputs` and `targets` are views of the row, [length, N], not copies.
    Raises ValueError for batch or bptt below 1, TextError for fewer than 2 ids.
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
        self.inputs = ids[:used].reshape(self.batch, self.length).T
        self.targets = ids[1 : used + 1].reshape(self.batch, self.length).T

    def __len__(self) -> int:
        return -(-self.length // self.bptt)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= k < len(self):
            raise IndexError(f"Chunks: expected a number from 0 to {len(self) - 1}, got {k}")
        rows = slice(k * self.bptt, (k + 1) * self.bptt)
        return np.ascontiguousarray(self.inputs[rows], np.int64), np.ascontiguousarray(self.targets[rows], np.int64)
