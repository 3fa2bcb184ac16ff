"""The layout of the repository: imports only run downwards, files are short, and all packages are installed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# From the bottom to the top; modules of one layer may import one another, but not in a circle.
LAYERS = [
    ["interrupts", "terminal"],
    ["arrays"],
    ["cuda"],
    ["autograd"],
    ["tensor"],
    ["cells"],
    ["sequence"],
    ["nn"],
    ["func"],
    ["optim"],
    ["decode"],
    ["data"],
    ["lm"],
    ["study"],
    ["info"],
    ["cli", "__main__", "bench"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MAY_USE_KERNELS = {"sequence", "cells", "optim", "info", "bench"}
# Every layer may also use: dense products, for primitives; a layer's arguments by name; facts of the host, for the
# command line; functions of all gradients at once, for clipping; locks that neither a fork nor an exception leaves
# locked; the missing parts of the GPU kernels; and the cache.
OPEN = ("tinygrad_rnn.kernels.ir.sequence_args.SequenceArgs", "tinygrad_rnn.kernels.cpu.runtime.host")
OPEN += (
    "tinygrad_rnn.kernels.cpu.runtime.threads",
    "tinygrad_rnn.kernels.ir.operations",
    "tinygrad_rnn.kernels.dense",
    "tinygrad_rnn.kernels.sum_of_squares",
    "tinygrad_rnn.kernels.wanted_driver",
    "tinygrad_rnn.kernels.scaled",
    "tinygrad_rnn.kernels.runtime.locks",
    "tinygrad_rnn.kernels.runtime.undo",
    "tinygrad_rnn.kernels.cuda.build",
    "tinygrad_rnn.kernels.runtime.cache",
    "tinygrad_rnn.kernels.cpu.ahead",
    "tinygrad_rnn.kernels.cache_upkeep",
)
LATE = ["numba", "cupy", "cffi", "torch", "matplotlib", "llvmlite"]
INSTALLED_WITHIN = ("kernels", "bench")  # folders at the top that are parts of the package


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def dotted(path: Path) -> str:
    """Return the dotted name under which a file is imported."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] in INSTALLED_WITHIN:
        parts.insert(0, "tinygrad_rnn")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Return absolute dotted names of all modules that a file imports; `from a import b` gives a.b."""
    package = dotted(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, node.module] if node.module else base
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def part_of_package(name: str) -> str | None:
    """Return the top-level part of the package that holds a name; '' for the package itself, None outside of it."""
    parts = name.split(".")
    if parts[0] != "tinygrad_rnn":
        return None
    known = {p.stem if p.suffix else p.name for p in (ROOT / "tinygrad_rnn").iterdir()} | {*INSTALLED_WITHIN}
    return parts[1] if len(parts) > 1 and parts[1] in known else ""


@pytest.mark.parametrize("path", sources("tinygrad_rnn") + sources("bench"), ids=dotted)
def test_imports_run_downwards(path: Path) -> None:
    own = part_of_package(dotted(path))
    if own == "":
        return  # the package's own __init__ offers everything
    assert own in LEVEL, f"{own}: name its layer in LAYERS"
    for name in imports(path):
        part = part_of_package(name)
        if part == "kernels":
            assert own in MAY_USE_KERNELS or name.startswith(OPEN), f"{own} imports {name}"
        elif part == "" and dotted(path) != "tinygrad_rnn.__main__":
            # only parts from lm upwards may `import tinygrad_rnn as tg`, or a name that is not a module
            assert LEVEL[own] >= LEVEL["lm"] or name == "tinygrad_rnn.__version__", f"{own} imports the whole: {name}"
        elif part:
            assert LEVEL[part] <= LEVEL[own], f"{own} imports {name}, of a higher layer"


@pytest.mark.parametrize("path", sources("kernels"), ids=dotted)
def test_kernels_import_nothing_outside_themselves(path: Path) -> None:
    for name in imports(path):
        assert part_of_package(name) in (None, "kernels"), f"{dotted(path)} imports {name}"


def test_no_imports_in_a_circle() -> None:
    """This includes imports within a layer, and imports that only a type checker follows."""
    modules = {dotted(p): p for folder in ("tinygrad_rnn", *INSTALLED_WITHIN) for p in sources(folder)}

    def module_of(name: str) -> str:
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    uses = {name: {module_of(found) for found in imports(path)} - {"", name} for name, path in modules.items()}
    order = TopologicalSorter(uses)
    try:
        order.prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' <- '.join(error.args[1])}") from None


KNOW_CUPY = {f"tinygrad_rnn.{name}" for name in ("arrays.cuda", "arrays.device", "bench.cuda")}  # bench.cuda times CuPy


@pytest.mark.parametrize("path", sources("tinygrad_rnn") + sources("bench"), ids=dotted)
def test_only_these_modules_import_cupy(path: Path) -> None:
    if not {"cupy", "cupyx"}.isdisjoint(name.split(".")[0] for name in imports(path)):
        assert dotted(path) in KNOW_CUPY


def test_the_check_finds_imports() -> None:
    found = imports(ROOT / "tinygrad_rnn" / "autograd" / "primitives" / "elementwise.py")
    assert {"numpy", "tinygrad_rnn.kernels.ir.operations.OPERATIONS"} <= found
    assert "tinygrad_rnn.autograd.primitive.primitive" in found
    assert part_of_package("tinygrad_rnn.nn.module") == "nn" and part_of_package("tinygrad_rnn.Tensor") == ""
    assert part_of_package("numpy.linalg") is None


def test_importing_the_package_is_light() -> None:
    program = f"import sys, tinygrad_rnn; print([m for m in {LATE} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sources("tinygrad_rnn") + sources("kernels") + sources("bench"), ids=dotted)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_setup_names_every_package() -> None:
    text = (ROOT / "setup.py").read_text()
    listed = set(re.findall(r'"(tinygrad_rnn[\w.]*)"', text.split("package_dir")[0]))
    folders = ("tinygrad_rnn", *INSTALLED_WITHIN)
    assert listed == {dotted(p) for folder in folders for p in sources(folder) if p.name == "__init__.py"}
    for folder in folders:
        assert (ROOT / folder / "py.typed").exists()


@pytest.mark.parametrize("path", sources("tinygrad_rnn") + sources("kernels"), ids=dotted)
def test_renewed_at_fork_gets_the_name_it_is_assigned_to(path: Path) -> None:
    """`name = renewed_at_fork(globals(), "name", make)`: under another name a forked child would keep it locked."""
    for node in ast.walk(ast.parse(path.read_text())):
        value = getattr(node, "value", None)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(value, ast.Call):
            called = value.func
            if (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "renewed_at_fork":
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                assert [ast.unparse(target) for target in targets] == [ast.literal_eval(value.args[1])]
