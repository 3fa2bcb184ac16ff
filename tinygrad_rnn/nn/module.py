"""Module: a layer or a model, as a tree of parameters with names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..arrays.device import gpu_name, to_numpy
from ..arrays.storage import half_as_float32
from ..autograd.grad_modes import no_grad
from ..tensor import Tensor
from ..tensor.conversion import convert, dtype_and_device
from ..tensor.creation import tensor

_NOTHING = object()


class Parameter(Tensor):
    """A leaf that a module owns and an optimiser changes. Assigning one to a module's attribute registers it.

    data: a tensor, whose numbers it takes over, or what `tensor` makes one of. Floating, if requires_grad.
    A recurrent layer that has run in inference has made its parameters' arrays read-only, as it keeps them packed.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data.array if isinstance(data, Tensor) else tensor(data).array)
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

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: all attributes, none of them a recorded tensor, whose graph cannot be copied."""
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor) and not value.is_leaf:
                raise RuntimeError(
                    f"{type(self).__name__}.{name}: copy or pickle: expected a leaf or constant, got a recorded "
                    "tensor: detach() it first, or compute it in forward"
                )
        return self.__dict__

    # Registration

    def _register(self, registry: str, name: str, value: Any) -> None:
        """Put a value into one registry, in its place if the name is there, and out of all else that has the name."""
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
        """Return the tensor that a call of this module uses under a name: parameter, buffer, or attribute (computed).

        optional: the module also works where None stands in its place. Raises AttributeError where nothing has the
        name, TypeError where it is no tensor.
        """
        value = self._parameters.get(name)
        if isinstance(value, Tensor):
            return value
        value = getattr(self, name, _NOTHING)
        if isinstance(value, Tensor) or value is None and optional:
            return value
        got = "nothing" if value is _NOTHING else "None" if value is None else type(value).__name__
        raise (AttributeError if value is _NOTHING else TypeError)(
            f"{type(self).__name__}: {name}: expected a parameter, a buffer or a tensor as attribute, got {got}"
        )

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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or with set_to_none=False make them zeros."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.array))

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call fn on every module below and on this one; returns the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *targets: Any, dtype: Any = None, device: Any = None) -> Any:
        """Convert floating parameters, their gradients and buffers to float32 or float64, or move all to a device.

        Done in place: parameters stay the tensors that an optimiser knows. Returns the module.
        """
        dtype, device = dtype_and_device(targets, dtype, device)
        if dtype is not None and dtype.kind != "f":
            raise TypeError(f"to: dtype: expected float32 or float64 for a module, got {dtype}")
        for _, value in self._named("", "_parameters", "_buffers"):
            convert(value, dtype, device)
        return self

    def cpu(self) -> Any:
        """Move to the CPU, in place."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Any:
        """Move to a GPU, by its name or number, in place; the current one by default."""
        return self.to(device=gpu_name(device))

    def double(self) -> Any:
        """Convert to float64, in place."""
        return self.to("float64")

    def float(self) -> Any:
        """Convert to float32, in place."""
        return self.to("float32")

    # Saving

    def _saved(self) -> Iterator[tuple[str, Any]]:
        for path, module in self._walk():
            for registry in (module._parameters, module._buffers):
                for name, value in registry.items():
                    if value is not None and name not in module._not_saved:
                        yield (f"{path}.{name}" if path else name), value

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> tensor of all parameters and buffers: copies, without gradients; a shared one under each name.

        `safetensors.numpy.save` takes it as it is, for a model on the CPU.
        """
        return OrderedDict((name, value.detach().clone()) for name, value in self._saved())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Take over parameters and buffers by name: tensors or arrays, PyTorch's among them, in this module's dtype.

        bfloat16 and float16 among them; `nn.utils.load_file` reads a safetensors file that holds such numbers.

        Everything is checked before anything changes. Raises KeyError for names that are missing or unknown (not
        with strict=False), ValueError for shapes that do not fit, TypeError for what is not numbers.
        """
        own = dict(self._saved())
        missing, unknown = [n for n in own if n not in state_dict], [n for n in state_dict if n not in own]
        if strict and (missing or unknown):
            name = type(self).__name__
            raise KeyError(f"load_state_dict: expected the names of {name}, got missing {missing}, unknown {unknown}")
        given = {name: half_as_float32(value) for name, value in state_dict.items() if name in own}
        taken = {name: to_numpy(value, f"load_state_dict: {name}", any_dtype=True) for name, value in given.items()}
        arrays = {name: np.asarray(array, order="C") for name, array in taken.items()}
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

    # Reading

    def extra_repr(self) -> str:
        """What stands in the brackets of this module's line."""
        return ""

    def __repr__(self) -> str:
        below = [f"  ({name}): " + repr(module).replace("\n", "\n  ") for name, module in self._modules.items()]
        return f"{type(self).__name__}({self.extra_repr()}" + ("\n" + "\n".join(below) + "\n)" if below else ")")


def _each_once(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The pairs whose value has not come before."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _of(caller: str, name: str, kind: type, value: Any) -> Any:
    """value, or an error unless it is of this kind or None."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{caller}: {name}: expected a {kind.__name__} or None, got {type(value).__name__}")
    return value
