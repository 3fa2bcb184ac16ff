"""Random sequences for cells, and helpers of the tests of layers."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.cells import Cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.ir.sequence_args import SequenceArgs


def some_lengths(time: int, batch: int, seed: int = 0) -> np.ndarray:
    """Return unsorted lengths, among them 0, 1 and the whole time if the batch is large enough."""
    rng = np.random.default_rng([seed, time, batch])
    lengths = rng.integers(0, time + 1, batch)
    edges = [n for n in (time, 0, 1) if n <= time][:batch]
    lengths[rng.permutation(batch)[: len(edges)]] = edges
    return lengths


def random_sequence(
    cell: Cell,
    time: int = 5,
    batch: int = 3,
    inputs: int = 2,
    hidden: int = 4,
    *,
    bias: bool = True,
    proj: int = 0,
    lengths: np.ndarray | None = None,
    reverse: bool = False,
    seed: int = 0,
    dtype: str = "float64",
    requires_grad: bool = True,
) -> SequenceArgs:
    """Return a cell's arguments with random numbers; all are leaves."""
    rng = np.random.default_rng(seed)
    step = trace(cell)
    make = lambda *shape: tg.tensor((0.5 * rng.standard_normal(shape)).astype(dtype), requires_grad=requires_grad)
    x_rows, h_rows, width = len(step.input_gates) * hidden, len(step.recurrent_gates) * hidden, proj or hidden
    return SequenceArgs(
        x=make(time, batch, inputs),
        weight_ih=make(x_rows, inputs),
        weight_hh=make(h_rows, width) if h_rows else None,
        bias_ih=make(x_rows) if bias else None,
        bias_hh=make(h_rows) if bias and h_rows else None,
        weight_hr=make(proj, hidden) if proj else None,
        params={name: make(hidden) for name in step.params},
        inputs={name: make(time, batch, hidden) for name in step.inputs},
        initial=tuple(make(batch, hidden if i else width) for i in range(len(step.states))),
        lengths=lengths,
        reverse=reverse,
    )


def named(seq: SequenceArgs) -> dict[str, Any]:
    """Return the tensors of a sequence by name."""
    weights = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    found = {name: getattr(seq, name) for name in weights}
    found |= {"p_" + name: p for name, p in seq.params.items()} | {"e_" + name: e for name, e in seq.inputs.items()}
    found |= {f"initial_{i}": state for i, state in enumerate(seq.initial)}
    return {name: value for name, value in found.items() if value is not None}


def random_cotangents(outputs: Any, seed: int = 1) -> list[Any]:
    """Return a random cotangent for each output."""
    rng = np.random.default_rng(seed)
    return [tg.tensor(rng.standard_normal(out.shape).astype(out.dtype)) for out in outputs]


def gradients(outputs: Any, inputs: dict[str, Any], create_graph: bool = False) -> dict[str, np.ndarray | None]:
    """Return the gradients of the inputs for random cotangents of the outputs, by the inputs' names."""
    pairs = [(out, d) for out, d in zip(outputs, random_cotangents(outputs)) if out.requires_grad]
    found = tg.grad(
        [out for out, _ in pairs], list(inputs.values()), [d for _, d in pairs], create_graph=create_graph,
        allow_unused=True,
    )  # fmt: skip
    return {name: None if g is None else g.detach().numpy() for name, g in zip(inputs, found)}


def assert_same_gradients(found: dict, wanted: dict, tolerance: float = 1e-10) -> None:
    """Check that gradients of the same name are equal; a missing gradient equals zeros."""
    assert found.keys() == wanted.keys()
    for name in wanted:
        f, w = found[name], wanted[name]
        if f is None or w is None:
            assert (f is None or not f.any()) and (w is None or not w.any()), name
            continue
        assert f.shape == w.shape and f.dtype == w.dtype, name
        np.testing.assert_allclose(f, w, tolerance, tolerance, err_msg=name)


def as_function(layer: Any) -> tuple[Any, list[Any]]:
    """Return (f, parameters): f is the layer as a function of x and of each parameter, for the gradient checks."""
    names = [name for name, _ in layer.named_parameters()]
    values = [tg.tensor(p.detach().numpy(), requires_grad=True) for p in layer.parameters()]

    def f(x: Any, *weights: Any, **options: Any) -> Any:
        for name, weight in zip(names, weights):
            setattr(layer, name, weight)
        return layer(x, **options)

    return f, values


def as_tuple(state: Any) -> tuple:
    """Return the states of a layer as a tuple; a layer returns a single state without one."""
    return state if isinstance(state, tuple) else (state,)


def array(x: Any) -> np.ndarray:
    """Return the numbers of a tensor."""
    return x.detach().numpy()


def parts(results: Any) -> list[np.ndarray]:
    """Return all tensors of a layer's result as arrays."""
    return [array(t) for part in results for t in as_tuple(part)]


def same(found: Any, wanted: Any, tolerance: float = 1e-6) -> None:
    """Check that two results of layers have the same shapes and numbers."""
    found, wanted = parts(found), parts(wanted)
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        assert f.shape == w.shape
        np.testing.assert_allclose(f, w, tolerance, tolerance)
