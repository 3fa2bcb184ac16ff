"""Grids of test cases: an even spread always runs, and all other cases are marked `long`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def spread(cases: Iterable[Any], quick: int, unpack: bool = False) -> list[Any]:
    """Return the cases for `parametrize`. `quick` of them, evenly spread, are not marked long.

    unpack: each case is a tuple with a value for each of several names.
    """
    cases = list(cases)
    last = len(cases) - 1
    chosen = {round(i * last / max(1, quick - 1)) for i in range(quick)}
    wrapped = [pytest.param(*case) if unpack else pytest.param(case) for case in cases]
    return [p if k in chosen else pytest.param(*p.values, marks=pytest.mark.long) for k, p in enumerate(wrapped)]
