"""Training data: tokens as ids, and rows of ids laid out in streams, chunks and batches.

vocabulary.py  Vocabulary: tokens of any kind to ids and back
batches.py     Chunks of parallel streams for truncated BPTT, batches of sequences of similar length
text.py        the reading and splitting of a text
files.py       regular files and standard input, opened without blocking
"""

from .batches import Chunks, batches
from .text import TextError, decode_text, default_text, read_text, split
from .vocabulary import Vocabulary

__all__ = ["Chunks", "TextError", "Vocabulary", "batches", "decode_text", "default_text", "read_text", "split"]
