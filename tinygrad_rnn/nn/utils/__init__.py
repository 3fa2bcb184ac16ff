"""Gradient clipping, padded and packed sequences, weights from safetensors files; PyTorch's name for this place."""

from ...arrays.storage import load_file
from . import rnn
from .clip_grad import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "load_file", "rnn"]
