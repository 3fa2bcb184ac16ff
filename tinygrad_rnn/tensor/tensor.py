"""Tensor: an array on the tape. Its operators and methods are the primitives themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..arrays.box import Box, boxed
from ..arrays.coercion import array_of, operand
from ..arrays.device import (
    array_like,
    device_of,
    gpu_name,
    on_gpu,
    resolve_device,
    same_device,
    to_device,
    to_numpy,
)
from ..arrays.storage import AsBytes
from ..autograd import hooks, tape, views
from ..autograd.functional import starting_cotangent
from ..autograd.grad_modes import recording
from ..autograd.primitives import elementwise as el
from ..autograd.primitives import index as ix
from ..autograd.primitives import order as od
from ..autograd.primitives import products as pr
from ..autograd.primitives import reduce as rd
from ..autograd.primitives import shape as sh
from ..autograd.primitives.norm import norm
from ..autograd.primitives.sampling import multinomial
from .conversion import dtype_and_device
from .filled import NewTensors
from .in_place import InPlace
from .operators import BesideArrays, boolean, reflected

_ndarray = np.ndarray


def _held(data: Any) -> Any:
    """Return the array of a new tensor from an array, a tensor or a value; return a symbol as it is."""
    if hasattr(type(data), "__tape_primitive__"):
        return data
    return array_of("Tensor: data", data)


def _is_comparable(other: Any) -> bool:
    """Return whether == and != compare numbers, and not the identity of objects."""
    if isinstance(other, (Box, int, float, np.ndarray, np.generic, list, tuple)) or on_gpu(other):
        return True
    return hasattr(other, "__array__") or hasattr(other, "__array_interface__")


class Tensor(InPlace, NewTensors, AsBytes):
    """An n-dimensional array that the tape can follow.

    Made by `tg.tensor`. Names and meaning follow PyTorch. Tensors are values: an in-place write
    (`x[i] = v`, `x += v`, `x.copy_(v)`) gives this tensor a new array, so neither the tape nor another tensor
    that shares the old one ever sees a number change; on a tensor that the tape has recorded it is an error.

    A write to a view (`x[0]`, `x.T`, ...) of a tensor that is not recorded is a write to that tensor.

    data: the array. node: its place on the tape, None for a constant.
    """

    __slots__ = ()
    __array_ufunc__ = BesideArrays()

    def __init__(self, data: Any, node: tape.Node | None = None):
        super().__init__(operand("Tensor: data", data) if type(data) is _ndarray else _held(data), node)

    # Facts about a tensor

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def device(self) -> str:
        return device_of(self.array)

    def numel(self) -> int:
        """Return the number of elements."""
        return self.array.size

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or the size of one dimension."""
        return self.shape if dim is None else self.shape[sh.axis_of("size", dim, self.ndim)]

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self.array.ndim

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected a tensor of at least one dimension, got a scalar")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iter: expected a tensor of at least one dimension, got a scalar")
        return iter(sh.unbind(self))

    def __contains__(self, value: Any) -> bool:
        return (self.array == array_like(value, self, "in")).any().item()

    def __repr__(self) -> str:
        body = np.array2string(to_numpy(self), separator=", ", prefix="tensor(", precision=4, threshold=1000)
        extras = [] if self.dtype in (np.float32, np.int64, np.bool_) else [f"dtype={self.dtype}"]
        extras += [] if self.device == "cpu" else [f"device={self.device!r}"]
        if self.node is not None:
            extras.append("requires_grad=True" if self.is_leaf else f"node={self.node.name}")
        return f"tensor({', '.join([body, *extras])})"

    def __reduce__(self) -> tuple:
        if not self.is_leaf:
            raise RuntimeError("copy or pickle: expected a leaf or constant, got a recorded tensor: detach() it first")
        where = self.device
        return _rebuilt, (type(self), self.array if where == "cpu" else to_numpy(self), self.requires_grad, where)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        make, (kind, data, requires_grad, where) = self.__reduce__()
        found = memo[id(self)] = make(kind, data.copy(), requires_grad, where)
        grad = self.grad
        if grad is not None:
            extras = hooks.NodeExtras(keeps_grad=True)
            extras.grad = boxed(grad.array.copy())
            node = found.node
            if node is None:
                node = found.frozen = tape.leaf(found.array)
            node.extras = extras
        return found

    __hash__ = object.__hash__

    # To numbers and arrays

    def numpy(self) -> np.ndarray:
        """Return the array itself, not a copy. It is read-only if a gradient is asked for, to keep the tape valid."""
        if self.device != "cpu":
            raise TypeError(f"numpy: expected a tensor on the CPU, got one on {self.device}: copy it with .cpu() first")
        if self.node is None:
            return self.array
        view = self.array.view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype, copy=copy)

    def __dlpack__(self, **asked: Any) -> Any:
        if self.node is not None:
            raise BufferError("__dlpack__: expected a tensor without requires_grad, got one with it: detach() it first")
        return self.array.__dlpack__(**asked)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self.array.size != 1:
            raise ValueError(f"item: expected a tensor of one element, got shape {self.shape}")
        return self.array.item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.array.tolist()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item() if spec and self.array.size == 1 else str(self), spec)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"index: expected an integer tensor, got {self.dtype}")
        return int(self.item())

    # Gradients

    @property
    def requires_grad(self) -> bool:
        """Whether the tape follows this tensor. May be set on leaves of floating dtype."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not self.is_leaf and not value:
            raise RuntimeError("requires_grad: expected a leaf, got a recorded tensor: use detach() to leave the tape")
        if value and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: expected a floating dtype, got {self.dtype}")
        if bool(value) != self.requires_grad:
            before = getattr(self, "frozen", None)
            self.node, self.frozen = (before or tape.leaf(self.array), None) if value else (None, self.node)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad`; returns the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether nothing recorded computed it: a parameter, an input or a constant."""
        return self.node is None or self.node.definition is None

    @property
    def grad(self) -> Tensor | None:
        """d(what backward was called on) / d(this), added up over calls; None before the first."""
        node = self.node or getattr(self, "frozen", None)
        return None if node is None or node.extras is None else node.extras.grad

    @grad.setter
    def grad(self, grad: Tensor | None) -> None:
        if grad is not None:
            if self.node is None:
                raise RuntimeError("grad: expected a tensor with requires_grad, got a constant")
            if not isinstance(grad, Tensor) or grad.shape != self.shape or grad.dtype != self.dtype:
                got = f"{grad.dtype} of shape {grad.shape}" if isinstance(grad, Tensor) else type(grad).__name__
                raise ValueError(f"grad: expected None or a tensor, {self.dtype} of shape {self.shape}, got {got}")
            if type(grad.array) is not type(self.array):
                same_device("grad", grad, self, "the tensor is")
        node = self.node or getattr(self, "frozen", None)
        if node is not None:
            node.extras = node.extras or hooks.NodeExtras()
            node.extras.grad = grad

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add d(self)/d(leaf) to the `grad` of every leaf that this was computed from.

        gradient: the cotangent of this tensor, of its shape; may be left out for a tensor of one element (1).
        retain_graph: keep the graph for another backward; otherwise it is freed as the walk passes.
        create_graph: record the backward, so that the gradients can be differentiated again.
        """
        seed = starting_cotangent("backward", self, gradient, create_graph)
        tape.backward_pass([(self.node, seed)], retain=retain_graph or create_graph, create=create_graph)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> hooks.HookHandle:
        """Call `hook(gradient)` in every backward that reaches this tensor; a tensor it returns goes on in its place.

        Returns a handle: its `remove()`, or a call of it, takes the hook off again.
        """
        if self.node is None:
            raise RuntimeError("register_hook: expected a tensor with requires_grad, got a constant")
        return hooks.add_hook(self.node, hook)

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor in `grad` too, though it is no leaf."""
        if self.node is None:
            raise RuntimeError("retain_grad: expected a tensor with requires_grad, got a constant")
        self.node.extras = self.node.extras or hooks.NodeExtras()
        self.node.extras.keeps_grad = True

    def detach(self) -> Tensor:
        """Return the same numbers as a constant: no gradient passes. A write to it is also one to this tensor."""
        return views.same_array(self)

    def clone(self) -> Tensor:
        """Return a copy that gradients pass through."""
        return self * 1 if self.node is not None and recording() else boxed(self.array.copy())

    # Dtype and device

    def to(self, *targets: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """Return this tensor in another dtype or on another device, or in those of another tensor."""
        dtype, device = dtype_and_device(targets, dtype, device)
        out = self if dtype is None else el.cast(self, dtype)
        return out if device is None else el.move(out, device)

    def cpu(self) -> Tensor:
        """Return this tensor on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Tensor:
        """Return this tensor on a GPU, given by its name or number; the current one by default."""
        return self.to(device=gpu_name(device))

    def float(self) -> Tensor:
        """Return this tensor in float32."""
        return self.to("float32")

    def double(self) -> Tensor:
        """Return this tensor in float64."""
        return self.to("float64")

    def long(self) -> Tensor:
        """Return this tensor in int64."""
        return self.to("int64")

    def bool(self) -> Tensor:
        """Return this tensor in bool: whether each element is not 0."""
        return self.to("bool")

    # Arithmetic and comparison

    __add__, __radd__ = el.add, reflected(el.add)
    __sub__, __rsub__ = el.sub, reflected(el.sub)
    __mul__, __rmul__ = el.mul, reflected(el.mul)
    __truediv__, __rtruediv__ = el.div, reflected(el.div)
    __pow__, __rpow__ = el.pow, reflected(el.pow)
    __matmul__, __rmatmul__ = pr.matmul, reflected(pr.matmul)
    __floordiv__, __rfloordiv__ = el.floor_div, reflected(el.floor_div)
    __mod__, __rmod__ = el.remainder, reflected(el.remainder)
    __divmod__, __rdivmod__ = el.divided, reflected(el.divided)
    __neg__ = el.neg
    __abs__ = el.abs
    __lt__, __le__, __gt__, __ge__ = el.lt, el.le, el.gt, el.ge
    __and__ = __rand__ = boolean(el.logical_and, "&")
    __or__ = __ror__ = boolean(el.logical_or, "|")
    __invert__ = boolean(el.logical_not, "~")
    __getitem__ = ix.getitem

    def __pos__(self) -> Tensor:
        return self

    def __eq__(self, other: object) -> Any:
        return el.eq(self, other) if _is_comparable(other) else NotImplemented

    def __ne__(self, other: object) -> Any:
        return el.ne(self, other) if _is_comparable(other) else NotImplemented

    add, sub, mul, div, neg, pow, matmul = el.add, el.sub, el.mul, el.div, el.neg, el.pow, pr.matmul
    bmm = pr.bmm
    floor_divide, remainder = el.floor_div, el.remainder
    exp, log, sqrt, abs, sign, sin, cos = el.exp, el.log, el.sqrt, el.abs, el.sign, el.sin, el.cos
    tanh, sigmoid, relu, softplus, gelu, erf = el.tanh, el.sigmoid, el.relu, el.softplus, el.gelu, el.erf
    clip = clamp = el.clip
    masked_fill, maximum, minimum = el.masked_fill, el.maximum, el.minimum
    isfinite, isnan = el.isfinite, el.isnan
    sum, mean, var, std = rd.sum, rd.mean, rd.var, rd.std
    max, min, amax, amin, argmax, argmin = rd.max, rd.min, rd.amax, rd.amin, rd.argmax, rd.argmin
    any, all, cumsum = rd.any, rd.all, rd.cumsum
    norm = norm
    softmax, log_softmax, logsumexp = rd.softmax, rd.log_softmax, rd.logsumexp
    reshape = view = sh.reshape
    permute, transpose, flatten, flip = sh.permute, sh.transpose, sh.flatten, sh.flip
    squeeze, unsqueeze, split, chunk, unbind = sh.squeeze, sh.unsqueeze, sh.split, sh.chunk, sh.unbind
    expand = broadcast_to = sh.broadcast_to
    repeat, tile = sh.repeat, sh.tile
    gather = ix.gather
    sort, argsort, topk = od.sort, od.argsort, od.topk
    multinomial = multinomial

    @property
    def T(self) -> Tensor:
        """The dimensions in reverse order."""
        return sh.reverse_dims(self)

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        return sh.transpose(self, -2, -1)


def _rebuilt(kind: type[Tensor], data: Any, requires_grad: bool, device: str = "cpu") -> Tensor:
    tensor, data = kind.__new__(kind), to_device(data, resolve_device("copy or pickle", device))
    Tensor.__init__(tensor, data, tape.leaf(data) if requires_grad else None)
    return tensor


Box.result_type = Tensor  # from here on the tape hands out tensors
