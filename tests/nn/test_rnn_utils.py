"""Padding and packing: programs written for PyTorch run unchanged and give the same numbers and gradients."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import leaf, normal, same_as_torch

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.utils import rnn as R
from tinygrad_rnn.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

T, N, I, H = 6, 4, 3, 5
SORTED, UNSORTED = [6, 4, 4, 1], [3, 5, 1, 3]


# The same program with both libraries


def sorted_sequences(lib, layer, x):
    packed = lib.rnn.pack_padded_sequence(x, lib.tensor(SORTED))
    output, state = layer(packed)
    padded, lengths = lib.rnn.pad_packed_sequence(output)
    return padded, lengths, *state


def unsorted_sequences(lib, layer, x):
    packed = lib.rnn.pack_padded_sequence(x, UNSORTED, enforce_sorted=False)
    output, (h_n, c_n) = layer(packed)
    padded, lengths = lib.rnn.pad_packed_sequence(output, padding_value=-1.0)
    return padded, lengths, h_n, c_n


def batch_first(lib, layer, x):
    packed = lib.rnn.pack_padded_sequence(x.transpose(0, 1), UNSORTED, batch_first=True, enforce_sorted=False)
    output, state = layer(packed)
    return *lib.rnn.pad_packed_sequence(output, batch_first=True), *state


def total_length(lib, layer, x):
    packed = lib.rnn.pack_padded_sequence(x, UNSORTED, enforce_sorted=False)
    output, _ = layer(packed)
    return lib.rnn.pad_packed_sequence(output, total_length=T + 2, padding_value=0.5)


def read_data(lib, layer, x):
    """A loss over all real steps, which needs no padding."""
    packed = lib.rnn.pack_padded_sequence(x, UNSORTED, enforce_sorted=False)
    output, _ = layer(packed)
    return output.data, packed.data, output.batch_sizes, output.sorted_indices, output.unsorted_indices


def changed_data(lib, layer, x):
    """Dropout and the like between packed layers: new data at the old positions."""
    packed = lib.rnn.pack_padded_sequence(x, UNSORTED, enforce_sorted=False)
    packed = lib.rnn.PackedSequence(packed.data * 2, *packed[1:] if isinstance(packed, tuple) else list(packed)[1:])
    packed = packed._replace(data=packed.data.tanh())
    output, state = layer(packed)
    return output.data, *lib.rnn.pad_packed_sequence(output), *state


def listed_sequences(lib, layer, x):
    sequences = [x[:n, i] for i, n in enumerate(UNSORTED)]
    output, state = layer(lib.rnn.pack_sequence(sequences, enforce_sorted=False))
    return *lib.rnn.unpack_sequence(output), *state


def bare_fields(lib, layer, x):
    """data and batch_sizes alone: the longest sequence comes first."""
    packed = lib.rnn.PackedSequence(x.reshape(-1, I)[:8], lib.tensor([4, 2, 1, 1]))
    output, state = layer(packed)
    return *lib.rnn.pad_packed_sequence(output), *state


PROGRAMS = [
    sorted_sequences, unsorted_sequences, batch_first, total_length, read_data, changed_data, listed_sequences,
    bare_fields,
]  # fmt: skip
LAYERS = [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "proj_size": 2}]


@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_programs_of_pytorch(program, options):
    torch = pytest.importorskip("torch")
    theirs = SimpleNamespace(rnn=torch.nn.utils.rnn, tensor=torch.tensor)
    ours = SimpleNamespace(rnn=R, tensor=tg.tensor)
    torch.manual_seed(1)
    wanted = torch.nn.LSTM(I, H, dtype=torch.float64, **options)
    layer = nn.LSTM(I, H, dtype="float64", **options)
    layer.load_state_dict(wanted.state_dict())
    x = normal(T, N, I)
    same_as_torch(lambda a: program(ours, layer, a), lambda a: program(theirs, wanted, a), [x], "float64")


def test_other_layers_and_no_grad():
    torch = pytest.importorskip("torch")
    x = normal(T, N, I).astype("f")
    for kind in ("RNN", "GRU"):
        wanted, layer = getattr(torch.nn, kind)(I, H), getattr(nn, kind)(I, H)
        layer.load_state_dict(wanted.state_dict())
        with tg.no_grad(), torch.no_grad():
            output, h_n = layer(pack_padded_sequence(tg.tensor(x), UNSORTED, enforce_sorted=False))
            packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), UNSORTED, enforce_sorted=False)
            expected, expected_h = wanted(packed)
        np.testing.assert_allclose(output.data.numpy(), expected.data.numpy(), 1e-5, 1e-6)
        np.testing.assert_allclose(h_n.numpy(), expected_h.numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
def test_pad_sequence_of_pytorch(side, first):
    torch = pytest.importorskip("torch")
    ours = lambda *xs: pad_sequence(xs, first, -2.5, side)
    theirs = lambda *xs: torch.nn.utils.rnn.pad_sequence(xs, first, -2.5, side)
    for shape in ((), (3,), (2, 1, 3)):
        same_as_torch(ours, theirs, [normal(n, *shape, seed=n) for n in (2, 0, 17, 1)], "float64")
    same_as_torch(ours, theirs, [np.arange(2), np.arange(3)], "float64")


def test_packed_labels():
    """Packed integers line up with packed outputs, for a loss over both."""
    torch = pytest.importorskip("torch")
    labels = np.arange(T * N).reshape(T, N)
    ours = pack_padded_sequence(tg.tensor(labels), UNSORTED, enforce_sorted=False)
    theirs = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(labels), UNSORTED, enforce_sorted=False)
    assert ours.data.dtype == np.int64 and ours.data.tolist() == theirs.data.tolist()
    padded, lengths = pad_packed_sequence(ours, padding_value=-100)
    assert padded.dtype == np.int64 and lengths.dtype == np.int64 and lengths.tolist() == UNSORTED
    assert padded[:, 2].tolist() == [2, -100, -100, -100, -100]


# By hand


def test_order_of_the_data():
    packed = pack_padded_sequence(tg.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]]), [2, 1, 3], True, False)
    assert packed.data.tolist() == [4, 1, 3, 5, 2, 6] and packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices.tolist() == [2, 0, 1] and packed.unsorted_indices.tolist() == [1, 2, 0]
    again = PackedSequence(packed.data, packed.batch_sizes, unsorted_indices=packed.unsorted_indices)
    assert [x.tolist() for x in unpack_sequence(again)] == [[1, 2], [3], [4, 5, 6]]
    assert PackedSequence((packed.data, packed.batch_sizes)).sorted_indices is None
    assert repr(packed) == "PackedSequence(padded int64 (3, 3), lengths=[2, 1, 3])"


def test_equals_lengths():
    layer, x = nn.GRU(I, H, bidirectional=True), tg.tensor(normal(T, N, I).astype("f"))
    output, h_n = layer(pack_padded_sequence(x, UNSORTED, enforce_sorted=False))
    expected, expected_h = layer(x, lengths=UNSORTED)
    assert h_n.tolist() == expected_h.tolist()
    assert pad_packed_sequence(output, total_length=T)[0].tolist() == expected.tolist()


def test_state_and_every_state_go_with_the_original_order():
    layer = nn.LSTM(I, H, batch_first=True, return_states=True, dtype="float64")
    x, h, c = tg.tensor(normal(N, T, I)), tg.tensor(normal(1, N, H)), tg.tensor(normal(1, N, H, seed=1))
    packed = pack_padded_sequence(x, UNSORTED, batch_first=True, enforce_sorted=False)
    output, (h_n, _), states = layer(packed, (h, c))
    expected, (expected_h, _), expected_states = layer(x, (h, c), UNSORTED)
    np.testing.assert_allclose(h_n.detach().numpy(), expected_h.detach().numpy(), 1e-12)
    np.testing.assert_allclose(states[1].detach().numpy(), expected_states[1].detach().numpy()[:, :, :5], 1e-12)
    np.testing.assert_allclose(unpack_sequence(output)[1].detach().numpy(), expected[1, :5].detach().numpy(), 1e-12)


def test_nothing_comes_of_padding():
    x = normal(T, N, I)
    for n, length in enumerate(UNSORTED):
        x[length:, n] = np.nan
    x, layer = leaf(x), nn.LSTM(I, H, dtype="float64")
    packed = pack_padded_sequence(x, UNSORTED, enforce_sorted=False)
    padded, _ = pad_packed_sequence(layer(packed)[0])
    (padded.sum() + packed.data.sum() + pad_packed_sequence(packed, padding_value=7.0)[0].sum()).backward()
    assert np.isfinite(padded.detach().numpy()).all()
    for gradient in (x.grad, *(p.grad for p in layer.parameters())):
        assert np.isfinite(gradient.numpy()).all()


def test_gradients():
    xs = [leaf(normal(n, 2, seed=n)) for n in (2, 3, 1)]
    order = [1, 0, 2]
    functions = [
        lambda *xs: pad_sequence(xs),
        lambda *xs: pack_sequence(xs, False).data,
        lambda *xs: pad_packed_sequence(pack_sequence(xs, False), True, 0.5, 4)[0],
        lambda *xs: PackedSequence(pad_sequence(xs).reshape(-1, 2)[:6], [3, 2, 1], order).padded,
        lambda *xs: tuple(unpad_sequence(pad_sequence(xs), [2, 0, 1])),
    ]
    for f in functions:
        assert tg.gradcheck(f, xs) and tg.gradgradcheck(f, xs)


def test_a_single_sequence_and_one_step():
    for length in (1, 3):
        packed = pack_sequence([tg.ones(length, 2)])
        assert packed.batch_sizes.tolist() == [1] * length and packed.data.shape == (length, 2)
        assert nn.RNN(2, 3)(packed)[0].data.shape == (length, 3)
    assert pad_sequence([tg.ones(0, 2), tg.ones(0, 2)]).shape == (0, 2, 2)
    assert [x.shape for x in unpad_sequence(tg.ones(2, 3), [0, 1, 2])] == [(0,), (1,), (2,)]
    assert pack_sequence(np.ones((n, 2)) for n in (2, 1)).to("float32").data.dtype == np.float32


# Errors


def test_lengths_that_rise():
    with pytest.raises(RuntimeError, match=r"pack_padded_sequence: lengths: .*enforce_sorted=True.* got 1 before 3"):
        pack_padded_sequence(tg.ones(3, 3), [2, 1, 3])
    with pytest.raises(RuntimeError, match="enforce_sorted=False"):
        pack_sequence([tg.ones(1), tg.ones(2)])
    pack_padded_sequence(tg.ones(3, 3), [2, 2, 1])


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([2, 0], ValueError, r"from 1 up, got 0 at position 1: a recurrent layer's argument `lengths` allows 0"),
        ([4, 1], ValueError, "from 0 to 3, got 1 to 4"),
        ([2, -1], ValueError, "from 0 to 3, got -1 to 2"),
        ([1], ValueError, "expected 2, one for each sequence, got 1"),
        ([2.0, 1.0], TypeError, "whole numbers, got float"),
        ([[2, 1]], TypeError, r"a row of whole numbers, got int64 of shape \(1, 2\)"),
    ],
)
def test_lengths_that_do_not_fit(lengths, error, words):
    with pytest.raises(error, match=f"pack_padded_sequence: lengths: .*{words}"):
        pack_padded_sequence(tg.ones(3, 2, 4), lengths, enforce_sorted=False)


def test_errors():
    packed = pack_padded_sequence(tg.ones(3, 2, 4), [3, 1])
    cases = [
        (ValueError, "no sequence", lambda: pack_padded_sequence(tg.ones(3, 0), [])),
        (ValueError, r"two dimensions, got shape \(3,\)", lambda: pack_padded_sequence(tg.ones(3), [3])),
        (TypeError, "expected a PackedSequence, got Tensor", lambda: pad_packed_sequence(tg.ones(3, 2))),
        (ValueError, "the greatest length, 3, got 2", lambda: pad_packed_sequence(packed, total_length=2)),
        (ValueError, "at least one, got none", lambda: pad_sequence([])),
        (TypeError, "a list of tensors, got dict", lambda: pad_sequence({})),
        (ValueError, r"\[1\]: expected shape \[length, 2\], got \(3,\)", lambda: pad_sequence([[[1, 2]], tg.ones(3)])),
        (ValueError, r"\[0\]: expected shape \[length\], got \(\)", lambda: pad_sequence([1.0])),
        (TypeError, r"\[1\]: expected float32 .*float64", lambda: pad_sequence([tg.ones(1), np.ones(1)])),
        (ValueError, "'right' or 'left', got 'up'", lambda: pad_sequence([[1]], padding_side="up")),
        (ValueError, "from 0 to 3, got 1 to 4", lambda: unpad_sequence(tg.ones(3, 2), [4, 1])),
        (TypeError, "data and batch_sizes, got Tensor alone", lambda: PackedSequence(tg.ones(3))),
        (ValueError, "falling numbers above 0", lambda: PackedSequence(tg.ones(3), [1, 2])),
        (ValueError, r"data of shape \(4,\)", lambda: PackedSequence(tg.ones(4), [2, 1])),
        (ValueError, "sorted_indices: expected each of 0 to 1", lambda: PackedSequence(tg.ones(3), [2, 1], [1, 1])),
        (TypeError, "LSTM: lengths: expected None", lambda: nn.LSTM(4, 2)(packed, lengths=[3, 1])),
        (ValueError, r"LSTM: x: expected a PackedSequence of shape", lambda: nn.LSTM(4, 2)(pack_sequence([[1.0]]))),
        (ValueError, "LSTM: x has 4 features, input_size is 3", lambda: nn.LSTM(3, 2)(packed)),
    ]
    for error, words, call in cases:
        with pytest.raises(error, match=words):
            call()


# On a GPU


def test_padding_and_packing_on_a_gpu(cupy):
    arrays = [normal(n, 3, seed=n).astype("f") for n in (2, 4, 1)]
    found = []
    for device in ("cpu", "cuda"):
        xs = [tg.tensor(a, device=device, requires_grad=True) for a in arrays]
        packed = pack_sequence(xs, enforce_sorted=False)
        padded, _ = pad_packed_sequence(packed, True, 0.5, 5)
        assert packed.data.device == padded.device == packed.sorted_indices.device == xs[0].device
        again = PackedSequence(packed.data * 2, packed.batch_sizes, packed.sorted_indices)
        (padded.sum() + (again.padded * again.padded).sum()).backward()
        results = [padded, packed.data, again.padded, *(x.grad for x in xs), *unpack_sequence(again)]
        found.append([result.detach().cpu().numpy() for result in results])
        assert packed.cpu().data.device == "cpu"
    for ours, wanted in zip(*found):
        np.testing.assert_allclose(ours, wanted, 1e-6)
