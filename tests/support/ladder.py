"""The ladder of a sequence: the fused node against unrolled equations and the reference driver."""

from __future__ import annotations

import dataclasses

import numpy as np
from sequences import (
    assert_same_gradients,
    gradients,
    named,
    random_sequence,
    some_lengths,
)
from user_cells import USER_CELLS

from tinygrad_rnn.cells import BUILT_IN, STANDARD
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.reference import driver as reference
from tinygrad_rnn.sequence import fused
from tinygrad_rnn.sequence.unrolled import unrolled

ALL = {name: BUILT_IN[name] for name in STANDARD} | USER_CELLS
LSTM = BUILT_IN["lstm"]


def flat(results):
    """Return the outputs and the last states as one list."""
    outputs, final = results
    return [*outputs, *final]


def climb(cell, size, lengths=False, **options):
    """Compare the fused node with unrolled equations and the reference driver: all states, all gradients."""
    time, batch = size[:2]
    seq = random_sequence(cell, *size, lengths=some_lengths(time, batch) if lengths else None, **options)
    outputs, final = fused.run(cell, seq, every_state=True)
    slow_outputs, slow_final = unrolled(cell, trace(cell), seq)
    for got, wanted in zip([*outputs, *final], [*slow_outputs, *slow_final]):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        np.testing.assert_allclose(got.detach().numpy(), wanted.detach().numpy(), 1e-11, 1e-12)
    raw_outputs, raw_final, _ = reference.forward(trace(cell), arrays_of(seq), keep=False)
    for got, wanted in zip([*outputs, *final], [*raw_outputs, *raw_final]):
        np.testing.assert_allclose(got.detach().numpy(), wanted, 1e-11, 1e-12)
    fast = gradients([*outputs, *final], named(seq))
    slow = gradients([*slow_outputs, *slow_final], named(seq))
    assert_same_gradients(fast, slow)
    return seq, fast


def arrays_of(seq):
    """Return the sequence with arrays in place of tensors."""
    bare = lambda a: a if a is None else a.detach().numpy()
    return dataclasses.replace(
        seq,
        **{n: bare(getattr(seq, n)) for n in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")},
        params={n: bare(p) for n, p in seq.params.items()},
        inputs={n: bare(e) for n, e in seq.inputs.items()},
        initial=[bare(s) for s in seq.initial],
    )
