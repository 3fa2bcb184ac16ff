"""What models learn from: texts and sequences, and how they are laid out."""

from .text import Chunks, TextError, Vocabulary, decode_text, default_text, read_text, split

__all__ = ["Chunks", "TextError", "Vocabulary", "decode_text", "default_text", "read_text", "split"]
