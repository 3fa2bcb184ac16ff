"""Recurrent layers agree with PyTorch's: checkpoints both ways, outputs, states, gradients, lengths, refusals."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

torch = pytest.importorskip("torch", reason="parity is tested where PyTorch is installed (extra 'peers')")
torch.set_num_threads(1)  # the layers are small, so more threads would only wait for each other

T, N, I, H = 6, 4, 3, 5
LIMIT = {"float32": 1e-5, "float64": 1e-10}
KINDS = ("RNN tanh", "RNN relu", "LSTM", "GRU")


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def pair(kind, *sizes, dtype="float64", seed=0, **options):
    """Return (our layer, PyTorch's layer), both with PyTorch's weights for this seed."""
    name, *nonlinearity = kind.split()
    if nonlinearity:
        options["nonlinearity"] = nonlinearity[0]
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of options that have no effect
        theirs = getattr(torch.nn, name)(*sizes, dtype=getattr(torch, dtype), **options)
    ours = getattr(nn, name)(*sizes, dtype=dtype, **options)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, tuple(p.shape)) for n, p in theirs.named_parameters()
    ]
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def close(found, wanted, limit, what=""):
    found, wanted = found.detach().numpy(), wanted.detach().numpy()
    assert found.shape == wanted.shape and found.dtype == wanted.dtype, what
    np.testing.assert_allclose(found, wanted, limit, limit, err_msg=what)


def compare(ours, theirs, x, states, run_theirs=None, **ours_only):
    """Compare outputs, last states, and the gradients of x, states and parameters for random cotangents."""
    limit = LIMIT[str(x.dtype)]
    mine = [tg.tensor(a, requires_grad=True) for a in (x, *states)]
    other = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    state_of = lambda all: None if len(all) == 1 else all[1] if len(all) == 2 else tuple(all[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output, state = ours(mine[0], state_of(mine), **ours_only)
        wanted_output, wanted_state = (run_theirs or theirs)(other[0], state_of(other))
    results, wanted = (output, *as_tuple(state)), (wanted_output, *as_tuple(wanted_state))
    assert len(results) == len(wanted)
    rng = np.random.default_rng(9)
    seeds = [rng.standard_normal(r.shape).astype(x.dtype) for r in results]
    for k, (r, w) in enumerate(zip(results, wanted)):
        close(r, w, limit, f"result {k}")
    ours.zero_grad()
    sum((r * tg.tensor(s)).sum() for r, s in zip(results, seeds)).backward()
    theirs.zero_grad()
    sum((w * torch.tensor(s)).sum() for w, s in zip(wanted, seeds)).backward()
    for k, (a, b) in enumerate(zip(mine, other)):
        close(a.grad, b.grad, 10 * limit, f"gradient of argument {k}")
    parameters = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        assert p.grad.numpy().any(), name
        close(p.grad, parameters[name].grad, 10 * limit, f"gradient of {name}")


def random_states(ours, rng, batch, dtype):
    runs, count = len(ours.suffixes), len(ours.step.states)
    sizes = [ours.output_size, ours.hidden_size][:count]
    return [rng.standard_normal((runs, *batch, size)).astype(dtype) for size in sizes]


SETTINGS = [
    dict(zip(("num_layers", "bidirectional", "bias", "batch_first"), values))
    for values in itertools.product((1, 2), (False, True), (True, False), (False, True))
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(str(int(v)) for v in s.values()))
@pytest.mark.parametrize("kind", KINDS)
def test_each_combination(kind, setting):
    for dtype, proj_size in itertools.product(("float32", "float64"), (0, 2) if kind == "LSTM" else (0,)):
        options = {**setting, "proj_size": proj_size} if proj_size else setting
        ours, theirs = pair(kind, I, H, dtype=dtype, **options)
        rng = np.random.default_rng(1)
        x = rng.standard_normal((N, T, I) if setting["batch_first"] else (T, N, I)).astype(dtype)
        compare(ours, theirs, x, random_states(ours, rng, (N,), dtype))
        compare(ours, theirs, x[0], random_states(ours, rng, (), dtype))
    compare(ours, theirs, x, [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (13, 1, 5, 17), (2, 7, 1, 100)], ids=str)
def test_sizes(kind, size):
    time, batch, inputs, hidden = size
    for dtype in LIMIT:
        ours, theirs = pair(kind, inputs, hidden, dtype=dtype, seed=2)
        rng = np.random.default_rng(2)
        x = rng.standard_normal((time, batch, inputs)).astype(dtype)
        compare(ours, theirs, x, random_states(ours, rng, (batch,), dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_equal_packed_sequences(kind, bidirectional, batch_first):
    lengths = [3, 6, 1, 5]
    rnn = torch.nn.utils.rnn
    for layers, proj_size in ((1, 0), (2, 2 if kind == "LSTM" else 0)):
        options = {"proj_size": proj_size} if proj_size else {}
        ours, theirs = pair(kind, I, H, layers, bidirectional=bidirectional, batch_first=batch_first, **options)

        def packed(x, state, theirs=theirs):
            given = rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
            output, state = theirs(given, state)
            return rnn.pad_packed_sequence(output, batch_first, total_length=T)[0], state

        rng = np.random.default_rng(3)
        x = rng.standard_normal((N, T, I) if batch_first else (T, N, I))
        compare(ours, theirs, x, random_states(ours, rng, (N,), "float64"), packed, lengths=lengths)
        compare(ours, theirs, x, [], packed, lengths=lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_our_checkpoint_loads_into_theirs(kind):
    tg.manual_seed(3)
    name, *nonlinearity = kind.split()
    options = {"nonlinearity": nonlinearity[0]} if nonlinearity else {}
    ours = getattr(nn, name)(I, H, 2, bidirectional=True, **options)
    theirs = getattr(torch.nn, name)(I, H, 2, bidirectional=True, **options)
    theirs.load_state_dict({n: torch.tensor(p.numpy()) for n, p in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((T, N, I)).astype("float32")
    compare(ours, theirs, x, random_states(ours, np.random.default_rng(4), (N,), "float32"))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["RNNCell tanh", "RNNCell relu", "LSTMCell", "GRUCell"])
def test_single_steps(kind, bias):
    for dtype, limit in LIMIT.items():
        ours, theirs = pair(kind, I, H, dtype=dtype, bias=bias)
        rng = np.random.default_rng(5)
        count = 2 if kind == "LSTMCell" else 1
        for batch in ((N,), ()):
            x = rng.standard_normal((3, *batch, I)).astype(dtype)
            states = [rng.standard_normal((*batch, H)).astype(dtype) for _ in range(count)]
            mine, other = [tg.tensor(s) for s in states], [torch.tensor(s) for s in states]
            for t in range(3):
                mine = as_tuple(ours(tg.tensor(x[t]), tuple(mine) if count == 2 else mine[0]))
                other = as_tuple(theirs(torch.tensor(x[t]), tuple(other) if count == 2 else other[0]))
            ours.zero_grad()
            theirs.zero_grad()
            sum((s * s).sum() for s in mine).backward()
            sum((s * s).sum() for s in other).backward()
            for a, b in zip(mine, other):
                close(a, b, limit)
            parameters = dict(theirs.named_parameters())
            for name, p in ours.named_parameters():
                close(p.grad, parameters[name].grad, 10 * limit, name)
        empty = as_tuple(ours(tg.tensor(x[0])))[0]
        close(empty, as_tuple(theirs(torch.tensor(x[0])))[0], limit)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_off_in_evaluation_and_backward_works_there(kind):
    ours, theirs = pair(kind, I, H, 3, dropout=0.7)
    ours.eval()
    theirs.eval()
    rng = np.random.default_rng(6)
    compare(ours, theirs, rng.standard_normal((T, N, I)), random_states(ours, rng, (N,), "float64"))


def test_dropout_of_everything_between_layers():
    ours, theirs = pair("LSTM", I, H, 2, dropout=1.0)
    x = np.random.default_rng(7).standard_normal((T, N, I))
    close(ours(tg.tensor(x))[0], theirs(torch.tensor(x))[0], 1e-12)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_second_order(kind):
    """A gradient penalty has the gradients that PyTorch computes with its unfused operations."""
    ours, theirs = pair(kind, I, H, 2, bidirectional=True)
    x = np.random.default_rng(8).standard_normal((3, N, I))
    mine, other = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    (slope,) = tg.grad((ours(mine)[0] ** 2).sum(), [mine], create_graph=True)
    (slope * slope).sum().backward()
    (wanted,) = torch.autograd.grad((theirs(other)[0] ** 2).sum(), [other], create_graph=True)
    (wanted * wanted).sum().backward()
    close(mine.grad, other.grad, 1e-9)
    parameters = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        close(p.grad, parameters[name].grad, 1e-9, name)


def test_empty_batches():
    ours, theirs = pair("GRU", I, H, 2)
    compare_shapes = lambda a, b: [x.shape for x in a] == [tuple(x.shape) for x in b]
    assert compare_shapes(ours(tg.zeros(T, 0, I, dtype="float64")), theirs(torch.zeros(T, 0, I, dtype=torch.float64)))


# Arguments that both refuse


BAD_CALLS = {
    "too many features": lambda make, kind: (make(T, N, I + 1), None),
    "a vector": lambda make, kind: (make(I), None),
    "four dimensions": lambda make, kind: (make(1, T, N, I), None),
    "state of another batch": lambda make, kind: (make(T, N, I), both(kind, make(2, N + 1, H))),
    "state of another width": lambda make, kind: (make(T, N, I), both(kind, make(2, N, H + 1))),
    "state of too few layers": lambda make, kind: (make(T, N, I), both(kind, make(1, N, H))),
    "batch of states for one sequence": lambda make, kind: (make(T, I), both(kind, make(2, 1, H))),
    "one state for a batch": lambda make, kind: (make(T, N, I), both(kind, make(2, H))),
    "another dtype": lambda make, kind: (make(T, N, I, dtype="float32"), None),
}


def both(kind, state):
    return (state, state) if kind == "LSTM" else state


@pytest.mark.parametrize("what", BAD_CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_calls(kind, what):
    ours, theirs = pair(kind, I, H, 2)
    make_mine = lambda *shape, dtype="float64": tg.zeros(*shape, dtype=dtype)
    make_other = lambda *shape, dtype="float64": torch.zeros(*shape, dtype=getattr(torch, dtype))
    with pytest.raises((ValueError, TypeError), match=f"{kind.split()[0]}: (x|h_0|c_0)"):
        ours(*BAD_CALLS[what](make_mine, kind))
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        theirs(*BAD_CALLS[what](make_other, kind))


@pytest.mark.parametrize(
    "arguments, options",
    [
        ((0, H), {}),
        ((I, 0), {}),
        ((I, H, 0), {}),
        ((I, H), {"dropout": 1.1}),
        ((I, H), {"dropout": -0.1}),
        ((I, H), {"proj_size": H}),
        ((I, H), {"proj_size": -1}),
        ((I, 2.5), {}),
    ],
    ids=str,
)
def test_bad_constructions(arguments, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # PyTorch accepts input_size = 0, and we do not.
        if arguments[0]:
            with pytest.raises((ValueError, TypeError)):
                torch.nn.LSTM(*arguments, **options)
    with pytest.raises(ValueError, match="LSTM: "):
        nn.LSTM(*arguments, **options)


def test_a_checkpoint_of_another_shape_is_refused():
    ours, _ = pair("LSTM", I, H)
    other = torch.nn.LSTM(I, H + 1)
    before = ours.weight_ih_l0.detach().numpy().copy()
    with pytest.raises(ValueError, match="weight_ih_l0: expected shape"):
        ours.load_state_dict(other.state_dict())
    with pytest.raises(KeyError, match="weight_ih_l1"):
        ours.load_state_dict(torch.nn.LSTM(I, H, 2).state_dict())
    np.testing.assert_array_equal(ours.weight_ih_l0.detach().numpy(), before)
