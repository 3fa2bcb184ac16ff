"""The option --all-cases of `pytest bench`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-cases", action="store_true", help="bench: run every case with every peer, in about an hour")
