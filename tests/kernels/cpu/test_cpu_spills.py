"""Each tile of each vector unit keeps its sums in registers: LLVM's code for its loop touches no stack."""

import pytest
from machine_code import PROCESSORS, innermost_loops, multiply_adds, spills, tile_assembly

from tinygrad_rnn.kernels.cpu.codegen.product import PANEL_VECTORS
from tinygrad_rnn.kernels.cpu.codegen.tile import tile_rows, tile_shapes


def tile_loop(processor, bits, rows, vectors, span, started=0):
    """Return the instructions of a tile's loop over the common dimension."""
    loops = innermost_loops(tile_assembly(processor, bits, rows, vectors, span, started))
    return max(loops, key=lambda block: multiply_adds(block, processor))


def shapes(processor, vectors):
    return [tuple(map(int, shape.split("x"))) for shape in tile_shapes(processor.unit, vectors).split()]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", PROCESSORS)
def test_no_tile_spills(name, bits):
    processor = PROCESSORS[name]
    for vectors in range(1, PANEL_VECTORS + 1):
        for rows, span in shapes(processor, vectors):
            loop = tile_loop(processor, bits, rows, vectors, span)
            assert multiply_adds(loop, processor) == rows * vectors * span
            assert not spills(loop, processor), (vectors, rows, span)


@pytest.mark.parametrize("name", PROCESSORS)
def test_most_of_the_largest_tile_is_multiply_adds(name):
    processor = PROCESSORS[name]
    rows = tile_rows(processor.unit, PANEL_VECTORS)
    loop = tile_loop(processor, 32, rows, PANEL_VECTORS, 1, started=1)
    loads = rows + PANEL_VECTORS
    products = 0 if processor.unit.fma else 2 * rows * PANEL_VECTORS  # a copy and a multiplication each
    assert len(loop) <= rows * PANEL_VECTORS + products + 2 * loads + 5


def test_the_check_sees_spills():
    processor = PROCESSORS["AVX2"]
    assert spills(tile_loop(processor, 32, 4, 4, 1), processor)
    arm = PROCESSORS["NEON"]
    assert spills(tile_loop(arm, 32, 8, 4, 1), arm)
    assert not spills(["vmovups (%rsi), %ymm0", "addq $8, %rsp"], processor)
