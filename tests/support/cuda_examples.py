"""Sequences of arrays for the sequence drivers, all results of a driver by name, and their comparison."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sequences import random_sequence
from user_cells import USER_CELLS

from tinygrad_rnn.cells import BUILT_IN, STANDARD
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.ir.sequence_args import WEIGHT_NAMES, SequenceArgs
from tinygrad_rnn.kernels.reference import driver as reference

CELLS = {name: BUILT_IN[name] for name in STANDARD} | USER_CELLS
PROJECTED = [name for name, cell in CELLS.items() if not trace(cell).reads_h]
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}


def mapped(seq: SequenceArgs, f: Any) -> SequenceArgs:
    """Return the sequence with f applied to each of its arrays."""
    of = lambda a: None if a is None else f(a)
    weights = {name: of(getattr(seq, name)) for name in ("x", *WEIGHT_NAMES)}
    params, inputs = ({name: f(a) for name, a in found.items()} for found in (seq.params, seq.inputs))
    return dataclasses.replace(seq, **weights, params=params, inputs=inputs, initial=tuple(map(f, seq.initial)))


def example(name: str, T: int, N: int, I: int, H: int, dtype: str = "float32", **options: Any) -> tuple[Any, ...]:
    """Return a step, a sequence for it, and cotangents of its outputs and of its last states."""
    drawn = random_sequence(CELLS[name], T, N, I, H, dtype=dtype, requires_grad=False, **options)
    seq = mapped(drawn, lambda t: t.data)
    for weight in (seq.weight_hh, seq.weight_hr):
        if weight is not None:  # so that long sums are about as large as short ones, and errors do not grow
            weight[...] *= min(1, 2 / H**0.5)
    if name == "slstm":  # it divides by this state, which must be away from 0
        seq.initial[2][...] = 1 + np.abs(seq.initial[2])
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)
    d_final = [draw(*s.shape) for s in seq.initial]
    return trace(CELLS[name]), seq, [draw(T, *s.shape) for s in seq.initial], d_final


def named(found: SequenceArgs) -> dict[str, Any]:
    """Return all arrays of the SequenceArgs of cotangents, by name."""
    every = {name: getattr(found, name) for name in ("x", *WEIGHT_NAMES)}
    every |= {"p." + name: d for name, d in found.params.items()} | {"e." + n: d for n, d in found.inputs.items()}
    every |= {f"initial {i}": d for i, d in enumerate(found.initial)}
    return {name: d for name, d in every.items() if d is not None}


def by_name(outputs: Any, final: Any, gradients: SequenceArgs) -> dict[str, Any]:
    """Return outputs, last states and all gradients, by name."""
    found = {f"output {i}": o for i, o in enumerate(outputs)} | {f"final {i}": s for i, s in enumerate(final)}
    return found | named(gradients)


def everything(driver: Any, step: Any, seq: SequenceArgs, d_outputs: Any, d_final: Any) -> dict[str, Any]:
    """Run a driver forward and backward. Return outputs, last states and all gradients, by name."""
    outputs, final, saved = driver.forward(step, seq, True)
    return by_name(outputs, final, driver.backward(step, seq, saved, d_outputs, d_final))


def of_inference(driver: Any, step: Any, seq: SequenceArgs) -> dict[str, Any]:
    """Run a driver forward without saved activations. Return the output and the last states, under the same names."""
    outputs, final, saved = driver.forward(step, seq, False)
    assert saved is None and len(outputs) == 1
    return {"output 0": outputs[0]} | {f"final {i}": s for i, s in enumerate(final)}


def agree(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Compare the arrays that are found with those of the same names in `expected`, which may have more."""
    assert found.keys() <= expected.keys()
    for name, a in found.items():
        b = expected[name]
        assert a.dtype == b.dtype and a.shape == b.shape, name
        scale = max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, tolerance, tolerance * scale, err_msg=name)


def equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check that all arrays are the same to the last bit."""
    assert found.keys() == expected.keys()
    for name, a in found.items():
        np.testing.assert_array_equal(a, expected[name], err_msg=name)


def layers_of(
    name: str, count: int, T: int, N: int, I: int, H: int, dtype: str = "float32", proj: int = 0, **options: Any
) -> tuple[Any, list[Any]]:
    """Return a step and, for each layer of a stack, a sequence and cotangents of its outputs and last states."""
    found = []
    for i in range(count):
        width = (proj or H) if i else I
        step, seq, d_outputs, d_final = example(name, T, N, width, H, dtype, seed=i, proj=proj, **options)
        seq.weight_ih[...] /= 2  # so that gradients do not grow from layer to layer
        found.append((dataclasses.replace(seq, x=None) if i else seq, [d / (i + 1) for d in d_outputs], d_final))
    return step, found


def layer_by_layer(step: Any, layers: Any) -> list[dict[str, Any]]:
    """Run a stack with the reference driver. Return all results of each layer, by name."""
    runs, x = list[Any](), layers[0][0].x
    for seq, _, _ in layers:
        seq = dataclasses.replace(seq, x=x)
        runs.append((seq, *reference.forward(step, seq, True)))
        x = runs[-1][1][0]
    found, d_x = list[dict[str, Any]](), 0
    for (seq, outputs, final, saved), (_, d_outputs, d_final) in reversed(list(zip(runs, layers))):
        gradients = reference.backward(step, seq, saved, [d_outputs[0] + d_x, *d_outputs[1:]], d_final)
        d_x = gradients.x
        above = dataclasses.replace(gradients, x=None)
        found.append(by_name(outputs, final, gradients if seq is runs[0][0] else above))
    return found[::-1]


def as_stack(driver: Any, step: Any, layers: Any) -> list[dict[str, Any]]:
    """Return the same results from a driver that runs all layers at once."""
    runs = driver.forward_stack(step, [seq for seq, _, _ in layers], True)
    left = [(seq, saved, d_out, d_last) for (seq, d_out, d_last), (_, _, saved) in zip(layers, runs)]
    gradients = driver.backward_stack(step, left)
    return [by_name(outputs, final, d) for (outputs, final, _), d in zip(runs, gradients)]
