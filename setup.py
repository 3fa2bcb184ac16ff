"""Where the packages lie, and the GPU's kernels built ahead of time; the rest stands in pyproject.toml.

The top-level folders `kernels` and `bench` are installed as `tinygrad_rnn.kernels` and `tinygrad_rnn.bench`: top-level
modules of such names would overwrite other packages' files.

A cell's CUDA library is built when it is first used, for the GPU at hand. A wheel, and so every plain install, holds
those of the built-in cells for all architectures, where nvcc is found; what is done is said, and `pip install -v`
shows it. Where nvcc fails, the wheel goes without. An editable install leaves them out: they are found by a hash of
their sources, which the first edit changes. In the environment, TINYGRAD_RNN_CUDA_AHEAD=0 leaves them out everywhere;
TINYGRAD_RNN_CUDA_AHEAD=1 builds them in an editable install too, and makes it an error if they cannot be built.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
AHEAD = os.environ.get("TINYGRAD_RNN_CUDA_AHEAD", "")

FIND = "from tinygrad_rnn.kernels.cuda import build; print(build.find_nvcc() or '')"

BUILD = """
import sys
from pathlib import Path
from tinygrad_rnn.cells import BUILT_IN
from tinygrad_rnn.kernels.cuda import build
from tinygrad_rnn.kernels.plan import plan
from tinygrad_rnn.trace import trace
plans = [plan(trace(cell), False) for cell in BUILT_IN.values()] + [plan(trace(BUILT_IN["lstm"]), True)]
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
        for part in [*(ROOT / "tinygrad_rnn").iterdir(), ROOT / "kernels", ROOT / "bench"]:
            (package / part.name).symlink_to(part)
        command = [sys.executable, "-c", program, *arguments]  # imports from where it is run
        return subprocess.run(command, cwd=work, text=True, **options)  # type: ignore[call-overload]


@functools.cache
def to_build(editable: bool) -> bool:
    """Whether kernels are built."""
    if AHEAD == "0" or editable and not AHEAD:
        return False
    return bool(AHEAD or by_the_package(FIND, check=True, stdout=subprocess.PIPE).stdout.strip())


def build_kernels(into: Path) -> None:
    """Build the libraries of the built-in cells."""
    shutil.rmtree(into, ignore_errors=True)
    if by_the_package(BUILD, str(into)).returncode:
        if AHEAD:
            sys.exit("tinygrad_rnn: TINYGRAD_RNN_CUDA_AHEAD: the CUDA kernels could not be built")
        shutil.rmtree(into, ignore_errors=True)
        warn("tinygrad_rnn: WARNING: nvcc failed (pip -v shows how): CUDA kernels are left to be built at first use")


def warn(text: str) -> None:
    """Say it where it is seen: pip shows nothing of a build that goes well, so on the terminal too, if there is one."""
    print(text, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        Path("/dev/tty").write_text(f"\n{text}\n")


class BuildPackages(build_py):
    """What is copied, and the kernels."""

    def run(self) -> None:
        super().run()
        root = ROOT / "kernels" if self.editable_mode else Path(self.build_lib).resolve() / "tinygrad_rnn" / "kernels"
        if to_build(self.editable_mode):
            build_kernels(root / "cuda" / "built")
        elif not self.editable_mode:  # an earlier build's
            shutil.rmtree(root / "cuda" / "built", ignore_errors=True)


class Platform(Distribution):
    """A wheel that holds machine code says for which system it is."""

    def has_ext_modules(self) -> bool:
        return to_build("editable_wheel" in self.commands)


setup(
    packages=[
        "tinygrad_rnn",
        "tinygrad_rnn.cli",
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
