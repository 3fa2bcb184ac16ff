"""A layer's forward on a GPU, ready to run: its arrays, the kernel's operands in them, and the results.

All arrays are in the time order of x; a reversed scan starts at each sequence's end. The array of a state has one slot
more than there are steps, for the initial state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ir.plan import plan
from ..ir.program import Kind, Step, Value
from ..ir.sequence_args import SequenceArgs
from .arrays import Operand
from .scans import Layer, Scan

Array = Any


@dataclass
class Saved:
    """The values that the forward leaves for the backward: the sequences of the states, and the Plan's saved values."""

    states: list[Array]
    values: dict[Value, Operand]


class Forward:
    """A layer's forward. The caller calls `project`, runs `scan`, then takes `results`."""

    def __init__(self, step: Step, seq: SequenceArgs, keep: bool):
        self.at, self.keep = Layer(plan(step, seq.weight_hr is not None), seq), keep
        at, function = self.at, "train" if keep else "infer"
        self.projected = at.xp.empty((at.T, at.N, len(seq.weight_ih)), at.dtype)
        self.states = [_state(at, i, at.T + 1 if keep or i == 0 else 2) for i in range(len(step.states))]
        self.values = given(at, self.states) | _values(at, function, self.states, self.projected)
        self.scan = Scan(at, function, self.values, _weights(at), start=seq.initial[0])

    def project(self, steps: slice = slice(None)) -> None:
        """Compute the input's products at some steps."""
        at, x, to = self.at, self.at.seq.x[steps], self.projected[steps]
        at.xp.dot(at.flat(x), at.seq.weight_ih.T, at.flat(to))

    def outputs(self, i: int) -> Array:
        """Return the sequence of a state [T, N, width]. After a reversed scan, anything may lie past a row's end."""
        return self.states[i][:-1] if self.at.seq.reverse else self.states[i][1:]

    def results(self) -> tuple[list[Array], list[Array], Saved | None]:
        """See `reference.forward`."""
        at = self.at
        final = [state[at.at(state, last=True)].copy() for state in self.states]
        outputs = [self.outputs(i) for i in range(len(self.states) if self.keep else 1)]
        if at.seq.reverse:  # a row's initial state may lie past its end
            outputs = [at.without_padding(o) for o in outputs]
        kinds = (Kind.SAVED, Kind.SOURCE, Kind.UNPROJECTED)
        stored = {value: operand for value, operand in self.values.items() if value.kind in kinds}
        return outputs, final, Saved(self.states, stored) if self.keep else None


def _state(at: Layer, i: int, slots: int) -> Array:
    """Return the array of a state with the initial state in its slot. Two slots are used in turn."""
    state = at.make(slots, at.N, at.width(i))
    state[at.at(state, last=False)] = at.seq.initial[i]
    return state


def given(at: Layer, states: list[Array]) -> dict[Value, Operand]:
    """Return the operands that forward and backward read: states before the step, parameters, inputs per step."""
    contiguous, shift = at.xp.ascontiguousarray, int(at.seq.reverse)
    values = {Value(Kind.STATE, s): Operand.of_steps(state, shift=shift) for s, state in zip(at.step.states, states)}
    values |= {Value(Kind.PARAM, name): Operand.of_units(contiguous(p)) for name, p in at.seq.params.items()}
    return values | {Value(Kind.INPUT, name): Operand.of_steps(contiguous(e)) for name, e in at.seq.inputs.items()}


def _values(at: Layer, function: str, states: list[Array], projected: Array) -> dict[Value, Operand]:
    """Return the operands of pre-activations, biases, new states and saved activations."""
    step, seq, H, shift = at.step, at.seq, at.H, int(not at.seq.reverse)
    values = {Value(Kind.NEW_STATE, s): Operand.of_steps(state, shift=shift) for s, state in zip(step.states, states)}
    biases = (Kind.INPUT_BIAS, step.input_gates, seq.bias_ih), (Kind.RECURRENT_BIAS, step.recurrent_gates, seq.bias_hh)
    for kind, gates, bias in biases:
        whole = at.xp.zeros(len(gates) * H, at.dtype) if bias is None else at.xp.ascontiguousarray(bias)
        values |= {Value(kind, gate): Operand.of_units(whole, i * H) for i, gate in enumerate(gates)}
    columns = [Operand.of_steps(projected, i * H) for i in range(len(step.input_gates))]
    values |= {Value(Kind.INPUT_PART, gate): operand for gate, operand in zip(step.input_gates, columns)}
    outputs = [value for stage in at.plan.stages(function) for value, _ in stage.program.outputs]
    if at.plan.in_place:
        values |= dict(zip(step.saved, columns))
    for value in outputs:
        if value not in values:
            slots = 2 if value.kind is Kind.PASSED or function == "infer" else at.T
            values[value] = Operand.of_steps(at.make(slots, at.N, H))
    return values


def _weights(at: Layer) -> dict[tuple[str, ...], Operand]:
    """Return the weights of each gate. The projection's weights have the key ()."""
    weight = None if at.weight_hh is None else at.stored(at.weight_hh)
    gates = at.step.recurrent_gates
    found: dict[tuple[str, ...], Operand] = {
        (gate,): Operand.of_weights(weight, at.recurrent_rows(gate)) for gate in gates
    }
    if at.plan.projected:
        found[()] = Operand.of_weights(at.stored(at.seq.weight_hr))
    return found
