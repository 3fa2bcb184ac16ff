"""Gradient clipping, and the reading of weights from safetensors files. The name `nn.utils` is PyTorch's."""

from ...arrays.storage import load_file
from .clip_grad import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "load_file"]
