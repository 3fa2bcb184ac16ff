"""The cases under pytest-benchmark: `pytest bench`, with --all-cases for more than those of `--quick`.

There is a test for each case and contender, with one table per case; each first compares its numbers with this
library's. The tests run one after the other: if the speed of the machine varies, use `tinygrad-rnn bench`, which times
in turns.
"""

from __future__ import annotations

from typing import Any

import pytest

from tinygrad_rnn.bench import groups, peers, timing
from tinygrad_rnn.bench.case import KINDS, OURS, Case, Unavailable
from tinygrad_rnn.kernels.cpu.runtime.threads import get_num_threads

pytestmark = pytest.mark.filterwarnings("default")  # a warning of a peer is no failure


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = not metafunc.config.getoption("--all-cases", False)
    wanted = groups.QUICK if quick else groups.DEFAULT
    cases = groups.select(wanted, KINDS, peers.QUICK if quick else peers.PEERS, quick)
    pairs = [(case, name) for case in cases if case.unit == "s" for name in case.contenders]
    metafunc.parametrize(("case", "contender"), pairs, ids=[f"{case.name}: {name}" for case, name in pairs])


def test_case(benchmark: Any, case: Case, contender: str) -> None:
    if reason := peers.why_missing(peers.peer_of(contender)):
        pytest.skip(reason)
    threads = case.threads or get_num_threads()
    peers.prepare((peers.peer_of(contender),), threads)
    peers.set_threads(threads)
    try:
        runs = {name: case.contenders[name](threads) for name in dict.fromkeys((OURS, contender))}
    except Unavailable as error:
        pytest.skip(str(error))
    assert timing.disagreeing(runs, case.calls) == {}
    benchmark.group = case.name
    if case.group == "cold":
        benchmark.pedantic(runs[contender], rounds=3)
    else:
        benchmark(runs[contender])
