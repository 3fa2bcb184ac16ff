"""Layers, with PyTorch's names, arguments, parameter names and defaults.

module.py                Module and Parameter: the tree of named parameters, its modes, saving and loading
hooks.py                 functions that a call of a module calls before and after its forward
stateless.py             functional_call: a call with other parameters than the module's own
layers.py                layers with weights: Linear, Embedding, LayerNorm
convolution.py           Conv1d, Conv2d
pooling.py               MaxPool2d, AvgPool2d
activation.py            modules without weights: activations, softmax, Dropout, Flatten, Identity
containers.py            Sequential, ModuleList, ModuleDict, ParameterList
loss.py                  losses as modules
functional/              layers and losses as functions; the modules above call these
attention.py             attention over the places of a memory, soft or hard
attention_decoder.py     a recurrent layer that attends, after its recurrence or inside each step
recurrent.py             RNN, LSTM, GRU, and Recurrent for any cell
recurrent_cell.py        one step of each: RNNCell, LSTMCell, GRUCell, RecurrentCell
recurrent_variants.py    Jordan network, zoneout LSTM, clockwork RNN, depth-gated LSTM
recurrent_parameters.py  base of all: the parameters of a cell's equations
recurrent_call.py        the arguments and results of one call of a recurrent layer
settings.py              the checks of a recurrent layer's settings
init.py                  initial values of weights
utils/                   gradient clipping, padded sequences, a look inside recurrent layers, weights from files
"""

from . import functional, init, utils
from .activation import (
    ELU,
    GELU,
    Dropout,
    Flatten,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .attention import Attention
from .attention_decoder import AttentionDecoder
from .containers import ModuleDict, ModuleList, ParameterList, Sequential
from .convolution import Conv1d, Conv2d
from .layers import Embedding, LayerNorm, Linear
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, CTCLoss, KLDivLoss, MSELoss, NLLLoss
from .module import Module, Parameter
from .pooling import AvgPool2d, MaxPool2d
from .recurrent import GRU, LSTM, RNN, Recurrent
from .recurrent_cell import GRUCell, LSTMCell, RecurrentCell, RNNCell
from .recurrent_variants import ClockworkRNN, DepthGatedLSTM, JordanRNN, ZoneoutLSTM
from .stateless import functional_call

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionDecoder",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "ClockworkRNN",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "DepthGatedLSTM",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Identity",
    "JordanRNN",
    "KLDivLoss",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ParameterList",
    "RNNCell",
    "ReLU",
    "Recurrent",
    "RecurrentCell",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "ZoneoutLSTM",
    "functional",
    "functional_call",
    "init",
    "utils",
]
