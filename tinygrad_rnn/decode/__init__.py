"""Sequences from the outputs of a model.

ctc.py  the best path of connectionist temporal classification
"""

from .ctc import ctc_greedy_decode

__all__ = ["ctc_greedy_decode"]
