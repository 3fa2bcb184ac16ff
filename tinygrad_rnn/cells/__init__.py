"""Cells: equations in plain Python, and the path from them to the Programs that kernels are generated from.

decorator.py   `@cell`, which makes a `Cell` of a function
built_in.py    the cells that the library brings
symbol.py      what stands in place of arrays while a cell is traced
trace.py       a cell's equations as Programs: the forward, and the adjoint that the tape derives
explain.py     the traced equations as text
"""

from .built_in import cifg_lstm, gru, gru_reset_before, lstm, peephole_lstm, rnn_relu, rnn_tanh
from .decorator import BUILT_IN, Cell, Gate, cell, find_cell

__all__ = [
    "BUILT_IN",
    "Cell",
    "Gate",
    "cell",
    "cifg_lstm",
    "find_cell",
    "gru",
    "gru_reset_before",
    "lstm",
    "peephole_lstm",
    "rnn_relu",
    "rnn_tanh",
]
