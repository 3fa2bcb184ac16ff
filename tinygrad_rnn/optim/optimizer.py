"""Optimizer: the base of all optimisers, with groups of parameters, their state, the step, saving and loading."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import kernels
from ..arrays.box import solely_owned
from ..arrays.device import array_like, to_numpy
from ..arrays.error_state import isolate_error_state
from ..autograd import views
from ..autograd.grad_modes import enable_grad, no_grad
from ..cells.trace import trace_elementwise
from ..kernels.ir.program import Program
from ..tensor import Tensor
from ..tensor.conversion import convert, dtype_and_device


class Optimizer:
    """Base of optimisers. A subclass defines `rule`, the update of one number, and `slots`, the state it needs.

    params: parameters, or groups of them: dicts with "params" and options of their own.
    defaults: the options, for groups that do not set them.

    param_groups: a list of dicts, which may change between steps (`optimizer.param_groups[0]["lr"] = 0.1`).
    state: for each updated parameter, its state arrays by name, and the number of its updates under "step".
    """

    flags: frozenset[str] = frozenset()  # the options that are True or False; all others are numbers from 0 up

    def __init__(self, params: Iterable[Any], **defaults: Any):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        self._programs: dict[Any, Program] = {}
        if isinstance(params, (Tensor, Mapping)) or not isinstance(params, Iterable):
            got = type(params).__name__
            raise TypeError(f"{self._name}: params: expected a list of parameters or of groups, got one {got}")
        found = list(params)
        if not found:
            raise ValueError(f"{self._name}: params: expected at least one parameter, got none")
        for group in found if isinstance(found[0], Mapping) else [{"params": found}]:
            self.add_param_group(group)

    # A subclass defines these

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        """Return the name of each state array that the rule reads and writes, with its first value."""
        raise NotImplementedError

    def numbers(self, group: dict[str, Any], step: int) -> dict[str, float]:
        """Return further numbers for the rule, by name; they may depend on `step`, the number of the update from 1."""
        return {}

    def rule(self, x: Any, g: Any, o: SimpleNamespace, *args: Any, **slots: Any) -> dict[str, Any]:
        """Return the new values {"x": ..., slot: ...} from one number x of a parameter, its gradient g and its slots.

        The equations use operators and primitives; they are traced once and compiled, as a cell's are.
        o: the options and `numbers` as attributes. One that is zero is the plain number 0.0, so the rule can test for
        it and leave out a term.
        """
        raise NotImplementedError

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError if a complete group has an unknown option, or an option with a value that is not allowed."""
        for name, value in group.items():
            if name in ("params", "initial_lr"):
                continue
            if name not in self.defaults:
                known = ", ".join(self.defaults)
                raise ValueError(f"{self._name}: expected options among {known}, got {name!r}")
            if name in self.flags:
                expected, fits = "True or False", isinstance(value, (bool, np.bool_))
            elif name == "betas":
                expected = "two numbers from 0 to below 1"
                fits = isinstance(value, (tuple, list)) and len(value) == 2 and all(_is_number(b, 1) for b in value)
            else:
                expected, fits = "a number from 0 up", _is_number(value)
            if not fits:
                raise ValueError(f"{self._name}: {name}: expected {expected}, got {value!r}")

    # Groups

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters, with options of their own: {"params": [...], "lr": 0.1}.

        Raises TypeError for a group that is not a dict with "params" and for a parameter that is not a tensor. Raises
        ValueError for a parameter that is in a group already, is not a leaf or has no floating dtype, and for a wrong
        option.
        """
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{self._name}: params: expected groups that are dicts with 'params', got {group!r}")
        new = {**self.defaults, **group}
        new["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        self.check(new)
        taken = {id(p) for known in self.param_groups for p in known["params"]}
        for i, p in enumerate(new["params"]):
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: params[{i}]: expected a Parameter, got {type(p).__name__}")
            if not p.is_leaf or p.dtype.kind != "f":
                got = f"{p.dtype}" if p.is_leaf else f"the result of {p.node.name!r}"
                raise ValueError(f"{self._name}: params[{i}]: expected a leaf with a floating dtype, got {got}")
            if id(p) in taken:
                raise ValueError(f"{self._name}: params[{i}]: expected each parameter once, got {p.shape} twice")
            taken.add(id(p))
        self.param_groups.append(new)

    # The step

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of all parameters to None, or to zeros with set_to_none=False."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else Tensor(np.zeros_like(p.array))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        A parameter gets a new array if anybody else holds the old one, so a graph that was recorded before keeps the
        old numbers and stays right.
        closure: a function that computes the loss and its gradients; `step` calls it first and returns its result.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            together: dict[tuple[int, np.dtype, type], list[Tensor]] = {}  # parameters that one kernel call updates
            slots = self.slots(group)
            for p in group["params"]:
                if p.grad is not None:
                    together.setdefault((self._prepared(p, slots) + 1, p.array.dtype, type(p.array)), []).append(p)
            for (step, _, _), parameters in together.items():
                self._update(parameters, group, slots, step)
        return loss

    def _prepared(self, p: Tensor, slots: dict[str, float]) -> int:
        """Make a parameter's state hold every slot, fit for the kernels. Return the number of its updates so far."""
        if not slots:
            return 0
        state, x = self.state.setdefault(p, {"step": 0}), p.array
        kind, dtype, shape = type(x), x.dtype, x.shape
        for name, first in slots.items():
            a: Any = state.get(name)
            if type(a) is not kind or a.dtype is not dtype or a.shape != shape or not _is_writable_c(a.flags):
                state[name] = self._fitted(name, a, p, first)
        return int(state["step"])

    def _fitted(self, name: str, found: Any, p: Tensor, first: float) -> Any:
        """Return a state array as the kernels need it: the parameter's dtype and device, C-contiguous, writable.

        found: the array so far; for None the new array is filled with `first`. Raises ValueError for a shape that is
        not the parameter's.
        """
        if found is None:
            made = np.empty(p.shape, p.dtype, like=p.array)
            made.fill(first)
            return made
        array = array_like(found, p, f"{self._name}: state: {name}", any_dtype=True)
        if array.shape != p.shape or array.dtype.kind not in "fiu":
            got = f"{array.dtype} of shape {array.shape}"
            raise ValueError(f"{self._name}: state: {name}: expected {p.dtype} of shape {p.shape}, got {got}")
        return np.array(array, p.dtype, order="C", like=p.array)

    @isolate_error_state
    def _update(self, parameters: list[Tensor], group: dict[str, Any], slots: dict[str, float], step: int) -> None:
        """Apply the rule to parameters of one group, dtype and array type, all at their update number `step`."""
        single = [name for name in self.defaults if name != "betas"]
        options = {name: group[name] if name in self.flags else float(group[name]) for name in single}
        options |= self.numbers(group, step)
        jobs, new = [], []
        for p in parameters:
            state = {name: self.state[p][name] for name in slots}
            new.append(p.array if solely_owned(p) else np.empty(p.shape, p.dtype, like=p.array))
            x, g = p.array, self._gradient(p)
            given = {"x": np.ascontiguousarray(x, like=x), "g": np.ascontiguousarray(g, like=g)}
            jobs.append((given | state, {"x": new[-1]} | state))
        fixed = {name: v for name, v in options.items() if not isinstance(v, float) or v == 0.0}
        program = self._program(tuple(slots), fixed, tuple(sorted(options.keys() - fixed.keys())))
        kernels.elementwise(program, jobs, {name: v for name, v in options.items() if name in program.inputs})
        for p, x in zip(parameters, new):
            if getattr(p, "origin", None) is None:
                p.array = x
            else:
                with no_grad():
                    views.overwrite(f"{self._name}: step", p, x)
            if slots:
                self.state[p]["step"] = step

    def _gradient(self, p: Tensor) -> Any:
        """Return the gradient's array. Raise ValueError unless it has the shape and dtype of the parameter."""
        g = p.grad.array  # type: ignore[union-attr]
        if g.shape != p.array.shape or g.dtype != p.array.dtype:
            expected, got = f"{p.dtype} of shape {p.shape}", f"{g.dtype} of shape {g.shape}"
            raise ValueError(f"{self._name}: grad: expected {expected} as the parameter is, got {got}")
        return g

    def _program(self, slots: tuple[str, ...], fixed: dict[str, Any], numbers: tuple[str, ...]) -> Program:
        """Return the traced rule. `fixed` options become constants; `numbers` become arguments, which may change."""

        def equations(given: dict[str, Any]) -> dict[str, Any]:
            options = SimpleNamespace(**fixed, **{name: given[name] for name in numbers})
            return self.rule(given["x"], given["g"], options, **{name: given[name] for name in slots})

        key = slots, tuple(fixed.items()), numbers
        if key not in self._programs:
            self._programs[key] = trace_elementwise(f"optimiser {self._name}", equations, ("x", "g", *slots, *numbers))
        return self._programs[key]

    # Moving and saving

    def to(self, *targets: Any, dtype: Any = None, device: Any = None) -> Any:
        """Move the parameters, their gradients and the state to a device, in place. Return the optimiser.

        A call is not needed after `Module.to`: the next step moves the state to its parameters.
        """
        dtype, device = dtype_and_device(targets, dtype, device)
        if dtype is not None:
            raise TypeError(f"{self._name}: to: expected a device, got {dtype}")
        for p in self._all():
            convert(p, None, device)
            state = self.state.get(p, {})
            state.update({name: array_like(array, p) for name, array in state.items() if name != "step"})
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return {"state": {i: {"step": n, name: array}}, "param_groups": [{option: value, "params": [i, ...]}]}.

        i counts the parameters over all groups. All arrays are copies.
        """
        index = {p: i for i, p in enumerate(self._all())}
        return {
            "state": {index[p]: copy.deepcopy(state) for p, state in self.state.items()},
            "param_groups": [{**group, "params": [index[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the result of `state_dict` of this class, or of PyTorch's optimiser of the same name.

        The next steps are bit-equal. Everything is checked before anything changes. Raises ValueError for groups,
        options or shapes that do not fit.
        """
        groups, saved = state_dict["param_groups"], state_dict["state"]
        sizes, expected = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes != expected:
            raise ValueError(f"{self._name}: load_state_dict: expected groups of {expected} parameters, got {sizes}")
        options, state = [], {}
        for group, loaded in zip(self.param_groups, groups):
            known = {name: loaded[name] for name in (*self.defaults, "initial_lr") if name in loaded}
            self.check({**group, **known})
            if loaded.get("maximize"):
                raise ValueError(f"{self._name}: load_state_dict: maximize: expected False, got {loaded['maximize']!r}")
            options.append(copy.deepcopy(known))
            slots = self.slots({**group, **known})
            for p, i in zip(group["params"], loaded["params"]):
                if i in saved and slots:
                    state[p] = self._loaded(p, slots, saved[i])
        for group, known in zip(self.param_groups, options):
            group.update(known)
        self.state = state

    def _loaded(self, p: Tensor, slots: Iterable[str], saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state of one parameter, as new arrays in its dtype."""
        state: dict[str, Any] = {"step": int(saved.get("step", 1))}  # PyTorch's SGD saves no step; 1 means it has begun
        for name in {*slots, *saved} - {"step"}:
            if saved.get(name) is None:
                raise ValueError(f"{self._name}: load_state_dict: {name}: expected shape {p.shape}, got none")
            array = to_numpy(saved[name], f"{self._name}: load_state_dict: {name}", any_dtype=True)
            if array.shape != p.shape or array.dtype.kind not in "fiu":
                got = f"{array.dtype} of shape {array.shape}"
                raise ValueError(f"{self._name}: load_state_dict: {name}: expected shape {p.shape}, got {got}")
            state[name] = array_like(np.array(array, p.dtype, order="C"), p)
        return state

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            lines.append(f"  {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([f"{self._name}(", *lines, ")"])


def _is_writable_c(flags: Any) -> bool:
    """Return whether an array with these flags is C-contiguous, writable and aligned."""
    return flags.c_contiguous and getattr(flags, "writeable", True) and getattr(flags, "aligned", True)


def _is_number(value: Any, below: float = math.inf) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(0 <= value < below)
