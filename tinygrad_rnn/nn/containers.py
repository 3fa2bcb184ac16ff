"""Modules in an order: applied one after the other, or just held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module


class _Row(Module):
    """Modules in an order, to be counted and indexed as a list is."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def _name_at(self, index: int) -> str:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"{type(self).__name__}: index: expected one from {-n} to {n - 1}, got {index}")
        return list(self._modules)[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._of_some(list(self._modules.items())[index])
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def _of_some(self, named: list[tuple[str, Module]]) -> Any:
        """A list of this kind with some of the modules."""
        raise NotImplementedError

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns the list."""
        name = str(len(self))
        if name in self._modules:
            raise KeyError(f"{type(self).__name__}: append: expected the name {name!r} to be free, got it taken")
        self.add_module(name, module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; returns the list."""
        for module in list(modules):
            self.append(module)
        return self


class Sequential(_Row):
    """Modules applied one after the other: Sequential(a, b), or with names Sequential({"first": a, "second": b}).

    A slice is a Sequential of the same modules under the same names.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]):
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)  # type: ignore[arg-type]

    def forward(self, x: Any) -> Any:
        before = ""
        for name, module in self._modules.items():
            try:
                x = module(x)
            except TypeError as error:
                if before and isinstance(x, (tuple, list)):
                    raise TypeError(
                        f"Sequential: {before} gives a {type(x).__name__} of {len(x)}, and {name} "
                        f"({type(module).__name__}) takes one tensor: of a recurrent layer's (output, state) pass on "
                        f"the first, by a module of your own in between whose forward returns x[0] ({error})"
                    ) from error
                raise
            before = f"{name} ({type(module).__name__})"
        return x

    def _of_some(self, named: list[tuple[str, Module]]) -> Sequential:
        return Sequential(dict(named))


class ModuleList(_Row):
    """A list of modules whose parameters are registered, under "0", "1", ...; a slice is a ModuleList."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    def _of_some(self, named: list[tuple[str, Module]]) -> ModuleList:
        return ModuleList(module for _, module in named)
