"""The built-in cells beyond the standard ones: their equations in NumPy, unrolled, and as kernels; their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from ladder import climb
from sequences import array, as_function, as_tuple

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, nn
from tinygrad_rnn.cells import BUILT_IN, STANDARD

T, N, I, H = 4, 3, 2, 3


def sigma(x):
    return 1 / (1 + np.exp(-x))


def np_variant(i=True, f=True, o=True, g=np.tanh, out=np.tanh, coupled=False):
    """Return a step of the vanilla LSTM of Greff et al. with one part changed: eq. of section 2."""

    def step(pre, s, p, e, w):
        c = s[1]
        gate_i = sigma(pre["i"] + p["i"] * c) if i else 1.0
        gate_f = 1 - gate_i if coupled else sigma(pre["f"] + p["f"] * c) if f else 1.0
        c = gate_f * c + gate_i * g(pre["g"])
        gate_o = sigma(pre["o"] + p["o"] * c) if o else 1.0
        return gate_o * out(c), c

    return step


def np_fgr(pre, s, p, e, w):
    c, before = s[1], s[2:]
    seen = lambda by: sum(w[f"{name}2{by}"](v) for name, v in zip("ifo", before))
    i, f = (sigma(pre[g] + p[g] * c + seen(g)) for g in "if")
    c = f * c + i * np.tanh(pre["g"])
    o = sigma(pre["o"] + p["o"] * c + seen("o"))
    return o * np.tanh(c), c, i, f, o


def np_minimal(pre, s, p, e, w):
    f = sigma(pre["f"])
    return ((1 - f) * s[0] + f * np.tanh(pre["x n"] + w["n"](f * s[0])),)


def np_zoneout(pre, s, p, e, w):
    c = sigma(pre["f"]) * s[1] + sigma(pre["i"]) * np.tanh(pre["g"])
    h = sigma(pre["o"]) * np.tanh(c)
    kept = lambda mask, old, new: mask * old + (1 - mask) * new
    return kept(e["keep_h"], s[0], h), kept(e["keep_c"], s[1], c)


def np_depth_gated(pre, s, p, e, w):
    below, c = e["c_below"], s[1]
    i, f = sigma(pre["i"] + p["i"] * c), sigma(pre["f"] + p["f"] * c)
    d = sigma(pre["x d"] + p["d"] * c + p["below"] * below)
    c = d * below + f * c + i * np.tanh(pre["g"])
    return sigma(pre["o"] + p["o"] * c) * np.tanh(c), c


EQUATIONS = {
    "nig_lstm": np_variant(i=False),
    "nfg_lstm": np_variant(f=False),
    "nog_lstm": np_variant(o=False),
    "niaf_lstm": np_variant(g=lambda z: z),
    "noaf_lstm": np_variant(out=lambda c: c),
    "cifg_peephole_lstm": np_variant(coupled=True),
    "fgr_lstm": np_fgr,
    "minimal_gated": np_minimal,
    "ind_rnn_relu": lambda pre, s, p, e, w: (np.maximum(pre["x h"] + p["u"] * s[0], 0),),
    "ind_rnn_tanh": lambda pre, s, p, e, w: (np.tanh(pre["x h"] + p["u"] * s[0]),),
    "zoneout_lstm": np_zoneout,
    "depth_gated_lstm": np_depth_gated,
    "clockwork_rnn": lambda pre, s, p, e, w: (np.where(e["tick"] > 0, np.tanh(pre["h"]), s[0]),),
}
COMPILED = ["fgr_lstm"]  # test_fused.py compiles four others of these; a cell takes seconds
every_cell = pytest.mark.parametrize("name", EQUATIONS)


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.setattr(kernels.driver, "wanted_driver", lambda: "reference")


def test_every_cell_is_here():
    assert BUILT_IN.keys() - EQUATIONS.keys() == {*STANDARD}


@every_cell
def test_a_layer_computes_the_equations(name, reference):
    """A layer equals a loop over time in NumPy that reads the parameters by their public names."""
    cell = BUILT_IN[name]
    tg.manual_seed(0)
    layer = nn.Recurrent(name, I, H, dtype="float64")
    weights = {n: p.detach().numpy() for n, p in layer.named_parameters()}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, N, I))
    inputs = {n: (rng.random((T, N, H)) > 0.4) * 1.0 for n in cell.inputs}
    states = [rng.standard_normal((N, H)) * 0.5 for _ in cell.states]
    given = tuple(tg.tensor(s[None]) for s in states)
    output, final = layer(tg.tensor(x), given, inputs={n: tg.tensor(e) for n, e in inputs.items()})

    blocks = lambda gates: {g: slice(k * H, k * H + H) for k, g in enumerate(gates)}
    w_ih, b_ih, w_hh, b_hh = (weights.get(n + "_l0") for n in ("weight_ih", "bias_ih", "weight_hh", "bias_hh"))
    recurrent = blocks(layer.step.recurrent_gates)
    products = {g: lambda v, at=at: v @ w_hh[at].T + b_hh[at] for g, at in recurrent.items()}
    params = {n: weights[f"p_{n}_l0"] for n in cell.params}
    for t in range(T):
        pre = {"x " + g: x[t] @ w_ih[at].T + b_ih[at] for g, at in blocks(layer.step.input_gates).items()}
        pre |= {g: pre["x " + g] + product(states[0]) for g, product in products.items() if "x " + g in pre}
        states = list(EQUATIONS[name](pre, states, params, {n: e[t] for n, e in inputs.items()}, products))
        np.testing.assert_allclose(output.detach().numpy()[t], states[0], 1e-11, 1e-12)
    for found, wanted in zip(as_tuple(final), states, strict=True):
        np.testing.assert_allclose(array(found)[0], wanted, 1e-11, 1e-12)


@every_cell
def test_the_sequence_node_equals_unrolled_equations(name, reference):
    climb(BUILT_IN[name], (4, 5, 2, 3), lengths=True, reverse=True)
    climb(BUILT_IN[name], (3, 1, 1, 17), bias=False)


@pytest.mark.parametrize("name", COMPILED)
def test_its_compiled_kernels_equal_the_reference(name):
    climb(BUILT_IN[name], (4, 5, 2, 3), lengths=True, reverse=True)
    climb(BUILT_IN[name], (5, 3, 1, 17), bias=False)


@every_cell
def test_gradients_of_first_and_second_order(name, reference):
    tg.manual_seed(4)
    layer = nn.Recurrent(name, 2, 2, dtype="float64")
    f, weights = as_function(layer)
    rng = np.random.default_rng(1)
    masks = {n: tg.tensor(rng.random((3, 2, 2)), requires_grad=True) for n in layer.step.inputs}
    x, count = tg.tensor(rng.standard_normal((3, 2, 2)), requires_grad=True), len(weights)

    def run(x, *rest):
        output, final = f(x, *rest[:count], inputs=dict(zip(masks, rest[count:])), lengths=[3, 1])
        return [output, as_tuple(final)[-1]]

    assert tg.gradcheck(run, [x, *weights, *masks.values()], directions=1)
    assert tg.gradgradcheck(run, [x, *weights, *masks.values()], atol=1e-5)


def test_nig_equals_a_loop_in_pytorch(reference):
    """The loop that a user of PyTorch would write, with its gradients."""
    torch = pytest.importorskip("torch")
    tg.manual_seed(0)
    layer = nn.Recurrent("nig_lstm", I, H, dtype="float64")
    theirs = {n.removesuffix("_l0"): torch.tensor(array(p), requires_grad=True) for n, p in layer.named_parameters()}
    x = np.random.default_rng(0).standard_normal((T, N, I))
    h, c, outputs = torch.zeros(N, H, dtype=torch.float64), torch.zeros(N, H, dtype=torch.float64), []
    for t in range(T):
        a = torch.from_numpy(x[t]) @ theirs["weight_ih"].T + theirs["bias_ih"]
        f, g, o = (a + h @ theirs["weight_hh"].T + theirs["bias_hh"]).chunk(3, 1)
        c = torch.sigmoid(f + theirs["p_f"] * c) * c + torch.tanh(g)
        h = torch.sigmoid(o + theirs["p_o"] * c) * torch.tanh(c)
        outputs.append(h)
    output, _ = layer(tg.tensor(x))
    np.testing.assert_allclose(array(output), torch.stack(outputs).detach().numpy(), 1e-12, 1e-13)
    torch.stack(outputs).square().sum().backward()
    (output**2).sum().backward()
    for name, p in layer.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name.removesuffix("_l0")].grad.numpy(), 1e-10, 1e-12)
