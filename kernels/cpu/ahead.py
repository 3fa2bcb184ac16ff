"""All kernels that a layer of one cell may need, to compile them ahead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..ir.program import Step
from .codegen.native import Kernel
from .codegen.product import products
from .codegen.recurrence import recurrence
from .runtime.host import vector_unit


def kernels(step: Step, bits: int = 32) -> Iterator[tuple[str, Kernel]]:
    """Yield each kernel with its name; its `entry` compiles it. The kernels that all cells share are included."""
    yield from recurrence(step, False, vector_unit(), bits).items()
    shared = products(vector_unit(), bits)
    for field in dataclasses.fields(shared):
        yield field.name, getattr(shared, field.name)
