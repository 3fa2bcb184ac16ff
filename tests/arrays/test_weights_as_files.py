"""Weights to and from safetensors files and bfloat16; equations of a cell that need whole arrays are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
from sequences import array

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells import cell

W = np.ones((4, 4), "float32")


def model():
    return nn.ModuleList([nn.Embedding(7, 3), nn.LSTM(3, 5, 2, learn_initial_state=True), nn.Linear(5, 1).double()])


def bfloat16_file(path, arrays):
    """Write a safetensors file of bfloat16: the upper halves of float32 numbers."""
    header, body = {}, b""
    for name, a in arrays.items():
        data = (np.ascontiguousarray(a, np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": a.shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_a_state_dict_is_saved_as_it_is(tmp_path):
    first, second = model(), model()
    state = first.state_dict()
    safetensors.numpy.save_file(state, tmp_path / "weights.safetensors")
    assert safetensors.numpy.save(state) == (tmp_path / "weights.safetensors").read_bytes()
    read = nn.utils.load_file(tmp_path / "weights.safetensors")
    for found in (read, safetensors.numpy.load(safetensors.numpy.save(state))):
        second.load_state_dict(found)
        for name, value in second.state_dict().items():
            assert isinstance(value, tg.Tensor) and value.dtype == state[name].dtype
            np.testing.assert_array_equal(array(value), array(state[name]))
            assert value.tobytes() == array(value).tobytes() and value.nbytes == array(value).nbytes
    with pytest.raises(ValueError, match="ctypes: expected a contiguous tensor"):
        safetensors.numpy.save({"x": tg.ones(2, 3).T})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 3, 17, 100])
def test_bfloat16_becomes_the_modules_dtype_exactly(tmp_path, dtype, size):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(size)
    layer = nn.GRU(size, 3, dtype=dtype)
    weights = {n: rng.standard_normal(p.shape).astype("float32") for n, p in layer.named_parameters()}
    halves = {n: torch.from_numpy(w).bfloat16() for n, w in weights.items()}
    exact = {n: (w.float().numpy()) for n, w in halves.items()}
    bfloat16_file(tmp_path / "half.safetensors", exact)
    for given in (halves, nn.utils.load_file(tmp_path / "half.safetensors")):
        layer.reset_parameters()
        layer.load_state_dict(given)
        for name, p in layer.named_parameters():
            assert p.dtype == dtype
            np.testing.assert_array_equal(array(p), exact[name].astype(dtype))
    narrow = {n: w.astype("float16") for n, w in weights.items()}
    safetensors.numpy.save_file(narrow, tmp_path / "f16.safetensors")
    for given in (narrow, nn.utils.load_file(tmp_path / "f16.safetensors")):
        layer.load_state_dict(given)
        assert all((array(p) == narrow[n].astype(dtype)).all() for n, p in layer.named_parameters())


def test_arrays_of_ml_dtypes():
    kind = pytest.importorskip("ml_dtypes").bfloat16
    layer = nn.Linear(3, 2)
    layer.load_state_dict({n: np.full(p.shape, 1.5, kind) for n, p in layer.named_parameters()})
    assert all((array(p) == 1.5).all() for p in layer.parameters())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(OSError):
        nn.utils.load_file(path)
    for content in (b"", b"\x80\x04K\x01.", b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"load_file: .*x.safetensors: expected a safetensors file"):
            nn.utils.load_file(path)
    for other in (tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="expected a regular file"):
            nn.utils.load_file(other)


# Equations of whole arrays

WHOLE = {
    "matmul": [lambda a, s: a.i @ W, lambda a, s: W @ s.h, lambda a, s: tg.matmul(a.i, s.h), lambda a, s: a.i.h @ W],
    "linear": [lambda a, s: nn.functional.linear(s.h, W)],
    "sum": [lambda a, s: a.i.sum(), lambda a, s: s.h.sum(-1), lambda a, s: a.i.mean(), lambda a, s: a.i.norm()],
    "reshape": [lambda a, s: a.i.reshape(2, 2), lambda a, s: a.i.reshape(-1)],
    "permute": [lambda a, s: a.i.T],
    "transpose": [lambda a, s: a.i.mT],
    "getitem": [lambda a, s: a.i[0]],
    "iter": [lambda a, s: sum(a.i)],
    "concat": [lambda a, s: tg.concat([a.i, s.h], -1)],
    "trace": [lambda a, s: a.i.trace()],
    "numpy|view": [lambda a, s: a.i.numpy()],
    "index": [lambda a, s: a.i * a.i.shape[0]],
}


@pytest.mark.parametrize("make", [nn.Recurrent, nn.RecurrentCell])
@pytest.mark.parametrize("name, equations", [(name, f) for name, each in WHOLE.items() for f in each])
def test_operations_on_whole_arrays_are_refused_by_name(name, equations, make):
    with pytest.raises(TypeError, match=rf"(?s)cell <lambda>: .*({name})"):
        make(cell(gates="i", states="h")(equations), 3, 4)


def test_the_layer_reports_a_name_that_its_cell_does_not_have():
    with pytest.raises(TypeError, match="cell <lambda>: cell: expected one of i, got x"):
        nn.Recurrent(cell(gates="i")(lambda a, s: a.x), 3, 4)
