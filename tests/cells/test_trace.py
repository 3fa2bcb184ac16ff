"""Cells as Programs: the form of the Programs, their values, and the equations that the trace refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from user_cells import USER_CELLS, flat_state, ind_rnn, passing, several_products, spelled_out

import tinygrad_rnn as tg
from tinygrad_rnn import nn, sigmoid, tanh, where
from tinygrad_rnn.cells import BUILT_IN, Gate, cell, find_cell
from tinygrad_rnn.cells.trace import trace
from tinygrad_rnn.kernels.ir.operations import OPERATIONS
from tinygrad_rnn.kernels.ir.program import Constant, Kind, Op

ALL = BUILT_IN | USER_CELLS
every_cell = pytest.mark.parametrize("name", ALL)
UNITS = 4


def source_values(step, seed=0, rows=3):
    """Return random values of every input that the forward Program may have."""
    rng = np.random.default_rng(seed)
    names = [p + n for p, group in zip("xhs", (step.gates, step.gates, step.states)) for n in (f".{g}" for g in group)]
    values = {name: rng.standard_normal((rows, UNITS)) for name in names}
    values |= {"p." + name: rng.standard_normal(UNITS) for name in step.params}
    return values | {"e." + name: rng.random((rows, UNITS)) for name in step.inputs}


def run(program, values, product=None):
    """Run a Program. Values and outputs have the names that listings print: x.i, s.h, new.h."""
    given = {key: values[str(key)] for key in program.inputs}
    return {str(key): value for key, value in program.run(given, product).items()}


def names(keys):
    return [str(key) for key in keys]


def weights_of(step, seed=1):
    """Return a recurrent matrix and a bias for each gate."""
    rng = np.random.default_rng(seed)
    return {g: (rng.standard_normal((UNITS, UNITS)), rng.standard_normal(UNITS)) for g in step.gates}


def product_with(weights):
    def product(op, v):
        weight, bias = weights[op.gate]
        return v @ weight if op.name == "product_t" else v @ weight.T + bias

    return product


# The form of Programs


@every_cell
def test_programs_are_single_assignment_and_nothing_in_them_is_dead(name):
    step = trace(ALL[name])
    for program in (step.forward, step.backward):
        read = [a for op in program.ops for a in op.args] + [ref for _, ref in program.outputs]
        for k, op in enumerate(program.ops, len(program.inputs)):
            assert op.name in OPERATIONS or op.name in ("product", "product_t")
            assert all(isinstance(a, Constant) or type(a) is int and 0 <= a < k for a in op.args)
            assert k in read, f"{op} is computed for nothing"
        assert all(k in read for k in range(len(program.inputs))), "an input is read by nobody"
        assert len(set(program.ops)) == len(program.ops), "an operation is written down twice"
        assert len(set(program.inputs)) == len(program.inputs)


@every_cell
def test_the_backward_reads_what_the_forward_saves_and_no_more(name):
    step = trace(ALL[name])
    assert set(step.saved) == {i for i in step.backward.inputs if i.kind is Kind.SAVED}
    given = {*names(step.saved), *("s." + s for s in step.states), *("p." + p for p in step.params)}
    given |= {"d." + s for s in step.states} | {"e." + e for e in step.inputs}
    assert set(names(step.backward.inputs)) <= given
    assert len({ref for out, ref in step.forward.outputs if out in step.saved}) == len(step.saved)


def test_equal_operations_are_shared_in_either_order():
    @cell(gates="ab")
    def shared(a, s):
        return tanh(a.a * a.b) + tanh(a.b * a.a) + (a.a * a.b)

    operations = [op.name for op in trace(shared).forward.ops]
    assert operations.count("tanh") == 1
    assert operations.count("mul") == 1


def test_an_lstm_saves_its_four_gates_and_tanh_c():
    step = trace(BUILT_IN["lstm"])
    saved = {ref for value, ref in step.forward.outputs if value in step.saved}
    made = [step.forward.ops[ref - len(step.forward.inputs)].name for ref in sorted(saved)]
    assert sorted(made) == ["sigmoid", "sigmoid", "sigmoid", "tanh", "tanh"]
    assert "s.c" in names(step.backward.inputs)
    assert not any(op.name in ("tanh", "sigmoid", "exp") for op in step.backward.ops)


def test_gates_have_rows_only_in_the_weights_that_the_equations_use():
    gru, before = trace(BUILT_IN["gru"]), trace(BUILT_IN["gru_reset_before"])
    assert gru.direct_gates == gru.recurrent_gates == gru.input_gates == ("r", "z", "n")
    assert gru.products == () and gru.reads_h
    assert before.direct_gates == ("r", "z") and before.products == ("n",)
    assert before.recurrent_gates == ("r", "z", "n")
    assert trace(ind_rnn).recurrent_gates == ()
    assert trace(several_products).recurrent_gates == ("n", "q")
    assert trace(several_products).direct_gates == ("n",)
    assert not trace(BUILT_IN["lstm"]).reads_h


def test_the_simplest_forms_are_written():
    @cell(gates="h")
    def plain(a, s):
        return (a.h + 0.0) * 1.0 / 1.0 - 0 + a.h**1 * 0.5 * 2 + a.h**2

    ops = trace(plain).forward.ops
    assert [op.name for op in ops].count("pow") == 0
    assert not any(arg in (Constant(0.0), Constant(1.0)) for op in ops for arg in op.args)


def test_a_constant_is_never_taken_for_the_value_of_that_number():
    @cell(gates="h")
    def numbers(a, s):  # x.h is value 0, h.h is value 1, s.h is value 2
        return a.h.x * 2.0 + a.h.h * 3.0 + 0.0 * s.h + 1.0 + tanh(s.h * 1.5)

    step = trace(numbers)
    given = source_values(step)
    out = run(step.forward, given)["new.h"]
    expected = given["x.h"] * 2 + given["h.h"] * 3 + 0 * given["s.h"] + 1 + np.tanh(given["s.h"] * 1.5)
    np.testing.assert_allclose(out, expected, 1e-14)
    assert Constant(1.0) != 1
    assert Op("add", (0, Constant(1.0))) != Op("add", (0, 1))
    assert Op("mul", (1, Constant(0.0))) in {Op("mul", (1, Constant(0.0)))}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_choice_between_constants_has_the_dtype_of_the_values(dtype):
    step = trace(flat_state)
    given = {name: value.astype(dtype) for name, value in source_values(step).items()}
    out = run(step.forward, given)
    assert {out["new." + name].dtype for name in step.states} == {np.dtype(dtype)}


# The values of Programs


@every_cell
def test_the_forward_program_is_the_equations(name):
    given_cell = ALL[name]
    step = trace(given_cell)
    values, weights = source_values(step), weights_of(step)
    product = product_with(weights)
    out = run(step.forward, values, product)
    box = lambda prefix, group: {n: tg.tensor(values[prefix + n]) for n in group}
    of = lambda g: lambda v: tg.tensor(product(Op("product", (0,), g), v.numpy()))
    x, h = box("x.", step.gates), box("h.", step.gates)
    new = given_cell(
        {g: Gate(x[g], h[g], of(g)) for g in step.gates},
        box("s.", step.states), box("p.", step.params), box("e.", step.inputs),
    )  # fmt: skip
    for state, value in zip(step.states, new):
        np.testing.assert_allclose(out["new." + state], value.numpy(), 1e-6 if value.dtype == np.float32 else 1e-13)


@every_cell
def test_the_backward_program_is_the_derivative_of_the_forward(name):
    """It agrees with finite differences by every source, including the results of further products."""
    step = trace(ALL[name])
    values, weights = source_values(step, seed=3), weights_of(step)
    rng = np.random.default_rng(5)
    cotangents = {"d." + state: rng.standard_normal((3, UNITS)) for state in step.states}
    offsets = {f"v.{j}": np.zeros((3, UNITS)) for j in range(len(step.products))}
    moving = {f"{source}" for source in (*values, *offsets)}
    if name == "several_products":
        moving -= {"s.c"}  # a part of its influence is detached on purpose

    def loss(values, offsets):
        order = iter(offsets.values())
        product = product_with(weights)
        out = run(step.forward, values, lambda op, v: product(op, v) + next(order))
        return sum((np.broadcast_to(out["new." + n[2:]], d.shape) * d).sum() for n, d in cotangents.items())

    forward = run(step.forward, values, product_with(weights))
    known = values | cotangents | {n: forward[n] for n in names(step.saved)}
    derived = run(step.backward, known, product_with(weights))
    for source in sorted(moving):
        place = values if source in values else offsets
        v = rng.standard_normal(place[source].shape)
        shifted = [{**place, source: place[source] + sign * 1e-6 * v} for sign in (1, -1)]
        both = [loss(s, offsets) if place is values else loss(values, s) for s in shifted]
        numeric = (both[0] - both[1]) / 2e-6
        found = np.asarray(derived.get(source, 0.0))
        assert math.isclose((found * v).sum(), numeric, rel_tol=1e-6, abs_tol=1e-7), source


def test_products_asked_for_twice_are_one_product_whose_cotangents_add_up():
    step = trace(several_products)
    products = [op for op in step.forward.ops if op.name == "product"]
    assert len(products) == len(step.products) == len(set(products))
    assert step.products == tuple(op.gate for op in products)
    assert {f"v.{j}" for j in range(len(products))} <= {str(value) for value, _ in step.backward.outputs}


def test_a_product_that_reaches_no_state_leaves_no_trace():
    @cell(gates="nq")
    def unused(a, s):
        a.q.recurrent(tanh(s.h))
        return tanh(a.n)

    step = trace(unused)
    assert step.products == () and step.recurrent_gates == ("n",)


def test_states_that_pass_through_or_come_twice():
    step = trace(passing)
    forward = {str(value): ref for value, ref in step.forward.outputs}
    assert forward["new.a"] == names(step.forward.inputs).index("s.a")
    assert forward["new.h"] == forward["new.b"]
    given = source_values(step) | {"d." + s: np.full((3, UNITS), float(i)) for i, s in enumerate("hab", 1)}
    given |= run(step.forward, given)
    out = run(step.backward, given)
    slope = 1 - np.tanh(given["x.n"] + given["h.n"] + 0.5 * given["s.a"] - 0.25 * given["s.b"]) ** 2
    np.testing.assert_allclose(out["x.n"], (1 + 3) * slope)
    np.testing.assert_allclose(out["s.a"], 2 + 0.5 * 4 * slope)
    assert {"x.n", "h.n", "s.a", "s.b"} == {str(value) for value, _ in step.backward.outputs}


def test_a_cell_that_stops_every_gradient_has_an_empty_backward():
    @cell(gates="h")
    def stopped(a, s):
        return tanh(a.h).detach()

    assert trace(stopped).backward.outputs == ()
    layer = nn.Recurrent(stopped, 2, 3)
    layer(tg.ones(4, 1, 2))[0].sum().backward()
    assert not layer.weight_ih_l0.grad.numpy().any()


def test_multi_letter_names():
    step = trace(spelled_out)
    assert step.gates == ("reset", "update", "candidate")
    assert {"x.candidate", "h.candidate", "s.hidden", "p.leak"} <= set(names(step.forward.inputs))
    assert {"maximum", "minimum", "div", "sqrt", "abs"} <= {op.name for op in step.forward.ops}
    layer = nn.Recurrent(spelled_out, 2, 3, learn_initial_state=True)
    assert [n for n, _ in layer.named_parameters()][-2:] == ["p_leak_l0", "hidden_0_l0"]
    spaced = cell(gates="reset update, candidate")(lambda a, s: a.reset)
    assert spaced.gates == step.gates


def test_gate_parts_in_plain_use():
    x, h = tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0], requires_grad=True)
    gate = Gate(x, h, lambda v: v * 3)
    np.testing.assert_array_equal(gate.numpy(), [11, 22])
    assert gate.x is x and gate.h is h
    np.testing.assert_array_equal(gate.recurrent(h).detach().numpy(), [30, 60])
    (gate * gate.h).sum().backward()
    np.testing.assert_array_equal(h.grad.numpy(), [21, 42])


def test_tracing_is_done_once_and_in_any_mode():
    assert trace(BUILT_IN["lstm"]) is trace(find_cell("lstm"))
    fresh = lambda: cell(gates="h")(lambda a, s: 1 / tanh(a.h))
    with tg.no_grad():
        quiet = trace(fresh())
    with tg.detect_anomaly():
        watched = trace(fresh())
    assert quiet.backward == watched.backward == trace(fresh()).backward
    assert len(quiet.backward.outputs) == 2


# Refused equations


def refused(equations, match, error=TypeError, **names):
    with pytest.raises(error, match=match) as caught:
        trace(cell(**{"gates": "h", **names})(equations))
    return caught.value


@pytest.mark.parametrize(
    "equations, operation",
    [
        (lambda a, s: a.h / a.h.sum(), "sum"),
        (lambda a, s: a.h - a.h.mean(), "sum"),
        (lambda a, s: a.h.max(), "amax"),
        (lambda a, s: a.h.reshape(-1), "reshape"),
        (lambda a, s: tg.softmax(a.h, -1), "softmax"),
        (lambda a, s: a.h[0], "getitem"),
    ],
)
def test_operations_across_units_are_refused_by_name(equations, operation):
    error = refused(equations, rf"cell <lambda>: {operation}: expected an operation on each unit by itself: add, sub")
    assert "of one unit" in error.__notes__[0]


@pytest.mark.parametrize(
    "equations",
    [
        lambda a, s: a.h @ a.h,
        lambda a, s: a.h.sum(1),
        lambda a, s: tg.concat([a.h, s.h]),
        lambda a, s: np.ones(3) * a.h,
        lambda a, s: a.h * tg.ones(3),
        lambda a, s: where(np.ones(3) > 0, a.h, s.h),
        lambda a, s: tg.maximum(np.ones(3), a.h),
        lambda a, s: a.h + tg.zeros_like(s.h),
    ],
)
def test_arrays_and_shapes_are_refused_with_the_cell_named(equations):
    with pytest.raises((TypeError, ValueError, IndexError)) as caught:
        trace(cell(gates="h")(equations))
    note = caught.value.__notes__[0]
    assert note.startswith("While cell <lambda> was traced")
    assert note.endswith("an array belongs among the cell's params or inputs.")


@pytest.mark.parametrize(
    "equations, got",
    [
        (lambda a, s: (a.h, a.h), r"\['Gate', 'Gate'\]"),
        (lambda a, s: (), r"\[\]"),
        (lambda a, s: 1.0, r"\['float'\]"),
        (lambda a, s: None, r"\['NoneType'\]"),
        (lambda a, s: [a.h], r"\['list'\]"),
        (lambda a, s: np.ones(3), r"\['ndarray'\]"),
    ],
)
def test_returned_states_must_be_as_many_tensors(equations, got):
    refused(equations, rf"cell <lambda>: expected it to return 1 new states, got {got}")


def test_other_refusals():
    refused(lambda a, s: s.h * 0.5, "expected equations that use the input's part of some gate, got none")
    refused(lambda a, s: a.h.h, "expected equations that use the input's part of some gate, got none")
    refused(lambda a, s: tg.ones(3), "state h: expected gates, states, params, inputs and numbers, got ndarray")
    refused(lambda a, s: a.h.recurrent(1.0), r"h.recurrent: expected a vector computed from states.* got float")
    refused(lambda a, s: a.h.recurrent(tg.ones(3)), r"h.recurrent: expected a vector .* got ndarray")
    refused(lambda a, s: a.h if a.h > 0 else s.h, r"got a branch on a value .* write where\(condition, x, y\)")
    refused(lambda a, s: a.h * float(s.h), "got a branch on a value or a number asked for")
    refused(lambda a, s: a.h > 0, r"state h: expected numbers, got a condition: write where\(condition, 1.0, 0.0\)")
    refused(lambda a, s: (a.h > 0) * s.h, "mul: expected numbers, got a condition")
    refused(lambda a, s: where(s.h, a.h, 0.0), "where: expected a condition such as x > 0, got a number")
    refused(lambda a, s: a.x, r"expected one of h, got x: .*\['x'\]", AttributeError)
    refused(lambda a, s: nn.functional.dropout(a.h), "draw no random numbers, as they are traced once")
    refused(lambda a, s: a.h * sigmoid(s.reset), r"declared in a list, e.g. \['reset'\]", AttributeError)


@pytest.mark.parametrize(
    "names, error, match",
    [
        ({"gates": "ii"}, ValueError, "gates: expected different names.* got 'ii'"),
        ({"gates": "reset"}, ValueError, "gates: expected different names.* got 'reset'"),
        ({"gates": "i 2nd"}, ValueError, "gates: expected different names"),
        ({"gates": ""}, ValueError, "expected at least one gate and one state"),
        ({"gates": "i", "states": ()}, ValueError, "expected at least one gate and one state"),
        ({"gates": "i", "params": ["a", "a"]}, ValueError, "params: expected different names"),
        ({"gates": "i", "inputs": ["a-b"]}, ValueError, "inputs: expected different names"),
        ({"gates": 3}, TypeError, "gates: expected names, e.g. .* got 3"),
        ({"gates": [1]}, TypeError, r"gates: expected names, e.g. .* got \[1\]"),
        ({"gates": tanh}, TypeError, "gates: expected names"),
    ],
)
def test_bad_names_are_refused(names, error, match):
    with pytest.raises(error, match=match):
        cell(**names)


def test_find_cell():
    assert find_cell("gru") is BUILT_IN["gru"]
    assert find_cell(ind_rnn) is ind_rnn
    assert repr(find_cell("lstm")) == "<cell lstm: gates i f g o, states h c>"
    for given in ("lstn", 3, lambda a, s: a.h):
        with pytest.raises(ValueError, match=r"cell: expected a function under @cell or one of rnn_tanh, .* got"):
            find_cell(given)


def test_isfinite_is_a_condition():
    @cell(gates="n")
    def finite(a, s):
        return where(tg.isfinite(a.n) & (a.n > 0), tanh(a.n), 0.0)

    x = tg.tensor(np.array([[[1.0]], [[-1.0]], [[np.inf]]], "f"))
    layer = nn.Recurrent(finite, 1, 1, bias=False)
    with tg.no_grad():
        layer.weight_ih_l0.fill_(1.0)
        layer.weight_hh_l0.fill_(0.0)
    np.testing.assert_allclose(layer(x)[0].numpy().ravel(), [np.tanh(1), 0, 0], 1e-6)


@pytest.mark.parametrize(
    ("equations", "words"),
    [
        (lambda a, s: (a.n > 0).float() * a.n, "cast: expected numbers of the layer's dtype"),
        (lambda a, s: a.n.h.double(), "cast: expected numbers of the layer's dtype"),
        (lambda a, s: a.n.h.data.tolist(), "tolist: expected arithmetic and elementwise functions"),
    ],
)
def test_the_message_names_a_missing_method(equations, words):
    with pytest.raises((TypeError, AttributeError), match=f"cell <lambda>: {words}"):
        trace(cell(gates="n")(equations))


def test_names_that_give_equal_arguments_are_refused():
    with pytest.raises(ValueError, match=r"got \['p_a_0'\] twice"):
        cell(gates="n", states=["h", "p_a"], params=["a_0"])
