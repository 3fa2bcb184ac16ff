"""Kernels of convolution and of its gradients: windows copied for the register tile, piece by piece.

A piece is some rows of windows of one image. Its numbers are a matrix [depth, places]: depth are the channels and
offsets within a window (and a last row of ones, whose weight is the bias), places are the windows of the piece.

    forward           out [outputs, places] = weight [outputs, depth] times the piece
    input gradient    the adjoint of the copy, of weight^T [depth, outputs] times g [outputs, places]
    weight gradient   the sum over pieces of piece [depth, places] times g^T [places, outputs]

Threads take pieces; images for the input gradient, because the pieces of one image add to the same numbers; groups of
pieces for the weight gradient, whose sums a second job adds. The groups do not depend on the number of threads.
"""

from __future__ import annotations

import functools

from ..runtime import cache
from ..runtime.host import VectorUnit
from .native import Kernel, unpacked
from .product import DEPTH, PANEL_VECTORS, product_module
from .tile import tile_rows

IMAGE_BYTES = 1 << 18  # bytes of a piece, about: it stays in the second-level cache beside the weight
PIECES = 16  # most groups of pieces whose weight gradients are summed apart
PIECES_BYTES = 1 << 25  # most bytes of their sums

GEOMETRY = (
    "images", "channels", "height", "width", "outputs", "depth", "kernel_rows", "kernel_columns", "down_step",
    "across_step", "above", "left", "down", "across", "most_rows", "row", "ones",
)  # fmt: skip
"""Whole numbers that all kernels are given. row: the distance between rows of a piece that is not in panels."""

ARGUMENTS = {
    "forward": (*GEOMETRY, "room", "room_bytes", "x", "weight", "out"),
    "input_gradient": (*GEOMETRY, "room", "room_bytes", "g", "weight", "out", "parts"),
    "weight_gradient": (*GEOMETRY, "room", "room_bytes", "g", "x", "sums", "groups"),
    "add_groups": (*GEOMETRY, "sums", "out", "bias", "groups"),
}

TEMPLATE = '''"""Generated: convolution for {unit}, float{bits}."""

from {product module} import pack_part, strip
from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import stack, word
from tinygrad_rnn.kernels.cpu.codegen.packing import add_part, get, move, move_part, put


@njit("UniTuple(intp, 2)(intp, intp, intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def copied(source, step, count, to, left, panel, jump):
    """Copy `count` numbers, `step` apart (0: write zeros), to the place `to` in a row of panels.

    left: how many numbers are left in the panel; then the row goes on `jump` numbers further. Return the place after
    them, and what is left there.
    """
    while count > 0:
        n = min(count, left)
        if step == 1:
            c = 0
            while c + {lanes} <= n:
                move({bits}, {lanes}, source + c * {size}, to + c * {size})
                c += {lanes}
            if c < n:
                move_part({bits}, {lanes}, source + c * {size}, n - c, to + c * {size}, n - c)
        elif step == 0:
            for i in range(n):
                put({bits}, to + i * {size}, 0.0)
        else:
            for i in range(n):
                put({bits}, to + i * {size}, get({bits}, source + i * step * {size}))
        source += n * step * {size}
        to += n * {size}
        count -= n
        left -= n
        if left == 0:
            to, left = to + jump * {size}, panel
    return to, left


@njit("UniTuple(intp, 2)(intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def inside(offset, before, step, size, count):
    """Return the first window, and the one after the last, whose number at an offset lies within the image."""
    first = max(0, -(-(before - offset) // step))
    last = min(count, (size - 1 + before - offset) // step + 1)
    return min(first, count), max(first, last)


@njit("void(UniTuple(intp, {numbers}), intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def copy_piece(geometry, x, first, rows, to, panel):
    """Copy the windows in `rows` rows from `first` on, of the image x, as [depth, places] in panels of width `panel`.

    Without panels, panel is the distance between rows.
    """
    {geometry} = geometry
    plain = panel == row
    next_row, jump = (row, 0) if plain else (panel, (depth - 1) * panel)
    at = to
    for c in range(channels):
        for p in range(kernel_rows):
            for q in range(kernel_columns):
                place, left_over = at, panel
                begin, end = inside(q, left, across_step, width, across)
                for i in range(first, first + rows):
                    y = i * down_step + p - above
                    if y < 0 or y >= height:
                        place, left_over = copied(0, 0, across, place, left_over, panel, jump)
                        continue
                    source = x + ((c * height + y) * width + begin * across_step + q - left) * {size}
                    place, left_over = copied(0, 0, begin, place, left_over, panel, jump)
                    place, left_over = copied(source, across_step, end - begin, place, left_over, panel, jump)
                    place, left_over = copied(0, 0, across - end, place, left_over, panel, jump)
                at += next_row * {size}
    if ones:
        place, left_over = at, panel
        for i in range(rows * across):
            put({bits}, place, 1.0)
            place, left_over = place + {size}, left_over - 1
            if left_over == 0:
                place, left_over = place + jump * {size}, panel


@njit("void(UniTuple(intp, {numbers}), intp, intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def add_piece(geometry, piece, first, rows, image, channel, end_channel):
    """Add a piece without panels to an image: the adjoint of `copy_piece`, for some channels."""
    {geometry} = geometry
    at = piece
    for c in range(channel, end_channel):
        for p in range(kernel_rows):
            for q in range(kernel_columns):
                begin, end = inside(q, left, across_step, width, across)
                for i in range(first, first + rows):
                    y = i * down_step + p - above
                    if y < 0 or y >= height:
                        continue
                    to = image + ((c * height + y) * width + begin * across_step + q - left) * {size}
                    source = at + ((i - first) * across + begin) * {size}
                    if across_step == 1:
                        for k in range(0, end - begin, {lanes}):
                            add_part({bits}, {lanes}, source + k * {size}, end - begin - k, to + k * {size})
                    else:
                        for k in range(end - begin):
                            place = to + k * across_step * {size}
                            put({bits}, place, get({bits}, place) + get({bits}, source + k * {size}))
                at += row * {size}


@njit("void({nine words})", cache=True, error_model="numpy")
def multiply(a, a_row, rows, panels, K, out, out_row, columns, adds):
    """out [rows, columns] = A [rows, K] times the panels [K, columns], plus out if `adds`."""
    edge = stack({edge})
    parts = max(1, (K + {depth} // 2) // {depth})
    most = -(-K // parts)
    for k in range(0, K, most):
        for p in range(-(-columns // {panel})):
            strip(
                (a + k * {size}, a_row, 1), 0, (0, rows), (panels, p, 1, K), (k, min(most, K - k)),
                (out if adds else 0, out_row), (out, out_row), columns, edge,
            )


def forward(args, thread, threads):
    """out [images, outputs, down, across] = the convolution of x and weight [outputs, depth]."""
{forward}
    geometry = ({geometry})
    room += thread * room_bytes
    pieces = -(-down // most_rows)
    n = images * pieces
    for i in range(n * thread // threads, n * (thread + 1) // threads):
        image, first = i // pieces, i % pieces * most_rows
        rows = min(most_rows, down - first)
        copy_piece(geometry, x + image * channels * height * width * {size}, first, rows, room, {panel})
        to = out + (image * outputs * down + first) * across * {size}
        multiply(weight, depth, outputs, room, depth, to, down * across, rows * across, 0)


def input_gradient(args, thread, threads):
    """out [images, channels, height, width]: the gradient by x. weight [depth, outputs]: its transpose.

    The channels of an image are `parts` parts of the work.
    """
{input_gradient}
    geometry = ({geometry})
    room += thread * room_bytes
    piece = room + -(-outputs * row // {panel}) * {panel * size}
    area, offsets = height * width, kernel_rows * kernel_columns
    n = images * parts
    for i in range(n * thread // threads, n * (thread + 1) // threads):
        image, part = i // parts, i % parts
        begin, end = channels * part // parts, channels * (part + 1) // parts
        to = out + image * channels * area * {size}
        for k in range(begin * area, end * area, {lanes}):
            move_part({bits}, {lanes}, to, 0, to + k * {size}, min({lanes}, end * area - k))
        for first in range(0, down, most_rows):
            rows = min(most_rows, down - first)
            places = rows * across
            for o in range(outputs):
                source = g + ((image * outputs + o) * down + first) * across * {size}
                copied(source, 1, places, room + o * {panel * size}, {panel}, {panel}, (outputs - 1) * {panel})
            a = weight + begin * offsets * outputs * {size}
            multiply(a, outputs, (end - begin) * offsets, room, outputs, piece, row, places, 0)
            add_piece(geometry, piece, first, rows, to, begin, end)


def weight_gradient(args, thread, threads):
    """sums [groups][depth, outputs]: the gradients by weight and, in the last row, bias, of groups of pieces."""
{weight_gradient}
    geometry = ({geometry})
    room += thread * room_bytes
    turned = room + -(-depth * row // {panel}) * {panel * size}
    pieces = -(-down // most_rows)
    n = images * pieces
    for group in range(groups * thread // threads, groups * (thread + 1) // threads):
        to, start = sums + group * depth * outputs * {size}, n * group // groups
        for i in range(start, n * (group + 1) // groups):
            image, first = i // pieces, i % pieces * most_rows
            rows = min(most_rows, down - first)
            places = rows * across
            copy_piece(geometry, x + image * channels * height * width * {size}, first, rows, room, row)
            source = g + (image * outputs * down + first) * across * {size}
            for o in range(0, outputs, {lanes}):
                place = turned + (o // {panel} * places * {panel} + o % {panel}) * {size}
                pack_part(
                    source + o * down * across * {size}, 1, down * across, place, {panel * size}, outputs - o, 0, places
                )
            multiply(room, row, depth, turned, places, to, outputs, outputs, i > start)


def add_groups(args, thread, threads):
    """out [outputs, depth - 1] and bias [outputs] = the transpose of the sum of all groups' sums [depth, outputs]."""
{add_groups}
    for o in range(outputs * thread // threads, outputs * (thread + 1) // threads):
        for k in range(depth):
            total = 0.0
            for group in range(groups):
                total += get({bits}, sums + ((group * depth + k) * outputs + o) * {size})
            put({bits}, out + (o * (depth - 1) + k) * {size} if k + 1 < depth else bias + o * {size}, total)
'''


@functools.cache
def convolution_kernels(unit: VectorUnit, bits: int) -> dict[str, Kernel]:
    """Return the kernels for a vector unit and float32 or float64, by name."""
    lanes, size = unit.lanes(bits // 8), bits // 8
    panel = PANEL_VECTORS * lanes
    values = {
        "unit": unit.name, "bits": bits, "lanes": lanes, "size": size, "panel": panel, "panel * size": panel * size,
        "depth": DEPTH, "numbers": len(GEOMETRY), "geometry": ", ".join(GEOMETRY),
        "product module": product_module(unit, bits).__name__,
        "edge": tile_rows(unit, PANEL_VECTORS) * panel * size,
        "nine words": ", ".join(["intp"] * 9),
    } | {name: unpacked(arguments) for name, arguments in ARGUMENTS.items()}  # fmt: skip
    module = cache.load(f"convolution_{unit.name}_f{bits}", cache.filled(TEMPLATE, values))
    return {name: Kernel(getattr(module, name), arguments) for name, arguments in ARGUMENTS.items()}
