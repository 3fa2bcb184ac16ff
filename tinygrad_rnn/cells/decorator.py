"""Recurrent cells as equations. A cell is one function of its pre-activations and its previous states.

    @cell(gates="ifgo", states="hc")
    def lstm(a, s):
        i, f, g, o = sigmoid(a.i), sigmoid(a.f), tanh(a.g), sigmoid(a.o)
        c = f * s.c + i * g
        return o * tanh(c), c

`a.i` is the pre-activation of gate i, W_i x + b_ih + U_i h + b_hh; its parts are `a.i.x` = W_i x + b_ih and
`a.i.h` = U_i h + b_hh, and `a.i.recurrent(v)` = U_i v + b_hh multiplies another vector than h. `s` holds the
previous states, of which the first is h. The function returns the new states. The rest, the derivative
above all, is found from these lines.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ..tensor import Tensor


class Gate(Tensor):
    """The pre-activation of a gate: its value is x + h, the parts that it consists of.

    x: the input's part. h: the recurrent part. product: v -> U v + b_hh for this gate.
    """

    __slots__ = ("h", "product", "x")

    def __init__(self, x: Tensor, h: Tensor, product: Callable[[Any], Tensor]):
        total = x + h
        super().__init__(total.array, total.node)
        self.x, self.h, self.product = x, h, product

    def recurrent(self, v: Any) -> Tensor:
        """Return U v + b_hh: the gate's recurrent weights times another vector than h."""
        return self.product(v)

    of = recurrent  # deprecated: the name up to version 0.1


class _Named(SimpleNamespace):
    """Values by name; `a.i` in a cell's equations."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"cell: expected one of {', '.join(vars(self)) or 'no names'}, got {name}: a name of several letters is "
            f"declared in a list, e.g. [{name!r}]"
        )


class Cell:
    """A cell's equations and the names they use; made by the decorator `cell`.

    gates, states: names, in the order of the rows of the weights and of the states in a layer's result.
    params: names of parameters, one number per hidden unit each (peepholes).
    inputs: names of further inputs per step, besides x, as wide as the hidden state (masks).
    """

    def __init__(
        self,
        equations: Callable[..., Any],
        gates: tuple[str, ...],
        states: tuple[str, ...],
        params: tuple[str, ...],
        inputs: tuple[str, ...],
    ):
        self.equations, self.gates, self.states, self.params, self.inputs = equations, gates, states, params, inputs
        self.name = getattr(equations, "__name__", type(equations).__name__)
        self.traced: Any = None  # its Step, once `trace` has made it: kept here, it goes with the cell
        self.derived: dict[str, Any] = {}  # the cells that `observed` has made of it
        self.__doc__, self.__module__ = equations.__doc__, equations.__module__
        self.__qualname__ = getattr(equations, "__qualname__", self.name)

    def __reduce__(self) -> Any:
        """Copy and pickle by name, because another cell would be traced and compiled again."""
        return (find_cell, (self.name,)) if BUILT_IN.get(self.name) is self else self.__qualname__

    def __deepcopy__(self, memo: dict) -> Cell:
        return self

    def __repr__(self) -> str:
        return f"<cell {self.name}: gates {' '.join(self.gates)}, states {' '.join(self.states)}>"

    def __call__(
        self,
        a: Mapping[str, Gate],
        s: Mapping[str, Any],
        p: Mapping[str, Any] | None = None,
        e: Mapping[str, Any] | None = None,
    ) -> tuple[Any, ...]:
        """Return the new states, computed by the equations from tensors, or from symbols on the tape."""
        spaces = [_Named(**a), _Named(**s)]
        spaces += [_Named(**(p or {}))] if self.params else []
        spaces += [_Named(**(e or {}))] if self.inputs else []
        new = self.equations(*spaces)
        new = new if isinstance(new, tuple) else (new,)
        if len(new) != len(self.states) or not all(isinstance(state, Tensor) for state in new):
            got = [type(state).__name__ for state in new]
            raise TypeError(f"cell {self.name}: expected it to return {len(self.states)} new states, got {got}")
        return new


def _names(what: str, given: str | Sequence[str]) -> tuple[str, ...]:
    spaced = isinstance(given, str) and set(given) & set(", ")
    if not isinstance(given, (str, list, tuple)) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"cell: {what}: expected names, e.g. 'ifgo' or 'reset update', got {given!r}")
    words = str(given).replace(",", " ").split() if spaced else given
    names = tuple(unicodedata.normalize("NFKC", word) for word in words)  # as Python does with what is written a.name
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise ValueError(f"cell: {what}: expected different names, e.g. 'ifgo' or 'reset update', got {given!r}")
    return names


def cell(
    gates: str | Sequence[str],
    states: str | Sequence[str] = "h",
    params: str | Sequence[str] = "",
    inputs: str | Sequence[str] = "",
) -> Callable[[Callable[..., Any]], Cell]:
    """Make a cell of a function of its equations: `equations(a, s)`, then `p` and `e` if it has params and inputs.

    Names are given as a string of letters, as words, or as a list. The equations may use arithmetic, `where` with
    comparisons as its condition, `maximum`, `minimum`, `clip` and the elementwise functions of `tinygrad_rnn`. They
    run once, on symbols, and again where the backward is recorded: no branch on a value, no array of their own, no
    random number, nothing that may have changed by then.
    """
    given = {"gates": gates, "states": states, "params": params, "inputs": inputs}
    names = [_names(what, value) for what, value in given.items()]
    if not names[0] or not names[1]:
        raise ValueError(f"cell: expected at least one gate and one state, got gates {gates!r} and states {states!r}")
    _, states_, params_, inputs_ = names
    own = [*(n + "_0" for n in states_), *("p_" + n for n in params_), *("e_" + n for n in inputs_)]
    if twice := sorted({name for name in own if own.count(name) > 1}):
        raise ValueError(f"cell: expected states, params and inputs that stay apart as arguments, got {twice} twice")
    return lambda equations: Cell(equations, *names)


BUILT_IN: dict[str, Cell] = {}


def register(built: Cell) -> Cell:
    """Enter a cell among the built-in ones, under its name, and return it."""
    BUILT_IN[built.name] = built
    return built


def find_cell(given: str | Cell) -> Cell:
    """Return a cell from the name of a built-in, or itself."""
    if isinstance(given, Cell):
        return given
    if not isinstance(given, str) or given not in BUILT_IN:
        raise ValueError(f"cell: expected a function under @cell or one of {', '.join(BUILT_IN)}, got {given!r}")
    return BUILT_IN[given]
