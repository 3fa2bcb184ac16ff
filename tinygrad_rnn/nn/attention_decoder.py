"""A recurrent layer that attends to a memory, after its recurrence or inside each step."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd.primitives.elementwise import tanh
from ..autograd.primitives.shape import concat, reshape, stack, transpose, unbind
from ..cells import Cell
from ..tensor import Tensor
from ..tensor.creation import own_tensor, zeros
from .attention import Attention, Memory
from .layers import Linear
from .module import Module
from .recurrent import Recurrent
from .recurrent_call import states_of
from .recurrent_cell import RecurrentCell


class Decoded(NamedTuple):
    """The result of `AttentionDecoder`. log_prob is None unless the attention is hard."""

    output: Any
    state: Any
    weights: Any
    log_prob: Any = None


class AttentionDecoder(Module):
    """A recurrent layer with attention: output_t = tanh(C [h_t; context_t] + b).

    inside=False: the recurrence h_t = cell(x_t, h_(t-1)) runs over the whole sequence in one fused call, and then every
        h_t attends at once. Luong, Pham and Manning (2015), section 3.
    inside=True: h_(t-1) attends first, and the step reads the context: h_t = cell([x_t; context_t], h_(t-1)). Bahdanau,
        Cho and Bengio (2015), section 3.1. This is a loop over steps; hard attention is possible.

    cell: as for `Recurrent`. score, attention_size, hard: as for `Attention`. batch_first: x, output, weights and the
    memory have the batch first. Raises ValueError for a cell with inputs of its own, and for hard without inside.
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        score: str = "additive",
        attention_size: int | None = None,
        *,
        inside: bool = False,
        hard: bool = False,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = "float32",
    ):
        super().__init__()
        if hard and not inside:
            raise ValueError("AttentionDecoder: hard: expected inside=True, as one place is drawn before each step")
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.inside, self.batch_first, self.hidden_size, self.memory_size = (
            inside,
            batch_first,
            hidden_size,
            memory_size,
        )
        self.attention = Attention(hidden_size, memory_size, score, attention_size, hard=hard, **where)
        self.rnn: Recurrent | RecurrentCell
        if inside:
            self.rnn = RecurrentCell(cell, input_size + memory_size, hidden_size, **where)
        else:
            self.rnn = Recurrent(cell, input_size, hidden_size, **where)
        if self.rnn.step.inputs:
            raise ValueError(f"AttentionDecoder: expected a cell without inputs of its own, got {self.rnn.cell.name}")
        self.combine = Linear(hidden_size + memory_size, hidden_size, **where)

    def reset_parameters(self) -> None:
        """Draw all weights again."""
        for module in (self.attention, self.rnn, self.combine):
            module.reset_parameters()

    def memorize(self, values: Any, lengths: Any = None, mask: Any = None) -> Memory:
        """Return the memory of a batch, as `Attention.memorize` does; values [S, N, M], or [N, S, M] if batch_first."""
        values = own_tensor(values, "AttentionDecoder: values")
        swap = self.batch_first and values.ndim == 3
        return self.attention.memorize(transpose(values, 0, 1) if swap else values, lengths, mask)

    def forward(self, x: Any, memory: Memory, state: Any = None) -> Decoded:
        """Return (output, state, weights, log_prob) for a sequence; one step is a sequence of length 1.

        x: [T, N, I] (or [N, T, I]). memory: the result of `memorize`. state: the initial states, each [1, N, H], as
        the layers give them; None: zeros. output [T, N, H], weights [T, N, S], log_prob [T, N] (or None), T and N as
        in x; the states are those of the last step, each [1, N, H].
        """
        x = x if type(x) is Tensor else own_tensor(x, "AttentionDecoder: x")
        if x.ndim != 3:
            raise ValueError(f"AttentionDecoder: x: expected three dimensions, got shape {x.shape}")
        x = transpose(x, 0, 1) if self.batch_first else x
        h, state, attended = (self._inside if self.inside else self._after)(x, memory, state)
        output = tanh(self.combine(concat([h, attended[0]], 2)))
        parts = [output, *attended[1:]]
        output, *rest = [transpose(part, 0, 1) for part in parts] if self.batch_first else parts
        return Decoded(output, state, *rest)

    def _after(self, x: Any, memory: Memory, state: Any) -> tuple[Any, Any, Any]:
        h, state = self.rnn(x, state)
        return h, state, self.attention(h, memory)

    def _inside(self, x: Any, memory: Memory, state: Any) -> tuple[Any, Any, Any]:
        steps, rows = x.shape[:2]
        if not steps:
            raise ValueError("AttentionDecoder: x: expected at least one step with inside=True, got none")
        states = self._start(state, rows, x)
        h, attended = [], []
        for x_t in unbind(x):
            attended.append(self.attention(states[0], memory))
            new = self.rnn(concat([x_t, attended[-1][0]], 1), states)
            states = new if isinstance(new, tuple) else (new,)
            h.append(states[0])
        last = tuple(reshape(s, (1, *s.shape)) for s in states)
        return stack(h), last[0] if len(last) == 1 else last, [stack(parts) for parts in zip(*attended)]

    def _start(self, state: Any, rows: int, x: Any) -> tuple[Any, ...]:
        """Return the initial states, each [N, H], from those of a layer, each [1, N, H], or zeros."""
        names, shape = self.rnn.step.states, (1, rows, self.hidden_size)
        if state is None:
            return (zeros(shape[1:], dtype=x.dtype, device=x.device),) * len(names)
        given = [own_tensor(s, "AttentionDecoder: state") for s in states_of(state, len(names))]
        if len(given) != len(names) or any(s.shape != shape for s in given):
            got = ", ".join(str(s.shape) for s in given)
            raise ValueError(f"AttentionDecoder: state: expected {len(names)} of shape {shape}, got {got}")
        return tuple(reshape(s, shape[1:]) for s in given)

    def extra_repr(self) -> str:
        return f"inside={self.inside}"
