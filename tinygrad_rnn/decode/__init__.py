"""Sequences of ids out of a model that predicts one id after the other.

sampling.py  generate: the most likely id, or a random one, at each step
beam.py      beam_search: the most likely sequences
choice.py    the choice of ids from logits
state.py     the rows of a model's state, of any nesting
"""

from .beam import Hypotheses, beam_search
from .sampling import Generated, generate

__all__ = ["Generated", "Hypotheses", "beam_search", "generate"]
