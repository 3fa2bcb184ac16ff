"""Module: the base of layers and models, a tree of named parameters, buffers and sub-modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.device import gpu_name, to_numpy
from ..arrays.storage import half_as_float32
from ..autograd.grad_modes import no_grad
from ..tensor import Tensor
from ..tensor.conversion import convert, dtype_and_device
from ..tensor.creation import tensor
from .hooks import ForwardHook, ForwardHooks, ForwardPreHook, HookHandle

_MISSING = object()


class Parameter(Tensor):
    """A leaf tensor that an optimiser changes. A module registers the parameters assigned to its attributes.

    data: a tensor, whose array the parameter shares, or anything that `tensor` accepts; a floating dtype is needed
    for requires_grad=True. Inference makes the parameter arrays of a recurrent layer read-only, because the layer keeps
    a packed copy of them. Change a parameter through its methods (`copy_`), not through its array.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data.array if isinstance(data, Tensor) else tensor(data).array)
        self.requires_grad = requires_grad


class IncompatibleKeys(NamedTuple):
    """The names that `load_state_dict` did not find in the dictionary, and those that the module does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of layers and models: a subclass assigns parameters and sub-modules as attributes, and defines `forward`.

    A `Parameter` or a `Module` that is assigned to an attribute is registered under the attribute's name. Assigning
    None removes the value and keeps the name. A tensor that is assigned in place of a parameter (a weight computed
    from others, for weight drop or normalisation) is used in calls, but no longer trained or saved.

    `training` tells whether dropout and the like are on; `train` and `eval` set it.
    """

    training: bool
    _hooks: ForwardHooks | None = None

    def __init__(self) -> None:
        own = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_not_saved": set(), "training": True}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result of a call. Every subclass defines its own; the base raises TypeError."""
        raise TypeError(f"{type(self).__name__}: expected a subclass that defines forward, got none")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is not None:
            return self._hooks.call(self, args, kwargs)
        return self.forward(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Return all attributes, for a copy or a pickle.

        Raises RuntimeError for an attribute that is a recorded tensor, because its graph cannot be copied.
        """
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor) and not value.is_leaf:
                raise RuntimeError(
                    f"{type(self).__name__}.{name}: copy or pickle: expected a leaf or constant, got a recorded "
                    "tensor: detach() it first, or compute it in forward"
                )
        return self.__dict__

    # Registration

    def _register(self, registry: str, name: str, value: Any) -> None:
        """Store a value in one registry, and remove everything else that has the name. A known name keeps its place."""
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}.{name}: expected super().__init__() to be called first")
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"{type(self).__name__}: expected a name without dots, got {name!r}")
        if hasattr(type(self), name):
            raise KeyError(f"{type(self).__name__}: expected a name that the class itself does not have, got {name!r}")
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

    def _read(self, name: str, optional: bool = False) -> Any:
        """Return the tensor of this name: a parameter, a buffer, or an attribute (a computed tensor).

        optional: also accept None. Raises AttributeError for a name that is missing, TypeError for another value.
        """
        value = self._parameters.get(name)
        if isinstance(value, Tensor):
            return value
        value = getattr(self, name, _MISSING)
        if isinstance(value, Tensor) or value is None and optional:
            return value
        got = "nothing" if value is _MISSING else "None" if value is None else type(value).__name__
        raise (AttributeError if value is _MISSING else TypeError)(
            f"{type(self).__name__}: {name}: expected a parameter, a buffer or a tensor as attribute, got {got}"
        )

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name. Raises TypeError for any other value."""
        self._register("_parameters", name, _instance_or_none("register_parameter", name, Parameter, param))

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained. `state_dict` includes it unless persistent=False."""
        self._register("_buffers", name, _instance_or_none("register_buffer", name, Tensor, tensor))
        if not persistent:
            self._not_saved.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module under a name, which need not be an identifier but has no dots."""
        self._register("_modules", name, _instance_or_none("add_module", name, Module, module))

    def register_forward_pre_hook(self, hook: ForwardPreHook, *, with_kwargs: bool = False) -> HookHandle:
        """Have each call of the module first call `hook(module, args)`. Return the handle, whose `remove()` ends that.

        The hook may return new arguments, a tuple or a single one, in place of args; None keeps them. with_kwargs: call
        `hook(module, args, kwargs)`, which may return a pair (args, kwargs).
        """
        return self._own_hooks().add_before(hook, with_kwargs)

    def register_forward_hook(self, hook: ForwardHook, *, with_kwargs: bool = False) -> HookHandle:
        """Have each call of the module last call `hook(module, args, output)`. Return the handle, as above.

        The hook may return another output; None keeps it. with_kwargs: call `hook(module, args, kwargs, output)`.
        """
        return self._own_hooks().add_after(hook, with_kwargs)

    def _own_hooks(self) -> ForwardHooks:
        if self._hooks is None:
            object.__setattr__(self, "_hooks", ForwardHooks())
        assert self._hooks is not None
        return self._hooks

    # Traversal

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, sub-module) of the direct sub-modules."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        """Yield the direct sub-modules."""
        return (module for _, module in self.named_children())

    def _traverse(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield (dotted name, module) of this module and all below it; a shared module comes under each name."""
        yield prefix, self
        for name, module in self.named_children():
            yield from module._traverse(f"{prefix}.{name}" if prefix else name)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield (dotted name, module) of this module, named `prefix`, and of all below; a shared module comes once."""
        return _each_once(self._traverse(prefix))

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _places(
        self, prefix: str = "", registries: Sequence[str] = ("_parameters", "_buffers")
    ) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Yield (dotted name, registry, key) of each value here and below; a shared value comes under each name."""
        for path, module in self._traverse(prefix):
            for registry in map(module.__dict__.__getitem__, registries):
                for name, value in registry.items():
                    if value is not None:
                        yield (f"{path}.{name}" if path else name), registry, name

    def _named(self, prefix: str, *registries: str) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, value) from the registries, here and below; a shared value comes under each name."""
        return ((name, registry[key]) for name, registry, key in self._places(prefix, registries))

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter) of this module and all below; a shared parameter comes once."""
        return _each_once(self._named(prefix, "_parameters"))

    def parameters(self) -> Iterator[Parameter]:
        """Yield all parameters, each once, for an optimiser."""
        return (value for _, value in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield (dotted name, buffer) of this module and all below; a shared buffer comes once."""
        return _each_once(self._named(prefix, "_buffers"))

    def buffers(self) -> Iterator[Tensor]:
        """Yield all buffers, each once."""
        return (value for _, value in self.named_buffers())

    # Modes

    def train(self, mode: bool = True) -> Any:
        """Turn dropout and the like on (mode=False: off), here and below. Return the module."""
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self) -> Any:
        """Turn dropout and the like off, here and below. Return the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set `requires_grad` of all parameters. Return the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of all parameters to None, or to zeros with set_to_none=False."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.array))

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn on every module below, then on this one. Return the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *targets: Any, dtype: Any = None, device: Any = None) -> Any:
        """Convert floating parameters, their gradients and buffers to float32 or float64, or move all to a device.

        The change is in place, so an optimiser keeps its parameters. Return the module. Raises TypeError for a dtype
        that is not floating.
        """
        dtype, device = dtype_and_device(targets, dtype, device)
        if dtype is not None and dtype.kind != "f":
            raise TypeError(f"to: dtype: expected float32 or float64 for a module, got {dtype}")
        for _, value in self._named("", "_parameters", "_buffers"):
            convert(value, dtype, device)
        return self

    def cpu(self) -> Any:
        """Move to the CPU, in place. Return the module."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Any:
        """Move to a GPU, given by name or number (default: the current one), in place. Return the module."""
        return self.to(device=gpu_name(device))

    def double(self) -> Any:
        """Convert to float64, in place. Return the module."""
        return self.to("float64")

    def float(self) -> Any:
        """Convert to float32, in place. Return the module."""
        return self.to("float32")

    # Saving

    def _saved(self) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, tensor) of all parameters and persistent buffers, in the order of `state_dict`."""
        for path, module in self._traverse():
            for registry in (module._parameters, module._buffers):
                for name, value in registry.items():
                    if value is not None and name not in module._not_saved:
                        yield (f"{path}.{name}" if path else name), value

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all parameters and persistent buffers by dotted name, without gradients.

        A shared tensor comes under each of its names. `safetensors.numpy.save` accepts the result of a model on the
        CPU.
        """
        return OrderedDict((name, value.detach().clone()) for name, value in self._saved())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values into parameters and buffers by dotted name, converted to the dtype of each.

        state_dict: tensors or arrays, including PyTorch's and those of bfloat16 or float16. `nn.utils.load_file` reads
        one from a file. Everything is checked before anything changes. Raises KeyError for a missing or unknown name
        (not with strict=False), ValueError for a shape that does not fit, TypeError for a value that is not numeric.
        Returns the names that were missing and those that were unknown: none unless strict=False.
        """
        own = dict(self._saved())
        missing, unknown = [n for n in own if n not in state_dict], [n for n in state_dict if n not in own]
        if strict and (missing or unknown):
            name = type(self).__name__
            raise KeyError(f"load_state_dict: expected the names of {name}, got missing {missing}, unknown {unknown}")
        given = {name: half_as_float32(value) for name, value in state_dict.items() if name in own}
        on_host = {name: to_numpy(value, f"load_state_dict: {name}", any_dtype=True) for name, value in given.items()}
        arrays = {name: np.asarray(array, order="C") for name, array in on_host.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in "fiub":
                raise TypeError(f"load_state_dict: {name}: expected numbers, got {array.dtype}")
        misfits = [
            f"{name}: expected shape {own[name].shape}, got {array.shape}"
            for name, array in arrays.items()
            if array.shape != own[name].shape
        ]
        if misfits:
            raise ValueError("load_state_dict: " + "; ".join(misfits))
        with no_grad():
            for name, array in arrays.items():
                own[name].copy_(array)
        return IncompatibleKeys(missing, unknown)

    # Printing

    def extra_repr(self) -> str:
        """Return the text between the brackets of this module's line in `repr`."""
        return ""

    def __repr__(self) -> str:
        below = [f"  ({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        return f"{type(self).__name__}({self.extra_repr()}" + ("\n" + "\n".join(below) + "\n)" if below else ")")


def _each_once(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the pairs whose value has not come before."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _instance_or_none(caller: str, name: str, kind: type, value: Any) -> Any:
    """Return value; raise TypeError unless it is None or an instance of `kind`."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{caller}: {name}: expected a {kind.__name__} or None, got {type(value).__name__}")
    return value
