"""Kernels of convolution and of its gradients: windows copied for the register tile, piece by piece.

A piece is some rows of windows of one image. Its numbers are a matrix [depth, places]: depth are the channels and
offsets within a window (and a last row of ones, whose weight is the bias), places are the windows of the piece.

    forward           out [outputs, places] = weight [outputs, depth] times the piece
    input gradient    the adjoint of the copy, of weight^T [depth, outputs] times g [outputs, places]
    weight gradient   the sum over pieces of piece [depth, places] times g^T [places, outputs]

The image is first copied with its border, and each of its rows is split by the stride: number s k + f of a row is
number k of its part f. So the numbers of one offset within all windows of a row lie side by side, for any stride, and a
few vectors copy them.

Threads take pieces; images for the input gradient, because the pieces of one image add to the same numbers; groups of
pieces for the weight gradient, whose sums a second job adds. The groups do not depend on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..runtime import cache
from ..runtime.host import VectorUnit
from .native import Kernel, unpacked
from .product import DEPTH, PANEL_VECTORS, product_module
from .tile import MOST_ROWS, row_choice, tile_shapes

GEOMETRY = (
    "images", "channels", "height", "width", "outputs", "depth", "kernel_rows", "kernel_columns", "down_step",
    "across_step", "above", "left", "down", "across", "most_rows", "row", "ones",
)  # fmt: skip
"""Whole numbers that all kernels are given. most_rows: of windows in a piece. row: numbers between rows of a piece."""

ROOM = ("product", "room", "room_bytes", "piece_at", "other_at")
"""The address of the kernel of the product, and memory of a thread: the bordered image, at piece_at the piece, and at
other_at g as the product wants it."""

ARGUMENTS = {
    "product": ("a", "a_row", "rows", "b", "b_row", "K", "out", "out_row", "columns", "adds"),
    "forward": (*GEOMETRY, *ROOM, "x", "weight", "out"),
    "input_gradient": (*GEOMETRY, *ROOM, "g", "weight", "out", "parts"),
    "weight_gradient": (*GEOMETRY, *ROOM, "g", "x", "sums", "groups"),
    "add_groups": (*GEOMETRY, "sums", "out", "bias", "groups"),
}

TEMPLATE = '''"""Generated: convolution for {unit}, float{bits}."""

from {product module} import move_row, pack_part
from tinygrad_rnn.kernels.cpu.runtime.compiled import njit
from tinygrad_rnn.kernels.cpu.codegen.native import call, put_word, stack, word
from tinygrad_rnn.kernels.cpu.codegen.packing import add_part, get, move, move_part, put
from tinygrad_rnn.kernels.cpu.codegen.tile import tile


@njit("void(intp, intp)", cache=True, error_model="numpy")
def clear(to, count):
    """Write `count` zeros."""
    for c in range(0, count, {lanes}):
        move_part({bits}, {lanes}, to, 0, to + c * {size}, min({lanes}, count - c))


@njit("void({geometry words}, intp, intp, intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def copy_image(geometry, image, bordered, first, rows, channel, end_channel, back):
    """bordered [channels, rows, parts, columns] = the rows of the image from `first` on, with their border of zeros.

    back: copy to the image instead, without the border.
    """
    {geometry} = geometry
    parts, columns = min(across_step, kernel_columns), across + (kernel_columns - 1) // across_step
    to = bordered
    for c in range(channel, end_channel):
        for y in range(first, first + rows):
            for f in range(parts):
                if 0 <= y < height:
                    begin = min(columns, max(0, -((f - left) // across_step)))
                    end = max(begin, min(columns, (width - 1 + left - f) // across_step + 1))
                    at = image + ((c * height + y) * width + begin * across_step + f - left) * {size}
                else:
                    begin, end, at = columns, columns, image
                place, n = to + begin * {size}, end - begin
                if not back:
                    for k in range(begin):
                        put({bits}, to + k * {size}, 0.0)
                    for k in range(end, columns):
                        put({bits}, to + k * {size}, 0.0)
                if across_step == 1:
                    source, target = (place, at) if back else (at, place)
                    move_row(source, target, n)
                elif back:
                    for k in range(n):
                        put({bits}, at + k * across_step * {size}, get({bits}, place + k * {size}))
                else:
                    for k in range(n):
                        put({bits}, place + k * {size}, get({bits}, at + k * across_step * {size}))
                to += columns * {size}


@njit("void({geometry words}, intp, intp, intp, intp, intp, intp, intp)", cache=True, error_model="numpy")
def copy_piece(geometry, bordered, image_rows, first, rows, piece, channels_here, back):
    """piece [depth, places] = the windows in `rows` rows from `first` on, of a bordered image [image_rows].

    back: add to the image instead.
    """
    {geometry} = geometry
    parts, columns = min(across_step, kernel_columns), across + (kernel_columns - 1) // across_step
    next_row, next_window = down_step * parts * columns * {size}, across * {size}
    to = piece
    for c in range(channels_here):
        for p in range(kernel_rows):
            line = bordered + (c * image_rows + first * down_step + p) * parts * columns * {size}
            for q in range(kernel_columns):
                start = line + (q % across_step * columns + q // across_step) * {size}
                for k in range(0, across, {lanes}):
                    at, place = start + k * {size}, to + k * {size}
                    if back:
                        for i in range(rows):
                            add_part({bits}, {lanes}, place, across - k, at)
                            at, place = at + next_row, place + next_window
                    elif k + {lanes} <= across:
                        for i in range(rows):
                            move({bits}, {lanes}, at, place)
                            at, place = at + next_row, place + next_window
                    else:
                        for i in range(rows - 1):
                            move_part({bits}, {lanes}, at, across - k, place, across - k)
                            at, place = at + next_row, place + next_window
                        move_part({bits}, {lanes}, at, across - k, place, {lanes})
                to += row * {size}
    if ones and not back:
        for i in range(rows * across):
            put({bits}, to + i * {size}, 1.0)


def product(args, thread, threads):
    """out [rows, columns] = A [rows, K] B [K, columns], plus out if `adds`. The other kernels call it by its address.

    The rows of B have numbers up to the next full panel, of any value.
    """
{product}
    edge = stack({edge})
    parts = max(1, (K + {depth} // 2) // {depth})
    most = -(-K // parts)
    for k in range(0, K, most):
        length, adding = min(most, K - k), adds or k > 0
        for c in range(0, columns, {panel}):
            panel = b + (k * b_row + c) * {size}
            width, r = min({panel}, columns - c), 0
            while r < rows:
                left = rows - r
{row choices}
                at, place = a + (r * a_row + k) * {size}, out + (r * out_row + c) * {size}
                to, to_row = (place, out_row) if width == {panel} else (edge, {panel})
                if width < {panel} and adding:
                    for i in range(some):
                        move_row(place + i * out_row * {size}, edge + i * {panel * size}, width)
{tiles}
                if width < {panel}:
                    for i in range(some):
                        move_row(edge + i * {panel * size}, place + i * out_row * {size}, width)
                r += some


@njit("void(intp, {ten words})", cache=True, error_model="numpy")
def multiply(product, {product words}):
    """Call the kernel of the product at an address."""
    words = stack(80)
{product stores}
    call(product, words, 0, 1)


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
        image_rows, y = (rows - 1) * down_step + kernel_rows, first * down_step - above
        copy_image(geometry, x + image * channels * height * width * {size}, room, y, image_rows, 0, channels, 0)
        copy_piece(geometry, room, image_rows, 0, rows, room + piece_at, channels, 0)
        to = out + (image * outputs * down + first) * across * {size}
        multiply(product, weight, depth, outputs, room + piece_at, row, depth, to, down * across, rows * across, 0)


def input_gradient(args, thread, threads):
    """out [images, channels, height, width]: the gradient by x. weight [depth, outputs]: its transpose.

    The channels of an image are `parts` parts of the work.
    """
{input_gradient}
    geometry = ({geometry})
    room += thread * room_bytes
    offsets, image_rows = kernel_rows * kernel_columns, (down - 1) * down_step + kernel_rows
    line = min(across_step, kernel_columns) * (across + (kernel_columns - 1) // across_step)
    n = images * parts
    for i in range(n * thread // threads, n * (thread + 1) // threads):
        image, part = i // parts, i % parts
        begin, end = channels * part // parts, channels * (part + 1) // parts
        clear(room, (end - begin) * image_rows * line)
        for first in range(0, down, most_rows):
            rows = min(most_rows, down - first)
            places = rows * across
            for o in range(outputs):
                source = g + ((image * outputs + o) * down + first) * across * {size}
                move_row(source, room + other_at + o * row * {size}, places)
            a = weight + begin * offsets * outputs * {size}
            count = (end - begin) * offsets
            multiply(product, a, outputs, count, room + other_at, row, outputs, room + piece_at, row, places, 0)
            copy_piece(geometry, room, image_rows, first, rows, room + piece_at, end - begin, 1)
        to = out + image * channels * height * width * {size}
        clear(to + begin * height * width * {size}, (end - begin) * height * width)
        copy_image(geometry, to, room, -above, image_rows, begin, end, 1)


def weight_gradient(args, thread, threads):
    """sums [groups][depth, outputs]: the gradient by the weight, its last row by the bias, of each group of pieces."""
{weight_gradient}
    geometry = ({geometry})
    room += thread * room_bytes
    pieces, wide = -(-down // most_rows), -(-outputs // {panel}) * {panel}
    n = images * pieces
    for group in range(groups * thread // threads, groups * (thread + 1) // threads):
        to, start = sums + group * depth * outputs * {size}, n * group // groups
        for i in range(start, n * (group + 1) // groups):
            image, first = i // pieces, i % pieces * most_rows
            rows = min(most_rows, down - first)
            image_rows, y, places = (rows - 1) * down_step + kernel_rows, first * down_step - above, rows * across
            copy_image(geometry, x + image * channels * height * width * {size}, room, y, image_rows, 0, channels, 0)
            copy_piece(geometry, room, image_rows, 0, rows, room + piece_at, channels, 0)
            source = g + (image * outputs * down + first) * across * {size}
            for o in range(0, outputs, {lanes}):
                at, place = source + o * down * across * {size}, room + other_at + o * {size}
                pack_part(at, 1, down * across, place, wide * {size}, outputs - o, 0, places)
            b = room + other_at
            multiply(product, room + piece_at, row, depth, b, wide, places, to, outputs, outputs, i > start)


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


def _by_vectors(lanes: int, line: Callable[[int], list[str]]) -> str:
    """Return lines of `multiply` that choose by the number of vectors that hold the columns of a panel."""
    lines = []
    for vectors in range(PANEL_VECTORS, 0, -1):
        condition = f"width > {(vectors - 1) * lanes}"
        lines += [f"if {condition}:" if vectors == PANEL_VECTORS else f"elif {condition}:" if vectors > 1 else "else:"]
        lines += ["    " + each for each in line(vectors)]
    return "\n".join(" " * 16 + each for each in lines)


def _tiles(unit: VectorUnit, bits: int, vectors: int) -> list[str]:
    """Return lines of `multiply` that run a tile of so many vectors."""
    sizes = f'{bits}, {unit.lanes(bits // 8)}, "{tile_shapes(unit, vectors, spans=False)}", {vectors}'
    operands = "some, 1, (at, a_row, 1), (panel, b_row, 0), length, (to, to_row), (to, to_row)"
    return ["if adding:", f"    tile({sizes}, 1, {operands})", "else:", f"    tile({sizes}, 0, {operands})"]


@functools.cache
def convolution_kernels(unit: VectorUnit, bits: int) -> dict[str, Kernel]:
    """Return the kernels for a vector unit and float32 or float64, by name."""
    lanes, size = unit.lanes(bits // 8), bits // 8
    panel = PANEL_VECTORS * lanes
    values = {
        "unit": unit.name, "bits": bits, "lanes": lanes, "size": size, "panel": panel, "panel * size": panel * size,
        "depth": DEPTH, "geometry": ", ".join(GEOMETRY), "geometry words": f"UniTuple(intp, {len(GEOMETRY)})",
        "product module": product_module(unit, bits).__name__, "edge": MOST_ROWS * panel * size,
        "ten words": ", ".join(["intp"] * 10), "product words": ", ".join(ARGUMENTS["product"]),
        "product stores": "\n".join(f"    put_word(words + {8 * i}, {n})" for i, n in enumerate(ARGUMENTS["product"])),
        "row choices": _by_vectors(lanes, lambda vectors: [row_choice(unit, vectors)]),
        "tiles": _by_vectors(lanes, lambda vectors: _tiles(unit, bits, vectors)),
    } | {name: unpacked(arguments) for name, arguments in ARGUMENTS.items()}  # fmt: skip
    module = cache.load(f"convolution_{unit.name}_f{bits}", cache.filled(TEMPLATE, values))
    return {name: Kernel(getattr(module, name), arguments) for name, arguments in ARGUMENTS.items()}
