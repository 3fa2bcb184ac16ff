"""Writes a step's Programs as the C++ of its kernels: a type for each stage, as `stage.cuh` describes it.

Only straight-line code and constants are generated. The `.cuh` files contain the loops, the use of memory and the order
of work; these are the same for every cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..ir.equations import equations
from ..ir.operations import OPERATIONS
from ..ir.plan import Plan, Stage
from ..ir.program import (
    Constant,
    Kind,
    Op,
    Ref,
    Value,
)
from .tiles import RING, THREADS, TILES

FUNCTIONS = ("train", "infer", "backward")
"""The functions of a library, in the order of their numbers in interface.h."""

NUMBERS = {"float32": "float", "float64": "double"}
"""The types of number of the kernels, with their names in C++. All products but float64's are of float32 numbers."""

FILE = """/* Generated: the cell {name}, products in {products}. */
#define RNN_THREADS {threads}
#define RNN_RING {ring}
#include "pointwise.cuh"
#include "scan.cuh"

using Number = {number};
using Few = {few};
using Many = {many};
{stages}
{functions}

#include "launch.cuh"
"""

STAGE = """
struct {name} {{
    static constexpr int inputs = {inputs}, outputs = {outputs}, products = {products}, results = {results};
    static constexpr int passes = {passes};
    __host__ __device__ static constexpr int count(int product) {{ return {count}; }}
    __host__ __device__ static constexpr Source source(int product) {{ return {source}; }}
    __host__ __device__ static constexpr Passed passed(int i) {{ return {passed}; }}
    template <class T> __device__ __forceinline__ static void run(const T *in, const T *sum, T *out) {{
{body}
    }}
}};
"""


@dataclass(frozen=True)
class Source:
    """A vector that products multiply: outputs side by side. later: the next step reads it, this step does not."""

    outputs: tuple[Value, ...]
    later: bool


def product_sources(plan: Plan, function: str) -> dict[Value, Source]:
    """Return the sources of a function's products, in the order of their numbers."""
    found = dict[Value, Source]()
    for product in (product for stage in plan.stages(function) for product in stage.products):
        source = product.source
        if source.kind is Kind.LATER_COTANGENTS:
            kind = Kind.INPUT_PART if plan.shares else Kind.RECURRENT_PART
            found[source] = Source(tuple(Value(kind, gate) for gate in product.gates), later=True)
        elif source.kind is Kind.STATE:
            found[source] = Source((Value(Kind.NEW_STATE, source.name),), later=True)
        else:
            found[source] = Source((source,), later=False)
    return found


def source(plan: Plan, products: str) -> str:
    """Return the source file of a step's library. products: a key of TILES."""
    stages, functions = list[str](), list[str]()
    for function in FUNCTIONS:
        title, own = function.capitalize(), product_sources(plan, function)
        names = [f"{title}{i}" for i in range(len(plan.stages(function)))]
        stages += [_stage(name, stage, own, function) for name, stage in zip(names, plan.stages(function))]
        backward = str(function == "backward").lower()
        functions.append(f"using {title} = Function<{backward}, {len(own)}, {', '.join(names)}>;")
    name = plan.step.name + (" with h projected" if plan.projected else "")
    few, many = (tile.name for tile in TILES[products])
    number = NUMBERS.get(products, "float")
    types: dict[str, object] = {"products": products, "number": number, "few": few, "many": many}
    types |= {"threads": THREADS[products], "ring": RING}
    return FILE.format(name=name, **types, stages="".join(stages), functions="\n".join(functions))


def inputs(stage: Stage) -> list[Value]:
    """Return the values that the Program reads from memory, in order."""
    return [value for value in stage.program.inputs if value not in stage.results]


def _stage(name: str, stage: Stage, own: dict[Value, Source], function: str) -> str:
    """Return the type of a stage. own: the function's sources. Each has a slot for this step and one for the next."""
    counts, numbers, backward = [len(product.results) for product in stage.products], list(own), function == "backward"
    outputs = [value for value, _ in stage.program.outputs]
    reads = [(numbers.index(p.source), int(own[p.source].later and backward)) for p in stage.products]
    passed = [
        (outputs.index(output), number, part, int(source.later and not backward))
        for number, source in enumerate(own.values())
        for part, output in enumerate(source.outputs)
        if output in outputs
    ]
    return STAGE.format(
        name=name,
        inputs=len(inputs(stage)),
        outputs=len(stage.program.outputs),
        products=len(counts),
        results=sum(counts),
        count=_choice("product", map(str, counts), "0"),
        source=_choice("product", (f"Source{{{', '.join(map(str, read))}}}" for read in reads), "Source{}"),
        passes=len(passed),
        passed=_choice("i", (f"Passed{{{', '.join(map(str, part))}}}" for part in passed), "Passed{}"),
        body="\n".join("        " + line for line in _body(stage)),
    )


def _choice(number: str, cases: Iterable[str], otherwise: str) -> str:
    """Return a C++ expression that selects a case by its number."""
    return "".join(f"{number} == {i} ? {case} : " for i, case in enumerate(cases)) + otherwise


def _body(stage: Stage) -> list[str]:
    """Return the Program's equations as comments, then the Program as statements, each naming one value v<k>."""
    program, sums, read = stage.program, stage.results, inputs(stage)
    lines, kinds = [f"// {line}" for line in equations(program)], list[bool]()  # whether each value is a condition
    for k, value in enumerate(program.inputs):
        where = f"sum[{sums.index(value)}]" if value in sums else f"in[{read.index(value)}]"
        lines.append(f"const T v{k} = {where};  // {value}")
        kinds.append(False)
    for op in program.ops:
        is_condition = OPERATIONS[op.name].is_condition
        lines.append(f"const {'bool' if is_condition else 'T'} v{len(kinds)} = {_operation(op, kinds)};")
        kinds.append(is_condition)
    lines += [f"out[{j}] = {_number(ref, kinds)};  // {value}" for j, (value, ref) in enumerate(program.outputs)]
    return lines


def _operation(op: Op, kinds: Sequence[bool]) -> str:
    operation = OPERATIONS[op.name]
    conditions = operation.condition_args
    texts = [_condition(a, kinds) if i < conditions else _number(a, kinds) for i, a in enumerate(op.args)]
    return operation.c.format(*texts)


def _number(ref: Ref, kinds: Sequence[bool]) -> str:
    """Return a value as a number; a condition counts as 1 or 0."""
    if isinstance(ref, Constant):
        return f"T({_literal(ref.value)})"
    return f"T(v{ref})" if kinds[ref] else f"v{ref}"


def _condition(ref: Ref, kinds: Sequence[bool]) -> str:
    """Return a value as a condition; a stored condition is a number that is 0 or not."""
    if isinstance(ref, Constant):
        return "true" if ref.value else "false"
    return f"v{ref}" if kinds[ref] else f"(v{ref} != T(0))"


def _literal(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "-INFINITY" if value < 0 else "INFINITY"
    return value.hex()  # every bit
