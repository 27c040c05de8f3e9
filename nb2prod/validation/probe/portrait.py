"""What a definition or a constant is, as plain data that two processes can compare.

Standard library only, and no module beside it: the kernel and the proving process both use it.
"""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MethodType, ModuleType
from typing import Any

MAX_PARTS = 20_000
"""Parts of one value that are looked at; a larger one has no portrait."""

PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))


def portrait(value: Any, own: Callable[[str], bool], changing: Collection[str] = ()) -> Any:
    """A value as JSON data: its parts by name, as far as they are plain or made by the notebook.

    `own` tells the notebook's modules by name; `changing` names what in closures and objects functions of the
    notebook change themselves. Objects of libraries count by their type. None if there is too much of it.
    """
    try:
        return _Painter(own, frozenset(changing)).of(value)
    except (_TooMuch, RecursionError):
        return None


def unlike(
    portraits: Iterable[Mapping[str, Any]], module_of: Callable[[str], ModuleType], own: Callable[[str], bool]
) -> dict[str, Any] | None:
    """The first of the portraits that is unlike what its `module` has by its `name`, and where it is."""
    for seen in portraits:
        there = vars(module_of(seen["module"]))
        if seen["name"] not in there or seen["portrait"] is None:
            continue
        here = portrait(there[seen["name"]], own, seen["others"])
        if found := first_difference(seen["portrait"], here):
            return {**seen, **dict(zip(("path", "notebook", "package"), found, strict=True))}
    return None


def first_difference(one: Any, other: Any, path: str = "") -> tuple[str, str, str] | None:
    """Where two portraits differ first, and what each has there; None if they are the same."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return None if one == other else (path, _text(one), _text(other))
    for name in {**one, **other}:
        if name not in one or name not in other:
            return path + name, _text(one.get(name)), _text(other.get(name))
        if found := first_difference(one[name], other[name], path + name):
            return found
    return None


def _text(found: Any) -> str:
    if found is None:
        return "nothing"
    return found if isinstance(found, str) else str(found.get("", "something else"))


class _TooMuch(Exception):
    """More parts than are looked at."""


@dataclass(slots=True)
class _Painter:
    own: Callable[[str], bool]
    changing: frozenset[str]
    above: set[int] = field(default_factory=set)
    parts: int = 0

    def of(self, value: Any) -> Any:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise _TooMuch
        if isinstance(value, PLAIN):
            return repr(value)
        if id(value) in self.above:
            return "itself"
        self.above.add(id(value))
        found = {"": _kind(value)}
        for name, part in self._parts(value):
            found[name] = self.of(part)
        self.above.discard(id(value))
        return found if len(found) > 1 else found[""]

    def _parts(self, it: Any) -> Iterator[tuple[str, Any]]:
        match it:
            case type():
                if self.own(it.__module__):
                    yield from ((f".{name}", v) for name, v in vars(it).items() if not _is_pythons(name, v))
            case FunctionType():
                if self.own(it.__globals__.get("__name__", "")):
                    yield from self._held(it)
            case Mapping():
                yield from ((f"[{key!r}]", value) for key, value in it.items())
            case list() | tuple() | deque():
                yield from ((f"[{i}]", value) for i, value in enumerate(it))
            case set() | frozenset():
                yield "", f"{type(it).__name__} of {sorted(map(repr, it))}"
            case functools.partial():
                yield from ((" called", it.func), (" arguments", it.args), (" keywords", it.keywords))
            case MethodType() | staticmethod() | classmethod():
                yield " called", it.__func__
            case property():
                yield from ((f".{name}", getattr(it, name)) for name in ("fget", "fset", "fdel"))
            case _ if callable(inspect.getattr_static(it, "__wrapped__", None)):
                yield " called", it.__wrapped__
            case _ if self.own(type(it).__module__):
                inner = getattr(it, "__dict__", {})
                yield from ((f".{name}", v) for name, v in inner.items() if name not in self.changing)

    def _held(self, function: FunctionType) -> Iterator[tuple[str, Any]]:
        yield from ((f".{n}", v) for n, v in vars(function).items() if n != "__wrapped__")
        yield " defaults", function.__defaults__
        yield " keyword defaults", function.__kwdefaults__
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # bound later, or never
                continue
            if name not in self.changing:
                yield f" {name}", content


def _kind(value: Any) -> str:
    if isinstance(value, type | FunctionType):
        return f"{'class' if isinstance(value, type) else 'function'} {value.__qualname__}"
    return f"module {value.__name__}" if isinstance(value, ModuleType) else f"a {type(value).__qualname__}"


def _is_pythons(name: str, value: Any) -> bool:
    """Attributes that Python itself keeps in a class."""
    return name == "_abc_impl" or (name.startswith("__") and not isinstance(value, FunctionType))
