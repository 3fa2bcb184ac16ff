"""A layer's backward on a GPU, ready to run: its arrays, the kernel's operands in them, and the results.

All arrays are in the time order of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.plan import plan, source_names
from ..ir.program import Kind, Step, Value
from ..ir.sequence_args import SequenceArgs
from .arrays import Operand
from .forward import Saved, given
from .scans import Layer, Scan

Array = Any


class Backward:
    """A layer's backward. The caller runs `scan`, then takes `results`."""

    def __init__(
        self,
        step: Step,
        seq: SequenceArgs,
        saved: Saved,
        d_outputs: Sequence[Array | None],
        d_final: Sequence[Array | None],
    ):
        self.at, self.saved = Layer(plan(step, seq.weight_hr is not None), seq), saved
        self.values = given(self.at, saved.states) | saved.values | _cotangents(self.at, d_outputs, d_final)
        self.direct = _direct_weights(self.at)
        self.scan = Scan(self.at, "backward", self.values, _weights(self.at, self.direct))
        self.d_projected = self.values[Value(Kind.INPUT_PART, step.input_gates[0])].array

    def d_x(self, steps: slice = slice(None)) -> Array:
        """Return the cotangent of x at some steps, after the scan has run them."""
        at, d = self.at, self.d_projected[steps]
        return at.xp.matmul(at.flat(d), at.seq.weight_ih).reshape(len(d), at.N, at.I)

    def results(self, wants_x: bool, wants_initial: bool) -> SequenceArgs:
        """See `reference.backward`."""
        at, values, seq, step = self.at, self.values, self.at.seq, self.at.step
        d_projected = at.flat(self.d_projected)
        initial = [values[Value(Kind.CARRY, name)].array for name in step.states]
        if self.direct is not None and wants_initial and at.T:
            d_direct = values[Value(Kind.RECURRENT_PART, step.direct_gates[0])].array
            initial[0] = initial[0] + at.xp.matmul(d_direct[_first_step(at)], self.direct)
        d_hh, d_bias = _recurrent_gradients(at, self.saved, values)
        d_hr, h = None, step.states[0]
        if at.plan.projected:
            d_h = values[Value(Kind.PROJECTED_COTANGENT, h)]
            d_hr = _product(at, d_h, values[Value(Kind.UNPROJECTED, h)])
        sums = {name: values.get(Value(Kind.PARAM_SUM, name)) for name in seq.params}
        return SequenceArgs(
            x=self.d_x() if wants_x else None,
            weight_ih=at.xp.matmul(d_projected.T, at.flat(at.without_padding(seq.x))),
            weight_hh=d_hh,
            bias_ih=None if seq.bias_ih is None else d_projected.sum(0),
            bias_hh=d_bias,
            weight_hr=d_hr,
            params={
                name: at.xp.zeros_like(p) if (found := sums[name]) is None else found.array.sum(0)
                for name, p in seq.params.items()
            },
            inputs={name: values[Value(Kind.INPUT_COTANGENT, name)].array for name in step.inputs},
            initial=tuple(initial),
            lengths=seq.lengths,
            reverse=seq.reverse,
        )


def _cotangents(at: Layer, d_outputs: Sequence[Array | None], d_final: Sequence[Array | None]) -> dict[Value, Operand]:
    """Return the operands of the cotangents that the backward reads and writes."""
    step, xp, values = at.step, at.xp, dict[Value, Operand]()
    for i, (name, d_out, d_last) in enumerate(zip(step.states, d_outputs, d_final)):
        width = at.width(i)
        none = d_out is None
        values[Value(Kind.OUTPUT_COTANGENT, name)] = (
            Operand.of_units(xp.zeros(width, at.dtype)) if none else Operand.of_steps(xp.ascontiguousarray(d_out))
        )
        carry = xp.zeros((at.N, width), at.dtype) if d_last is None else xp.array(d_last, at.dtype, order="C")
        values[Value(Kind.CARRY, name)] = Operand.of_rows(carry)
    for kind, gates in ((Kind.INPUT_PART, step.input_gates), (Kind.RECURRENT_PART, step.direct_gates)):
        if kind is Kind.RECURRENT_PART and at.plan.shares:
            values |= {Value(kind, gate): values[Value(Kind.INPUT_PART, gate)] for gate in gates}
        elif gates:
            joined = at.make(at.T, at.N, len(gates) * at.H)
            values |= {Value(kind, gate): Operand.of_steps(joined, i * at.H) for i, gate in enumerate(gates)}
    for stage in at.plan.adjoint:
        for value, _ in stage.program.outputs:
            if value.kind is Kind.PARAM_SUM:
                values[value] = Operand.of_rows(xp.zeros((at.N, at.H), at.dtype))
            elif value not in values:
                slots = 2 if value.kind is Kind.PASSED else at.T
                values[value] = Operand.of_steps(at.make(slots, at.N, at.units(stage)))
    return values


def _direct_weights(at: Layer) -> Array:
    """Return the rows of weight_hh that multiply h itself, or None."""
    step, weight = at.step, at.weight_hh
    if not step.direct_gates:
        return None
    if step.direct_gates == step.recurrent_gates:
        return weight
    rows = [weight[at.recurrent_rows(g) : at.recurrent_rows(g) + at.H] for g in step.direct_gates]
    return at.xp.concatenate(rows)


def _weights(at: Layer, direct: Array) -> dict[tuple[str, ...], Operand]:
    """Return the transposed weights of each product's gates: the numbers of a sum lie side by side, as in the forward.

    The projection's weights have the key ().
    """
    turned = lambda weight: Operand.of_weights(at.stored(weight.T))
    found, weight = dict[tuple[str, ...], Operand](), at.weight_hh
    for gate in dict.fromkeys(at.step.products):
        first = at.recurrent_rows(gate)
        found[gate,] = turned(weight[first : first + at.H])
    if direct is not None:
        found[at.step.direct_gates] = turned(direct)
    if at.plan.projected:
        found[()] = turned(at.seq.weight_hr)
    return found


def _product(at: Layer, d: Operand, v: Operand) -> Array:
    """Return the gradient of weights: d, the cotangents of results, times the vectors v, at all steps."""
    return at.xp.matmul(at.flat(d.array).T, at.flat(v.array))


def _first_step(at: Layer) -> Any:
    """Return the index of the first step of each row. A row without steps gets the index of a step that holds 0."""
    if not at.seq.reverse:
        return 0
    return -1 if at.lengths is None else (at.lengths - 1, at.xp.arange(at.N))


def _recurrent_gradients(at: Layer, saved: Saved, values: dict[Value, Operand]) -> tuple[Array | None, Array | None]:
    """Return the gradients of weight_hh and bias_hh: one product over all steps for each source."""
    step, seq, xp = at.step, at.seq, at.xp
    if seq.weight_hh is None:
        return None, None
    d_hh = xp.zeros_like(seq.weight_hh)
    d_bias = None if seq.bias_hh is None else xp.zeros_like(seq.bias_hh)
    found = list[tuple[tuple[str, ...], Array, Array]]()
    if step.direct_gates:
        d_direct = values[Value(Kind.RECURRENT_PART, step.direct_gates[0])].array
        h_before = at.without_padding(saved.states[0][1:] if seq.reverse else saved.states[0][:-1])
        found.append((step.direct_gates, d_direct, h_before))
    named, reached = source_names(step), dict(step.backward.outputs)
    for j, gate in enumerate(step.products):
        source = Value(Kind.SOURCE, str(j))
        if source in reached:
            d_product = values[Value(Kind.PRODUCT_COTANGENT, source.name)]
            found.append(((gate,), d_product.array, values[named[source]].array))
    for gates, d, v in found:
        gradient, sums = xp.matmul(at.flat(d).T, at.flat(v)), at.flat(d).sum(0)
        for i, gate in enumerate(gates):
            to, start = slice(at.recurrent_rows(gate), at.recurrent_rows(gate) + at.H), i * at.H
            d_hh[to] += gradient[start : start + at.H]
            if d_bias is not None:
                d_bias[to] += sums[start : start + at.H]
    return d_hh, d_bias
