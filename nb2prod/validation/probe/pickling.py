"""Values of the notebook as bytes, and back: json, npy or pickle.

The notebook's own functions and classes are stored by the name of the generated module that holds
them now, so that the bytes load without the notebook. Runs inside the notebook's kernel.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

EXTENSION = {"json": "json", "npy": "npy", "pickle": "pkl"}

MAX_SEARCHED = 20_000
"""Objects looked at to say where in a value the part lies that cannot be stored."""

Home = tuple[str, str]


class Unstorable(Exception):
    """A value that cannot be stored, because of `part` in it. `kind`: "value", "redefined", "homeless"."""

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
class Stored:
    """A value as bytes. `used` names the notebook's functions and classes that it refers to."""

    codec: str
    data: bytes
    type: str
    homes: Homes
    used: frozenset[str] = frozenset()


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, homes: Homes) -> None:
        super().__init__(buffer, protocol=5)
        self.used: set[str] = set()
        self.last: Any = None
        self._homes = homes
        self._by_id = homes.by_id

    def persistent_id(self, obj: Any) -> Home | None:
        home = self._by_id.get(id(obj))
        if home is not None:
            self.used.add(home[1].partition(".")[0])
        return home

    def reducer_override(self, obj: Any) -> Any:
        self.last = obj
        if isinstance(obj, type | FunctionType) and obj.__module__ == "__main__":
            raise _no_home(obj, self._homes)
        return NotImplemented


def _no_home(obj: Any, homes: Homes) -> Unstorable:
    name = obj.__qualname__
    if "<" in name:
        return Unstorable(obj, f"{name} has no name to find it by")
    if name.partition(".")[0] in homes.names:
        return Unstorable(obj, f"{name} has been defined anew since", "redefined")
    return Unstorable(obj, f"{name} is no part of the package", "homeless")


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, homes: Homes, modules: set[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._homes = homes
        self._modules = modules

    def persistent_load(self, pid: Any) -> Any:
        return self._homes.by_home[tuple(pid)]

    def find_class(self, module: str, name: str) -> Any:
        self._modules.add(module.partition(".")[0])
        return super().find_class(module, name)


def store(value: Any, homes: Homes) -> Stored:
    """A value as bytes in the plainest codec that is faithful; Unstorable if there is none."""
    if _is_plain(value, set()):
        return Stored("json", json.dumps(value).encode(), type_name(value), homes)
    if (data := _npy(value)) is not None:
        return Stored("npy", data, type_name(value), homes)
    return pickled(value, homes)


def pickled(value: Any, homes: Homes) -> Stored:
    """A value as a pickle (protocol 5); Unstorable if it cannot be one."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, homes)
    try:
        pickler.dump(value)
    except Unstorable:
        raise
    # pickling runs the user's __reduce__ and __getstate__, which may raise anything
    except Exception as error:
        part = value if pickler.last is None else pickler.last
        raise Unstorable(part, str(error)) from error
    return Stored("pickle", buffer.getvalue(), type_name(value), homes, frozenset(pickler.used))


def restore(stored: Stored, modules: set[str] | None = None) -> Any:
    """A new copy of a stored value; the top-level modules that it refers to are added to `modules`."""
    return _DECODERS[stored.codec](stored, set() if modules is None else modules)


def _read_npy(data: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(data), allow_pickle=False)


_DECODERS: dict[str, Callable[[Stored, set[str]], Any]] = {
    "json": lambda stored, modules: json.loads(stored.data),
    "npy": lambda stored, modules: _read_npy(stored.data),
    "pickle": lambda stored, modules: _Unpickler(stored.data, stored.homes, modules).load(),
}


def type_name(value: Any) -> str:
    """`module.Class` of a value, builtins without their module."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_plain(value: Any, seen: set[int], depth: int = 0) -> bool:
    """JSON gives back the very same: exact builtin types, no container in two places."""
    kind = type(value)
    if kind in (str, float, bool, type(None)):
        return True
    if kind is int:
        return bool(value.bit_length() < 1024)
    if kind not in (list, dict) or id(value) in seen or depth > 50:
        return False
    seen.add(id(value))
    if kind is dict and any(type(key) is not str for key in value):
        return False
    return all(_is_plain(item, seen, depth + 1) for item in (value.values() if kind is dict else value))


def _npy(value: Any) -> bytes | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.dtype.hasobject:
        return None
    buffer = io.BytesIO()
    try:
        numpy.save(buffer, value, allow_pickle=False)
    except (ValueError, TypeError):
        return None
    return buffer.getvalue()


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
            queue.extend(_children(path, item))
    return None


def _children(path: str, item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, dict):
        yield from ((f"{path}[{key!r}]", inner) for key, inner in list(item.items())[:1000])
    elif isinstance(item, list | tuple):
        yield from ((f"{path}[{i}]", inner) for i, inner in enumerate(item[:1000]))
    elif isinstance(getattr(item, "__dict__", None), dict) and not isinstance(item, type):
        yield from ((f"{path}.{key}", inner) for key, inner in vars(item).items())
