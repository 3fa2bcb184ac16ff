"""One tape node for a whole sequence of a whole layer and direction.

The node's forward and backward are a sequence driver's, which runs the Programs traced from the cell. Where the
backward is recorded in its turn (`create_graph=True`), it goes through the cell's equations as ordinary primitives.
Where a driver runs the directions of a layer, or a stack of layers, at once, they are one node.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays.error_state import undisturbed
from ..autograd import tape
from ..autograd.anomaly import is_watching
from ..autograd.functional import grad
from ..autograd.primitive import CotangentTuple, primitive
from ..cells import Cell
from ..cells.trace import trace
from ..kernels import driver_for, runs_together
from ..kernels import infer as infer_by_kernel
from ..kernels.ir.program import Step
from ..kernels.ir.sequence_args import WEIGHT_NAMES, SequenceArgs, check
from ..kernels.recompute import Recompute
from ..kernels.runtime.bounded import bounded, release
from ..tensor import Tensor
from .unrolled import unrolled

Run = tuple[list[Tensor], list[Tensor]]
"""The sequence of h [T, N, P], or of each state, and each state after the last real step."""

_LEADING = ("x", *WEIGHT_NAMES)
_alias = primitive("alias", lambda x: x, lambda g: g)


@dataclass(repr=False)  # it would fill an error message with Programs
class _Call:
    """What one run of the node takes beside arrays, and what its forward leaves for its backward."""

    cell: Cell
    step: Step
    lengths: np.ndarray | None
    reverse: bool
    every_state: bool
    recompute_every: int
    keep: bool
    driver: Any = None
    given: SequenceArgs | None = None
    saved: Any = None

    def sequence(self, arrays: Sequence[Any]) -> SequenceArgs:
        """The node's arguments, in their order, as a Sequence."""
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
        """A Sequence as the node's arguments, in their order."""
        weights = [getattr(seq, name) for name in _LEADING]
        return [*weights, *seq.params.values(), *seq.inputs.values(), *seq.initial]

    def results(self, outputs: Sequence[Any], final: Sequence[Any]) -> tuple[Any, ...]:
        """What the node returns: the sequence of h, or of every state, then the last states."""
        return (*(outputs if self.every_state else outputs[:1]), *final)

    def cotangents(self, parts: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Those of the sequences of all states, and of the last states, from those of the results."""
        states = len(self.step.states)
        d_outputs = parts[:-states] + (None,) * (0 if self.every_state else states - 1)
        return d_outputs, parts[-states:]


@dataclass(repr=False)
class _Calls:
    """Runs of one node: the directions of a layer, which share x, or the layers of a stack."""

    each: list[_Call]
    stacked: bool = False

    def has_x(self, i: int) -> bool:
        """Whether a run has the node's x; if not, the h of the one before it."""
        return i == 0 or not self.stacked

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of each run's arguments end in."""
        return tuple(f"_l{i}" for i in range(len(self.each))) if self.stacked else ("", "_reverse")


def _forward(call: _Call, *arrays: Any) -> tuple[np.ndarray, ...]:
    call.given = sequence = call.sequence(arrays)
    call.driver, keep = driver_for(call.step, sequence), call.keep or call.every_state
    if call.keep and 0 < call.recompute_every < len(sequence.x):
        call.driver, keep = Recompute(call.driver, call.recompute_every), call.every_state
    outputs, final, call.saved = call.driver.forward(call.step, sequence, keep)
    return call.results(outputs, final)


def _vjp(needs: list[bool], g: CotangentTuple, call: _Call, *arrays: Any) -> list[Any]:
    parts = g.parts
    if any(isinstance(part, Tensor) for part in parts):
        return [None, *_recorded_vjp(needs[1:], parts, _Calls([call]), arrays)]
    found = call.driver.backward(
        call.step, call.given, call.saved, *call.cotangents(parts),
        wants_x=needs[1], wants_initial=needs[-len(call.step.states)],
    )  # fmt: skip
    return [None, *call.arrays(found)]


def _recorded_vjp(needs: Sequence[bool], parts: tuple[Any, ...], calls: _Calls, arrays: Sequence[Any]) -> list[Any]:
    """The same through ordinary primitives, on the tape.

    An alias stands for each argument, so that these are derivatives by the arguments alone, whatever they were
    themselves computed from.
    """
    aliases = [_alias(a) if need else a for a, need in zip(arrays, needs)]
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


def _forward_at_once(calls: _Calls, x: Any, *arrays: Any) -> tuple[Any, ...]:
    own, first = _cut(arrays, len(calls.each)), calls.each[0]
    sequences = [call.sequence((x if calls.has_x(i) else None, *own[i])) for i, call in enumerate(calls.each)]
    driver, keep = driver_for(first.step, sequences[0]), first.keep or first.every_state
    for before, sequence in itertools.pairwise(sequences):
        below = (*sequences[0].x.shape[:2], before.initial[0].shape[-1])
        check(first.step, sequence, below if calls.stacked else None)
    found = (driver.forward_stack if calls.stacked else driver.forward_directions)(first.step, sequences, keep)
    results = list[Any]()
    for call, sequence, (outputs, final, saved) in zip(calls.each, sequences, found):
        call.driver, call.given, call.saved = driver, sequence, saved
        results += call.results(outputs, final)
    return tuple(results)


def _vjp_at_once(needs: list[bool], g: CotangentTuple, calls: _Calls, x: Any, *arrays: Any) -> list[Any]:
    if any(isinstance(part, Tensor) for part in g.parts):
        return [None, *_recorded_vjp(needs[1:], g.parts, calls, (x, *arrays))]
    first, count = calls.each[0], len(calls.each)
    left = [(call.given, call.saved, *call.cotangents(parts)) for call, parts in zip(calls.each, _cut(g.parts, count))]
    wants_initial = any(own[-len(first.step.states)] for own in _cut(needs[2:], count))
    backward = first.driver.backward_stack if calls.stacked else first.driver.backward_directions
    sequences = backward(first.step, left, wants_x=needs[1], wants_initial=wants_initial)
    found = [call.arrays(sequence) for call, sequence in zip(calls.each, sequences)]
    d_x = [d for d, *_ in found if d is not None]
    return [None, functools.reduce(operator.add, d_x) if d_x else None, *(d for _, *own in found for d in own)]


def _cut(values: Any, count: int) -> list[Any]:
    """So many equal parts of a list or tuple: what stands there for each call in turn."""
    size = len(values) // count
    return [values[i * size : (i + 1) * size] for i in range(count)]


_computed, _computed_at_once = undisturbed(_forward), undisturbed(_forward_at_once)
"""The forwards for where nothing is recorded, and so no primitive calls them."""


@bounded(256)
def _node(step: Step, suffixes: tuple[str, ...] = ()) -> Callable[..., tuple[Tensor, ...]]:
    """The primitive of a cell's sequence, or of several at once, named after the cell; arguments under their names."""
    own = [*WEIGHT_NAMES, *("p_" + n for n in step.params), *("e_" + n for n in step.inputs)]
    own += [s + "_0" for s in step.states]
    names = ["call", "x", *(name + suffix for suffix in suffixes or ("",) for name in own)]
    forward: Any = functools.partial(_forward_at_once if suffixes else _forward)
    vjp: Any = functools.partial(_vjp_at_once if suffixes else _vjp)
    forward.__signature__ = _signature(names)
    vjp.__signature__ = _signature(["needs", "g", *names])
    return primitive(step.name, forward, vjp, combined=True, unaliased=True, expects="")


def empty_cache() -> None:
    """Give back what is kept for later calls: unused memory, recorded passes and packed weights of recurrent layers.

    Compiled code stays. No result changes; the next call of a layer records and packs again, which takes milliseconds.
    """
    release()


def _signature(names: list[str]) -> inspect.Signature:
    return inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names])


def _check_dtypes(step: Step, arrays: Sequence[Any]) -> None:
    """TypeError, with its name, where a tensor has another dtype than x: the tape would only say that dtypes differ."""
    dtype = arrays[0].dtype
    for i, a in enumerate(arrays):
        if a is not None and a.dtype != dtype:
            name = [*_LEADING, *step.params, *step.inputs, *step.states][i]
            raise TypeError(f"{step.name}: {name}: expected {dtype} as x is, got {a.dtype}")


def run(cell: Cell, seq: SequenceArgs, every_state: bool = False, recompute_every: int = 0) -> Run:
    """One layer and direction over a sequence.

    seq: its fields as tensors (lengths an array), shapes as `SequenceArgs` has them. recompute_every: keep what the
    backward wants of so many steps only and compute the rest again; 0: keep all.
    every_state: return the sequences of all states.
    """
    step = cell.traced or trace(cell)
    call = _Call(cell, step, seq.lengths, seq.reverse, every_state, recompute_every, keep=False)
    arrays = call.arrays(seq)
    _check_dtypes(step, arrays)
    call.keep = tape.is_grad_enabled() and any(a is not None and a.requires_grad for a in arrays)
    if not call.keep and not is_watching():  # nothing to record
        given = [None if a is None else a.array for a in arrays]
        results = tuple(map(tape.boxed, _computed(call, *given)))
    else:
        results = _node(step)(call, *arrays)
    states = len(step.states)
    return list(results[:-states]), list(results[-states:])


def run_directions(
    cell: Cell, seqs: Sequence[SequenceArgs], every_state: bool = False, recompute_every: int = 0
) -> list[Run]:
    """`run` for each direction of a layer, which share x and lengths: at once, as one node, where their driver can."""
    if len(seqs) == 1:
        return [run(cell, seqs[0], every_state, recompute_every)]
    if recompute_every or not runs_together(seqs[0].x.array):
        return [run(cell, seq, every_state, recompute_every) for seq in seqs]
    return _at_once(cell, seqs, every_state, stacked=False)


def run_stack(
    cell: Cell, seqs: Sequence[SequenceArgs], every_state: bool = False, recompute_every: int = 0
) -> list[Run]:
    """`run` for each layer of a stack, of which only the first has an x and each other reads the h of the one below.

    At once, as one node, where their driver can.
    """
    if len(seqs) > 1 and not recompute_every and runs_together(seqs[0].x.array):
        return _at_once(cell, seqs, every_state, stacked=True)
    found, x = list[Run](), seqs[0].x
    for seq in seqs:
        found.append(run(cell, replace(seq, x=x), every_state, recompute_every))
        x = found[-1][0][0]
    return found


def _at_once(cell: Cell, seqs: Sequence[SequenceArgs], every_state: bool, stacked: bool) -> list[Run]:
    step = cell.traced or trace(cell)
    calls = [_Call(cell, step, seq.lengths, seq.reverse, every_state, 0, keep=False) for seq in seqs]
    arrays = [seqs[0].x, *(a for call, seq in zip(calls, seqs) for a in call.arrays(seq)[1:])]
    for own in _cut(arrays[1:], len(calls)):
        _check_dtypes(step, [arrays[0], *own])
    keep = tape.is_grad_enabled() and any(a is not None and a.requires_grad for a in arrays)
    for call in calls:
        call.keep = keep
    several = _Calls(calls, stacked)
    if not keep and not is_watching():  # nothing to record
        given = [None if a is None else a.array for a in arrays]
        results = tuple(map(tape.boxed, _computed_at_once(several, *given)))
    else:
        results = _node(step, several.suffixes)(several, *arrays)
    states = len(step.states)
    return [(list(own[:-states]), list(own[-states:])) for own in _cut(results, len(seqs))]


def infer(step: Step, weights: Sequence[Tensor | None], x: Any, initial: Sequence[Any], reverse: bool) -> Any:
    """`run` for a cell without inputs of its own, where nothing is recorded, on arrays: h and the last states.

    None where it has to be `run`. Made short: of a single step's time the kernel is the smaller part.
    """
    if is_watching():
        return None
    arrays = [None if w is None else w.array for w in weights]
    return infer_by_kernel(step, arrays, x, initial, reverse)
