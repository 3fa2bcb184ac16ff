"""Text as data: the reading of a text, and the split of a held-out tail."""

from __future__ import annotations

import os

import numpy as np

from .files import read_bytes


class TextError(ValueError):
    """A text that cannot be used, with the reason in one line."""


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
