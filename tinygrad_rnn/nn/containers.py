"""Ordered containers: Sequential applies its modules one after the other, ModuleList only holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module


class _ModuleSequence(Module):
    """Base of ordered containers, with the length, index and slice of a list."""

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
            return self._slice(list(self._modules.items())[index])
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def _slice(self, named: list[tuple[str, Module]]) -> Any:
        """Return a container of this kind with the given modules."""
        raise NotImplementedError

    def append(self, module: Module) -> Any:
        """Add a module at the end, named by its index. Return the container. Raises KeyError for a name in use."""
        name = str(len(self))
        if name in self._modules:
            raise KeyError(f"{type(self).__name__}: append: expected the name {name!r} to be free, got it taken")
        self.add_module(name, module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end. Return the container."""
        for module in list(modules):
            self.append(module)
        return self


class Sequential(_ModuleSequence):
    """y = c(b(a(x))) for Sequential(a, b, c), or with names for Sequential({"first": a, "second": b, "third": c}).

    Each module takes one argument. A slice is a Sequential of the same modules under the same names.
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

    def _slice(self, named: list[tuple[str, Module]]) -> Sequential:
        return Sequential(dict(named))


class ModuleList(_ModuleSequence):
    """A list of modules that registers them as "0", "1", ...; it has no forward. A slice is a ModuleList."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    def _slice(self, named: list[tuple[str, Module]]) -> ModuleList:
        return ModuleList(module for _, module in named)
