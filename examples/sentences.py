"""Sentences in English and Korean, out of two Python packages; their letters as ids, and a score of translations.

`emoji` has the names of all emoji in both languages (from the Unicode CLDR), and JupyterLab's Korean language pack has
the texts of its user interface.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

PAD, START, END, FIRST = 0, 1, 2, 3
"""Ids that are not letters, and the id of the first letter."""


def pairs() -> list[tuple[str, str]]:
    """Return all different pairs (English, Korean), in an order that is always the same."""
    try:
        import emoji
        import jupyterlab_language_pack_ko_KR as pack
    except ImportError as error:
        raise SystemExit(f"{error.name} is missing: pip install 'tinygrad_rnn[examples]'") from None
    for language in ("en", "ko"):
        emoji.config.load_language(language)
    names = [data for data in emoji.EMOJI_DATA.values() if "ko" in data and "skin_tone" not in data["en"]]
    found = {d["en"].strip(":").replace("_", " ").lower(): d["ko"].strip(":").replace("_", " ") for d in names}
    for file in sorted(Path(pack.__file__).parent.glob("locale/ko_KR/LC_MESSAGES/*.json")):
        for key, texts in json.loads(file.read_text("utf-8")).items():
            english = key.split("\x04")[-1].strip().lower()  # a context stands before the text
            if isinstance(texts, list) and texts[-1] and 0 < len(english) <= 30:
                found.setdefault(english, texts[-1].strip())
    return sorted((english, unicodedata.normalize("NFD", korean)) for english, korean in found.items())


def encode(vocabulary: dict[str, int], texts: list[str], end: bool = False) -> tuple[tg.Tensor, np.ndarray]:
    """Return the ids of texts, [T, N], padded, and their lengths. Unknown characters are left out."""
    rows = [[vocabulary[c] for c in text if c in vocabulary] + [END] * end for text in texts]
    padded = nn.utils.rnn.pad_sequence([tg.tensor(row, dtype="int64") for row in rows], padding_value=PAD)
    return padded, np.array([len(row) for row in rows])


def composed(text: str) -> str:
    """Return a text with its letters composed to syllables."""
    return unicodedata.normalize("NFC", text)


def chrf(texts: Sequence[str], expected: Sequence[str]) -> float:
    """Return the agreement of texts in their short sequences of characters, 0 to 100. Popović, chrF (2015)."""
    import sacrebleu

    return sacrebleu.corpus_chrf([*map(composed, texts)], [[*map(composed, expected)]]).score


def names(text: str) -> list[str]:
    """Return the name of each Korean letter in Latin letters, for fonts that have no others."""
    return [unicodedata.name(c, c).split()[-1].lower() for c in text]
