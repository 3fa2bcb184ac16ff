"""Each example runs, learns, and prints its result."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {
    "adding_problem": (["--length", "6", "--steps", "200", "--hidden", "16"], "error on 1000 new sequences"),
    "own_cell": (["--steps", "120"], "right answers on 500 new streams"),
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SMALL)
def test_an_example_learns(name, capsys):
    arguments, line = SMALL[name]
    found = load(name).main(arguments)
    printed = capsys.readouterr().out
    assert line in printed.splitlines()[-1] and "step   100" in printed.replace("step  100", "step   100")
    assert found < 0.06 if name == "adding_problem" else found > 0.95


def test_the_task_of_adding():
    x, target = load("adding_problem").batch(np.random.default_rng(0), 10, 4)
    marked = x.numpy()[:, :, 1]
    assert (marked[:5].sum(0) == 1).all() and (marked[5:].sum(0) == 1).all()
    np.testing.assert_allclose((x.numpy()[:, :, 0] * marked).sum(0), target.numpy()[:, 0], 1e-6)


def test_the_cell_may_be_a_built_in_one():
    assert load("own_cell").main(["--cell", "gru", "--steps", "1"]) <= 1
    with pytest.raises(ValueError, match="cell: expected a function under @cell or one of"):
        load("own_cell").main(["--cell", "nothing"])


def test_every_example_is_tested():
    """A file without `main` is a part of the others."""
    programs = {path.stem for path in EXAMPLES.glob("*.py") if "\ndef main(" in path.read_text()}
    tested = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*examples*.py"))
    assert not [name for name in programs if f'"{name}"' not in tested]
