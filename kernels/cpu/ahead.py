"""All kernels that a layer of one cell can come to need, before it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..program import Step
from .host import vector_unit
from .native import Kernel
from .product import products
from .recurrence import recurrence


def kernels(step: Step, bits: int = 32) -> Iterator[tuple[str, Kernel]]:
    """Each kernel with its name; its `entry` compiles it. Those that are no cell's own come with every cell."""
    yield from recurrence(step, False, vector_unit(), bits).items()
    shared = products(vector_unit(), bits)
    for field in dataclasses.fields(shared):
        yield field.name, getattr(shared, field.name)
