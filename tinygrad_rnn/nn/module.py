"""Module: a layer or a model, as a tree of parameters with names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import tape
from ..creation import tensor
from ..device import check_device
from ..tensor import Tensor, as_dtype


class Parameter(Tensor):
    """A leaf that a module owns and an optimiser changes. Assigning one to a module's attribute registers it.

    data: a tensor, whose numbers it takes over, or what `tensor` makes one of. Floating, if requires_grad.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data.data if isinstance(data, Tensor) else tensor(data).data)
        self.requires_grad = requires_grad


class Module:
    """Base of layers and models: assign parameters, buffers and modules as attributes, define `forward`.

    A `Parameter` or a `Module` that is assigned to an attribute is registered under its name; None keeps the
    name and empties its place. A tensor that is assigned where a parameter was (a weight computed from others,
    for weight drop or normalisation) takes its place: it is used, but no longer trained or saved.

    `training` says whether dropout and the like are on: see `train` and `eval`.
    """

    training: bool

    def __init__(self) -> None:
        own = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_not_saved": set(), "training": True}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call of the module computes; each kind of module defines its own."""
        raise TypeError(f"{type(self).__name__}: expected a subclass that defines forward, got none")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # Registration

    def _register(self, registry: str, name: str, value: Any) -> None:
        """Put a value into one registry, in its place if the name is there, and out of all else that has the name."""
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}.{name}: expected super().__init__() to be called first")
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"{type(self).__name__}: expected a name without dots, got {name!r}")
        for other in ("_parameters", "_modules", "_buffers"):
            if other != registry:
                self.__dict__[other].pop(name, None)
        self._not_saved.discard(name)
        self.__dict__.pop(name, None)
        self.__dict__[registry][name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register("_parameters", name, value)
        elif isinstance(value, Module):
            self._register("_modules", name, value)
        elif value is None and (name in self._parameters or name in self._modules):
            (self._parameters if name in self._parameters else self._modules)[name] = None
        elif name in self._buffers and (value is None or isinstance(value, Tensor)):
            self._buffers[name] = value
        elif name in self._parameters and not isinstance(value, Tensor):
            raise TypeError(
                f"{type(self).__name__}.{name}: expected a Parameter, a tensor or None, got {type(value).__name__}"
            )
        else:
            for registry in (self._parameters, self._modules, self._buffers):
                registry.pop(name, None)
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for registry in ("_parameters", "_modules", "_buffers"):
            found = self.__dict__.get(registry, {})
            if name in found:
                return found[name]
        before = "" if "_parameters" in self.__dict__ else ": expected super().__init__() to be called first"
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{before}")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._modules, self._buffers):
            if name in registry:
                del registry[name]
                return
        object.__delattr__(self, name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name without a parameter."""
        self._register("_parameters", name, _of("register_parameter", name, Parameter, param))

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained; it is saved with the parameters unless persistent=False."""
        self._register("_buffers", name, _of("register_buffer", name, Tensor, tensor))
        if not persistent:
            self._not_saved.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module under a name, which need not be an identifier."""
        self._register("_modules", name, _of("add_module", name, Module, module))

    # The tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, sub-module), one level deep."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        """The sub-modules, one level deep."""
        return (module for _, module in self.named_children())

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it with dotted names; a shared one under each of its names."""
        yield prefix, self
        for name, module in self.named_children():
            yield from module._walk(f"{prefix}.{name}" if prefix else name)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module, under the name `prefix`, and of all below; a shared one comes once."""
        return _each_once(self._walk(prefix))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _named(self, prefix: str, *registries: str) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of what is in the registries, here and below; a shared value under each of its names."""
        for path, module in self._walk(prefix):
            for registry in registries:
                for name, value in module.__dict__[registry].items():
                    if value is not None:
                        yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter) of this module and all below; a shared parameter comes once."""
        return _each_once(self._named(prefix, "_parameters"))

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once, for an optimiser."""
        return (value for _, value in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer) of this module and all below; a shared buffer comes once."""
        return _each_once(self._named(prefix, "_buffers"))

    def buffers(self) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (value for _, value in self.named_buffers())

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
