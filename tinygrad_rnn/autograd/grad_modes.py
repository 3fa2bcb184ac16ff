"""Grad modes, which say whether the tape records, and `Scope`, the `with` block that all modes are made of.

A mode is a context variable (PEP 567). Every thread begins with recording on. Every task of asyncio has a mode of its
own, which begins as the mode of the code that made the task.

A mode is restored whatever is raised, wherever: `kernels/runtime/undo.py` says how.
"""

from __future__ import annotations

import functools
import inspect
import opcode
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast

from ..kernels.runtime.undo import Undo, consume

_F = TypeVar("_F", bound=Callable[..., Any])


class _Enter:
    """`__enter__` of a Scope, with as few Python calls as possible.

    A `with` block asks the class for it before the block begins, and gets a callable in C. Code that takes it from the
    class, as ExitStack does, gets a function of the scope. shared: the scope that all objects of a class stand for.
    """

    def __init__(self, shared: Scope | None = None):
        self.shared = shared

    def __get__(self, scope: Any, owner: type | None = None) -> Any:
        if scope is None:
            return lambda scope: scope.__enter__()
        return (self.shared or scope).enter


class _Exit:
    """`__exit__` of a Scope, in the same way."""

    def __init__(self, shared: Scope | None = None):
        self.shared = shared

    def __get__(self, scope: Any, owner: type | None = None) -> Any:
        if scope is None:
            return lambda scope, *raised: scope.__exit__(*raised)
        scope, back = self.shared or scope, Undo()
        back.close = partial(consume, map(scope.set, (scope.before(),)))
        return back.__exit__


class Scope:
    """`with Scope(variable, value):` gives a context variable this value within the block.

    before: the block calls it when it begins, and sets the variable to its result when it ends.
    """

    def __init__(self, variable: ContextVar[Any], value: Any):
        self.set, self.before = variable.set, variable.get
        self.enter = partial(variable.set, value)

    __enter__ = _Enter()
    __exit__ = _Exit()


class Mode:
    """A scope for users: a `with` block, a decorator of functions, generators and coroutines, or called by hand."""

    variable: ContextVar[Any]
    value: Any
    __enter__ = _Enter()
    __exit__ = _Exit()

    def __init_subclass__(cls, variable: ContextVar[Any], value: Any = None):
        cls.variable, cls.value = variable, value
        if value is not None:
            shared = Scope(variable, value)
            cls.__enter__, cls.__exit__ = _Enter(shared), _Exit(shared)

    def __getattribute__(self, name: str) -> Any:
        # `mode.__enter__()` looks the method up in the object first; a `with` block looks in the class only.
        by_hand = _BY_HAND.get(name)
        return object.__getattribute__(self, name) if by_hand is None else partial(by_hand, self)

    def before(self) -> Any:
        return self.variable.get()

    def __call__(self, function: _F) -> _F:
        """Decorate a function. A generator or coroutine has the mode while it runs, and its caller never has it."""
        variable, value = self.variable, self.value
        if inspect.isasyncgenfunction(function):

            async def in_mode(*args: Any, **named: Any) -> AsyncGenerator:
                generator, held = function(*args, **named), [value]
                resume, given = generator.asend, None
                while True:
                    try:
                        found = await _Awaited(_stepped(variable, held, resume(given)))
                    except StopAsyncIteration:
                        return
                    try:
                        resume, given = generator.asend, (yield found)
                    except BaseException as error:  # the caller closed it or threw this: the function gets it
                        resume, given = generator.athrow, error

        elif inspect.iscoroutinefunction(function):

            async def in_mode(*args: Any, **named: Any) -> Any:  # type: ignore[misc]
                return await _Awaited(_stepped(variable, [value], function(*args, **named)))

        elif inspect.isgeneratorfunction(function):

            def in_mode(*args: Any, **named: Any) -> Generator:  # type: ignore[misc]
                return (yield from _stepped(variable, [value], function(*args, **named)))

        else:

            def in_mode(*args: Any, **named: Any) -> Any:  # type: ignore[misc]
                with Scope(variable, value):
                    return function(*args, **named)

        return cast(_F, functools.wraps(function)(in_mode))


def _enter(mode: Mode) -> None:
    vars(mode).setdefault("entered", []).append(mode.before())
    mode.variable.set(mode.value)


def _leave(mode: Mode, *_: object) -> None:
    mode.variable.set(vars(mode)["entered"].pop())


_BY_HAND = {"__enter__": _enter, "__exit__": _leave}


def _stepped(variable: ContextVar[Any], held: list[Any], steps: Any) -> Generator:
    """Drive a generator, a coroutine or a step of an asynchronous generator, in the mode that it last had: held[0]."""
    resume, given = steps.send, None
    while True:
        try:
            with Scope(variable, held[0]):
                found = resume(given)
                held[0] = variable.get()
        except StopIteration as end:
            return end.value
        try:
            resume, given = steps.send, (yield found)
        except BaseException as error:  # the caller closed it or threw this: `steps` gets it
            resume, given = steps.throw, error


class _Awaited:
    """A generator in the form that `await` expects."""

    def __init__(self, steps: Generator):
        self.steps = steps

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.steps


_recording: ContextVar[bool] = ContextVar("recording", default=True)
recording = _recording.get
"""Return whether primitives are recorded now, in this thread and task."""


def is_grad_enabled() -> bool:
    """Return whether primitives are recorded now, in this thread and task."""
    return recording()


_scopes = {enabled: Scope(_recording, enabled) for enabled in (False, True)}
recording_as = _scopes.__getitem__
"""Return a block for the library's own use in which primitives are recorded (True) or not (False)."""


class no_grad(Mode, variable=_recording, value=False):
    """Record nothing within the block, so that no memory is kept for a backward."""


class enable_grad(Mode, variable=_recording, value=True):
    """Record within the block even inside a `no_grad`."""


class set_grad_enabled(Mode, variable=_recording):
    """Switch recording on or off from here on; as a block or decorator, within it: `tg.set_grad_enabled(train)`."""

    def __init__(self, enabled: bool):
        self.early: list[bool] = []  # the value before, if __init__ has set the new one already
        self.value = bool(enabled)
        self.set, self.enter = _recording.set, partial(_recording.set, self.value)
        if not _begins_block(sys._getframe(1)):
            self.early.append(recording())
            _recording.set(self.value)

    def before(self) -> bool:
        return self.early.pop() if self.early else recording()

    def __call__(self, function: _F) -> _F:
        if self.early:
            _recording.set(self.early[0])
            self.early.clear()
        return super().__call__(function)


_BEGINNINGS = {opcode.opmap[name] for name in ("BEFORE_WITH", "LOAD_SPECIAL") if name in opcode.opmap}


def _begins_block(frame: FrameType) -> bool:
    """Return whether the call that a frame is making is the `f()` of `with f():`.

    Then the block sets the mode. If the mode were set before, it would stay if the block were never entered.
    """
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while code[at] == 0:  # the call's inline cache
        at += 2
    return not _BEGINNINGS.isdisjoint(code[at : at + 4 : 2])  # from 3.14 on the first instruction is COPY
