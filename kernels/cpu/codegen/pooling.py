"""Kernels of maximum pooling: the largest number of each window with its place, and the adjoint of picking it."""

from __future__ import annotations

import functools

from ..runtime import cache
from .native import Kernel, unpacked

GEOMETRY = (
    "images", "height", "width", "kernel_rows", "kernel_columns", "down_step", "across_step", "above", "left", "down",
    "across",
)  # fmt: skip
LARGEST = (*GEOMETRY, "x", "out", "which")
PLACE = (*GEOMETRY, "g", "out", "which")

TEMPLATE = '''"""Generated: maximum pooling, float{bits}."""

from tinygrad_rnn.kernels.cpu.codegen.native import put_word, word
from tinygrad_rnn.kernels.cpu.codegen.packing import get, put


def largest(args, thread, threads):
    """out, which [images, down, across] = the largest number of each window of x [images, height, width], its place."""
{largest}
    for image in range(images * thread // threads, images * (thread + 1) // threads):
        for i in range(down):
            first_row, source = i * down_step - above, x + image * height * width * {size}
            top, bottom = max(0, -first_row), min(kernel_rows, height - first_row)
            for j in range(across):
                first_column = j * across_step - left
                begin, end = max(0, -first_column), min(kernel_columns, width - first_column)
                place = top * kernel_columns + begin
                at = source + ((first_row + top) * width + first_column) * {size}
                found = get({bits}, at + begin * {size})
                for p in range(top, bottom):
                    for q in range(begin, end):
                        number = get({bits}, at + q * {size})
                        larger = (number > found) | (number != number)  # no branch: it would often be mispredicted
                        found = number if larger else found
                        place = p * kernel_columns + q if larger else place
                    at += width * {size}
                to = (image * down + i) * across + j
                put({bits}, out + to * {size}, found)
                put_word(which + to * 8, place)


def place(args, thread, threads):
    """out [images, height, width] = zeros, plus each g [images, down, across] at its window's place `which`."""
{place}
    area = height * width
    for image in range(images * thread // threads, images * (thread + 1) // threads):
        to = out + image * area * {size}
        for k in range(area):
            put({bits}, to + k * {size}, 0.0)
        for i in range(down):
            for j in range(across):
                source = (image * down + i) * across + j
                at = word(which, source)
                p = at // kernel_columns
                row, column = i * down_step - above + p, j * across_step - left + at - p * kernel_columns
                spot = to + (row * width + column) * {size}
                put({bits}, spot, get({bits}, spot) + get({bits}, g + source * {size}))
'''


@functools.cache
def pooling_kernels(bits: int) -> dict[str, Kernel]:
    """Return the kernels for float32 or float64, by name."""
    values = {"bits": bits, "size": bits // 8, "largest": unpacked(LARGEST), "place": unpacked(PLACE)}
    module = cache.load(f"pooling_f{bits}", cache.filled(TEMPLATE, values))
    return {"largest": Kernel(module.largest, LARGEST), "place": Kernel(module.place, PLACE)}
