"""Modes: each thread and task has its own, they decorate functions of every kind, and any exception resets them."""

import asyncio
import contextlib
import random
import sys
import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.autograd.anomaly import is_watching

MODES = {"no_grad": (tg.no_grad, tg.is_grad_enabled, False), "detect_anomaly": (tg.detect_anomaly, is_watching, True)}


@pytest.fixture(params=list(MODES))
def mode(request):
    return MODES[request.param]


def test_a_coroutine_runs_in_its_mode_and_its_caller_in_its_own(mode):
    make, read, value = mode
    seen = []

    @make()
    async def inner():
        seen.append(read())
        await asyncio.sleep(0)
        seen.append(read())
        return 5

    async def outer():
        task = asyncio.ensure_future(inner())
        for _ in range(3):
            assert read() is not value
            await asyncio.sleep(0)
        assert await inner() == 5 and read() is not value
        return await task

    assert asyncio.run(outer()) == 5
    assert seen == [value] * 4 and read() is not value


def test_an_asynchronous_generator_runs_in_its_mode(mode):
    make, read, value = mode

    @make()
    async def count(n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i, read()

    async def outer():
        found = []
        async for pair in count(3):
            assert read() is not value
            found.append(pair)
        return found

    assert asyncio.run(outer()) == [(i, value) for i in range(3)]


def test_tasks_do_not_see_each_others_modes(mode):
    make, read, value = mode

    async def inside():
        with make():
            for _ in range(5):
                await asyncio.sleep(0)
                assert read() is value

    async def outside():
        for _ in range(8):
            await asyncio.sleep(0)
            assert read() is not value

    async def both():
        await asyncio.gather(inside(), outside(), inside(), outside())

    asyncio.run(both())


def test_a_thread_begins_with_the_usual_mode(mode):
    make, read, value = mode
    seen = []
    with make():
        thread = threading.Thread(target=lambda: seen.append(read()))
        thread.start()
        thread.join()
    assert seen == [not value]


def test_blocks_by_hand_and_on_a_stack(mode):
    make, read, value = mode
    with contextlib.ExitStack() as stack:
        stack.enter_context(make())
        stack.enter_context(make())
        assert read() is value
    assert read() is not value
    block = make()
    for _ in range(2):
        with block:
            with block:
                assert read() is value
            assert read() is value
        assert read() is not value
    block.__enter__()
    assert read() is value
    block.__exit__(None, None, None)
    assert read() is not value


def training_step():
    layer, x = nn.GRU(2, 3), tg.randn(4, 2, 2)
    optimiser = tg.optim.Adam(layer.parameters(), 0.01)

    @tg.no_grad()
    def evaluated():
        with tg.enable_grad():
            tg.sigmoid(x)
        return layer(x)

    @tg.no_grad()
    def steps():
        yield from range(2)

    def step():
        optimiser.zero_grad()
        evaluated()
        loss = (layer(x)[0] ** 2).sum()
        grad = tg.grad(loss, [layer.weight_ih_l0], create_graph=True)[0]
        (loss + (grad * grad).sum()).backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
        optimiser.step()
        with tg.set_grad_enabled(False):
            layer.weight_ih_l0.fill_(0.5)
        for _ in steps():
            pass
        with tg.detect_anomaly():
            tg.sigmoid(x)

    return step


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt while a generator closes
@pytest.mark.parametrize("tries", [60, pytest.param(500, marks=pytest.mark.long)])
def test_an_interrupt_anywhere_leaves_the_modes_as_they_were(tries):
    """KeyboardInterrupt before a random opcode or call in any code of the library."""
    step, seed = training_step(), random.randrange(2**32)
    rng, events, at = random.Random(seed), 0, None

    def watch(frame, event, arg):
        nonlocal events
        if "tinygrad_rnn" not in frame.f_globals.get("__name__", "") and frame.f_code.co_name != "step":
            return None
        frame.f_trace_opcodes = True
        if event in ("opcode", "call"):
            events += 1
            if events == at:
                raise KeyboardInterrupt
        return watch

    def run():
        nonlocal events
        events = 0
        before = sys.gettrace()
        sys.settrace(watch)
        try:
            step()
        finally:
            sys.settrace(before)

    run()  # compiles kernels that are not in the cache
    run()
    total, tried = events, 0
    for _ in range(tries):
        at = rng.randrange(1, total)
        try:
            run()
        except KeyboardInterrupt:
            tried += 1
        assert tg.is_grad_enabled() and not is_watching(), f"seed {seed}, event {at} of {total}"
    assert tried > tries // 4
    at = None
    x = tg.tensor(np.ones(3, "f"), requires_grad=True)
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2)
