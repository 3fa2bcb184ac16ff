"""The cold start: a fresh process imports a library and makes its first training step of a layer.

The contenders are this library with a full cache of compiled kernels, this library with an empty cache (it then
compiles), and PyTorch. The programs are short, and equal except for the import. The time is that of the whole process,
with the start of Python and the import of NumPy.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from typing import Any

from .case import KINDS, OURS, Build, Case
from .spawned import Spawned

SHAPE = (50, 32, 128, 128)

PROGRAM = """
import json, numpy as np
{imports}
T, N, I, H = {sizes}
rng = np.random.default_rng(0)
layer = {library}.nn.{kind}(I, H)
drawn = lambda *shape: {library}.tensor(rng.standard_normal(shape, np.float32))
layer.load_state_dict({{name: 0.1 * drawn(*p.shape) for name, p in layer.named_parameters()}})
x, u = drawn(T, N, I), drawn(T, N, H)
{library}.set_num_threads({threads})
output = layer(x)[0]
output.backward(u)
sums = [output.detach().numpy(), *(p.grad.detach().numpy() for p in layer.parameters())]
print(json.dumps(dict(arrays=[float(np.sqrt(np.mean(a * a))) for a in sums])))
"""
IMPORTS = {"tg": "import tinygrad_rnn as tg", "torch": "import torch"}


class Fresh(Spawned):
    """A program that gets an empty cache of kernels in every call."""

    def __call__(self) -> list[Any]:
        with tempfile.TemporaryDirectory(prefix="tinygrad_rnn_cold_") as folder:
            self.environment = {"TINYGRAD_RNN_CACHE": folder}
            return super().__call__()


class Warm(Spawned):
    """A program with a cache of its own, which its first, untimed call fills and which is removed with the object."""

    def __init__(self, arguments: Sequence[str]):
        folder = tempfile.mkdtemp(prefix="tinygrad_rnn_warm_")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        super().__init__(arguments, TINYGRAD_RNN_CACHE=folder)


def _arguments(library: str, kind: str, threads: int) -> list[str]:
    return ["-c", PROGRAM.format(imports=IMPORTS[library], library=library, kind=kind, sizes=SHAPE, threads=threads)]


def case(kind: str) -> Case:
    """Return the case of a kind of layer."""
    contenders: dict[str, Build] = {
        OURS: lambda threads: Warm(_arguments("tg", kind, threads)),
        f"{OURS} empty cache": lambda threads: Fresh(_arguments("tg", kind, threads)),
        "torch": lambda threads: Spawned(_arguments("torch", kind, threads)),
    }
    return Case("cold", kind, "train", dict(zip("TNIH", SHAPE)), contenders)


def cases() -> list[Case]:
    return [case(kind) for kind in KINDS]
