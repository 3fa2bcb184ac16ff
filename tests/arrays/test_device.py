"""Devices: names, moves between devices, refused calls, and machines without a GPU.

A test with the fixture `cupy` runs on a strict stand-in for CuPy, and on a GPU where there is one.
"""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_cupy
import strict_cupy_functions
from helpers import normal

import tinygrad_rnn as tg
from tinygrad_rnn import info, nn
from tinygrad_rnn.arrays import cuda, device
from tinygrad_rnn.arrays.box import solely_owned
from tinygrad_rnn.arrays.device import to_numpy
from tinygrad_rnn.kernels.cuda import build
from tinygrad_rnn.tensor.creation import as_tensor

# Names and moves


def test_a_tensor_has_a_device(cupy: Any) -> None:
    x = tg.tensor([[1.0, 2.0]], device="cuda")
    assert x.device == "cuda:0" and isinstance(x.data, cupy.ndarray) and tg.ones(2).device == "cpu"
    assert (x * 2).device == x.T.device == x.sum().device == x[0].device == x.detach().device == "cuda:0"
    assert repr(x) == "tensor([[1., 2.]], device='cuda:0')"
    for y in (x.data * x, x * x.data, x - x.data, x.data - x):
        assert isinstance(y, tg.Tensor) and y.device == "cuda:0"
    assert (x == x.data).tolist() == (x.data == x).tolist() == [[True, True]] and not (x != x.data).tolist()[0][0]
    assert tg.tensor(x).device == "cuda:0" and tg.tensor(x, device="cpu").device == "cpu"
    assert tg.tensor(x.data).device == "cuda:0" and tg.tensor(x.data).data is not x.data


def test_to_and_back(cupy: Any) -> None:
    x = tg.tensor(normal(2, 3))
    y = x.to("cuda")
    assert y.device == x.cuda().device == x.cuda(0).device == x.to(device="cuda:0").device == "cuda:0"
    assert y.to("cuda") is y and x.to("cpu") is x and y.cpu().device == "cpu"
    assert y.to("cpu", "float32").dtype == np.float32 and x.to(y).device == "cuda:0"
    np.testing.assert_array_equal(y.cpu().numpy(), x.numpy())
    assert y.tolist() == x.tolist() and y.sum().item() == pytest.approx(x.sum().item()) and len(y) == 2
    assert [row.device for row in y] == ["cuda:0"] * 2 and float(y[0, 0]) == x[0, 0].item() and y[0, 0] in y


def test_gradients_go_through_a_move(cupy: Any) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True, dtype="float64")
    (g,) = tg.grad((x.cuda() ** 3).sum(), x, create_graph=True)
    assert g.device == "cpu" and g.tolist() == [3.0, 12.0]
    g.sum().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [6.0, 12.0]


@pytest.mark.parametrize(
    "make",
    [
        *(lambda d: tg.zeros(2, 3, device=d), lambda d: tg.ones((2, 3), device=d), lambda d: tg.full(2, 7, device=d)),
        *(lambda d: tg.arange(5, device=d), lambda d: tg.arange(0, 1, 0.25, device=d), lambda d: tg.rand(3, device=d)),
        *(lambda d: tg.randn(3, 2, device=d), lambda d: tg.randint(0, 9, 4, device=d)),
        *(lambda d: tg.tensor([1], device=d), lambda d: tg.zeros_like(tg.ones(2, device=d))),
    ],
)
def test_creation_is_the_same_on_every_device(make: Callable, cupy: Any) -> None:
    found = []
    for where in ("cpu", "cuda"):
        tg.manual_seed(3)
        found.append(make(where))
    assert found[0].device == "cpu" and found[1].device == "cuda:0"
    assert found[0].dtype == found[1].dtype and found[0].tolist() == found[1].tolist()


def test_copies_and_pickles_stay_on_their_device(cupy: Any) -> None:
    for x in (tg.tensor([1.0, 2.0], device="cuda"), tg.ones(2, device="cuda", requires_grad=True)):
        for y in (copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x)), x.clone().detach()):
            assert y.device == "cuda:0" and y.tolist() == x.tolist() and y is not x
        assert copy.deepcopy(x).requires_grad == x.requires_grad
    layer = pickle.loads(pickle.dumps(nn.Linear(2, 3).to("cuda")))
    assert layer.weight.device == "cuda:0" and type(layer.weight) is nn.Parameter


def test_in_place_writes(cupy: Any) -> None:
    x = tg.zeros(2, 3, device="cuda")
    x[0] = [1.0, 2.0, 3.0]
    x[1, tg.tensor([0, 2], device="cuda")] = np.array([4.0, 5.0])
    x[:, 1] = tg.tensor([9.0, 8.0], device="cuda")
    x[x == 4.0] = 6.5
    y = x
    x += 1
    assert x.tolist() == [[2.0, 10.0, 4.0], [7.5, 9.0, 6.0]] and y is x and x.device == "cuda:0"
    x.copy_(tg.ones(3))
    assert x.device == "cuda:0" and x.tolist() == [[1.0] * 3] * 2 and x.fill_(2).zero_().device == "cuda:0"
    with pytest.raises(RuntimeError, match=r"x\[index\] = value: value: expected a tensor on cuda:0, as x is"):
        x[0] = tg.ones(3)
    with pytest.raises(ValueError, match=r"x\[index\] = value: expected both to fit"):
        x[0] = [1.0, 2.0]


# Refused calls


x, w = tg.ones(2, 3), tg.ones(4, 3)
MIXED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda y: x + y, "add: y: expected a tensor on cpu, as x is, got one on cuda:0: move one of them with .to"),
    (lambda y: y * x, "mul: y: expected a tensor on cuda:0, as x is, got one on cpu"),
    (lambda y: y * np.ones(3, "float32"), "mul: y: expected a tensor on cuda:0, as x is, got one on cpu"),
    (lambda y: y * x.double(), "mul: y: expected a tensor on cuda:0"),
    (lambda y: x @ y.T, "matmul: y: expected a tensor on cpu, as x is, got one on cuda:0"),
    (lambda y: tg.where(y > 0, y, x), "where: y: expected a tensor on cuda:0, as condition is, got one on cpu"),
    (lambda y: tg.where(x > 0, y, 0.0), "where: x: expected a tensor on cpu, as condition is, got one on cuda:0"),
    (lambda y: tg.concat([y, x]), "concat: argument 3: expected a tensor on cuda:0, as argument 2 is, got one on cpu"),
    (lambda y: tg.stack([x, y]), "stack: argument 2: expected a tensor on cpu"),
    (lambda y: nn.functional.linear(y, w), "linear: weight: expected a tensor on cuda:0, as x is, got one on cpu"),
    (lambda y: nn.functional.linear(x, w.cuda(), tg.ones(4)), "linear: weight: expected a tensor on cpu, as x is"),
    (lambda y: nn.functional.mse_loss(y, x), "sub: y: expected a tensor on cuda:0"),
    (lambda y: x[tg.tensor([0], device="cuda")], "getitem: index: expected a tensor on cpu, as x is, got one on cuda"),
    (
        lambda y: nn.functional.embedding(tg.tensor([0], device="cuda"), x),
        "embedding: index: expected a tensor on cpu, as what it picks from is, got one on cuda:0",
    ),
    (
        lambda y: nn.functional.cross_entropy(x, tg.tensor([0, 1], device="cuda")),
        "cross_entropy: target: expected a tensor on cpu, as the input is, got one on cuda:0",
    ),
    (
        lambda y: nn.functional.cross_entropy(y, tg.tensor([0, 1]), weight=tg.ones(3)),
        "weight: expected a tensor on cuda:0, as the input is, got one on cpu",
    ),
    (lambda y: (y.requires_grad_() * 2).backward(x), "backward: gradient: expected a tensor on cuda:0, as the tensor"),
    (lambda y: setattr(nn.Parameter(x), "grad", y), "grad: expected a tensor on cpu, as the tensor is, got one on"),
    (lambda y: nn.LSTM(3, 2)(y[None]), "LSTM: x: expected a tensor on cpu, as the weights are, got one on cuda:0"),
    (lambda y: nn.LSTM(3, 2, device="cuda")(x[None]), "LSTM: x: expected a tensor on cuda:0, as the weights are, got"),
    (
        lambda y: nn.GRU(3, 2, device="cuda")(y[None], tg.zeros(1, 2, 2)),
        "GRU: h_0: expected a tensor on cuda:0, as the weights are, got one on cpu",
    ),
    (lambda y: nn.LSTMCell(3, 2)(y), "LSTMCell: x: expected a tensor on cpu, as the weights are, got one on cuda:0"),
]


@pytest.mark.parametrize("case", MIXED, ids=lambda case: case[1][:40])
def test_devices_do_not_mix(case: tuple[Callable, str], cupy: Any) -> None:
    call, words = case
    with pytest.raises(RuntimeError, match=words):
        call(tg.ones(2, 3, device="cuda"))


def test_a_tensor_on_a_gpu_does_not_turn_into_an_array_by_itself(cupy: Any) -> None:
    y = tg.ones(2, device="cuda")
    for call in (y.numpy, lambda: np.asarray(y), lambda: np.array([y, y])):
        with pytest.raises(TypeError, match=r"numpy: expected a tensor on the CPU, got one on cuda:0: .*\.cpu\(\)"):
            call()


@pytest.mark.parametrize("wrong", ["gpu", "cuda:", "cuda:x", "cpu:0", 3, "CUDA"])
def test_wrong_device_names_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"zeros: device: expected 'cpu', 'cuda' or 'cuda:N', got"):
        tg.zeros(2, device=wrong)


def test_the_current_device(cupy: Any) -> None:
    assert tg.cuda.is_available() and tg.cuda.current_device() == 0 and tg.cuda.get_device_name()
    tg.cuda.synchronize()
    with pytest.raises(RuntimeError, match=r"zeros: device: expected the current one, 'cuda:0', .*got 'cuda:99'"):
        tg.zeros(2, device="cuda:99")
    with pytest.raises(ValueError, match="set_device: device: expected a whole number from 0"):
        tg.cuda.set_device(99)
    if tg.cuda.device_count() < 2:
        return
    x = tg.ones(2, device="cuda")
    tg.cuda.set_device(1)
    try:
        y = tg.ones(2, device="cuda")
        assert y.device == "cuda:1" and (y + 1).device == "cuda:1" and x.to("cuda").device == "cuda:1"
        assert x.device == "cuda:0" and x.cpu().tolist() == [1.0, 1.0]
    finally:
        tg.cuda.set_device(0)


# Without a GPU


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run a test as on a machine without CuPy, driver and nvcc."""
    find = cuda.importlib.util.find_spec
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None if name == "cupy" else find(name))
    monkeypatch.setattr(build, "find_nvcc", lambda: None)
    monkeypatch.setattr(build, "BUILT", tmp_path / "built")

    def no_library(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(cuda.ctypes, "CDLL", no_library)
    cuda.cupy.cache_clear()


def test_messages_name_what_is_missing(nothing: None) -> None:
    assert not tg.cuda.is_available() and tg.cuda.device_count() == 0
    x = tg.ones(2)
    words = r"device: expected 'cpu', got 'cuda(:0)?': CuPy is not installed: pip install .*; no NVIDIA driver"
    calls: list[Callable] = [
        *(lambda: tg.tensor(1.0, device="cuda"), lambda: tg.zeros(2, device="cuda:0"), lambda: x.to("cuda"), x.cuda),
        *(lambda: nn.Linear(2, 2).to("cuda"), lambda: nn.LSTM(2, 2, device="cuda"), lambda: nn.GRUCell(2, 2).cuda()),
        lambda: tg.optim.SGD([nn.Parameter(x)], 0.1).to("cuda"),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=words):
            call()
    with pytest.raises(RuntimeError, match="CuPy is not installed"):
        tg.cuda.current_device()
    said = dict(info.report())["CUDA"]
    assert "CuPy is not installed" in said and "driver" in said and "nvcc" in said


def test_a_broken_cupy_is_reported(nothing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "cupy", None)  # now `import cupy` raises an ImportError
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(cuda, "_missing_driver", list)
    assert cuda.missing_for_tensors()[0].startswith("CuPy cannot be imported: ")


def test_a_driver_without_a_gpu_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        cuInit = staticmethod(lambda flags: 100)

    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: Driver)
    assert cuda._missing_driver() == ["the NVIDIA driver finds no GPU (CUDA error 100)"]


def test_a_tensor_of_a_gpu_is_unpickled_only_where_there_is_one(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(tg.ones(2, device="cuda"))

    def none() -> Any:
        raise RuntimeError("there is none")

    monkeypatch.setattr(device, "cupy", none)
    with pytest.raises(RuntimeError, match="copy or pickle: device: expected 'cpu', got 'cuda:0': there is none"):
        pickle.loads(content)


def test_cupy_is_imported_when_first_wanted() -> None:
    program = "import sys, tinygrad_rnn as tg; tg.ones(2).to('cpu'); print([m for m in sys.modules if 'cupy' in m])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_info_of_a_machine_with_a_gpu(cupy: Any) -> None:
    assert dict(info.report())["CUDA"].startswith(f"0: {tg.cuda.get_device_name(0)}")


# The stand-in


def test_the_stand_in_takes_what_cupy_takes() -> None:
    real = pytest.importorskip("cupy")
    for function in strict_cupy_functions.FUNCTIONS:
        try:
            wanted = inspect.signature(getattr(real, function.__name__))
        except ValueError:  # a compiled function has no signature
            continue
        if function.__name__ != "matmul":  # CuPy's has more arguments
            plain = lambda s: [(p.name, p.kind, p.default) for p in s.parameters.values()]
            assert plain(inspect.signature(function)) == plain(wanted), function.__name__
    assert all(isinstance(getattr(real, name), real.ufunc) for name in strict_cupy.UFUNCS)
    assert hasattr(real.random, "Philox4x3210") and hasattr(real.linalg, "norm")
    methods = [n for n, v in vars(strict_cupy.ndarray).items() if callable(v) and n != "_view"]
    assert [n for n in methods if not hasattr(real.ndarray, n)] == []


def test_results_of_cupy_have_the_dtypes_of_numpys() -> None:
    """So the stand-in may compute with NumPy."""
    real = pytest.importorskip("cupy")
    for name, dtype in itertools.product(strict_cupy.UFUNCS, tg.conversion.DTYPES):
        ours, theirs = getattr(np, name), getattr(real, name)
        try:
            wanted = ours.resolve_dtypes((dtype,) * ours.nin + (None,))
        except TypeError:  # NumPy has no such function for this dtype
            continue
        types = (t.split("->") for t in theirs.types if "E" not in t)  # "E" is bfloat16, for which NumPy has no letter
        fitting = (t for t in types if all(np.can_cast(dtype, c) for c in t[0]))
        found = np.dtype(next(fitting)[1])
        assert found == wanted[-1] or dtype.itemsize < 4, (name, dtype)  # small integers give float32 in CuPy


def test_the_stand_in_is_strict(cupy: Any) -> None:
    a, n = cupy.asarray(np.arange(3.0)), np.arange(3.0)
    refused: list[Callable] = [
        *(lambda: np.asarray(a), lambda: a + n, lambda: n * a, lambda: np.add(a, 1, where=n > 0), lambda: float(a)),
        *(lambda: np.where(n > 1, a, 0.0), lambda: np.concatenate([a, n]), lambda: np.full(3, 1.0, like=a)),
        *(lambda: a.__setitem__(slice(None), n), lambda: np.add.at(a, (a > 1,), 1.0), lambda: a.flags.writeable),
    ]
    for call in refused:
        with pytest.raises((TypeError, ValueError, AttributeError)):
            call()
    assert a.sum().shape == () and isinstance(a[0], cupy.ndarray)
    np.testing.assert_allclose(np.exp(a).get(), np.exp(n), 1e-15)
    assert a[cupy.asarray(np.array([4]))].item() == 1.0


# Shared memory


class Foreign:
    """An array of another library that has only the older protocol."""

    def __init__(self, array: np.ndarray):
        self.shared_memory = array

    @property
    def __cuda_array_interface__(self) -> dict:
        return {"shape": self.shared_memory.shape, "typestr": self.shared_memory.dtype.str, "version": 3}


def test_dlpack_with_a_gpu(cupy: Any) -> None:
    source = cupy.asarray(np.arange(6.0).reshape(2, 3))
    x = tg.from_dlpack(source)
    assert x.device == "cuda:0" and x.dtype == np.float64 and x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    source[0, 0] = 7.0
    assert x[0, 0].item() == 7.0  # both share memory
    assert x.__dlpack_device__() == (2, 0) and not solely_owned(x)
    assert tg.from_dlpack(x).tolist() == x.tolist()
    if cupy is not strict_cupy.library:
        back = cupy.from_dlpack(x)
        assert back.data.ptr == source.data.ptr
    else:
        assert tg.from_dlpack(Foreign(np.ones(2, "float32"))).device == "cuda:0"
        assert tg.tensor(Foreign(np.ones(2, "float32"))).device == "cuda:0"


def test_dlpack_with_numpy() -> None:
    source = np.arange(6, dtype="float32").reshape(2, 3).T
    x = tg.from_dlpack(source)
    assert np.shares_memory(x.data, source) and x.shape == (3, 2) and x.__dlpack_device__()[0] == 1
    back = np.from_dlpack(x)
    assert np.shares_memory(back, source) and back.tolist() == source.tolist()
    x += 1
    assert source[0, 0] == 0.0 and x[0, 0].item() == 1.0  # tensors are values: the source keeps its numbers
    parameter = nn.Parameter(tg.from_dlpack(source))
    parameter.grad = tg.ones(3, 2)
    tg.optim.SGD([parameter], 1.0).step()
    assert source[0, 0] == 0.0 and parameter[0, 0].item() == -1.0
    for dtype in ("float64", "int64", "int32", "int16", "int8", "uint8", "bool"):
        assert tg.from_dlpack(np.ones(2, dtype)).dtype == dtype
    assert tg.from_dlpack(tg.ones(2)).tolist() == [1.0, 1.0]


def test_dlpack_refusals() -> None:
    with pytest.raises(TypeError, match=r"from_dlpack: expected an array with __dlpack__ or .*, got list"):
        tg.from_dlpack([1.0])
    with pytest.raises(TypeError, match="dtype: expected one of float32"):
        tg.from_dlpack(np.ones(2, "float16"))
    with pytest.raises(BufferError, match=r"__dlpack__: expected a tensor without requires_grad.*detach\(\)"):
        np.from_dlpack(tg.ones(2, requires_grad=True))

    class Elsewhere:
        __dlpack__ = functools.partial(dict)
        __dlpack_device__ = staticmethod(lambda: (10, 0))

    with pytest.raises(ValueError, match=r"from_dlpack: expected an array on the CPU or .* device type 10"):
        tg.from_dlpack(Elsewhere())


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    source = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    x = tg.from_dlpack(source)
    source[0, 0] = 5.0
    assert x.tolist() == [[5.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    back = torch.from_dlpack(x)
    assert back.data_ptr() == source.data_ptr()
    weight = nn.Linear(2, 2).weight.detach()
    assert torch.from_dlpack(weight).tolist() == weight.tolist()
    assert torch.from_dlpack(tg.arange(3)).dtype == torch.int64
    assert to_numpy(source).tolist() == source.tolist() and as_tensor(source).device == "cpu"
