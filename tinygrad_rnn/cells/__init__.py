"""Cells: equations in plain Python, and the path from them to the Programs that kernels are generated from.

decorator.py      `@cell`, which makes a `Cell` of a function
built_in.py       the built-in cells that most people use
lstm_variants.py  the LSTMs of "A search space odyssey"
further.py        further built-in cells
symbol.py         what stands in place of arrays while a cell is traced
trace.py          a cell's equations as Programs: the forward, and the adjoint that the tape derives
observed.py       a cell that also shows its gates, or the gradients of its states
explain.py        the traced equations as text
"""

from .built_in import STANDARD, cifg_lstm, gru, gru_reset_before, lstm, peephole_lstm, rnn_relu, rnn_tanh
from .decorator import BUILT_IN, Cell, Gate, cell, find_cell
from .further import (
    clockwork_rnn,
    depth_gated_lstm,
    ind_rnn_relu,
    ind_rnn_tanh,
    minimal_gated,
    zoneout_lstm,
)
from .lstm_variants import (
    cifg_peephole_lstm,
    fgr_lstm,
    nfg_lstm,
    niaf_lstm,
    nig_lstm,
    noaf_lstm,
    nog_lstm,
)

__all__ = [
    "BUILT_IN",
    "STANDARD",
    "Cell",
    "Gate",
    "cell",
    "cifg_lstm",
    "cifg_peephole_lstm",
    "clockwork_rnn",
    "depth_gated_lstm",
    "fgr_lstm",
    "find_cell",
    "gru",
    "gru_reset_before",
    "ind_rnn_relu",
    "ind_rnn_tanh",
    "lstm",
    "minimal_gated",
    "nfg_lstm",
    "niaf_lstm",
    "nig_lstm",
    "noaf_lstm",
    "nog_lstm",
    "peephole_lstm",
    "rnn_relu",
    "rnn_tanh",
    "zoneout_lstm",
]
