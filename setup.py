"""Where the packages lie, and the GPU's kernels built ahead of time; the rest stands in pyproject.toml.

The top-level folders `kernels` and `bench` are installed as `tinygrad_rnn.kernels` and `tinygrad_rnn.bench`: top-level
modules of such names would overwrite other packages' files.

A cell's CUDA library is built when it is first used, for the GPU at hand. With TINYGRAD_RNN_CUDA_AHEAD=1 in the
environment, a wheel, and so a plain install, holds the libraries of the standard cells for all architectures. nvcc
takes some three minutes for them, `pip install -v` shows the progress, and the install fails if they cannot be built.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
AHEAD = os.environ.get("TINYGRAD_RNN_CUDA_AHEAD") == "1"

BUILD = """
import sys
from pathlib import Path
from tinygrad_rnn.cells import BUILT_IN, STANDARD
from tinygrad_rnn.kernels.cuda import build
from tinygrad_rnn.kernels.ir.plan import plan
from tinygrad_rnn.cells.trace import trace
plans = [plan(trace(cell), False) for cell in map(BUILT_IN.get, STANDARD)] + [plan(trace(BUILT_IN["lstm"]), True)]
for i, each in enumerate(plans, 1):
    which = each.step.name + (", projected" if each.projected else "")
    print(f"tinygrad_rnn: CUDA kernels for all architectures, {i} of {len(plans)}: {which}", flush=True)
    try:
        build.build_ahead([each], Path(sys.argv[1]))
    except (build.BuildError, OSError) as error:
        sys.exit(str(error))
"""


def by_the_package(program: str, *arguments: str, **options: object) -> subprocess.CompletedProcess:
    """Run a program with the package itself, put together of links as it is installed. It needs NumPy alone."""
    with tempfile.TemporaryDirectory() as work:
        package = Path(work) / "tinygrad_rnn"
        package.mkdir()
        parts = [*(ROOT / "tinygrad_rnn").iterdir(), ROOT / "kernels", ROOT / "bench"]
        for name, part in {part.name: part for part in parts}.items():
            (package / name).symlink_to(part)
        command = [sys.executable, "-c", program, *arguments]  # imports from where it is run
        return subprocess.run(command, cwd=work, text=True, **options)  # type: ignore[call-overload]


class BuildPackages(build_py):
    """Copy the packages, and build the kernels where that was asked for."""

    def run(self) -> None:
        super().run()
        root = ROOT / "kernels" if self.editable_mode else Path(self.build_lib).resolve() / "tinygrad_rnn" / "kernels"
        built = root / "cuda" / "built"
        if AHEAD or not self.editable_mode:
            shutil.rmtree(built, ignore_errors=True)  # an earlier build's
        if AHEAD and by_the_package(BUILD, str(built)).returncode:
            sys.exit("tinygrad_rnn: TINYGRAD_RNN_CUDA_AHEAD: the CUDA kernels could not be built")


class Platform(Distribution):
    """A wheel that holds machine code says for which system it is."""

    def has_ext_modules(self) -> bool:
        return AHEAD


setup(
    packages=[
        "tinygrad_rnn",
        "tinygrad_rnn.arrays",
        "tinygrad_rnn.autograd",
        "tinygrad_rnn.autograd.primitives",
        "tinygrad_rnn.bench",
        "tinygrad_rnn.cells",
        "tinygrad_rnn.cli",
        "tinygrad_rnn.data",
        "tinygrad_rnn.decode",
        "tinygrad_rnn.kernels",
        "tinygrad_rnn.kernels.cpu",
        "tinygrad_rnn.kernels.cpu.codegen",
        "tinygrad_rnn.kernels.cpu.runtime",
        "tinygrad_rnn.kernels.cuda",
        "tinygrad_rnn.kernels.cuda.device",
        "tinygrad_rnn.kernels.ir",
        "tinygrad_rnn.kernels.reference",
        "tinygrad_rnn.kernels.runtime",
        "tinygrad_rnn.lm",
        "tinygrad_rnn.nn",
        "tinygrad_rnn.nn.functional",
        "tinygrad_rnn.nn.utils",
        "tinygrad_rnn.optim",
        "tinygrad_rnn.sequence",
        "tinygrad_rnn.study",
        "tinygrad_rnn.tensor",
    ],
    package_dir={"tinygrad_rnn": "tinygrad_rnn", "tinygrad_rnn.kernels": "kernels", "tinygrad_rnn.bench": "bench"},
    package_data={
        **{name: ["py.typed"] for name in ("tinygrad_rnn", "tinygrad_rnn.kernels", "tinygrad_rnn.bench")},
        "tinygrad_rnn.kernels.cuda.device": ["*.cuh", "*.h"],
    },
    cmdclass={"build_py": BuildPackages},
    distclass=Platform,
)
