"""The equations that `explain` prints, evaluated as Python, give the same numbers as the Programs that run."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import cli
from tinygrad_rnn.cells import BUILT_IN
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.ir.operations import OPERATIONS
from tinygrad_rnn.kernels.ir.program import Kind, Value

rng = np.random.default_rng(0)
WEIGHT = rng.standard_normal((5, 5))


def product(op, v):
    return v @ (WEIGHT if op.name == "product_t" else WEIGHT.T)


def plain(text):
    """Return a printed expression as Python: d(h') as d_new_h, d(x.i) as d_x_i, h' as new_h, and h.g as u.g."""
    text = re.sub(r"\b(\w+)'", r"new_\1", text)
    text = re.sub(r"\bd\((\w+)\.?(\w*)\)", lambda found: "_".join(["d", *filter(None, found.groups())]), text)
    return re.sub(r"\bh\.", "u.", text).replace("^T", "_t")


def read_back(lines, given):
    """Return the values of printed equations by their left sides; `given` has values by the printed names."""
    spaces = {kind: SimpleNamespace() for kind in "xupe"}
    functions = {name: operation.compute for name, operation in OPERATIONS.items()}
    known = {**spaces, **functions}
    for name in set(re.findall(r"U_\w+", plain(" ".join(lines)))):
        known[name] = (lambda v: v @ WEIGHT) if name.endswith("_t") else (lambda v: v @ WEIGHT.T)
    for name, value in given.items():
        kind, dot, rest = plain(name).partition(".")
        if dot:
            setattr(spaces[kind], rest, value)
        else:
            known[kind] = value
    found = {}
    for line in lines:
        left, right = line.strip().split(" = ")
        found[left] = known[plain(left)] = eval(plain(right), known)
    return found


def part(text, start):
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(start)) + 1
    return lines[first : lines.index("", first)]


@tg.cell(gates="g")
def bracketed(a, s):
    """Brackets change the value of this equation."""
    return a.g.x - (s.h - a.g.h) - a.g.h / (a.g.x / (2.0 + s.h * s.h)) - (-(s.h * (s.h - a.g.x)))


@pytest.mark.parametrize("given", [*BUILT_IN.values(), bracketed], ids=lambda cell: cell.name)
def test_the_printed_equations_are_those_that_are_run(given):
    step, text = trace(given), tg.explain(given)
    forms = {Kind.STATE: "{}", Kind.SAVED: "saved{}", Kind.COTANGENT: "d({}')"}
    printed = lambda value: forms[value.kind].format(value.name) if value.kind in forms else str(value)
    draw = lambda values: {value: rng.standard_normal((3, 5)) for value in values}
    as_printed = lambda given: {printed(value): array for value, array in given.items()}

    given = draw(step.forward.inputs)
    found, expected = read_back(part(text, "forward"), as_printed(given)), step.forward.run(given, product)
    for s in step.states:
        np.testing.assert_allclose(found[s + "'"], expected[Value(Kind.NEW_STATE, s)], rtol=1e-12)

    given = draw(step.backward.inputs)
    found, expected = read_back(part(text, "backward"), as_printed(given)), step.backward.run(given, product)
    for value, array in expected.items():
        if value.kind is not Kind.SOURCE:
            np.testing.assert_allclose(found[f"d({printed(value)})"], array, rtol=1e-9, atol=1e-12)


def test_what_is_saved_and_what_it_costs():
    text = tg.explain("lstm")
    assert "saved for the backward: 5 numbers a unit and step, 20 bytes in float32;" in text
    assert "pointwise work: 13 operations a unit and step forward, 22 backward" in text
    assert "products: 8 H flops a unit and step for h, 8 I for x; twice that backward" in text


def test_the_code_is_the_text_of_the_loops():
    code = tg.explain("gru", code=True)
    for function in ("train", "infer", "backward"):
        assert f"def {function}(" in code
    assert "# new.h = " in code  # the equations stand above the code that computes them
    assert "# d(x.n) = " in code


def test_the_command(capsys):
    assert cli.main(["explain", "rnn_tanh"]) == 0
    assert "h' = tanh(" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["explain", "elman"])
    assert ended.value.code == 2 and "elman" in capsys.readouterr().err


def test_an_unknown_cell_is_named():
    with pytest.raises(ValueError, match=r"expected a function under @cell or one of .*, got 'elman'"):
        tg.explain("elman")
