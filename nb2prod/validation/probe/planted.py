"""Functions and classes of the notebook that stand in modules and classes of libraries.

Standard library only, and no module beside it: the kernel and the proving process both use it.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

Own = Callable[[Any], bool]
"""Tells the notebook's modules by name."""

_MAY_HOLD = (
    FunctionType,
    type,
    staticmethod,
    classmethod,
    property,
    MethodType,
    functools.partial,
    functools._lru_cache_wrapper,
)


class Planted(NamedTuple):
    """`value`, of the notebook, is the attribute `name` of a module, or of the class `inside` it."""

    module: str
    inside: str
    name: str
    value: Any


def planted(own: Own) -> Iterator[Planted]:
    """All that stand somewhere now."""
    own = _of_texts(own)
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for name, module in modules:
        # without a spec: the notebook's own, or made by it
        if isinstance(module, ModuleType) and vars(module).get("__spec__") is not None and not own(name):
            yield from _planted_in(module, name, "", own)
    for kind in [it for it in gc.get_objects() if issubclass(type(it), type)]:
        module = vars(kind).get("__module__", "builtins")
        if not own(module):
            yield from _planted_in(kind, str(module), kind.__qualname__, own)


def _of_texts(own: Own) -> Own:
    """The same for what some classes have in place of a module's name."""
    return lambda module: isinstance(module, str) and own(module)


def _planted_in(holder: Any, module: str, inside: str, own: Own) -> Iterator[Planted]:
    for name, value in list(vars(holder).items()):
        # most are neither: asking for just that is quick
        if isinstance(value, _MAY_HOLD) and (found := _made(value, own)) is not None:
            yield Planted(module, inside, name, found)


def _made(value: Any, own: Own) -> Any:
    """The function or class of the notebook that a value is or wraps; None if there is none."""
    match value:
        case FunctionType():
            if own(value.__globals__.get("__name__", "")):
                return value
            return _made(vars(value).get("__wrapped__"), own)
        case type():
            return value if own(value.__module__) else None
        case staticmethod() | classmethod() | MethodType():
            return _made(value.__func__, own)
        case property():
            return _made(value.fget, own)
        case functools.partial():
            return _made(value.func, own)
        case functools._lru_cache_wrapper():
            return _made(inspect.unwrap(value), own)
    return None


def is_there(seen: Mapping[str, str], own: Own) -> tuple[bool, bool]:
    """Whether this process has the attribute, and whether it is the notebook's here, too."""
    holder: Any = sys.modules.get(seen["module"])
    for name in seen["inside"].split(".") if seen["inside"] else ():
        holder = getattr(holder, name, None)
    value = getattr(holder, "__dict__", {}).get(seen["name"])
    return hasattr(holder, seen["name"]), _made(value, _of_texts(own)) is not None
