"""The sequence driver on a GPU: products over all steps by the array library, the recurrence by one kernel.

`forward` and `backward` run one sequence, with the interface of `reference`. `forward_directions` and
`backward_directions` run several sequences at once. `forward_stack` and `backward_stack` run a stack of layers as a
wavefront; each layer reads the h of the layer below. All work goes to the array library's current stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..driver import BackwardArgs, Results
from ..ir.program import Step
from ..ir.sequence_args import SequenceArgs
from .arrays import namespace
from .backward import Backward
from .forward import Forward
from .scans import count_at_once, run
from .wavefront import waves

Array = Any
runs_together = True


def forward(step: Step, seq: SequenceArgs, keep: bool) -> Results:
    """See `reference.forward`."""
    return forward_directions(step, [seq], keep)[0]


def forward_directions(step: Step, seqs: Sequence[SequenceArgs], keep: bool) -> list[Results]:
    """Run `forward` on sequences of the same sizes and lengths, at once if they fit."""
    forwards = [Forward(step, seq, keep) for seq in seqs]
    for each in forwards:
        each.project()
    run([each.scan for each in forwards])
    return [each.results() for each in forwards]


def forward_stack(step: Step, seqs: Sequence[SequenceArgs], keep: bool) -> list[Results]:
    """Run `forward` on each layer of a stack, from the lowest up, as a wavefront in time.

    Only the lowest has an x; each other layer reads the h of the one below. All layers have the same H, P and lengths.
    """
    layers = list[Forward]()
    for seq in seqs:
        layers.append(Forward(step, replace(seq, x=layers[-1].outputs(0)) if layers else seq, keep))
    layers[0].project()
    for wave in waves(layers[0].at.T, len(layers), count_at_once([layer.scan for layer in layers])):
        for i, steps in wave:
            if i > 0:
                layers[i].project(steps)
        run([layers[i].scan for i, _ in wave], [steps for _, steps in wave])
    return [layer.results() for layer in layers]


def backward(
    step: Step,
    seq: SequenceArgs,
    saved: Any,
    d_outputs: Sequence[Array | None],
    d_final: Sequence[Array | None],
    wants_x: bool = True,
    wants_initial: bool = True,
) -> SequenceArgs:
    """See `reference.backward`."""
    return backward_directions(step, [(seq, saved, d_outputs, d_final)], wants_x, wants_initial)[0]


def backward_directions(
    step: Step, several: Sequence[BackwardArgs], wants_x: bool = True, wants_initial: bool = True
) -> list[SequenceArgs]:
    """Run `backward` on each sequence of `forward_directions`."""
    backwards = [Backward(step, *args) for args in several]
    run([each.scan for each in backwards])
    return [each.results(wants_x, wants_initial) for each in backwards]


def backward_stack(
    step: Step, stack: Sequence[BackwardArgs], wants_x: bool = True, wants_initial: bool = True
) -> list[SequenceArgs]:
    """Run `backward` on each layer of `forward_stack`. Only the lowest has a cotangent of x."""
    layers, d_h, x = list[Backward](), list[Array](), stack[0][0].x
    for i, (seq, saved, (d_first, *d_others), d_final) in enumerate(stack):
        h = saved.states[0][1:]
        if i + 1 < len(stack):  # a new array: the layer above adds to it before this layer's scan
            d_first = namespace(h).zeros_like(h) if d_first is None else d_first.copy()
        d_h.append(d_first)
        layers.append(Backward(step, replace(seq, x=x), saved, [d_first, *d_others], d_final))
        x = h
    planned = waves(layers[0].at.T, len(layers), count_at_once([layer.scan for layer in layers]))
    for wave in reversed(planned):
        for i, steps in wave:
            if i + 1 < len(layers):
                d_h[i][steps] += layers[i + 1].d_x(steps)
        run([layers[i].scan for i, _ in wave], [steps for _, steps in wave])
    return [layer.results(wants_x and i == 0, wants_initial) for i, layer in enumerate(layers)]
