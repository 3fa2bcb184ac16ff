"""What all optimisers share: groups of parameters, their state, the step and its saving."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import tape
from ..tensor import Tensor

_BLOCK = 1 << 15  # elements: a block of the parameter, its gradient, its state and the rule's scratch fit in the cache


class Optimizer:
    """Base of optimisers: `rule` says how a parameter changes, `slots` which arrays that takes.

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
        if isinstance(params, (Tensor, Mapping)):
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

    def rule(self, x: Any, g: Any, group: dict[str, Any], step: int, *args: Any, **slots: Any) -> Any:
        """The new value of a parameter x with gradient g at its step-th update, from 1.

        Leaves x and g as they are and changes its slots in place. It must work element by element: it is called
        for one block of a parameter after another.
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
                got = f"{p.dtype}" if p.is_leaf else f"the result of {p.node.name!r}"  # type: ignore[union-attr]
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
                    p.grad = None if set_to_none else Tensor(np.zeros_like(p.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        A parameter gets a new array: a graph that was recorded before keeps the old numbers and stays right.
        closure: computes the loss and its gradients anew; called first, and what it returns is returned.
        """
        loss = None
        if closure is not None:
            with tape.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.data = self._updated(p, group)
        return loss

    def _updated(self, p: Tensor, group: dict[str, Any]) -> np.ndarray:
        slots = self.slots(group)
        state: dict[str, Any] = self.state.setdefault(p, {"step": 0}) if slots else {"step": 0}
        for name in slots.keys() - state.keys():
            state[name] = np.full(p.shape, slots[name], p.dtype)
        state["step"] += 1
        new = np.empty(p.shape, p.dtype)
        flat = [a.reshape(-1) for a in (new, p.data, p.grad.data, *(state[name] for name in slots))]  # type: ignore[union-attr]
        for start in range(0, new.size, _BLOCK):
            out, x, g, *kept = [a[start : start + _BLOCK] for a in flat]
            out[...] = self.rule(x, g, group, state["step"], **dict(zip(slots, kept)))
        return new

    # Saving

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
            array = np.asarray(saved.get(name))
            if array.shape != p.shape or array.dtype.kind not in "fiu":
                got = "none" if array.dtype == object else f"{array.dtype} of shape {array.shape}"
                raise ValueError(f"{self._name}: load_state_dict: {name}: expected shape {p.shape}, got {got}")
            state[name] = np.array(array, p.dtype, order="C")
        return state

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            lines.append(f"  {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([f"{self._name}(", *lines, ")"])


def _is_number(value: Any, below: float = math.inf) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(0 <= value < below)
