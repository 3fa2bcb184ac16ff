"""Module: a layer or a model, as a tree of parameters with names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import tape
from ..device import check_device
from ..tensor import Tensor, as_dtype


class Parameter(Tensor):
    """A leaf that a module owns and an optimiser changes. Assigning one to a module's attribute registers it."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        array = data.data if isinstance(data, Tensor) else np.asarray(data)
        super().__init__(array, tape.leaf(array.shape) if requires_grad else None)


class Module:
    """Base of layers and models: assign parameters, buffers and modules as attributes, define `forward`.

    `training` says whether dropout and the like are on: see `train` and `eval`.
    """

    training: bool

    def __init__(self) -> None:
        for name, value in (("_parameters", {}), ("_buffers", {}), ("_modules", {}), ("training", True)):
            object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__}: expected a subclass that defines forward, got none")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # Registration

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}.{name}: expected super().__init__() to be called first")
        if isinstance(value, (Parameter, Module)):
            for registry in (self._parameters, self._modules, self._buffers):
                registry.pop(name, None)
            (self._parameters if isinstance(value, Parameter) else self._modules)[name] = value
        elif name in self._parameters and value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{type(self).__name__}.{name}: expected a Parameter or None, got {type(value).__name__}")
        elif name in self._buffers and isinstance(value, Tensor):
            self._buffers[name] = value
        else:
            if value is not None and name in self._parameters:  # a computed weight takes the parameter's place
                del self._parameters[name]
            if name in self._parameters or name in self._modules:
                (self._parameters if name in self._parameters else self._modules)[name] = value
                return
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for registry in ("_parameters", "_modules", "_buffers"):
            found = self.__dict__.get(registry, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._modules, self._buffers):
            if name in registry:
                del registry[name]
                return
        object.__delattr__(self, name)

    def register_parameter(self, name: str, value: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name without a parameter."""
        self._parameters[name] = value

    def register_buffer(self, name: str, value: Tensor | None) -> None:
        """Add a tensor that is saved with the parameters but not trained."""
        self._buffers[name] = value

    def add_module(self, name: str, module: Module) -> None:
        """Add a sub-module under a name, which need not be an identifier."""
        self._modules[name] = module

    # The tree

    def children(self) -> Iterator[Module]:
        """The sub-modules, one level deep."""
        return (module for module in self._modules.values() if module is not None)

    def named_modules(self, prefix: str = "", _seen: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names."""
        seen = set() if _seen is None else _seen
        if id(self) not in seen:
            seen.add(id(self))
            yield prefix, self
            for name, module in self._modules.items():
                if module is not None:
                    yield from module.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _named(self, registry: str) -> Iterator[tuple[str, Any]]:
        for prefix, module in self.named_modules():
            for name, value in module.__dict__[registry].items():
                if value is not None:
                    yield (f"{prefix}.{name}" if prefix else name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of this module and all below; a shared parameter comes once."""
        seen: set[int] = set()
        for name, value in self._named("_parameters"):
            if id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, for an optimiser."""
        return (value for _, value in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(name, buffer) of this module and all below."""
        return self._named("_buffers")

    # Modes

    def train(self, mode: bool = True) -> Any:
        """Turn dropout and the like on (or off), here and below; returns the module."""
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self) -> Any:
        """Turn dropout and the like off, here and below; returns the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set `requires_grad` of all parameters; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn on every module below and on this one; returns the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *targets: Any, dtype: Any = None, device: Any = None) -> Any:
        """Convert the floating parameters and buffers to a dtype, in place; returns the module."""
        for target in targets:
            if isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda"):
                device = target
            else:
                dtype = target
        check_device("to", device)
        if dtype is not None:
            found = as_dtype(dtype)
            for registry in ("_parameters", "_buffers"):
                for _, value in self._named(registry):
                    if value.dtype.kind == "f" and value.dtype != found:
                        value.data = value.data.astype(found)
                        value.grad = None
        return self

    def double(self) -> Any:
        """Convert to float64, in place."""
        return self.to("float64")

    def float(self) -> Any:
        """Convert to float32, in place."""
        return self.to("float32")

    # Saving

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> tensor of all parameters and buffers: copies, without gradients."""
        both = [*self._named("_parameters"), *self._named("_buffers")]
        return OrderedDict((name, value.detach().clone()) for name, value in both)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Take over parameters and buffers by name: tensors or arrays, PyTorch's among them.

        Everything is checked before anything changes. Raises KeyError for names that are missing or unknown
        (not with strict=False), ValueError for a shape that does not fit.
        """
        own = dict([*self._named("_parameters"), *self._named("_buffers")])
        missing, unknown = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
        if strict and (missing or unknown):
            raise KeyError(f"load_state_dict: expected the names of this module, got missing {missing}, unknown {unknown}")
        arrays = {name: np.asarray(value) for name, value in state_dict.items() if name in own}
        for name, array in arrays.items():
            if array.shape != own[name].shape:
                raise ValueError(f"load_state_dict: {name}: expected shape {own[name].shape}, got {array.shape}")
            if array.dtype.kind not in "fiub":
                raise TypeError(f"load_state_dict: {name}: expected numbers, got {array.dtype}")
        with tape.no_grad():
            for name, array in arrays.items():
                own[name].copy_(array)

    # Reading

    def extra_repr(self) -> str:
        """What stands in the brackets of this module's line."""
        return ""

    def __repr__(self) -> str:
        below = [f"  ({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        return f"{type(self).__name__}({self.extra_repr()}" + ("\n" + "\n".join(below) + "\n)" if below else ")")


class Sequential(Module):
    """Modules applied one after the other."""

    def __init__(self, *modules: Module):
        super().__init__()
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> Module:
        return list(self._modules.values())[index]


class ModuleList(Module):
    """A list of modules whose parameters are registered."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end."""
        self.add_module(str(len(self._modules)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> Module:
        return list(self._modules.values())[index]
