"""The records under pytest-benchmark: `pytest bench`, with --all-records for more than those of `--quick`.

A test for each record and contender, those of a record in one table; each is compared with this library first. They
run one after the other, not in turns: where the machine's mood changes, `tinygrad-rnn bench` is to be trusted.
"""

from __future__ import annotations

from typing import Any

import pytest

from tinygrad_rnn.bench import groups, peers, timing
from tinygrad_rnn.bench.record import KINDS, OURS, Record, Unavailable
from tinygrad_rnn.kernels.cpu.runtime.threads import get_num_threads

pytestmark = pytest.mark.filterwarnings("default")  # what a peer warns of is no failure of ours


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = not metafunc.config.getoption("--all-records", False)
    wanted = groups.QUICK if quick else groups.USUAL
    records = groups.select(wanted, KINDS, peers.QUICK if quick else peers.PEERS, quick)
    pairs = [(record, name) for record in records if record.unit == "s" for name in record.contenders]
    metafunc.parametrize(("record", "contender"), pairs, ids=[f"{record.name}: {name}" for record, name in pairs])


def test_record(benchmark: Any, record: Record, contender: str) -> None:
    if reason := peers.lacking(peers.peer_of(contender)):
        pytest.skip(reason)
    threads = record.threads or get_num_threads()
    peers.prepare((peers.peer_of(contender),), threads)
    peers.set_threads(threads)
    try:
        runs = {name: record.contenders[name](threads) for name in dict.fromkeys((OURS, contender))}
    except Unavailable as error:
        pytest.skip(str(error))
    assert timing.disagreeing(runs, record.calls) == {}
    benchmark.group = record.name
    if record.group == "cold":
        benchmark.pedantic(runs[contender], rounds=3)
    else:
        benchmark(runs[contender])
