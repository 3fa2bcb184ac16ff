"""Containers: Sequential applies its modules one after the other; ModuleList, ModuleDict and ParameterList hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..tensor import Tensor
from .module import Module, Parameter


def _checked_index(container: Any, index: int) -> int:
    """Return index. Raise IndexError unless the container has an item there; a negative one counts from the end."""
    n = len(container)
    if not -n <= index < n:
        raise IndexError(f"{type(container).__name__}: index: expected one from {-n} to {n - 1}, got {index}")
    return index


class _ModuleSequence(Module):
    """Base of ordered containers, with the length, index and slice of a list."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def _name_at(self, index: int) -> str:
        return list(self._modules)[_checked_index(self, index)]

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


class ModuleDict(Module):
    """A dictionary of modules that registers them under their keys, in order; it has no forward.

    A key is a string without dots that the class itself does not use (such as "keys"), else KeyError.
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()):
        super().__init__()
        self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> Any:
        """Return the keys."""
        return self._modules.keys()

    def values(self) -> Any:
        """Return the modules."""
        return self._modules.values()

    def items(self) -> Any:
        """Return the pairs (key, module)."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, or replace those whose keys are there, from a dictionary or from pairs (key, module)."""
        for key, module in dict(modules.items() if isinstance(modules, (Mapping, ModuleDict)) else modules).items():
            self.add_module(key, module)

    def pop(self, key: str) -> Any:
        """Remove a module and return it. Raises KeyError for a key that is missing."""
        return self._modules.pop(key)

    def clear(self) -> None:
        """Remove all modules."""
        self._modules.clear()


class ParameterList(Module):
    """A list of parameters that registers them as "0", "1", ...; it has no forward. A slice is a ParameterList.

    A tensor that is no parameter is made one, which shares its array. Raises TypeError for anything else.
    """

    def __init__(self, values: Iterable[Tensor] = ()):
        super().__init__()
        self.extend(values)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parameters.values())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return list(self)[_checked_index(self, index)]

    def __setitem__(self, index: int, value: Tensor) -> None:
        self._store(list(self._parameters)[_checked_index(self, index)], value)

    def append(self, value: Tensor) -> ParameterList:
        """Add a parameter at the end. Return the list."""
        self._store(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Tensor]) -> ParameterList:
        """Add parameters at the end. Return the list."""
        for value in list(values):
            self.append(value)
        return self

    def _store(self, name: str, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"ParameterList: expected a Parameter or a tensor, got {type(value).__name__}")
        self.register_parameter(name, value if isinstance(value, Parameter) else Parameter(value))

    def extra_repr(self) -> str:
        return ", ".join(f"{p.dtype} {tuple(p.shape)}" for p in self)
