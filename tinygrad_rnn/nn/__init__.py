"""Layers, with PyTorch's names, arguments, parameter names and defaults."""

from . import functional, init, utils
from .activation import GELU, Dropout, Flatten, Identity, MaxPool2d, ReLU, Sigmoid, Tanh
from .containers import ModuleList, Sequential
from .layers import Conv2d, Embedding, LayerNorm, Linear
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from .module import Module, Parameter
from .recurrent import GRU, LSTM, RNN, Recurrent
from .recurrent_cell import GRUCell, LSTMCell, RecurrentCell, RNNCell

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "BCEWithLogitsLoss",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Identity",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "RNNCell",
    "ReLU",
    "Recurrent",
    "RecurrentCell",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "functional",
    "init",
    "utils",
]
