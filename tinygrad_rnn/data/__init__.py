"""Training data: texts as rows of ids, laid out in streams and chunks.

text.py   Vocabulary, the reading and splitting of a text, Chunks for truncated BPTT
files.py  regular files and standard input, opened without blocking
"""

from .text import Chunks, TextError, Vocabulary, decode_text, default_text, read_text, split

__all__ = ["Chunks", "TextError", "Vocabulary", "decode_text", "default_text", "read_text", "split"]
