"""Gradient clipping, padded sequences, a look inside recurrent layers, weights from files; the name is PyTorch's."""

from ...arrays.storage import load_file
from . import rnn
from .clip_grad import clip_grad_norm_, clip_grad_value_
from .observe import Watch, state_gradients, watch

__all__ = ["Watch", "clip_grad_norm_", "clip_grad_value_", "load_file", "rnn", "state_gradients", "watch"]
