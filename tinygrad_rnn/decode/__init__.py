"""Sequences of ids from the outputs of a model.

sampling.py  generate: the most likely id, or a random one, at each step
beam.py      beam_search: the most likely sequences
choice.py    the choice of ids from logits
state.py     the rows of a model's state, of any nesting
ctc.py       the best path of connectionist temporal classification
"""

from .beam import Hypotheses, beam_search
from .ctc import ctc_greedy_decode
from .sampling import Generated, generate

__all__ = ["Generated", "Hypotheses", "beam_search", "ctc_greedy_decode", "generate"]
