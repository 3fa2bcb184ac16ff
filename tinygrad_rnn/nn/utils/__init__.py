"""Helpers for training, and for weights from files."""

from ...arrays.storage import load_file
from .clip_grad import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "load_file"]
