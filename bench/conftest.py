"""The option of `pytest bench`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-records", action="store_true", help="bench: every record and peer, which takes an hour")
