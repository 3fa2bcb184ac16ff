"""Where the packages lie, and the GPU's kernels built ahead of time; the rest stands in pyproject.toml.

The top-level folders `kernels` and `bench` are installed as `tinygrad_rnn.kernels` and `tinygrad_rnn.bench`: top-level
modules of such names would overwrite other packages' files.

A cell's CUDA library is built when it is first used, for the GPU at hand: that takes seconds, while all architectures
of all built-in cells take a minute or two, which most installations would spend in vain. With
TINYGRAD_RNN_CUDA_AHEAD=1 in the environment they are built here and now, for a wheel that runs where there is no nvcc:

    TINYGRAD_RNN_CUDA_AHEAD=1 pip install --no-build-isolation .
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
AHEAD = os.environ.get("TINYGRAD_RNN_CUDA_AHEAD", "0") != "0"

PROGRAM = """
import sys
from pathlib import Path
from tinygrad_rnn.cells import BUILT_IN
from tinygrad_rnn.kernels.cuda import build
from tinygrad_rnn.kernels.plan import plan
from tinygrad_rnn.trace import trace
if build.find_nvcc() is None:
    sys.exit(print("tinygrad_rnn: nvcc is not found: the CUDA kernels of the built-in cells are left out"))
plans = [plan(trace(cell), False) for cell in BUILT_IN.values()] + [plan(trace(BUILT_IN["lstm"]), True)]
build.build_ahead(plans, Path(sys.argv[1]))
"""


def build_kernels(into: Path) -> None:
    """Build the libraries of the built-in cells, by the package itself, put together of links as it is installed."""
    with tempfile.TemporaryDirectory() as work:
        package = Path(work) / "tinygrad_rnn"
        package.mkdir()
        for part in [*(ROOT / "tinygrad_rnn").iterdir(), ROOT / "kernels", ROOT / "bench"]:
            (package / part.name).symlink_to(part)
        subprocess.run([sys.executable, "-c", PROGRAM, str(into)], check=True, cwd=work)  # imported from there


class BuildPackages(build_py):
    """What is copied, and the kernels where they are asked for."""

    def run(self) -> None:
        super().run()
        if AHEAD:
            root = ROOT / "kernels" if self.editable_mode else Path(self.build_lib) / "tinygrad_rnn" / "kernels"
            build_kernels(root.resolve() / "cuda" / "built")


class Platform(Distribution):
    """A wheel that holds machine code says for which system it is."""

    def has_ext_modules(self) -> bool:
        return AHEAD


setup(
    packages=[
        "tinygrad_rnn",
        "tinygrad_rnn.primitives",
        "tinygrad_rnn.nn",
        "tinygrad_rnn.nn.utils",
        "tinygrad_rnn.optim",
        "tinygrad_rnn.data",
        "tinygrad_rnn.lm",
        "tinygrad_rnn.kernels",
        "tinygrad_rnn.kernels.cpu",
        "tinygrad_rnn.kernels.cuda",
        "tinygrad_rnn.bench",
    ],
    package_dir={"tinygrad_rnn": "tinygrad_rnn", "tinygrad_rnn.kernels": "kernels", "tinygrad_rnn.bench": "bench"},
    package_data={
        **{name: ["py.typed"] for name in ("tinygrad_rnn", "tinygrad_rnn.kernels", "tinygrad_rnn.bench")},
        "tinygrad_rnn.kernels.cuda": ["*.cuh", "*.h"],
    },
    cmdclass={"build_py": BuildPackages},
    distclass=Platform,
)
