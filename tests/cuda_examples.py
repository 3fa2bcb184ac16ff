"""Sequences for the sequence drivers as arrays, everything that a driver makes of one, by name, and the comparison."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sequences import random_sequence
from tinygrad_rnn.kernels.sequence import WEIGHT_NAMES, Sequence
from user_cells import USER_CELLS

from tinygrad_rnn.cells import BUILT_IN
from tinygrad_rnn.trace import trace

CELLS = {**BUILT_IN, **USER_CELLS}
PROJECTED = [name for name, cell in CELLS.items() if not trace(cell).reads_h]
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}


def mapped(seq: Sequence, f: Any) -> Sequence:
    """A sequence with f of each of its arrays."""
    of = lambda a: None if a is None else f(a)
    weights = {name: of(getattr(seq, name)) for name in ("x", *WEIGHT_NAMES)}
    params, inputs = ({name: f(a) for name, a in found.items()} for found in (seq.params, seq.inputs))
    return dataclasses.replace(seq, **weights, params=params, inputs=inputs, initial=tuple(map(f, seq.initial)))


def example(name: str, T: int, N: int, I: int, H: int, dtype: str = "float32", **options: Any) -> tuple[Any, ...]:
    """A step, a sequence for it, and cotangents of its outputs and last states."""
    drawn = random_sequence(CELLS[name], T, N, I, H, dtype=dtype, requires_grad=False, **options)
    seq = mapped(drawn, lambda t: t.data)
    if seq.weight_hh is not None:
        seq.weight_hh[...] *= min(1, 4 / H**0.5)  # long sums stay about as large as short ones
    if name == "slstm":  # what it divides by is to be away from 0
        seq.initial[2][...] = 1 + np.abs(seq.initial[2])
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)
    d_final = [draw(*s.shape) for s in seq.initial]
    return trace(CELLS[name]), seq, [draw(T, *s.shape) for s in seq.initial], d_final


def named(found: Sequence) -> dict[str, Any]:
    """All arrays of a Sequence of cotangents, by name."""
    every = {name: getattr(found, name) for name in ("x", *WEIGHT_NAMES)}
    every |= {"p." + name: d for name, d in found.params.items()} | {"e." + n: d for n, d in found.inputs.items()}
    every |= {f"initial {i}": d for i, d in enumerate(found.initial)}
    return {name: d for name, d in every.items() if d is not None}


def by_name(outputs: Any, final: Any, gradients: Sequence) -> dict[str, Any]:
    """Outputs, last states and all gradients, by name."""
    found = {f"output {i}": o for i, o in enumerate(outputs)} | {f"final {i}": s for i, s in enumerate(final)}
    return found | named(gradients)


def everything(driver: Any, step: Any, seq: Sequence, d_outputs: Any, d_final: Any) -> dict[str, Any]:
    """What a driver makes of a sequence, by name."""
    outputs, final, saved = driver.forward(step, seq, True)
    return by_name(outputs, final, driver.backward(step, seq, saved, d_outputs, d_final))


def of_inference(driver: Any, step: Any, seq: Sequence) -> dict[str, Any]:
    """What a forward that keeps nothing gives, under the same names."""
    outputs, final, saved = driver.forward(step, seq, False)
    assert saved is None and len(outputs) == 1
    return {"output 0": outputs[0]} | {f"final {i}": s for i, s in enumerate(final)}


def agree(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Hold what is found against what is expected, which may be more."""
    assert found.keys() <= expected.keys()
    for name, a in found.items():
        b = expected[name]
        assert a.dtype == b.dtype and a.shape == b.shape, name
        scale = max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, tolerance, tolerance * scale, err_msg=name)


def equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """The same to the last bit."""
    assert found.keys() == expected.keys()
    for name, a in found.items():
        np.testing.assert_array_equal(a, expected[name], err_msg=name)
