"""README and docs: every code block runs and prints what the page says; every link and every command exists."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.cli import build_parser

ROOT = Path(__file__).parents[2]
TOP = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "tests/README.md")
]
PAGES = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

FENCE = re.compile(r"(<!-- not run: [^>]+-->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return (language, text) of each code block of a page, except those marked `not run`."""
    return [(kind, text) for skipped, kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if not skipped]


@pytest.fixture
def as_before():
    """Restore the random stream and the number of threads after a test."""
    state, threads = tg.get_rng_state(), tg.get_num_threads()
    yield
    tg.set_rng_state(state)
    tg.set_num_threads(threads)


@every_page
def test_code_runs_and_prints_what_the_page_says(page, as_before):
    names: dict[str, object] = {"__name__": "page"}
    printed = None
    for kind, text in blocks(page):
        if kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, str(page), "exec"), names)
            printed = out.getvalue()
        elif kind == "text":
            assert printed is not None and text == printed
            printed = None


def test_the_check_compares_printed_output(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(AssertionError):
        test_code_runs_and_prints_what_the_page_says(page, None)
    page.write_text("<!-- not run: no -->\n```python\nraise ValueError\n```\n")
    test_code_runs_and_prints_what_the_page_says(page, None)


@every_page
def test_links_lead_to_files(page):
    for text, target in LINK.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"\w+:", target):
            path = (page.parent / target).resolve()
            assert path.exists(), target
            named = re.match(r"`(\w+)` in ", text)
            if named:  # the link names a function or class of the file
                tree = ast.parse(path.read_text(encoding="utf-8"))
                kinds = (ast.FunctionDef, ast.ClassDef)
                assert named[1] in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}, text


@every_page
def test_commands_exist(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for kind, text in blocks(page):
        if kind != "sh":
            continue
        for command in re.split(r"\n|&&", text.replace("\\\n", " ")):
            words = shlex.split(command, comments=True)
            words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]  # environment variables
            if words[:1] == ["tinygrad-rnn"]:
                build_parser().parse_args(words[1:])
            for extra in re.findall(r"\.\[([\w,]+)\]", command):
                assert set(extra.split(",")) <= extras.keys()
            if words[:1] == ["pytest"]:
                paths = [word.partition("::")[0] for word in words[1:] if "/" in word]
                assert all((ROOT / path).exists() for path in paths), command


def test_a_page_links_to_every_page_of_docs():
    linked = (ROOT / "README.md").read_text() + (ROOT / "docs" / "index.md").read_text()
    assert all(page.name in linked for page in (ROOT / "docs").glob("*.md") if page.name != "index.md")
    listed = (ROOT / "mkdocs.yml").read_text()
    assert all(page.name in listed for page in (ROOT / "docs").glob("*.md"))


def test_the_site_builds(tmp_path):
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "benchmarks" / "index.html").read_text()
    assert "growth.png" in page and (tmp_path / "site" / "bench" / "results" / "growth.png").exists()
