"""Layers, with PyTorch's names, arguments, parameter names and defaults.

module.py                Module and Parameter: the tree of named parameters, its modes, saving and loading
layers.py                layers with weights: Linear, Embedding, LayerNorm, Conv2d
activation.py            modules without weights
containers.py            Sequential, ModuleList
loss.py                  losses as modules
ctc.py, reduction.py     parts of functional.py: connectionist temporal classification, and the mean or sum of losses
functional.py            layers and losses as functions; the modules above call these
attention.py             attention over the places of a memory, soft or hard
attention_decoder.py     a recurrent layer that attends, after its recurrence or inside each step
recurrent.py             RNN, LSTM, GRU, and Recurrent for any cell
recurrent_cell.py        one step of each: RNNCell, LSTMCell, GRUCell, RecurrentCell
recurrent_parameters.py  base of recurrent layers and cells: the parameters of a cell's equations
recurrent_cell.py        one step of each
recurrent_variants.py    Jordan network, zoneout LSTM, clockwork RNN, depth-gated LSTM
recurrent_parameters.py  base of all: the parameters of a cell's equations
recurrent_call.py        the arguments and results of one call of a recurrent layer
settings.py              the checks of a recurrent layer's settings
init.py                  initial values of weights
utils/                   gradient clipping, weights from files
"""

from . import functional, init, utils
from .activation import GELU, Dropout, Flatten, Identity, MaxPool2d, ReLU, Sigmoid, Tanh
from .attention import Attention
from .attention_decoder import AttentionDecoder
from .containers import ModuleList, Sequential
from .layers import Conv2d, Embedding, LayerNorm, Linear
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, CTCLoss, MSELoss
from .module import Module, Parameter
from .recurrent import GRU, LSTM, RNN, Recurrent
from .recurrent_cell import GRUCell, LSTMCell, RecurrentCell, RNNCell
from .recurrent_variants import ClockworkRNN, DepthGatedLSTM, JordanRNN, ZoneoutLSTM

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionDecoder",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "ClockworkRNN",
    "Conv2d",
    "CrossEntropyLoss",
    "DepthGatedLSTM",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Identity",
    "JordanRNN",
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
    "ZoneoutLSTM",
    "functional",
    "init",
    "utils",
]
