"""Layers and losses as functions, with PyTorch's names and arguments.

x, input, weight and bias are tensors, arrays or lists, floating unless the docstring says otherwise, all of one dtype
(float32 or float64, else TypeError) and on one device; the result has that dtype. `[...]` are any dimensions.

activation.py elu, leaky_relu, silu
layers.py     linear, embedding, dropout, layer_norm, pad, one_hot; the others come from `autograd.primitives`
losses.py     losses
ctc.py        the loss of connectionist temporal classification
reduction.py  the argument `reduction` of losses
"""

from ...autograd.primitives.convolution import conv1d, conv2d
from ...autograd.primitives.elementwise import gelu, relu, sigmoid, softplus, tanh
from ...autograd.primitives.pooling import avg_pool2d, max_pool2d
from ...autograd.primitives.reduce import log_softmax, softmax
from .activation import elu, leaky_relu, silu
from .ctc import ctc_loss
from .layers import dropout, embedding, layer_norm, linear, one_hot, pad
from .losses import binary_cross_entropy_with_logits, cross_entropy, kl_div, mse_loss, nll_loss

__all__ = [
    "avg_pool2d",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "kl_div",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "pad",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
