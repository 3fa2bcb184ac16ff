"""Tensors are values: a later write to memory that others share does not change their gradients."""

import numpy as np
import pytest
from helpers import normal

import tinygrad_rnn as tg
from tinygrad_rnn import nn

F = nn.functional

STRIDED = {
    "column": lambda: tg.tensor(np.arange(12).reshape(6, 2))[:, 0],
    "step": lambda: tg.arange(14)[::2],
    "flipped": lambda: tg.arange(7).flip(0),
    "expanded": lambda: tg.tensor(3).expand(5),
    "transposed": lambda: tg.tensor(np.arange(12).reshape(3, 4)).T,
    "of 32 bits": lambda: tg.tensor(np.arange(12, dtype=np.int32))[::3],
}


@pytest.mark.parametrize("name", STRIDED)
def test_a_strided_index_of_an_embedding(name):
    index, weight = STRIDED[name](), tg.zeros(15, 4, requires_grad=True)
    F.embedding(index, weight).sum().backward()
    expected = np.bincount(index.numpy().ravel(), minlength=15)
    np.testing.assert_array_equal(weight.grad.numpy(), np.repeat(expected[:, None], 4, 1))


PICKS = {
    "embedding": lambda x, index: F.embedding(index, x),
    "getitem": lambda x, index: x[index],
    "gather": lambda x, index: x.gather(0, index),
}


@pytest.mark.parametrize("name", PICKS)
def test_an_index_that_is_overwritten_after_the_forward(name):
    shared = np.array([[1, 2, 0], [0, 1, 1]])
    x = tg.tensor(normal(3, 3), requires_grad=True)
    y = PICKS[name](x, tg.from_dlpack(shared)).sum()
    (expected,) = tg.grad(y, [x], retain_graph=True)
    shared[...] = 10**9
    np.testing.assert_array_equal(tg.grad(y, [x])[0].numpy(), expected.numpy())


def test_integers_and_booleans_are_constants():
    x = tg.tensor([1.5, 0.0, 2.5], requires_grad=True)
    for whole in (x.long(), x.bool(), x.to("int32")):
        assert not whole.requires_grad
    (x.bool() * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 1])
    x.grad = None
    (x.long().float() * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 2])


def test_in_place_writes_do_not_lose_a_gradient():
    w, z = tg.ones(2, requires_grad=True), tg.zeros(2)
    for name, write in (("copy_", lambda: z.copy_(w)), ("fill_", lambda: z.fill_(w.sum()))):
        with pytest.raises(RuntimeError, match=f"{name}: expected a value without requires_grad"):
            write()
        with tg.no_grad():
            write()
    with pytest.raises(TypeError, match="add: expected a tensor, got a list of tensors: use stack"):
        z + [w[0], w[1]]  # noqa: RUF005
    for name, write in (("copy_", lambda: z.copy_(None)), ("fill_", lambda: z.fill_(None))):
        with pytest.raises(TypeError, match=f"{name}: expected numbers, got None"):
            write()
    with pytest.raises(TypeError, match=r"x\[index\] = value: expected numbers, got None"):
        z[0] = None
    with pytest.raises(ValueError, match=r"copy_: expected what broadcasts to shape \(2,\), got shape \(3,\)"):
        z.copy_(np.zeros(3))


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4), nn.GRU(3, 4, batch_first=True), nn.RNNCell(3, 4)])
def test_an_array_given_to_a_layer_may_be_overwritten(layer):
    x = normal(5, 3).astype(np.float32)
    found = []
    for overwritten in (False, True):
        given = x.copy()
        y = layer(given)
        y = (y[0] if isinstance(y, tuple) else y).sum()
        if overwritten:
            given[...] = 0
        found.append(tg.grad(y, [next(layer.parameters())])[0].numpy())
    np.testing.assert_array_equal(*found)


def test_backward_frees_only_the_nodes_that_it_passes():
    x, w = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    h = w.exp()
    tg.grad((x * h).sum(), [x])
    h.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), np.exp([1, 2]), 1e-6)


def test_where_uses_a_number_exactly_or_refuses_it():
    small, condition = tg.tensor([1, 2], dtype="int8"), tg.tensor([True, False])
    with pytest.raises(OverflowError, match=r"where: .*300"):
        tg.where(condition, small, 300)
    assert tg.tensor([True, False]).masked_fill(condition, 0).dtype == np.bool_


@pytest.mark.parametrize("mode", [tg.no_grad, tg.enable_grad])
def test_a_mode_decorates_a_generator(mode):
    @mode()
    def recording(count):
        try:
            for _ in range(count):
                got = yield tg.is_grad_enabled()
                assert got is None and tg.is_grad_enabled() == (mode is tg.enable_grad)
        except KeyError:
            yield tg.is_grad_enabled()
        return "end"

    other = tg.no_grad if mode is tg.enable_grad else tg.enable_grad
    with other():
        generator, found = recording(2), []
        found.append(next(generator))
        assert tg.is_grad_enabled() == (other is tg.enable_grad)
        found.append(generator.throw(KeyError()))
        with pytest.raises(StopIteration) as end:
            next(generator)
        assert list(recording(3)) == [mode is tg.enable_grad] * 3
        started = recording(1)
        next(started)
        started.close()
    assert found == [mode is tg.enable_grad] * 2 and end.value.value == "end"


def test_numbers_are_formatted():
    loss = tg.tensor(1.23456)
    assert f"{loss:.3f}" == "1.235" and f"{loss}" == str(loss)


@pytest.mark.parametrize("dtype", ["float64", "int64", "int8", "bool"])
@pytest.mark.parametrize("recording", [False, True])
def test_a_weight_of_another_dtype_is_refused(dtype, recording):
    for layer, name in (
        (nn.LSTM(3, 4), "weight_hh_l0"), (nn.GRU(3, 4, 2), "bias_hh_l1"), (nn.GRUCell(3, 4), "weight_hh"),
        (nn.Recurrent("peephole_lstm", 3, 4), "p_i_l0"), (nn.RNN(3, 4, learn_initial_state=True), "h_0_l0"),
    ):  # fmt: skip
        setattr(layer, name, tg.ones(getattr(layer, name).shape).to(dtype))
        with tg.enable_grad() if recording else tg.no_grad():
            with pytest.raises(TypeError, match=f": expected float32 as x is, got {dtype}"):
                layer(tg.ones(2, 3) if isinstance(layer, nn.GRUCell) else tg.ones(2, 2, 3))


@tg.cell(gates="n", inputs="m")
def masked(a, s, e):
    return tg.tanh(a.n) * e.m


@pytest.mark.parametrize("options", [{}, {"recompute_every": 2}, {"create_graph": True}])
def test_states_and_inputs_given_as_arrays_may_be_overwritten(options):
    create_graph = options.pop("create_graph", False)
    layer, cells = nn.Recurrent(masked, 3, 4, **options), nn.GRUCell(3, 4)
    found = []
    for overwritten in (False, True):
        mask, state = np.ones((5, 2, 4), "f"), np.ones((1, 2, 4), "f")
        y = layer(tg.ones(5, 2, 3), state, inputs={"m": mask})[0].sum()
        z = cells(tg.ones(2, 3), state[0]).sum()
        if overwritten:
            mask[...], state[...] = 0, 9
        both = zip((y, z), (layer.weight_hh_l0, cells.weight_hh))
        found.append([tg.grad(out, [w], create_graph=create_graph)[0].detach().numpy() for out, w in both])
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


def test_parameters_of_pytorch_are_taken_as_numbers():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    theirs, ours = torch.nn.GRU(3, 4), nn.GRU(3, 4)
    ours.load_state_dict(dict(theirs.named_parameters()))
    np.testing.assert_array_equal(ours.weight_hh_l0.numpy(), theirs.weight_hh_l0.detach().numpy())
    assert not tg.tensor(torch.ones(2, requires_grad=True)).requires_grad


def test_a_backward_in_two_parts():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    h = x * x
    (g,) = tg.grad((h * h).sum(), h)
    h.backward(g)
    np.testing.assert_allclose(x.grad.numpy(), [4, 32])


def test_a_freed_branch_that_no_input_needs():
    x, v = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([3.0, 4.0], requires_grad=True)
    h = x * x
    y = (h * v).sum()
    h.sum().backward()
    np.testing.assert_allclose(tg.grad(y, [v], retain_graph=True)[0].numpy(), [1, 4])
    for through in (lambda: tg.grad(y, [x]), y.backward):
        with pytest.raises(RuntimeError, match=r"the graph through .* was freed"):
            through()


def test_a_leaf_that_is_frozen_for_a_while():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    calls = []
    w.register_hook(lambda g: calls.append(1))
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    w.requires_grad_(False)
    assert not (w * 2).requires_grad and w.grad.numpy().tolist() == [2, 4]
    w.requires_grad_(True)
    loss.backward()
    assert w.grad.numpy().tolist() == [4, 8] and len(calls) == 2
    w.requires_grad_(False)
    w.grad = None
    w.requires_grad_(True)
    assert w.grad is None


def test_powers_of_zero_and_to_zero():
    given = [(4.0, 0.0), (2.0, 1.0), (0.5, 2.5), (1.5, -2.0)]
    x, y = (tg.tensor(np.array(v), requires_grad=True) for v in zip(*given))
    assert tg.gradgradcheck(lambda x, y: x**y, [x, y])
    for base in (0.0, np.nan, np.inf, 1e-40):
        x = tg.tensor([base], requires_grad=True)
        assert tg.grad((x ** tg.zeros(1)).sum(), [x])[0].item() == 0.0


def test_gradients_do_not_hide_a_nan():
    nan = tg.tensor([float("nan"), 1.0, -1.0], requires_grad=True)
    other = tg.tensor([0.0, 0.0, 0.0], requires_grad=True)
    for function in (tg.maximum, tg.minimum):
        first, second = tg.grad(function(nan, other).sum(), [nan, other])
        assert first.numpy()[0] == second.numpy()[0] == 1.0
        assert (first + second).numpy().tolist() == [2, 1, 1]
    assert tg.grad(nan.relu().sum(), [nan])[0].numpy().tolist() == [1, 1, 0]
    for found in (nan.amax(), nan.amin()):
        assert tg.grad(found, [nan])[0].numpy().tolist() == [1, 0, 0]
    x, y = tg.tensor([1e25], requires_grad=True), tg.tensor([1e5], requires_grad=True)
    np.testing.assert_allclose(tg.grad(x / y, [y], [tg.tensor([1e20])])[0].numpy(), -1e35, 1e-5)


def test_numbers_outside_the_mask_keep_every_digit():
    x = tg.tensor([2, 2**53 + 1]).masked_fill(tg.tensor([True, False]), 0.0)
    assert x.dtype == np.int64 and x.tolist() == [0, 2**53 + 1]
