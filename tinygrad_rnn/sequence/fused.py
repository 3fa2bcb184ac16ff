"""One tape node for a whole sequence of a whole layer and direction.

A sequence driver computes the node's forward and backward: it runs the Programs traced from the cell. If the backward
is itself recorded (`create_graph=True`), it runs the cell's equations as ordinary primitives instead.
If a driver runs the directions of a layer, or a stack of layers, at once, they are one node.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays.box import boxed
from ..arrays.error_state import isolate_error_state
from ..autograd.anomaly import is_watching
from ..autograd.functional import grad
from ..autograd.grad_modes import is_grad_enabled
from ..autograd.primitive import CotangentTuple, primitive
from ..cells import Cell
from ..cells.trace import trace
from ..kernels import driver_for, driver_like, is_together
from ..kernels import infer as infer_by_kernel
from ..kernels.driver import Driver
from ..kernels.ir.program import Step
from ..kernels.ir.sequence_args import WEIGHT_NAMES, SequenceArgs, check
from ..kernels.recompute import Recompute
from ..kernels.runtime.bounded import bounded, release
from ..tensor import Tensor
from .unrolled import unrolled

Run = tuple[list[Tensor], list[Tensor]]
"""The sequence of h [T, N, P], or of each state, and each state after the last real step."""

_LEADING = ("x", *WEIGHT_NAMES)
alias = primitive("alias", lambda x: x, lambda g: g)


@dataclass(repr=False)  # a repr would fill an error message with Programs
class _Call:
    """The settings of one sequence of the node: all that its driver is given besides arrays."""

    cell: Cell
    step: Step
    lengths: np.ndarray | None
    reverse: bool
    every_state: bool
    recompute_every: int = 0

    def sequence(self, arrays: Sequence[Any]) -> SequenceArgs:
        """Return SequenceArgs made of the node's arguments for this sequence, in the order that `self.arrays` gives."""
        step, n = self.step, len(_LEADING)
        m = n + len(step.params)
        leading: dict[str, Any] = dict(zip(_LEADING, arrays))
        return SequenceArgs(
            **leading,
            params=dict(zip(step.params, arrays[n:m])),
            inputs=dict(zip(step.inputs, arrays[m : m + len(step.inputs)])),
            initial=tuple(arrays[m + len(step.inputs) :]),
            lengths=self.lengths,
            reverse=self.reverse,
        )

    def arrays(self, seq: SequenceArgs) -> list[Any]:
        """Return SequenceArgs as the node's arguments, in their order."""
        weights = [getattr(seq, name) for name in _LEADING]
        return [*weights, *seq.params.values(), *seq.inputs.values(), *seq.initial]

    def results(self, outputs: Sequence[Any], final: Sequence[Any]) -> tuple[Any, ...]:
        """Return the node's results: the sequence of h, or of every state, then the last states."""
        return (*(outputs if self.every_state else outputs[:1]), *final)

    def cotangents(self, parts: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the cotangents of every state's sequence and of the last states, from those of the results."""
        states = len(self.step.states)
        d_outputs = parts[:-states] + (None,) * (0 if self.every_state else states - 1)
        return d_outputs, parts[-states:]


@dataclass(repr=False)
class _Context:
    """The data that the forward leaves for the backward: the driver, its sequences, and the data saved for each."""

    driver: Driver
    sequences: list[SequenceArgs]
    saved: list[Any]


@dataclass(repr=False)
class _Calls:
    """The first argument of the node: its sequences, which are the directions of a layer or the layers of a stack.

    stacked: each layer reads the h of the one before; otherwise all sequences share x. suffixes: the ends of the names
    of each sequence's arguments. keep: a backward may follow.
    """

    step: Step
    each: list[_Call]
    stacked: bool = False
    suffixes: tuple[str, ...] = ("",)
    keep: bool = False
    context: _Context | None = None

    def sequences(self, x: Any, arrays: Sequence[Any]) -> list[SequenceArgs]:
        """Return the arguments of each sequence. In a stack only the first one has an x."""
        own = _cut(arrays, len(self.each))
        xs = [x if i == 0 or not self.stacked else None for i in range(len(own))]
        return [call.sequence((x, *rest)) for call, x, rest in zip(self.each, xs, own)]


def _cut(values: Any, count: int) -> list[Any]:
    """Cut a list or tuple into parts of one size, a part for each sequence."""
    size = len(values) // count
    return [values[i * size : (i + 1) * size] for i in range(count)]


def _forward(calls: _Calls, x: Any, *arrays: Any) -> tuple[Any, ...]:
    """Run the driver and leave a `_Context` in `calls`."""
    if len(calls.each) > 1:
        return _forward_together(calls, x, arrays)
    call = calls.each[0]
    sequence = call.sequence((x, *arrays))
    driver, keep = driver_for(call.step, sequence), calls.keep or call.every_state
    if calls.keep and 0 < call.recompute_every < len(sequence.x):
        driver, keep = Recompute(driver, call.recompute_every), call.every_state
    outputs, final, saved = driver.forward(call.step, sequence, keep)
    calls.context = _Context(driver, [sequence], [saved])
    return call.results(outputs, final)


def _forward_together(calls: _Calls, x: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
    sequences = calls.sequences(x, arrays)
    driver = driver_for(calls.step, sequences[0])
    assert is_together(driver)
    for before, sequence in itertools.pairwise(sequences):
        below = (*sequences[0].x.shape[:2], before.initial[0].shape[-1])
        check(calls.step, sequence, below if calls.stacked else None)
    forward = driver.forward_stack if calls.stacked else driver.forward_directions
    found = forward(calls.step, sequences, calls.keep or calls.each[0].every_state)
    calls.context = _Context(driver, sequences, [saved for _, _, saved in found])
    results = [call.results(outputs, final) for call, (outputs, final, _) in zip(calls.each, found)]
    return tuple(itertools.chain(*results))


def _vjp(needs: list[bool], g: CotangentTuple, calls: _Calls, x: Any, *arrays: Any) -> list[Any]:
    """Return the cotangents of the node's arguments by the driver's backward, from the forward's `_Context`."""
    parts = g.parts
    if any(isinstance(part, Tensor) for part in parts):
        return [None, *_recorded_vjp(needs[1:], parts, calls, (x, *arrays))]
    context, states = calls.context, len(calls.step.states)
    assert context is not None
    if len(calls.each) > 1:
        return [None, *_vjp_together(needs[1:], parts, calls, context)]
    call, sequence, saved = calls.each[0], context.sequences[0], context.saved[0]
    found = context.driver.backward(
        calls.step, sequence, saved, *call.cotangents(parts), wants_x=needs[1], wants_initial=needs[-states]
    )
    return [None, *call.arrays(found)]


def _vjp_together(needs: list[bool], parts: tuple[Any, ...], calls: _Calls, context: _Context) -> list[Any]:
    driver, count, states = context.driver, len(calls.each), len(calls.step.states)
    assert is_together(driver)
    cotangents = [call.cotangents(own) for call, own in zip(calls.each, _cut(parts, count))]
    several = [(*given, *ds) for *given, ds in zip(context.sequences, context.saved, cotangents)]
    wants_initial = any(own[-states] for own in _cut(needs[1:], count))
    backward = driver.backward_stack if calls.stacked else driver.backward_directions
    found = backward(calls.step, several, wants_x=needs[0], wants_initial=wants_initial)
    by_argument = [call.arrays(sequence) for call, sequence in zip(calls.each, found)]
    d_x = [d for d, *_ in by_argument if d is not None]
    return [functools.reduce(operator.add, d_x) if d_x else None, *(d for _, *own in by_argument for d in own)]


def _recorded_vjp(needs: Sequence[bool], parts: tuple[Any, ...], calls: _Calls, arrays: Sequence[Any]) -> list[Any]:
    """Return the same cotangents as `_vjp`, computed by ordinary primitives on the tape.

    An alias stands for each argument, so that the results are derivatives by the arguments alone, whatever the
    arguments were computed from.
    """
    aliases = [alias(a) if need else a for a, need in zip(arrays, needs)]
    x, results = aliases[0], list[Tensor]()
    for call, own in zip(calls.each, _cut(aliases[1:], len(calls.each))):
        outputs, final = unrolled(call.cell, call.step, call.sequence((x, *own)))
        results += call.results(outputs, final)
        x = outputs[0] if calls.stacked else x
    reached = [(out, d) for out, d in zip(results, parts) if d is not None and out.requires_grad]
    wanted = [a for a, need in zip(aliases, needs) if need]
    outs, seeds = [out for out, _ in reached], [d for _, d in reached]
    found = iter(grad(outs, wanted, seeds, create_graph=True, allow_unused=True) if outs else [None] * len(wanted))
    return [next(found) if need else None for need in needs]


_compute = isolate_error_state(_forward)
"""The forward when nothing is recorded. No primitive calls it then, so it isolates the error state itself."""


@bounded(256)
def _node(step: Step, suffixes: tuple[str, ...]) -> Callable[..., tuple[Tensor, ...]]:
    """Return the primitive of a cell's sequences, named after the cell, with its arguments under their names."""
    own = [*WEIGHT_NAMES, *("p_" + n for n in step.params), *("e_" + n for n in step.inputs)]
    own += [s + "_0" for s in step.states]
    names = ["calls", "x", *(name + suffix for suffix in suffixes for name in own)]
    return primitive(step.name, _forward, _vjp, combined=True, unaliased=True, expects="", arguments=names)


def _run(calls: _Calls, arrays: Sequence[Any]) -> tuple[Tensor, ...]:
    """Run the node on x and then the arrays of each sequence; on the tape if a gradient may be asked for."""
    calls.keep = is_grad_enabled() and any(a is not None and a.requires_grad for a in arrays)
    if calls.keep or is_watching():
        return _node(calls.step, calls.suffixes)(calls, *arrays)
    return tuple(map(boxed, _compute(calls, *[None if a is None else a.array for a in arrays])))


def _check_dtypes(step: Step, arrays: Sequence[Any]) -> None:
    """Raise TypeError for a tensor whose dtype is not x's. It names the tensor; the tape's own error would not."""
    dtype = arrays[0].dtype
    for i, a in enumerate(arrays):
        if a is not None and a.dtype != dtype:
            name = [*_LEADING, *step.params, *step.inputs, *step.states][i]
            raise TypeError(f"{step.name}: {name}: expected {dtype} as x is, got {a.dtype}")


def run(cell: Cell, seq: SequenceArgs, every_state: bool = False, recompute_every: int = 0) -> Run:
    """Run one layer and direction over a sequence.

    seq: its fields are tensors (lengths an array) with the shapes that `SequenceArgs` states.
    every_state: return the sequences of all states.
    recompute_every: save activations of only so many steps at a time and compute the rest again; 0: save all.
    """
    step = cell.traced or trace(cell)
    call = _Call(cell, step, seq.lengths, seq.reverse, every_state, recompute_every)
    arrays = call.arrays(seq)
    _check_dtypes(step, arrays)
    results, states = _run(_Calls(step, [call]), arrays), len(step.states)
    return list(results[:-states]), list(results[-states:])


def run_directions(
    cell: Cell, seqs: Sequence[SequenceArgs], every_state: bool = False, recompute_every: int = 0
) -> list[Run]:
    """Run the directions of a layer, which share x and lengths, as `run` does.

    The directions are one node, if their driver runs them at once.
    """
    if len(seqs) == 1:
        return [run(cell, seqs[0], every_state, recompute_every)]
    if recompute_every or not driver_like(seqs[0].x.array).runs_together:
        return [run(cell, seq, every_state, recompute_every) for seq in seqs]
    return _run_together(cell, seqs, every_state, stacked=False)


def run_stack(
    cell: Cell, seqs: Sequence[SequenceArgs], every_state: bool = False, recompute_every: int = 0
) -> list[Run]:
    """Run the layers of a stack as `run` does. Each layer reads the h of the one below; only the first has an x.

    The stack is one node, if its driver runs layers at once.
    """
    if len(seqs) > 1 and not recompute_every and driver_like(seqs[0].x.array).runs_together:
        return _run_together(cell, seqs, every_state, stacked=True)
    found, x = list[Run](), seqs[0].x
    for seq in seqs:
        found.append(run(cell, replace(seq, x=x), every_state, recompute_every))
        x = found[-1][0][0]
    return found


def _run_together(cell: Cell, seqs: Sequence[SequenceArgs], every_state: bool, stacked: bool) -> list[Run]:
    step, states = cell.traced or trace(cell), len(cell.states)
    calls = [_Call(cell, step, seq.lengths, seq.reverse, every_state) for seq in seqs]
    own = [call.arrays(seq)[1:] for call, seq in zip(calls, seqs)]
    for arrays in own:
        _check_dtypes(step, [seqs[0].x, *arrays])
    suffixes = tuple(f"_l{i}" for i in range(len(seqs))) if stacked else ("", "_reverse")
    results = _run(_Calls(step, calls, stacked, suffixes), [seqs[0].x, *itertools.chain(*own)])
    return [(list(part[:-states]), list(part[-states:])) for part in _cut(results, len(seqs))]


def infer(step: Step, weights: Sequence[Tensor | None], x: Any, initial: Sequence[Any], reverse: bool) -> Any:
    """Run a cell without inputs per step on arrays, unrecorded. Return h and the last states.

    Return None where `run` is needed. This path is short: the kernel takes the smaller part of a single step's time.
    """
    if is_watching():
        return None
    arrays = [None if w is None else w.array for w in weights]
    return infer_by_kernel(step, arrays, x, initial, reverse)


def empty_cache() -> None:
    """Give back the memory that is kept for later calls: unused blocks, command lists, packed weights.

    Compiled code stays. No result changes; a layer's next call builds and packs again, which takes milliseconds.
    """
    release()
