"""How a step is run on the CPU: its Programs as the loops want them, and how the units are divided into tiles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from ..program import Constant, Op, Program, Ref, Step
from .pointwise import supported
from .product import PANEL_VECTORS

Move = Callable[[Ref], Ref]


@dataclass(frozen=True)
class Plan:
    """train, infer: the forward with and without what the backward wants. adjoint: see `_adjoint`.

    vectors: of units in a block of the forward, whose tile is as wide for each direct gate.
    shares: whether the cotangents of the recurrent parts are those of the input parts, and so stored once.
    """

    step: Step
    vectors: int
    train: Program
    infer: Program
    adjoint: Program
    shares: bool


def compilable(step: Step) -> bool:
    """Whether the generated loops can run a step: one product, and operations that have vector code."""
    return not step.products and supported(step.forward) and supported(step.backward)


@functools.cache
def plan(step: Step) -> Plan:
    """The plan of a step."""
    after, back = dict(step.forward.outputs), dict(step.backward.outputs)
    infer = Program(step.forward.inputs, step.forward.ops, tuple((s, after[s]) for s in step.states))
    shares = step.direct_gates == step.input_gates and all(back.get("x." + g) == back.get("h." + g) for g in step.gates)
    vectors = max(1, PANEL_VECTORS // max(len(step.direct_gates), 1))
    train, infer = _biased(step.forward), _biased(_without_dead_code(infer))
    return Plan(step, vectors, train, infer, _adjoint(step, shares), shares)


def _biased(program: Program) -> Program:
    """The forward with the biases added to what the matrix products give: bx.g to x.g and bh.g to h.g."""
    parts = [name for name in program.inputs if name[:2] in ("x.", "h.")]
    names = [*program.inputs, *("b" + name for name in parts)]
    number: dict[Ref, Ref] = {i: i for i in range(len(program.inputs))}
    ops = []
    for i, name in enumerate(parts):
        ops.append(Op("add", (names.index(name), len(program.inputs) + i)))
        number[names.index(name)] = len(names) + i
    for k in range(len(program.ops)):
        number[len(program.inputs) + k] = len(names) + len(parts) + k
    move: Move = lambda ref: number.get(ref, ref)
    ops += [Op(op.name, tuple(map(move, op.args))) for op in program.ops]
    return Program(tuple(names), tuple(ops), tuple((name, move(ref)) for name, ref in program.outputs))


def _without_dead_code(program: Program) -> Program:
    """The operations that outputs need; LLVM would drop the others too, but not the loads of unused inputs."""
    n = len(program.inputs)
    live = {ref for _, ref in program.outputs}
    for k in reversed(range(len(program.ops))):
        if n + k in live:
            live |= set(program.ops[k].args)
    number: dict[Ref, Ref] = {}
    inputs = [name for i, name in enumerate(program.inputs) if i in live]
    kept = [i for i in range(n) if i in live] + [n + k for k in range(len(program.ops)) if n + k in live]
    number = {ref: i for i, ref in enumerate(kept)}
    move: Move = lambda ref: number.get(ref, ref)
    ops = tuple(Op(op.name, tuple(map(move, op.args))) for k, op in enumerate(program.ops) if n + k in live)
    return Program(tuple(inputs), ops, tuple((name, move(ref)) for name, ref in program.outputs))


def _adjoint(step: Step, shares: bool) -> Program:
    """The backward Program, with cotangents put together first, and results added up where the loops add them up.

    d.s is replaced by out.s, the cotangent of the state's sequence, + carry.s, from the step after (for h, + tile, from
    the product). carry.s and the gradients of parameters, sum.p, are read and written in place. de.e is e's cotangent.
    """
    old, back = step.backward, dict(step.backward.outputs)
    read = [name for name in old.inputs if not name.startswith("d.")]
    sums = [f"sum.{p}" for p in step.params if "p." + p in back]
    names = [*read, *(f"{kind}.{s}" for s in step.states for kind in ("out", "carry")), *sums]
    names += ["tile"] if step.direct_gates else []
    ops: list[Op] = []

    def emit(name: str, *args: Ref) -> Ref:
        ops.append(Op(name, args))
        return len(names) + len(ops) - 1

    number: dict[Ref, Ref] = {i: names.index(name) for i, name in enumerate(old.inputs) if name in read}
    for s in step.states:
        if "d." + s in old.inputs:
            total = emit("add", names.index("out." + s), names.index("carry." + s))
            if s == step.states[0] and step.direct_gates:
                total = emit("add", total, names.index("tile"))
            number[old.inputs.index("d." + s)] = total
    move: Move = lambda ref: number.get(ref, ref)
    for k, op in enumerate(old.ops):
        number[len(old.inputs) + k] = emit(op.name, *map(move, op.args))

    result: Callable[[str], Ref] = lambda name: move(back.get(name, Constant(0.0)))
    outputs = [("x." + g, result("x." + g)) for g in step.input_gates]
    outputs += [] if shares else [("h." + g, result("h." + g)) for g in step.direct_gates]
    outputs += [("carry." + s, result("s." + s)) for s in step.states]
    outputs += [(name, emit("add", names.index(name), result("p." + name[4:]))) for name in sums]
    outputs += [("de." + e, result("e." + e)) for e in step.inputs]
    return _without_dead_code(Program(tuple(names), tuple(ops), tuple(outputs)))
