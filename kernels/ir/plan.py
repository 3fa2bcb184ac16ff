"""How compiled code runs a step: its Programs cut into stages, each a few matrix products and then pointwise work.

Most cells have one stage: h times the recurrent weights, then the whole Program. A product further on in the step
(a reset before the product, a projection of h) starts another: it wants the whole vector that it multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..runtime.bounded import bounded
from .program import (
    Constant,
    Op,
    Program,
    Ref,
    Step,
)

PROJECTION = "0projection"
"""Stands for a gate in the product of weight_hr. No identifier, as the names of a cell's gates and states are."""

NEXT = "0next"
"""Stands for a state: what the step before needs of this one's cotangents of the recurrent parts."""

Move = Callable[[Ref], Ref]


@dataclass(frozen=True)
class Multiplication:
    """A tile's product: `source`, a value of the step, by the weights of `gates`.

    Forward the gates lie side by side in the result, each under its name in `results`. Backward they
    lie one after the other in what is multiplied, and `results` is one name.
    """

    source: str
    gates: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Products, and the Program that runs on them. narrow: over the width of a projected h, not the hidden units."""

    products: tuple[Multiplication, ...]
    program: Program
    narrow: bool = False


@dataclass(frozen=True)
class Plan:
    """train, infer: the forward with and without what the backward wants. adjoint: the backward, see `_adjoint`.

    shares: whether the cotangents of the recurrent parts are those of the input parts, and so stored once.
    in_place: whether `train` finds the input parts where it puts kept values: memory just read costs least to write.
    """

    step: Step
    projected: bool
    train: tuple[Stage, ...]
    infer: tuple[Stage, ...]
    adjoint: tuple[Stage, ...]
    shares: bool
    in_place: bool

    def stages(self, function: str) -> tuple[Stage, ...]:
        """Those of a generated loop: `train`, `infer` or `backward`."""
        return {"train": self.train, "infer": self.infer, "backward": self.adjoint}[function]


@bounded(256)
def plan(step: Step, projected: bool) -> Plan:
    """The plan of a step, with or without a projection of h."""
    after, back = dict(step.forward.outputs), dict(step.backward.outputs)
    shares = step.direct_gates == step.input_gates and all(back.get("x." + g) == back.get("h." + g) for g in step.gates)
    # A vector that several gates multiply is stored once, under the first one's name.
    after = {name: ref for name, ref in after.items() if not name.startswith("v.") or source_names(step)[name] == name}
    wanted = {name: ref for name, ref in after.items() if not name.startswith("k.")}
    train, infer = (_forward(step, outputs, projected) for outputs in (after, wanted))
    in_place = len(train) == 1 and len(step.kept) >= len(step.input_gates)  # a later stage would find them overwritten
    return Plan(step, projected, train, infer, _adjoint(step, shares, projected), shares, in_place)


@bounded(256)
def source_names(step: Step) -> dict[str, str]:
    """For each further product's v.j the name under which what it multiplies is stored."""
    first: dict[Ref, str] = {}
    return {name: first.setdefault(ref, name) for name, ref in step.forward.outputs if name.startswith("v.")}


def extract(program: Program, outputs: Mapping[str, Ref], given: Mapping[Ref, str] | None = None) -> Program:
    """The part of a Program that computes `outputs` from its inputs and from values that are given: number -> name."""
    given, n = given or {}, len(program.inputs)
    live: set[Ref] = set(outputs.values())
    for k in reversed(range(len(program.ops))):
        if n + k in live and n + k not in given:
            live |= set(program.ops[k].args)
    sources = [i for i in range(n) if i in live] + [ref for ref in given if ref in live]
    ops = [k for k in range(len(program.ops)) if n + k in live and n + k not in given]
    number: dict[Ref, Ref] = {ref: i for i, ref in enumerate([*sources, *(n + k for k in ops)])}
    move: Move = lambda ref: number.get(ref, ref)
    return Program(
        tuple(given.get(ref) or program.inputs[int(ref)] for ref in sources),  # type: ignore[arg-type]
        tuple(Op(op.name, tuple(map(move, op.args)), op.gate) for op in map(program.ops.__getitem__, ops)),
        tuple((name, move(ref)) for name, ref in outputs.items()),
    )


class _Builder:
    """Writes a Program anew, operation by operation."""

    def __init__(self, inputs: list[str]):
        self.inputs, self.ops = inputs, list[Op]()
        self.number: dict[Ref, Ref] = {}  # of the old Program's values here

    def emit(self, name: str, *args: Ref, gate: str = "") -> Ref:
        self.ops.append(Op(name, args, gate))
        return len(self.inputs) + len(self.ops) - 1

    def input(self, name: str) -> Ref:
        return self.inputs.index(name)

    def move(self, ref: Ref) -> Ref:
        return self.number.get(ref, ref)

    def program(self, outputs: Mapping[str, Ref]) -> Program:
        return Program(tuple(self.inputs), tuple(self.ops), tuple(outputs.items()))


def _forward(step: Step, outputs: dict[str, Ref], projected: bool) -> tuple[Stage, ...]:
    """The forward, with the biases bx.g and bh.g added to what matrix products give, and with the projection of h."""
    old = extract(step.forward, outputs)
    parts = [name for name in old.inputs if name[:2] in ("x.", "h.")]
    new = _Builder([*old.inputs, *("b" + name for name in parts), *("bh." + g for g in dict.fromkeys(step.products))])
    for i, name in enumerate(old.inputs):
        new.number[i] = new.emit("add", i, new.input("b" + name)) if name in parts else i
    for k, op in enumerate(old.ops):
        value = new.emit(op.name, *map(new.move, op.args), gate=op.gate)
        new.number[len(old.inputs) + k] = new.emit("add", value, new.input("bh." + op.gate)) if op.gate else value
    found = {name: new.move(ref) for name, ref in old.outputs}
    if projected:
        h = step.states[0]
        found["v." + PROJECTION] = found[h]
        found[h] = new.emit("product", found[h], gate=PROJECTION)
    direct = [Multiplication("s." + step.states[0], step.direct_gates, tuple("h." + g for g in step.direct_gates))]
    return _stages(new.program(found), direct if step.direct_gates else [], step.states[0], "last" if projected else "")


def _adjoint(step: Step, shares: bool, projected: bool) -> tuple[Stage, ...]:
    """The backward, with cotangents put together first, and results added up where the loops add them up.

    d.s is replaced by out.s, the cotangent of the state's sequence, + carry.s, from the step after (for h, + tile, from
    the product). carry.s and the gradients of parameters, sum.p, are read and written in place. de.e is e's
    cotangent, dv.j that of a further product's result.
    """
    old, back = step.backward, dict(step.backward.outputs)
    read = [name for name in old.inputs if not name.startswith("d.")]
    sums = [f"sum.{p}" for p in step.params if "p." + p in back]
    names = [*read, *(f"{kind}.{s}" for s in step.states for kind in ("out", "carry")), *sums]
    new = _Builder(names + (["tile"] if step.direct_gates else []))
    found: dict[str, Ref] = {}

    new.number |= {i: new.input(name) for i, name in enumerate(old.inputs) if name in read}
    for s in step.states:
        if "d." + s in old.inputs:
            total = new.emit("add", new.input("out." + s), new.input("carry." + s))
            if s == step.states[0]:
                total = new.emit("add", total, new.input("tile")) if step.direct_gates else total
                if projected:
                    found["dv." + PROJECTION] = total
                    total = new.emit("product_t", total, gate=PROJECTION)
            new.number[old.inputs.index("d." + s)] = total
    for k, op in enumerate(old.ops):
        new.number[len(old.inputs) + k] = new.emit(op.name, *map(new.move, op.args), gate=op.gate)

    result: Callable[[str], Ref] = lambda name: new.move(back.get(name, Constant(0.0)))
    found |= {"x." + g: result("x." + g) for g in step.input_gates}
    found |= {} if shares else {"h." + g: result("h." + g) for g in step.direct_gates}
    found |= {f"dv.{j}": result(f"v.{j}") for j in range(len(step.products))}
    found |= {"carry." + s: result("s." + s) for s in step.states}
    found |= {name: new.emit("add", new.input(name), result("p." + name[4:])) for name in sums}
    found |= {"de." + e: result("e." + e) for e in step.inputs}
    direct = [Multiplication(NEXT, step.direct_gates, ("tile",))] if step.direct_gates else []
    program = new.program(found)
    return _stages(extract(program, found), direct, step.states[0], "first" if projected else "")


def _levels(program: Program) -> dict[Ref, int]:
    """How many further products each value of a Program lies behind."""
    level: dict[Ref, int] = dict.fromkeys(range(len(program.inputs)), 0)
    for k, op in enumerate(program.ops):
        level[len(program.inputs) + k] = max((level.get(a, 0) for a in op.args), default=0) + bool(op.gate)
    return level


def _stages(program: Program, first: list[Multiplication], h: str, narrow: str) -> tuple[Stage, ...]:
    """A Program cut at its further products; values that pass from a stage to a later one are named t.<number>.

    narrow: which stage, "first", "last" or "", is over the width of a projected h.
    """
    level, n = _levels(program), len(program.inputs)
    outputs = dict(program.outputs)
    level_of = lambda ref: level.get(ref, 0)
    stage_of = {name: level_of(ref) for name, ref in outputs.items()}
    lowest = 0
    if narrow == "first":  # all that does not concern h moves on to the wide stage, computed there from the inputs
        of_h = ("dv." + PROJECTION, "carry." + h)
        stage_of = {name: at if name in of_h else max(at, 1) for name, at in stage_of.items()}
        lowest = 1
    products = {n + k: op for k, op in enumerate(program.ops) if op.gate}
    passing: dict[Ref, str] = {
        a: f"t.{a}"
        for k, op in enumerate(program.ops)
        for a in op.args
        if isinstance(a, int) and a >= n and lowest <= level[a] < level[n + k] - bool(op.gate)
    }
    name_of = {ref: name for name, ref in reversed(outputs.items()) if name.startswith(("v.", "dv."))}
    passing |= {op.args[0]: f"t.{op.args[0]}" for op in products.values() if op.args[0] not in name_of}
    last = max(level.values(), default=0)
    stages = []
    for at in range(last + 1):
        here = {ref: f"m.{ref}" for ref in products if level[ref] == at}
        known = here | {ref: name for ref, name in passing.items() if level[ref] < at}
        wanted = {name: ref for name, ref in outputs.items() if stage_of[name] == at}
        wanted |= {name: ref for ref, name in passing.items() if level[ref] == at}
        part = extract(program, wanted, known)
        is_narrow = at == {"first": 0, "last": last}.get(narrow)
        joined = _multiplications(products, here, passing | name_of) if at else first
        stages.append(Stage(tuple(joined), part, is_narrow))
    return tuple(stages)


def _multiplications(products: dict[int, Op], here: dict[int, str], name_of: Mapping[Ref, str]) -> list[Multiplication]:
    """The products of a stage. Forward, gates that multiply one vector are one product."""
    groups: dict[tuple, list[int]] = {}
    for ref in here:
        source = products[ref].args[0]
        groups.setdefault((source,) if products[ref].name == "product" else (source, ref), []).append(ref)
    return [
        Multiplication(name_of[key[0]], tuple(products[r].gate for r in refs), tuple(here[r] for r in refs))
        for key, refs in groups.items()
    ]
