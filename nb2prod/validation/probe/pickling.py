"""Values of the notebook as a pickle, and back.

The notebook's own functions and classes are stored by the name of the generated module that holds
them now, so that the bytes load without the notebook. Runs inside the notebook's kernel.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

MAX_SEARCHED = 20_000
"""Objects looked at to say where in a value the part lies that cannot be stored."""

_NANS = ("numpy", "math")

Home = tuple[str, str]


class Unstorable(Exception):
    """A value that cannot be stored, because of `part` in it.

    `kind`: "value", "redefined", "homeless", "identity".
    """

    def __init__(self, part: Any, reason: str, kind: str = "value") -> None:
        super().__init__(reason)
        self.part = part
        self.reason = reason
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Homes:
    """The notebook's functions and classes that have a new home, as they are at one moment."""

    names: frozenset[str]
    by_id: Mapping[int, Home]
    by_home: Mapping[Home, Any]

    @classmethod
    def now(cls, namespace: Mapping[str, Any], rehome: Mapping[str, str]) -> Homes:
        """The homes of what `namespace` binds; `rehome` maps names to modules of the package."""
        by_home = {
            home: value
            for name, module in rehome.items()
            if _movable(namespace.get(name))
            for home, value in _with_nested(namespace[name], (module, name))
        }
        return cls(frozenset(rehome), {id(value): home for home, value in by_home.items()}, by_home)

    def find(self, home: Home) -> Any:
        """What has this home."""
        return self.by_home[home]


def _movable(value: Any) -> bool:
    """Made by the notebook: not None, and not a function or class that it only imported."""
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return value.__module__ == "__main__"
    return callable(value)


def _with_nested(value: Any, home: Home) -> Iterator[tuple[Home, Any]]:
    yield home, value
    if isinstance(value, type):
        for name, inner in vars(value).items():
            if isinstance(inner, type) and inner.__qualname__ == f"{value.__qualname__}.{name}":
                yield from _with_nested(inner, (home[0], f"{home[1]}.{name}"))


@dataclass(frozen=True, slots=True)
class Pickled:
    """A value as a pickle. `used` names the notebook's functions and classes that it refers to."""

    data: bytes
    homes: Homes
    used: frozenset[str]


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, homes: Homes, value: Any) -> None:
        super().__init__(buffer, protocol=5)
        self._value = value
        self.used: set[str] = set()
        self.last: Any = None
        self._homes = homes
        self._by_id = homes.by_id

    def persistent_id(self, obj: Any) -> Home | None:
        if type(obj) is float and obj != obj:
            # known by identity: a dict finds it among its keys, and no other NaN
            return next((("$nan", m) for m in _NANS if obj is getattr(sys.modules.get(m), "nan", None)), None)
        home = self._by_id.get(id(obj))
        if home is not None:
            self.used.add(home[1].partition(".")[0])
        return home

    def reducer_override(self, obj: Any) -> Any:
        self.last = obj
        if isinstance(obj, type | FunctionType) and obj.__module__ == "__main__":
            raise _no_home(obj, self._homes)
        if type(obj) is object and obj is not self._value:
            raise Unstorable(obj, "a bare object() is known by identity alone", "identity")
        return NotImplemented


def _no_home(obj: Any, homes: Homes) -> Unstorable:
    name = obj.__qualname__
    if "<" in name:
        return Unstorable(obj, f"{name} has no name to find it by")
    if name.partition(".")[0] in homes.names:
        return Unstorable(obj, f"{name} has been defined anew since", "redefined")
    return Unstorable(obj, f"{name} is no part of the package", "homeless")


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickled: Pickled) -> None:
        super().__init__(io.BytesIO(pickled.data))
        self._homes = pickled.homes

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "$nan":
            return sys.modules[pid[1]].nan
        return self._homes.find(tuple(pid))


def pickled(value: Any, homes: Homes) -> Pickled:
    """A value as a pickle (protocol 5); Unstorable if it cannot be one."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, homes, value)
    try:
        pickler.dump(value)
    except Unstorable:
        raise
    # pickling runs the user's __reduce__ and __getstate__, which may raise anything
    except Exception as error:
        part = value if pickler.last is None else pickler.last
        raise Unstorable(part, str(error)) from error
    return Pickled(buffer.getvalue(), homes, frozenset(pickler.used))


def restore(pickled: Pickled) -> Any:
    """A new copy of a pickled value."""
    return _Unpickler(pickled).load()


def type_name(value: Any) -> str:
    """`module.Class` of a value, builtins without their module."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def path_to(value: Any, part: Any) -> str | None:
    """Where in a value a part of it lies, as one would write it: `.steps[0][1].func`; None if not found."""
    queue: deque[tuple[str, Any]] = deque([("", value)])
    seen: set[int] = set()
    while queue and len(seen) < MAX_SEARCHED:
        path, item = queue.popleft()
        if item is part:
            return path
        if id(item) not in seen:
            seen.add(id(item))
            queue.extend(children(path, item))
    return None


def children(path: str, item: Any) -> Iterator[tuple[str, Any]]:
    """What a container or object holds, each with where it lies."""
    if isinstance(item, dict):
        yield from ((f"{path}[{key!r}]", inner) for key, inner in list(item.items())[:1000])
    elif isinstance(item, list | tuple):
        yield from ((f"{path}[{i}]", inner) for i, inner in enumerate(item[:1000]))
    elif isinstance(getattr(item, "__dict__", None), dict) and not isinstance(item, type):
        yield from ((f"{path}.{key}", inner) for key, inner in vars(item).items())
