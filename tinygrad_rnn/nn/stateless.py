"""A call of a module with other parameters and buffers than its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..tensor import Tensor
from .module import Module

Named = Mapping[str, Tensor]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Named | Sequence[Named],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Return module(*args, **kwargs), computed with the given tensors in place of its parameters and buffers.

    parameter_and_buffer_dicts: tensors by the dotted names of `named_parameters` and `named_buffers`, or a sequence of
        such mappings without a name in common. A tensor has the shape of the one that it replaces. It may be computed
        from others: gradients flow to it. A name that is not given keeps the module's own tensor.
    args: the tuple of arguments, or a single argument that is no tuple. kwargs: arguments by name.
    tie_weights: a tensor that is given for one name of a shared parameter replaces it under its other names too.
    strict: every parameter and buffer must be given.

    Afterwards the module is as before, also if its forward raises. Until then no other thread may use the module.
    Raises KeyError for a name that is unknown, given twice or, with strict, missing; TypeError for a value that is no
    tensor; ValueError for a shape that does not fit. torch.func.functional_call is the same.
    """
    swaps = _merged(parameter_and_buffer_dicts)
    places = {name: (registry, key) for name, registry, key in module._places()}
    own = {name: registry[key] for name, (registry, key) in places.items()}
    unknown = [name for name in swaps if name not in own]
    if tie_weights and not unknown:
        shared = {id(own[name]): value for name, value in swaps.items()}
        swaps |= {n: shared[id(tensor)] for n, tensor in own.items() if id(tensor) in shared and n not in swaps}
    missing = [name for name in own if strict and name not in swaps]
    if unknown or missing:
        kind = type(module).__name__
        raise KeyError(f"functional_call: expected the names of {kind}, got missing {missing}, unknown {unknown}")
    for name, value in swaps.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"functional_call: {name}: expected a tensor, got {type(value).__name__}")
        if value.shape != own[name].shape:
            raise ValueError(f"functional_call: {name}: expected shape {own[name].shape}, got {value.shape}")
    arguments = args if isinstance(args, tuple) else () if args is None else (args,)
    try:
        _assign(places, swaps)
        return module(*arguments, **(kwargs or {}))
    finally:
        _assign(places, {name: own[name] for name in swaps})


def _merged(given: Named | Sequence[Named]) -> dict[str, Tensor]:
    """Return one or several mappings as one. Raise KeyError for a name in two of them."""
    merged = dict[str, Tensor]()
    for i, each in enumerate([given] if isinstance(given, Mapping) else given):
        if not isinstance(each, Mapping):
            name = f"parameter_and_buffer_dicts[{i}]"
            raise TypeError(
                f"functional_call: {name}: expected a mapping of names to tensors, got {type(each).__name__}"
            )
        twice = [name for name in each if name in merged]
        if twice:
            raise KeyError(f"functional_call: expected each name in one mapping, got {twice} in several")
        merged |= each
    return merged


def _assign(places: Mapping[str, tuple[dict[str, Any], str]], values: Named) -> None:
    for name, value in values.items():
        registry, key = places[name]
        registry[key] = value
