"""What all optimisers share: groups of parameters, their state, the step and its saving."""

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
    """Base of optimisers: `rule` says how a parameter changes, `slots` and `numbers` what it asks for.

    params: parameters, or groups of them: dicts with "params" and options of their own.
    defaults: the options, for groups that do not set them.

    param_groups: a list of dicts, open to change between steps (`optimizer.param_groups[0]["lr"] = 0.1`).
    state: for each parameter that has been updated its arrays, and under "step" how often it was.
    """

    flags: frozenset[str] = frozenset()  # the options that are True or False; the others are numbers from 0 up

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

    # To be defined by each optimiser

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        """The names of the arrays that the rule keeps for a parameter, and what they are filled with at first."""
        raise NotImplementedError

    def numbers(self, group: dict[str, Any], step: int) -> dict[str, float]:
        """What the rule asks for beside the group's options: numbers that depend on how often it has been applied."""
        return {}

    def rule(self, x: Any, g: Any, o: SimpleNamespace, *args: Any, **slots: Any) -> dict[str, Any]:
        """The new values {"x": ..., slot: ...} from a parameter's element x, its gradient g and its slots.

        Equations for one element, with operators and primitives: they are traced once and compiled, as a cell's are.
        o: the options and `numbers`; one that is 0 is 0.0, so that a rule may leave out what it multiplies.
        """
        raise NotImplementedError

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError unless the options of a group, all of which it has, are known and fit."""
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

        Raises ValueError for a parameter that is there already, and for an option that does not fit.
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
        """Forget the gradients of all parameters, or with set_to_none=False make them zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else Tensor(np.zeros_like(p.array))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        A parameter gets a new array where anybody else holds the old one: a graph that was recorded before keeps the
        old numbers and stays right.
        closure: computes the loss and its gradients anew; called first, and what it returns is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[int, np.dtype, type], list[Tensor]] = {}
            slots = self.slots(group)
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((self._prepared(p, slots) + 1, p.array.dtype, type(p.array)), []).append(p)
            for (step, _, _), parameters in alike.items():
                self._update(parameters, group, slots, step)
        return loss

    def _prepared(self, p: Tensor, slots: dict[str, float]) -> int:
        """How often a parameter has been updated; its state has all slots afterwards."""
        if not slots:
            return 0
        state, x = self.state.setdefault(p, {"step": 0}), p.array
        kind, dtype, shape = type(x), x.dtype, x.shape
        for name, first in slots.items():
            a: Any = state.get(name)
            if type(a) is not kind or a.dtype is not dtype or a.shape != shape or not _in_order(a.flags):
                state[name] = self._fitted(name, a, p, first)
        return int(state["step"])

    def _fitted(self, name: str, found: Any, p: Tensor, first: float) -> Any:
        """An array of the state as the kernels take it: in the parameter's dtype, where it is, in one piece, writable.

        found: what is there, None for nothing yet. ValueError where it is not of the parameter's shape.
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
        """Apply the rule to parameters of one group, dtype and kind of array that are all at their step-th update."""
        single = [name for name in self.defaults if name != "betas"]
        options = {name: group[name] if name in self.flags else float(group[name]) for name in single}
        options |= self.numbers(group, step)
        jobs, new = [], []
        for p in parameters:
            kept = {name: self.state[p][name] for name in slots}
            new.append(p.array if solely_owned(p) else np.empty(p.shape, p.dtype, like=p.array))
            x, g = p.array, self._gradient(p)
            given = {"x": np.ascontiguousarray(x, like=x), "g": np.ascontiguousarray(g, like=g)}
            jobs.append((given | kept, {"x": new[-1]} | kept))
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
        """The gradient's array; ValueError where it has not the shape and dtype of the parameter."""
        g = p.grad.array  # type: ignore[union-attr]
        if g.shape != p.array.shape or g.dtype != p.array.dtype:
            expected, got = f"{p.dtype} of shape {p.shape}", f"{g.dtype} of shape {g.shape}"
            raise ValueError(f"{self._name}: grad: expected {expected} as the parameter is, got {got}")
        return g

    def _program(self, slots: tuple[str, ...], fixed: dict[str, Any], numbers: tuple[str, ...]) -> Program:
        """The rule traced, for these slots, with these options, and with numbers that change from step to step."""

        def equations(given: dict[str, Any]) -> dict[str, Any]:
            options = SimpleNamespace(**fixed, **{name: given[name] for name in numbers})
            return self.rule(given["x"], given["g"], options, **{name: given[name] for name in slots})

        key = slots, tuple(fixed.items()), numbers
        if key not in self._programs:
            self._programs[key] = trace_elementwise(f"optimiser {self._name}", equations, ("x", "g", *slots, *numbers))
        return self._programs[key]

    # Moving and saving

    def to(self, *targets: Any, dtype: Any = None, device: Any = None) -> Any:
        """Move the parameters, their gradients and the state to a device, in place; returns the optimiser.

        The state follows parameters anyway, where a module that owns them has moved them.
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
        """{"state": {i: {"step": n, name: array}}, "param_groups": [{option: value, "params": [i, ...]}]}.

        i counts the parameters over all groups. Copies, of numbers and arrays only.
        """
        index = {p: i for i, p in enumerate(self._all())}
        return {
            "state": {index[p]: copy.deepcopy(state) for p, state in self.state.items()},
            "param_groups": [{**group, "params": [index[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, to the bit; one of PyTorch's optimiser of this name will do as well.

        Everything is checked before anything changes: ValueError if groups, parameters or shapes do not fit.
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
        """The state of one parameter, as arrays of our own in its dtype."""
        state: dict[str, Any] = {"step": int(saved.get("step", 1))}  # PyTorch's SGD does not count, only begins
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


def _in_order(flags: Any) -> bool:
    """Whether an array lies in one piece, row by row, and may be written to, as its flags say."""
    return flags.c_contiguous and getattr(flags, "writeable", True) and getattr(flags, "aligned", True)


def _is_number(value: Any, below: float = math.inf) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(0 <= value < below)
