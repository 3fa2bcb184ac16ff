"""Memory blocks are used again only when no array is on them, and the free blocks have a bound."""

import gc
import random
import sys
import threading

import numpy as np

from tinygrad_rnn.kernels.cpu.runtime import memory

F4 = np.dtype("float32")
BIG = (3, memory.SMALLEST)


def test_a_block_comes_again_only_when_nothing_holds_it():
    first = memory.empty(BIG, F4)
    address = first.ctypes.data
    view = first[1:, ::2]
    del first
    assert memory.empty(BIG, F4).ctypes.data != address  # a view still holds it
    view[...] = 7
    other = memory.zeros(BIG, F4)
    assert (view == 7).all() and not other.any()
    del view
    gc.collect()
    assert address in {memory.empty(BIG, F4).ctypes.data for _ in range(3)}


def test_arrays_begin_with_a_cache_line():
    for shape in (memory.LEAST, (memory.LEAST, 7), (memory.SMALLEST, 2)):
        assert memory.empty(shape, F4).ctypes.data % memory.LINE == 0


def test_free_blocks_have_a_bound(monkeypatch):
    monkeypatch.setattr(memory, "MOST_KEPT", 1 << 21)
    for rows in (1, 2, 3, 5, 7, 9, 30):
        array = memory.empty((rows, memory.SMALLEST), F4)
        del array
        assert memory._kept == sum(size * len(blocks) for size, blocks in memory._free.items()) <= 1 << 21


def test_similar_sizes_share_a_block():
    first = memory.empty((BIG[0], BIG[1] + 4), F4)
    address = first.ctypes.data
    del first
    assert address in {memory.empty((BIG[0], BIG[1] + 8), F4).ctypes.data for _ in range(3)}


def test_zeros_are_zeros_on_a_used_block():
    used = memory.empty(BIG, F4)
    used.fill(3)
    del used
    assert not memory.zeros(BIG, F4).any()


def test_threads_share_free_blocks_but_no_block_in_use():
    """Each of 6 threads writes its mark into its blocks: a block with two users would have another thread's mark."""
    rows, faults, before = [1, 2, 3, 5], [], sys.getswitchinterval()

    def use(mark):
        rng = random.Random(mark)
        for _ in range(400):
            held = [memory.empty((rng.choice(rows), memory.SMALLEST), F4) for _ in range(rng.randrange(1, 4))]
            for array in held:
                array[:, ::4096] = mark
            faults.extend(mark for array in held if not (array[:, ::4096] == mark).all())
            if rng.random() < 0.01:
                memory.release()

    threads = [threading.Thread(target=use, args=(mark,)) for mark in range(1, 7)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not faults
    assert memory._counted() == sum(size * len(blocks) for size, blocks in memory._free.items())
    memory.release()
