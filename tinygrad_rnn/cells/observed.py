"""Cells derived from a cell, with the same states: one also returns its gates, one the cotangents of its states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from ..kernels.ir.program import Kind, Program, Ref, Value
from .decorator import Cell
from .trace import Step, shared, trace, trace_with_state_cotangents

ACTIVATIONS = ("sigmoid", "tanh", "relu", "softplus", "sin", "exp")
"""The functions whose value is shown for a gate, if the equations apply one to the gate's pre-activation."""


class WithGates(NamedTuple):
    """A cell whose further states are the gates of the step.

    names: gate -> the state that shows it. activations: gate -> the function whose value it is, or None where the state
    is the pre-activation.
    """

    cell: Cell
    names: dict[str, str]
    activations: dict[str, str | None]


def with_gates(cell: Cell) -> WithGates:
    """Return a cell that computes what `cell` does, and its gates as further states, through which no gradient passes.

    Its Programs are those of the cell, with more outputs. The gates are those with an input part.
    """
    if "gates" not in cell.derived:
        cell.derived["gates"] = _with_gates(cell)
    return cell.derived["gates"]


def _with_gates(cell: Cell) -> WithGates:
    step = trace(cell)
    found = {gate: _gate_value(step, gate) for gate in step.input_gates}
    names = _free_names("gate", found, cell.states)
    equations = lambda a, s, *rest: (*_tuple(cell.equations(a, s, *rest)), *(getattr(s, n) for n in names.values()))
    derived = _derived(cell, equations, states=(*cell.states, *names.values()))
    given = step.forward.outputs
    new = tuple((Value(Kind.NEW_STATE, names[gate]), ref) for gate, (ref, _) in found.items())
    count = len(cell.states)
    forward = replace(step.forward, outputs=(*given[:count], *new, *given[count:]))
    derived.traced = shared(replace(step, states=derived.states, forward=forward))
    return WithGates(derived, names, {gate: activation for gate, (_, activation) in found.items()})


def _gate_value(step: Step, gate: str) -> tuple[Ref, str | None]:
    """Return the value to show for a gate, and the activation that it is the value of.

    The way from the gate's input part leads through sums. It ends at an activation if each value on it is read once.
    """
    program, n = step.forward, len(step.forward.inputs)
    start = at = program.inputs.index(Value(Kind.INPUT_PART, gate))
    while len(readers := _readers(program, at)) == 1:
        op = program.ops[readers[0] - n]
        if op.name in ACTIVATIONS:
            return readers[0], op.name
        if op.name != "add":
            break
        at = readers[0]
    recurrent = Value(Kind.RECURRENT_PART, gate)
    parts = {start, program.inputs.index(recurrent)} if recurrent in program.inputs else {start}
    totals = [k for k, op in enumerate(program.ops, n) if op.name == "add" and set(op.args) == parts]
    return totals[0] if totals else start, None


def _readers(program: Program[Value], ref: Ref) -> list[int]:
    """Return the operations that read a value."""
    return [k for k, op in enumerate(program.ops, len(program.inputs)) if ref in op.args]


class _WithStateCotangents(Cell):
    """A cell with one further input for each state: `trace_with_state_cotangents` says what its cotangent is."""

    def __call__(self, *named: Any, **more: Any) -> tuple[Any, ...]:
        """Raise NotImplementedError: the equations, as primitives, do not know the further inputs."""
        raise NotImplementedError(
            f"cell {self.name}: expected a loss without create_graph=True, as gradients of the states' gradients are "
            "not computed"
        )


def with_state_cotangents(cell: Cell) -> tuple[Cell, dict[str, str]]:
    """Return a cell that computes what `cell` does, and for each state the name of an input, which may be anything.

    The input's gradient is that of the state after the step.
    """
    if "cotangents" not in cell.derived:
        names = _free_names("d", cell.states, cell.inputs)
        derived = _derived(cell, cell.equations, _WithStateCotangents, inputs=(*cell.inputs, *names.values()))
        derived.traced = trace_with_state_cotangents(cell, names)
        cell.derived["cotangents"] = derived, names
    return cell.derived["cotangents"]


def _derived(cell: Cell, equations: Any, kind: type[Cell] = Cell, **changed: tuple[str, ...]) -> Cell:
    names = {"gates": cell.gates, "states": cell.states, "params": cell.params, "inputs": cell.inputs}
    derived = kind(equations, **(names | changed))
    derived.name = cell.name
    return derived


def _free_names(prefix: str, given: Any, taken: tuple[str, ...]) -> dict[str, str]:
    """Return a name for each given name that is not taken."""
    while any(f"{prefix}_{name}" in taken for name in given):
        prefix += "_"
    return {name: f"{prefix}_{name}" for name in given}


def _tuple(new: Any) -> tuple[Any, ...]:
    return new if isinstance(new, tuple) else (new,)
