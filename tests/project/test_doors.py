"""All functions convert arguments alike: all accept a kind of argument, or all refuse it with our message."""

import array

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

F = nn.functional
X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], "f")
W = np.array([[1.0, 2.0, 3.0], [0.5, -0.5, 1.0]], "f")


def made(layer):
    tg.manual_seed(0)
    return layer()


ROW_DOORS = {
    # each takes X [2, 3] in place of one tensor
    "tensor": lambda x: tg.tensor(x),
    "add": lambda x: tg.add(tg.ones(2, 3), x),
    "radd": lambda x: tg.ones(2, 3) + x,
    "mul": lambda x: tg.mul(x, tg.ones(2, 3)),
    "maximum": lambda x: tg.maximum(x, tg.zeros(2, 3)),
    "tanh": lambda x: tg.tanh(x),
    "sigmoid": lambda x: tg.sigmoid(x),
    "softplus": lambda x: tg.softplus(x),
    "softmax": lambda x: tg.softmax(x),
    "sum": lambda x: tg.sum(x),
    "mean": lambda x: tg.mean(x),
    "amax": lambda x: tg.amax(x),
    "reshape": lambda x: tg.reshape(x, 3, 2),
    "transpose": lambda x: tg.transpose(x),
    "linear": lambda x: F.linear(x, tg.tensor(W)),
    "linear weight": lambda x: F.linear(tg.tensor(X), x),
    "layer_norm": lambda x: F.layer_norm(x, 3),
    "mse input": lambda x: F.mse_loss(x, tg.zeros(2, 3)),
    "mse target": lambda x: F.mse_loss(tg.zeros(2, 3), x),
    "bce target": lambda x: F.binary_cross_entropy_with_logits(tg.zeros(2, 3), x),
    "cross_entropy input": lambda x: F.cross_entropy(x, tg.tensor([0, 2])),
    "Linear": lambda x: made(lambda: nn.Linear(3, 2))(x),
    "LayerNorm": lambda x: made(lambda: nn.LayerNorm(3))(x),
    "Tanh": lambda x: nn.Tanh()(x),
    "MSELoss": lambda x: nn.MSELoss()(x, tg.zeros(2, 3)),
    "LSTM": lambda x: made(lambda: nn.LSTM(3, 4))(x)[0],
    "GRUCell": lambda x: made(lambda: nn.GRUCell(3, 4))(x),
    "RNNCell state": lambda x: made(lambda: nn.RNNCell(2, 3))(tg.ones(2, 2), x),
    "copy_": lambda x: tg.zeros(2, 3).copy_(x),
    "setitem": lambda x: _with_row(x),
    "gradient": lambda x: _gradient(x),
    "load_state_dict": lambda x: _loaded(x),
}


def _with_row(x):
    out = tg.zeros(2, 3)
    out[:] = x
    return out


def _gradient(x):
    leaf = tg.zeros(2, 3, requires_grad=True)
    (leaf * 2.0).backward(x)
    return leaf.grad


def _loaded(x):
    layer = nn.Linear(3, 2, bias=False)
    layer.load_state_dict({"weight": x})
    return layer.weight


class Arraylike:
    """An array of another library, which converts itself to NumPy."""

    dtype = "other.float32"
    shape = (2, 3)

    def __array__(self, dtype=None, copy=None):
        return np.array(X, dtype)


TAKEN = {
    "array": lambda: X,
    "tensor": lambda: tg.tensor(X),
    "fortran": lambda: np.asfortranarray(X),
    "big-endian": lambda: X.astype(">f4"),
    "read-only": lambda: np.frombuffer(X.tobytes(), "f4").reshape(2, 3),
    "unaligned": lambda: np.frombuffer(b"." + X.tobytes(), "f4", offset=1).reshape(2, 3),
    "matrix": lambda: np.asmatrix(X),
    "lists": lambda: X.tolist(),
    "arraylike": Arraylike,
    "memoryview": lambda: memoryview(X),
}
REFUSED = {
    "list of tensors": lambda: [tg.tensor(X[0]), tg.tensor(X[1])],
    "tuple of tensors": lambda: (tg.tensor(X),),
    "masked": lambda: np.ma.array(X, mask=X > 0),
    "complex": lambda: X.astype("complex64"),
    "object": lambda: X.astype(object),
    "text": lambda: np.array([["a", "b", "c"]] * 2),
    "datetime": lambda: np.zeros((2, 3), "M8[s]"),
    "dict": lambda: {"x": X},
    "None": lambda: None,
    "set": lambda: {1.0},
}
OURS = (TypeError, ValueError)
MEANT = {  # accepted here: numbers to copy, a state in its tuple, the default
    ("tensor", "list of tensors"), ("tensor", "tuple of tensors"), ("RNNCell state", "tuple of tensors"),
    ("RNNCell state", "None"), ("gradient", "None"),
}  # fmt: skip


def numbers(found):
    """Return the numbers of a result, a tensor or an array: elementwise functions give arrays for arrays."""
    assert type(found) is np.ndarray or isinstance(found, (np.generic, tg.Tensor))
    return found.detach().numpy() if isinstance(found, tg.Tensor) else np.asarray(found)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("door", ROW_DOORS)
def test_taken(door, kind):
    tg.manual_seed(0)
    expected = ROW_DOORS[door](tg.tensor(X)).detach().numpy()
    found = numbers(ROW_DOORS[door](TAKEN[kind]()))
    assert found.dtype == expected.dtype == np.float32 and found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("door", ROW_DOORS)
def test_refused(door, kind):
    if (door, kind) in MEANT:
        return
    with pytest.raises(OURS) as caught:
        ROW_DOORS[door](REFUSED[kind]())
    said = str(caught.value)
    assert "expected" in said and "got" in said, said


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("door", ROW_DOORS)
def test_tensors_of_pytorch(door, requires_grad):
    torch = pytest.importorskip("torch", reason="PyTorch's tensors")
    expected = ROW_DOORS[door](tg.tensor(X))
    found = numbers(ROW_DOORS[door](torch.tensor(X, requires_grad=requires_grad)))
    np.testing.assert_array_equal(found, expected.detach().numpy())


@pytest.mark.parametrize("door", ["tanh", "add", "sum", "softmax", "mse target", "tensor"])
def test_an_array_of_the_standard_library(door):
    flat = array.array("f", X[0])
    wide = {"mse target": lambda x: F.mse_loss(tg.zeros(3), x), "add": lambda x: tg.add(tg.ones(3), x)}
    call = wide.get(door, ROW_DOORS[door])
    np.testing.assert_array_equal(numbers(call(flat)), call(tg.tensor(X[0])).numpy())


STATES = {
    "array": lambda h: h,
    "big-endian": lambda h: h.astype(">f4"),
    "lists": lambda h: h.tolist(),
    "arraylike": lambda h: memoryview(h),
}


@pytest.mark.parametrize("kind", STATES)
def test_states_and_inputs_per_step(kind):
    layer, h, c = made(lambda: nn.LSTM(3, 4)), np.ones((1, 2, 4), "f"), np.full((1, 2, 4), 0.5, "f")
    x = np.ones((5, 2, 3), "f")
    expected = layer(tg.tensor(x), (tg.tensor(h), tg.tensor(c)))[0].detach().numpy()
    for record in (True, False):
        with tg.set_grad_enabled(record):
            found = layer(STATES[kind](x), (STATES[kind](h), STATES[kind](c)))[0]
        np.testing.assert_array_equal(found.detach().numpy(), expected)
    with pytest.raises(OURS, match=r"LSTM: .*expected"):
        layer(tg.tensor(x), ([tg.tensor(h)], tg.tensor(c)))
    with pytest.raises(OURS, match=r"LSTM: .*expected"):
        layer((tg.tensor(x),))


def test_sequential_refuses_the_pair_of_a_recurrent_layer():
    for T in (1, 3):
        with pytest.raises(TypeError, match="Sequential"):
            nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2))(tg.ones(T, 2, 3))


def test_indices_are_copied_at_the_call():
    x = tg.tensor(np.arange(12.0).reshape(4, 3), requires_grad=True, dtype="float32")
    i = tg.tensor(1)
    j = np.array(2)
    sizes = np.array([1, 3])
    parts = [x[i : i + 1], x[i:j], x[:, i], x[j, i], *tg.split(x, sizes), tg.pad(x, sizes), tg.reshape(x, [3, 4])]
    i.fill_(3)
    j[...] = 0
    sizes[:] = 7
    sum(part.sum() for part in parts).backward()
    expected = np.full((4, 3), 3.0)
    expected[1] += 2
    expected[:, 1] += 1
    expected[2, 1] += 1
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_a_vjp_of_another_dtype_or_shape_is_refused():
    from tinygrad_rnn.autograd.primitive import primitive

    wrong = {
        "dtype": lambda g, x: g.astype("float64"),
        "shape": lambda g, x: g[:, :1] if g.ndim == 2 else g[:1].reshape(1, 1, 1, 1),
        "type": lambda g, x: g.tolist(),
    }
    for name, vjp in wrong.items():
        odd = primitive("odd", lambda x: x * 1, vjp)
        x = tg.tensor(X, requires_grad=True)
        with pytest.raises(OURS, match="odd"):
            odd(tg.tanh(x)).sum().backward()
            raise AssertionError(name)


def test_state_of_an_optimiser_that_was_replaced():
    def step(change):
        layer = made(lambda: nn.Linear(3, 2, bias=False))
        optimiser = tg.optim.Adam(layer.parameters())
        for i in range(3):
            layer.weight.grad = tg.tensor(W)
            if i == 1:
                state = optimiser.state[layer.weight]
                state["exp_avg"] = change(state["exp_avg"])
            optimiser.step()
        return layer.weight.detach().numpy()

    expected = step(lambda a: a)
    for same in (lambda a: np.repeat(a, 2, 1)[:, ::2], lambda a: a.astype(">f4"), np.asfortranarray, tg.tensor):
        np.testing.assert_array_equal(step(same), expected)

    def frozen(a):
        a = a.copy()
        a.flags.writeable = False
        return a

    np.testing.assert_array_equal(step(frozen), expected)
    masked = lambda a: np.ma.array(a, mask=a > 0)
    for wrong in (lambda a: a[:1], lambda a: a.T, masked, lambda a: "text"):
        with pytest.raises(OURS, match="exp_avg"):
            step(wrong)
