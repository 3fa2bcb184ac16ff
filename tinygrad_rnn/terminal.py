"""Output on a terminal: escapes for characters that would control it, and progress bars."""

from __future__ import annotations

import os
import unicodedata
from typing import Any

_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def visible(text: str, keep: str = "\n\t") -> str:
    """Return a text with its control characters as escapes, such as `\\x1b`. Characters in `keep` stay.

    Control characters move the cursor, change colours, rename windows or type commands; line separators and changes
    of the writing direction hide what is written. All else is left as it is.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or not _is_control(c) else c.encode("unicode_escape").decode() for c in text)


def _is_control(character: str) -> bool:
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return hidden or unicodedata.bidirectional(character) in _DIRECTIONS


def tqdm_class() -> Any:
    """Return the class of progress bars. It ignores the variables TQDM_*, because a wrong one would end a run."""
    aside = {name: os.environ.pop(name) for name in list(os.environ) if name.upper().startswith("TQDM_")}
    try:
        from tqdm import tqdm
    finally:
        os.environ.update(aside)
    return tqdm
