"""tg.save and tg.load: safetensors files of tensors by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import tinygrad_rnn as tg
from tinygrad_rnn import nn

DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")


def test_every_dtype_and_layout_comes_back(tmp_path: Path) -> None:
    base = np.random.default_rng(0).standard_normal((4, 6))
    x = tg.tensor(base, requires_grad=True)
    state: dict[str, Any] = {name: tg.tensor(base * 9, dtype=name) for name in DTYPES}
    state |= {"T": x.T, "strided": x[::2, 1::3], "broadcast": x[:1].expand(4, 6), "recorded": x * 2.0, "itself": x}
    state |= {"scalar": tg.tensor(1.5), "empty": tg.zeros(0, 3), "array": base.T, "": base[0], "größe.0": base[::-1]}
    path = tmp_path / "state.safetensors"
    tg.save(state, path)
    for found in (tg.load(path), tg.load(str(path))):
        assert found.keys() == state.keys()
        for name, value in state.items():
            wanted, got = np.asarray(value), found[name]
            assert isinstance(got, tg.Tensor) and got.device == "cpu" and not got.requires_grad
            assert got.dtype == wanted.dtype and got.shape == wanted.shape
            np.testing.assert_array_equal(got.numpy(), wanted)
    found["T"][0, 0] = 7.0
    found["itself"].data[0] = 8.0
    assert found["T"][0, 0].item() == 7.0 and found["itself"][0, 0].item() == 8.0
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert safetensors.numpy.load_file(path)["T"].tolist() == base.T.tolist()


def test_a_module(tmp_path: Path) -> None:
    first, second = nn.LSTM(3, 5, 2), nn.LSTM(3, 5, 2)
    tg.save(first.state_dict(), tmp_path / "m")
    second.load_state_dict(tg.load(tmp_path / "m"))
    x = tg.randn(4, 2, 3)
    assert first(x)[0].tolist() == second(x)[0].tolist()
    with pytest.raises(
        TypeError, match=r"save: state_dict: expected a mapping .*, got LSTM: pass module\.state_dict\(\)"
    ):
        tg.save(first, tmp_path / "m")


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    x = tg.randn(3, 4)
    tg.save({"x": x, "again": x, "part": x[1], "flat": x.reshape(-1)}, tmp_path / "s")
    found = tg.load(tmp_path / "s")
    found["x"].fill_(0.0)
    assert found["again"].tolist() == x.tolist() and found["part"].tolist() == x[1].tolist()


def test_from_a_gpu(tmp_path: Path, cupy: Any) -> None:
    tg.save({"x": tg.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda").T}, tmp_path / "g")
    x = tg.load(tmp_path / "g")["x"]
    assert x.device == "cpu" and x.tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_files_of_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    tg.save({"x": tg.tensor([1.0, 2.0])}, tmp_path / "ours")
    assert load_file(tmp_path / "ours")["x"].tolist() == [1.0, 2.0]
    save_file({"half": torch.tensor([1.5]).half(), "brain": torch.tensor([2.5]).bfloat16()}, tmp_path / "theirs")
    found = tg.load(tmp_path / "theirs")
    assert {name: (str(t.dtype), t.tolist()) for name, t in found.items()} == {
        "half": ("float32", [1.5]),
        "brain": ("float32", [2.5]),
    }
    tg.save({"x": torch.tensor([3.0], requires_grad=True)}, tmp_path / "ours")
    assert tg.load(tmp_path / "ours")["x"].tolist() == [3.0]


WRONG: list[tuple[Any, type[Exception], str]] = [
    ([("x", tg.ones(1))], TypeError, "state_dict: expected a mapping of names to tensors, got list$"),
    ({3: tg.ones(1)}, TypeError, "state_dict: expected names as text, got 3"),
    (
        {"__metadata__": tg.ones(1)},
        ValueError,
        "state_dict: expected a name that safetensors can hold, got '__metadata__'",
    ),
    ({"\ud800": tg.ones(1)}, ValueError, "state_dict: expected a name that safetensors can hold"),
    ({"x": 1.0}, TypeError, "x: expected a tensor or an array, got float"),
    ({"x": None}, TypeError, "x: expected a tensor or an array, got NoneType"),
    ({"x": {"y": tg.ones(1)}}, TypeError, "x: expected a tensor or an array, got dict"),
    ({"x": np.ones(1, "float16")}, TypeError, "x: dtype: expected one of float32"),
    ({"x": np.ones(1, "complex64")}, TypeError, "x: expected numbers, got complex64"),
    ({"x": np.array(["a"])}, TypeError, "x: expected numbers, got <U1"),
]


@pytest.mark.parametrize(("state", "error", "words"), WRONG, ids=range(len(WRONG)))
def test_refusals_leave_the_file_as_it_was(tmp_path: Path, state: Any, error: type[Exception], words: str) -> None:
    tg.save({"x": tg.ones(2)}, tmp_path / "f")
    if isinstance(state, dict):
        state = {"good": tg.zeros(3), **state}
    with pytest.raises(error, match=f"save: {words}"):
        tg.save(state, tmp_path / "f")
    assert list(tg.load(tmp_path / "f")) == ["x"] and len(list(tmp_path.iterdir())) == 1


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    tg.save({"x": tg.ones(2)}, path)

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(OSError, match=r"No space left on device: .*f"):
            tg.save({"x": tg.zeros(2)}, path)
    assert tg.load(path)["x"].tolist() == [1.0, 1.0] and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="missing"):
        tg.save({"x": tg.ones(1)}, tmp_path / "missing" / "f")


def test_files_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="bad: expected a safetensors file"):
        tg.load(tmp_path / "bad")
    safetensors.numpy.save_file({"x": np.ones(1, "uint16")}, tmp_path / "u16")
    with pytest.raises(TypeError, match="load: x: dtype: expected one of float32"):
        tg.load(tmp_path / "u16")
