"""Cuts a step's Programs into the stages of compiled code: each is a few matrix products and then pointwise work.

Most cells have one stage: h times the recurrent weights, then the whole Program. A product further on in the step
(a reset before the product, a projection of h) starts another stage, because it needs the whole vector that it
multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..runtime.bounded import bounded
from .program import (
    Constant,
    Kind,
    Op,
    Program,
    Ref,
    Step,
    Value,
)

Outputs = dict[Value, Ref]


@dataclass(frozen=True)
class Multiplication:
    """A product of a stage: `source`, a vector of the step, times the recurrent weights of `gates`.

    Forward, the result has a part for each gate, and `results` names them. Backward, the source has a part for each
    gate, and there is one result. projection: the weights are weight_hr, and `gates` is empty.
    """

    source: Value
    gates: tuple[str, ...]
    results: tuple[Value, ...]
    projection: bool = False


@dataclass(frozen=True)
class Stage:
    """Products, and the Program that runs on them.

    projected: the Program runs over the P units of a projected h; otherwise over the H hidden units.
    """

    products: tuple[Multiplication, ...]
    program: Program[Value]
    projected: bool = False

    @property
    def results(self) -> list[Value]:
        """The results of the products, in order."""
        return [result for product in self.products for result in product.results]


@dataclass(frozen=True)
class Plan:
    """A step's stages. train, infer: the forward with and without what the backward reads. adjoint: the backward.

    shares: whether the cotangents of the recurrent parts equal those of the input parts and are stored once.
    in_place: whether `train` writes saved activations over the input parts: memory just read costs least to write.
    """

    step: Step
    projected: bool
    train: tuple[Stage, ...]
    infer: tuple[Stage, ...]
    adjoint: tuple[Stage, ...]
    shares: bool
    in_place: bool

    def stages(self, function: str) -> tuple[Stage, ...]:
        """Return the stages of a generated function: `train`, `infer` or `backward`."""
        return {"train": self.train, "infer": self.infer, "backward": self.adjoint}[function]


@bounded(256)
def plan(step: Step, projected: bool) -> Plan:
    """Return the plan of a step, with or without a projection of h."""
    back = dict(step.backward.outputs)
    pairs = [(back.get(Value(Kind.INPUT_PART, g)), back.get(Value(Kind.RECURRENT_PART, g))) for g in step.gates]
    shares = step.direct_gates == step.input_gates and all(x == h for x, h in pairs)
    stored = set(source_names(step).values())
    outputs = {v: ref for v, ref in step.forward.outputs if v.kind is not Kind.SOURCE or v in stored}
    read = {v: ref for v, ref in outputs.items() if v.kind is not Kind.SAVED}
    train, infer = _forward(step, outputs, projected), _forward(step, read, projected)
    # A later stage would find the input parts overwritten. So only a plan of one stage works in place.
    in_place = len(train) == 1 and len(step.saved) >= len(step.input_gates)
    return Plan(step, projected, train, infer, _adjoint(step, shares, projected), shares, in_place)


@bounded(256)
def source_names(step: Step) -> dict[Value, Value]:
    """Return for the source of each further product the source that names its stored vector.

    Several gates may multiply the same vector: it is stored once, under the name of the first source.
    """
    first: dict[Ref, Value] = {}
    return {v: first.setdefault(ref, v) for v, ref in step.forward.outputs if v.kind is Kind.SOURCE}


def extract(
    program: Program[Value], outputs: Mapping[Value, Ref], given: Mapping[Ref, Value] | None = None
) -> Program[Value]:
    """Return the part of a Program that computes `outputs` from its inputs and from `given` values."""
    given, n = given or {}, len(program.inputs)
    live: set[Ref] = set(outputs.values())
    for k in reversed(range(len(program.ops))):
        if n + k in live and n + k not in given:
            live |= set(program.ops[k].args)
    inputs: dict[Ref, Value] = {ref: v for ref, v in enumerate(program.inputs) if ref in live}
    inputs |= {ref: v for ref, v in given.items() if ref in live}
    ops = [k for k in range(len(program.ops)) if n + k in live and n + k not in given]
    number: dict[Ref, Ref] = {ref: i for i, ref in enumerate([*inputs, *(n + k for k in ops)])}
    move: Callable[[Ref], Ref] = lambda ref: number.get(ref, ref)
    return Program(
        tuple(inputs.values()),
        tuple(Op(op.name, tuple(map(move, op.args)), op.gate) for op in map(program.ops.__getitem__, ops)),
        tuple((v, move(ref)) for v, ref in outputs.items()),
    )


class _Builder:
    """Builds a Program over other inputs from an old one, operation by operation."""

    def __init__(self, inputs: list[Value]):
        self.inputs, self.ops = inputs, list[Op]()
        self.number: dict[Ref, Ref] = {}  # a value's number in the old Program -> its number in the new one

    def emit(self, name: str, *args: Ref, gate: str = "") -> Ref:
        self.ops.append(Op(name, args, gate))
        return len(self.inputs) + len(self.ops) - 1

    def input(self, kind: Kind, name: str) -> Ref:
        return self.inputs.index(Value(kind, name))

    def move(self, ref: Ref) -> Ref:
        return self.number.get(ref, ref)

    def program(self, outputs: Outputs) -> Program[Value]:
        return Program(tuple(self.inputs), tuple(self.ops), tuple(outputs.items()))


_BIAS = {Kind.INPUT_PART: Kind.INPUT_BIAS, Kind.RECURRENT_PART: Kind.RECURRENT_BIAS}


def _forward(step: Step, outputs: Outputs, projected: bool) -> tuple[Stage, ...]:
    """Return the forward's stages.

    A tile computes products without biases, so the Program adds INPUT_BIAS and RECURRENT_BIAS to them.
    """
    old = extract(step.forward, outputs)
    biases = [Value(_BIAS[v.kind], v.name) for v in old.inputs if v.kind in _BIAS]
    biases += [Value(Kind.RECURRENT_BIAS, gate) for gate in dict.fromkeys(step.products)]
    new = _Builder([*old.inputs, *biases])
    for i, v in enumerate(old.inputs):
        new.number[i] = new.emit("add", i, new.input(_BIAS[v.kind], v.name)) if v.kind in _BIAS else i
    for k, op in enumerate(old.ops):
        value = new.emit(op.name, *map(new.move, op.args), gate=op.gate)
        if op.is_product:
            value = new.emit("add", value, new.input(Kind.RECURRENT_BIAS, op.gate))
        new.number[len(old.inputs) + k] = value
    found = {v: new.move(ref) for v, ref in old.outputs}
    h = Value(Kind.NEW_STATE, step.states[0])
    if projected:
        found[Value(Kind.UNPROJECTED, h.name)] = found[h]
        found[h] = new.emit("projection", found[h])
    first = []
    if step.direct_gates:
        results = tuple(Value(Kind.RECURRENT_PART, gate) for gate in step.direct_gates)
        first = [Multiplication(Value(Kind.STATE, h.name), step.direct_gates, results)]
    return _stages(new.program(found), first, {h} if projected else set())


def _adjoint(step: Step, shares: bool, projected: bool) -> tuple[Stage, ...]:
    """Return the backward's stages.

    A Step's Program reads the cotangent of each state as COTANGENT. The new Program first computes it: OUTPUT_COTANGENT
    + CARRY, and for h also + the product of LATER_COTANGENTS with the recurrent weights. The loops read and write CARRY
    and PARAM_SUM in place.
    """
    old, back = step.backward, dict(step.backward.outputs)
    h = step.states[0]
    later = Value(Kind.PRODUCT, "later")
    read = [v for v in old.inputs if v.kind is not Kind.COTANGENT]
    sums = [Value(Kind.PARAM_SUM, p) for p in step.params if Value(Kind.PARAM, p) in back]
    states = [Value(kind, s) for s in step.states for kind in (Kind.OUTPUT_COTANGENT, Kind.CARRY)]
    new = _Builder([*read, *states, *sums] + ([later] if step.direct_gates else []))
    found: Outputs = {}

    new.number |= {i: new.inputs.index(v) for i, v in enumerate(old.inputs) if v in read}
    for s in step.states:
        if Value(Kind.COTANGENT, s) not in old.inputs:
            continue
        total = new.emit("add", new.input(Kind.OUTPUT_COTANGENT, s), new.input(Kind.CARRY, s))
        if s == h and step.direct_gates:
            total = new.emit("add", total, new.inputs.index(later))
        if s == h and projected:
            found[Value(Kind.PROJECTED_COTANGENT, h)] = total
            total = new.emit("projection_t", total)
        new.number[old.inputs.index(Value(Kind.COTANGENT, s))] = total
    for k, op in enumerate(old.ops):
        new.number[len(old.inputs) + k] = new.emit(op.name, *map(new.move, op.args), gate=op.gate)

    def result(kind: Kind, name: str) -> Ref:
        return new.move(back.get(Value(kind, name), Constant(0.0)))

    found |= {Value(Kind.INPUT_PART, g): result(Kind.INPUT_PART, g) for g in step.input_gates}
    if not shares:
        found |= {Value(Kind.RECURRENT_PART, g): result(Kind.RECURRENT_PART, g) for g in step.direct_gates}
    numbers = [str(j) for j in range(len(step.products))]
    found |= {Value(Kind.PRODUCT_COTANGENT, j): result(Kind.SOURCE, j) for j in numbers}
    found |= {Value(Kind.CARRY, s): result(Kind.STATE, s) for s in step.states}
    found |= {v: new.emit("add", new.inputs.index(v), result(Kind.PARAM, v.name)) for v in sums}
    found |= {Value(Kind.INPUT_COTANGENT, e): result(Kind.INPUT, e) for e in step.inputs}
    first = []
    if step.direct_gates:
        first = [Multiplication(Value(Kind.LATER_COTANGENTS, h), step.direct_gates, (later,))]
    over_projected = {Value(Kind.PROJECTED_COTANGENT, h), Value(Kind.CARRY, h)} if projected else set()
    return _stages(extract(new.program(found), found), first, over_projected)


def _levels(program: Program[Value]) -> dict[Ref, int]:
    """Return for each value of a Program how many products lie before it: the first stage that can compute it.

    The projection of h comes after all operations before it: its stage runs over other units than the earlier stages.
    """
    level: dict[Ref, int] = dict.fromkeys(range(len(program.inputs)), 0)
    for k, op in enumerate(program.ops):
        read = level.values() if op.name == "projection" else (level.get(a, 0) for a in op.args)
        level[len(program.inputs) + k] = max(read, default=0) + op.is_product
    return level


def _stages(program: Program[Value], first: list[Multiplication], over_projected: set[Value]) -> tuple[Stage, ...]:
    """Cut a Program at its further products. first: the products of the first stage.

    over_projected: the outputs over the P units of a projected h. A stage runs over one number of units, so one stage
    computes these outputs and no others. Later stages read a value of an earlier stage as PASSED. They cannot read one
    of that stage: they compute it again from the Program's inputs, over their own units.
    """
    n, outputs, level = len(program.inputs), dict(program.outputs), _levels(program)
    level_of = lambda ref: level.get(ref, 0)
    projected_stage = max((level_of(outputs[v]) for v in over_projected), default=None)
    stage_of = {v: level_of(ref) for v, ref in outputs.items()}
    for v, at in stage_of.items():
        if at == projected_stage and v not in over_projected:
            stage_of[v] = at + 1
    products: dict[Ref, Op] = {n + k: op for k, op in enumerate(program.ops) if op.is_product}
    stored = (Kind.SOURCE, Kind.UNPROJECTED, Kind.PRODUCT_COTANGENT, Kind.PROJECTED_COTANGENT)
    source_of: dict[Ref, Value] = {ref: v for v, ref in reversed(outputs.items()) if v.kind in stored}
    passed: dict[Ref, Value] = {}
    for k, op in enumerate(program.ops, n):
        for a in op.args:
            if not isinstance(a, int) or a < n or op.is_product and a in source_of:
                continue
            if level[a] < level[k] and level[a] != projected_stage:
                passed[a] = Value(Kind.PASSED, str(a))

    stages = []
    for at in range(max([*stage_of.values(), *level.values()], default=0) + 1):
        results: dict[Ref, Value] = {ref: Value(Kind.PRODUCT, str(ref)) for ref in products if level[ref] == at}
        known = results | {ref: v for ref, v in passed.items() if level[ref] < at}
        computed = {v: ref for v, ref in outputs.items() if stage_of[v] == at}
        computed |= {v: ref for ref, v in passed.items() if level[ref] == at}
        part = extract(program, computed, known)
        multiplications = _multiplications(products, results, source_of | passed) if at else first
        stages.append(Stage(tuple(multiplications), part, at == projected_stage))
    return tuple(stages)


def _multiplications(
    products: Mapping[Ref, Op], results: Mapping[Ref, Value], source_of: Mapping[Ref, Value]
) -> list[Multiplication]:
    """Return the products of a stage. Forward, gates that multiply the same vector are one product."""
    groups: dict[tuple[Ref, ...], list[Ref]] = {}
    for ref in results:
        source = products[ref].args[0]
        groups.setdefault((source,) if products[ref].name == "product" else (source, ref), []).append(ref)
    found = []
    for (source, *_), refs in groups.items():
        gates = tuple(products[ref].gate for ref in refs if products[ref].gate)
        found.append(Multiplication(source_of[source], gates, tuple(results[ref] for ref in refs), not gates))
    return found
