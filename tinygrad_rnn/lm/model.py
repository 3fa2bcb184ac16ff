"""The character model: embedding, recurrent layers, and a linear read-out of the next character's logits."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..cells import BUILT_IN
from ..cells.trace import trace
from ..tensor import Tensor
from .config import Config


class CharModel(nn.Module):
    """The probability of the next character, given all characters before it:

        x_t = embedding[ids_t],  h_t = recurrent(x_t, h_{t-1}),  logits_t = W h_t + b

        p(character_{t+1} | characters up to t) = softmax(logits_t)

    Dropout acts on x, on h and between layers. Numbers are float32, ids int64 [T, N]. The model follows A. Karpathy's
    char-rnn and W. Zaremba, I. Sutskever, O. Vinyals, Recurrent Neural Network Regularization, 2014, section 3.
    """

    def __init__(self, vocabulary_size: int, config: Config):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, config.embedding)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = nn.Recurrent(
            config.cell,
            config.embedding,
            config.hidden,
            num_layers=config.layers,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.readout = nn.Linear(config.hidden, vocabulary_size)

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return (logits [T, N, V], state) for ids [T, N] and the state of an earlier call (None: zeros)."""
        output, state = self.recurrent(self.dropout(self.embedding(ids)), state)
        return self.readout(self.dropout(output)), state


def weight_shapes(vocabulary_size: int, config: Config) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a model's parameters, in their order, without building a model."""
    step, hidden = trace(BUILT_IN[config.cell]), config.hidden
    x_rows, h_rows = len(step.input_gates) * hidden, len(step.recurrent_gates) * hidden
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary_size, config.embedding)}
    for k in range(config.layers):
        own: dict[str, tuple[int, ...]] = {
            "weight_ih": (x_rows, hidden if k else config.embedding),
            "weight_hh": (h_rows, hidden),
            "bias_ih": (x_rows,),
            "bias_hh": (h_rows,),
            **{f"p_{name}": (hidden,) for name in step.params},
        }
        shapes |= {f"recurrent.{name}_l{k}": shape for name, shape in own.items() if shape[0]}
    return shapes | {"readout.weight": (vocabulary_size, hidden), "readout.bias": (vocabulary_size,)}


def state_count(config: Config) -> int:
    """Return the number of states of the cell; each is [layers, N, hidden]."""
    return len(trace(BUILT_IN[config.cell]).states)
