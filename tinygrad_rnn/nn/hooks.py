"""Forward hooks of a module: functions that a call of the module calls before and after its `forward`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.hooks import HookHandle, new_key

ForwardPreHook = Callable[..., Any]
ForwardHook = Callable[..., Any]


class ForwardHooks:
    """The hooks of one module, in the order of their registration; each with whether it takes the keywords."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[ForwardPreHook, bool]] = {}
        self.after: dict[int, tuple[ForwardHook, bool]] = {}

    def add_before(self, hook: ForwardPreHook, with_kwargs: bool) -> HookHandle:
        return _added(self.before, hook, with_kwargs)

    def add_after(self, hook: ForwardHook, with_kwargs: bool) -> HookHandle:
        return _added(self.after, hook, with_kwargs)

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return module.forward(*args, **kwargs), with arguments and output as the hooks change them."""
        for hook, with_kwargs in tuple(self.before.values()):
            changed = hook(module, args, kwargs) if with_kwargs else hook(module, args)
            if changed is None:
                continue
            if not with_kwargs:
                args = changed if isinstance(changed, tuple) else (changed,)
            elif isinstance(changed, tuple) and len(changed) == 2:
                args, kwargs = changed
            else:
                kind = type(module).__name__
                raise TypeError(f"{kind}: forward pre-hook: expected None or a pair (args, kwargs), got {changed!r}")
        output = module.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(self.after.values()):
            changed = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            output = output if changed is None else changed
        return output


def _added(hooks: dict[int, Any], hook: Any, with_kwargs: bool) -> HookHandle:
    """Add a hook, and return its handle. Raise TypeError for a hook that cannot be called."""
    if not callable(hook):
        raise TypeError(f"hook: expected a function, got {type(hook).__name__}")
    key = new_key()
    hooks[key] = hook, with_kwargs
    return HookHandle(hooks, key)
