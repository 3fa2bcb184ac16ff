"""A layer's forward on a GPU, ready to be run: its arrays, where the kernel finds values in them, and what is left.

Time runs as in x; a reversed run goes through it from each sequence's end. States have a place more than there are
steps: for the initial state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ir.plan import plan
from ..ir.program import Kind, Step, Value
from ..ir.sequence_args import SequenceArgs
from .arrays import Spot
from .scans import Layer, Walk

Array = Any


@dataclass
class Saved:
    """What the forward leaves for the backward: sequences of the states, and others under their names in `Plan`."""

    states: list[Array]
    values: dict[Value, Spot]


class Forward:
    """`project` and `walk` are to be run, then there are `results`."""

    def __init__(self, step: Step, seq: SequenceArgs, keep: bool):
        self.at, self.keep = Layer(plan(step, seq.weight_hr is not None), seq), keep
        at, function = self.at, "train" if keep else "infer"
        self.projected = at.xp.empty((at.T, at.N, len(seq.weight_ih)), at.dtype)
        self.states = [_state(at, i, at.T + 1 if keep or i == 0 else 2) for i in range(len(step.states))]
        self.values = given(at, self.states) | _values(at, function, self.states, self.projected)
        self.walk = Walk(at, function, self.values, _weights(at), start=seq.initial[0])

    def project(self, steps: slice = slice(None)) -> None:
        """The input's products at some steps."""
        at, x, to = self.at, self.at.seq.x[steps], self.projected[steps]
        at.xp.dot(at.flat(x), at.seq.weight_ih.T, at.flat(to))

    def outputs(self, i: int) -> Array:
        """The sequence of a state [T, N, width], with anything where there is no step if the run is reversed."""
        return self.states[i][:-1] if self.at.seq.reverse else self.states[i][1:]

    def results(self) -> tuple[list[Array], list[Array], Saved | None]:
        """See `reference.forward`."""
        at = self.at
        final = [state[at.at(state, last=True)].copy() for state in self.states]
        outputs = [self.outputs(i) for i in range(len(self.states) if self.keep else 1)]
        if at.seq.reverse:  # where a row has no step there may be its initial state
            outputs = [at.without_padding(o) for o in outputs]
        kinds = (Kind.SAVED, Kind.SOURCE, Kind.UNPROJECTED)
        stored = {value: spot for value, spot in self.values.items() if value.kind in kinds}
        return outputs, final, Saved(self.states, stored) if self.keep else None


def _state(at: Layer, i: int, places: int) -> Array:
    """The sequence of a state with the initial one in its place; two places are used in turn."""
    state = at.make(places, at.N, at.width(i))
    state[at.at(state, last=False)] = at.seq.initial[i]
    return state


def given(at: Layer, states: list[Array]) -> dict[Value, Spot]:
    """What forward and backward read: states before the step, parameters and inputs per step."""
    contiguous, shift = at.xp.ascontiguousarray, int(at.seq.reverse)
    values = {Value(Kind.STATE, s): Spot.of_steps(state, shift=shift) for s, state in zip(at.step.states, states)}
    values |= {Value(Kind.PARAM, name): Spot.of_units(contiguous(p)) for name, p in at.seq.params.items()}
    return values | {Value(Kind.INPUT, name): Spot.of_steps(contiguous(e)) for name, e in at.seq.inputs.items()}


def _values(at: Layer, function: str, states: list[Array], projected: Array) -> dict[Value, Spot]:
    """Where the forward finds pre-activations and biases, and puts states and what it keeps."""
    step, seq, H, shift = at.step, at.seq, at.H, int(not at.seq.reverse)
    values = {Value(Kind.NEW_STATE, s): Spot.of_steps(state, shift=shift) for s, state in zip(step.states, states)}
    biases = (Kind.INPUT_BIAS, step.input_gates, seq.bias_ih), (Kind.RECURRENT_BIAS, step.recurrent_gates, seq.bias_hh)
    for kind, gates, bias in biases:
        whole = at.xp.zeros(len(gates) * H, at.dtype) if bias is None else at.xp.ascontiguousarray(bias)
        values |= {Value(kind, gate): Spot.of_units(whole, i * H) for i, gate in enumerate(gates)}
    columns = [Spot.of_steps(projected, i * H) for i in range(len(step.input_gates))]
    values |= {Value(Kind.INPUT_PART, gate): spot for gate, spot in zip(step.input_gates, columns)}
    outputs = [value for stage in at.plan.stages(function) for value, _ in stage.program.outputs]
    if at.plan.in_place:
        values |= dict(zip(step.saved, columns))
    for value in outputs:
        if value not in values:
            places = 2 if value.kind is Kind.PASSED or function == "infer" else at.T
            values[value] = Spot.of_steps(at.make(places, at.N, H))
    return values


def _weights(at: Layer) -> dict[tuple[str, ...], Spot]:
    """The weights of each gate; those of the projection stand under ()."""
    weight = None if at.weight_hh is None else at.stored(at.weight_hh)
    gates = at.step.recurrent_gates
    found: dict[tuple[str, ...], Spot] = {(gate,): Spot.of_weights(weight, at.recurrent_rows(gate)) for gate in gates}
    if at.plan.projected:
        found[()] = Spot.of_weights(at.stored(at.seq.weight_hr))
    return found
