"""Grad modes: whether the tape records; and `Scope`, the `with` block that they and all other modes are made of.

A mode is a context variable (PEP 567): every thread begins with recording on, and every task of asyncio has a mode of
its own, which begins as that of the code that made the task.

A mode goes back whatever is raised, wherever: `kernels.undo` says how.
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
    """`__enter__` of a Scope. A `with` block asks the class for it before it is entered, and gets a callable in C;
    whoever takes it off the class, as ExitStack does, gets a function of the scope. (As few Python calls as can be.)

    shared: the scope that all objects of a class stand for, if they do.
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
    """`with Scope(variable, value):` within the block the context variable has this value.

    before: asked as a block begins, gives the value to set as it ends.
    """

    def __init__(self, variable: ContextVar[Any], value: Any):
        self.set, self.before = variable.set, variable.get
        self.enter = partial(variable.set, value)

    __enter__ = _Enter()
    __exit__ = _Exit()


class Mode:
    """A scope for everyone: a `with` block, a decorator of functions, generators and coroutines, or used by hand."""

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
        # `mode.__enter__()` asks the object first, a `with` block never does.
        by_hand = _BY_HAND.get(name)
        return object.__getattribute__(self, name) if by_hand is None else partial(by_hand, self)

    def before(self) -> Any:
        return self.variable.get()

    def __call__(self, function: _F) -> _F:
        """Decorate a function; of one that yields or awaits, what runs between: the caller's mode is never touched."""
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
                    except BaseException as error:  # closed, or thrown into: for the function to see
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
    """Drive a generator, coroutine or step of an asynchronous generator, each time in the mode it last had: [held]."""
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
        except BaseException as error:  # closed, or thrown into: for what is driven to see
            resume, given = steps.throw, error


class _Awaited:
    """A generator in the form that `await` takes."""

    def __init__(self, steps: Generator):
        self.steps = steps

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.steps


_recording: ContextVar[bool] = ContextVar("recording", default=True)
recording = _recording.get
"""Whether primitives are recorded now, in this thread and task."""


def is_grad_enabled() -> bool:
    """Whether primitives are recorded now, in this thread and task."""
    return recording()


_scopes = {enabled: Scope(_recording, enabled) for enabled in (False, True)}
recording_as = _scopes.__getitem__
"""A block for the library's own use in which primitives are recorded, or are not."""


class no_grad(Mode, variable=_recording, value=False):
    """Nothing is recorded within the block, so no memory is kept for a backward."""


class enable_grad(Mode, variable=_recording, value=True):
    """Record within the block even inside a `no_grad`."""


class set_grad_enabled(Mode, variable=_recording):
    """Record on the tape from here on, or do not; as a block or decorator, within it: `tg.set_grad_enabled(train)`."""

    def __init__(self, enabled: bool):
        self.early: list[bool] = []  # what was before, where this has set its value already
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
    """Whether the call that a frame is making is the `f()` of `with f():`.

    The mode is left for the block to set then: one set already would stay, were the block never entered.
    """
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while code[at] == 0:  # the call's inline cache
        at += 2
    return not _BEGINNINGS.isdisjoint(code[at : at + 4 : 2])  # from 3.14 on the first instruction is COPY
