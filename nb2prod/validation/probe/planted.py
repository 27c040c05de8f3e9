"""Functions, classes and objects of the notebook that stand in modules and classes of libraries.

Standard library only, and no module beside it: the kernel and the proving process both use it.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
from _abc import _get_dump  # type: ignore[import-not-found]
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
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

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})

_DEPTH = 2
"""Containers inside containers that are looked into."""

_RUNNING = frozenset({"asyncio", "builtins", "multiprocessing", "threading"})
"""Libraries whose containers hold what runs or was shown last, not what was registered."""

REGISTERED = "register"
"""Where a class with a registry of subclasses, as `abc` has it, is looked into."""


class Planted(NamedTuple):
    """`value`, of the notebook, is the attribute `name` of a module, or of the class `inside` it; or it
    stands in the container of that name, by the `key`."""

    module: str
    inside: str
    name: str
    key: str
    value: Any


def planted(own: Own, libraries: Collection[str] = ()) -> Iterator[Planted]:
    """All that stand somewhere now; in containers, if the module is of these libraries."""
    own = _of_texts(own)
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for name, module in modules:
        # without a spec: the notebook's own, or made by it
        if isinstance(module, ModuleType) and vars(module).get("__spec__") is not None and not own(name):
            yield from _planted_in(module, name, "", own, _is_of(name, libraries))
    for kind in [it for it in gc.get_objects() if issubclass(type(it), type)]:
        module = vars(kind).get("__module__", "builtins")
        if not own(module):
            deep = _is_of(str(module), libraries)
            yield from _planted_in(kind, str(module), kind.__qualname__, own, deep)


def _is_of(module: str, libraries: Collection[str]) -> bool:
    top = module.partition(".")[0]
    return top in libraries and top not in _RUNNING


def _of_texts(own: Own) -> Own:
    """The same for what some classes have in place of a module's name."""
    return lambda module: isinstance(module, str) and own(module)


def _planted_in(holder: Any, module: str, inside: str, own: Own, deep: bool) -> Iterator[Planted]:
    for name, value in list(vars(holder).items()):
        # most are neither: asking for just that is quick
        kind = type(value)
        if issubclass(kind, _MAY_HOLD) and (found := _made(value, own)) is not None:
            yield Planted(module, inside, name, "", found)
        elif deep and issubclass(kind, _CONTAINERS) and gc.is_tracked(value) and name[:2] != "__":
            yield from (Planted(module, inside, name, *it) for it in _contained(value, own))
    if deep and "_abc_impl" in vars(holder):
        yield from (Planted(module, inside, REGISTERED, *it) for it in _registered(holder, own))


def _contained(container: Any, own: Own, depth: int = 1) -> Iterator[tuple[str, Any]]:
    """What of the notebook stands in a container, each by its key there, or by its own name."""
    for key, value in _pairs(container):
        for part in (key, value):
            if type(part) in _PLAIN:
                continue
            if issubclass(type(part), _CONTAINERS):
                yield from _contained(part, own, depth + 1) if depth < _DEPTH else ()
            elif (found := _made_or_object(part, own)) is not None:
                yield f"[{key!r}]" if type(key) is str else f": {_name_of(found)}", found


def _pairs(container: Any) -> list[tuple[Any, Any]]:
    """The items of a container, read past what a library's own class makes of that: it may compute them."""
    base = next(it for it in _CONTAINERS if isinstance(container, it))
    return list(dict.items(container)) if base is dict else [(None, it) for it in base.__iter__(container)]


def _registered(kind: type, own: Own) -> Iterator[tuple[str, Any]]:
    """The notebook's classes that are registered as subclasses of one of a library."""
    known = (reference() for reference in _get_dump(kind)[0])
    yield from ((f"({it.__qualname__})", it) for it in known if it is not None and own(it.__module__))


def _name_of(value: Any) -> str:
    return str((value if isinstance(value, type | FunctionType) else type(value)).__qualname__)


def _made_or_object(value: Any, own: Own) -> Any:
    """As `_made`, or the value itself if it is an object of a class of the notebook."""
    found = _made(value, own) if issubclass(type(value), _MAY_HOLD) else None
    return value if found is None and own(type(value).__module__) else found


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
    there, own = hasattr(holder, seen["name"]), _of_texts(own)
    if not there or not seen["key"]:
        value = getattr(holder, "__dict__", {}).get(seen["name"])
        return there, _made(value, own) is not None
    held = getattr(holder, seen["name"])
    found = _contained(held, own) if issubclass(type(held), _CONTAINERS) else _registered(holder, own)
    return True, seen["key"] in {key for key, _ in found}
