"""What of a package's state answering has changed.

Used by the proving process: standard library only.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

MAX_DEPTH = 20
"""Levels to which state is looked into."""


def fingerprints(runtime: ModuleType, same: Callable[[Any, Any], bool]) -> dict[str, tuple[Any, bytes]]:
    """Each piece of state by key, as it looks now: its own parts, and all of it.

    What a `cached_property` keeps is left out, if it would give the same anew, as `same` tells.
    """
    module = sys.modules.get(f"{runtime.__package__}.state")
    found = {}
    for entry in runtime.manifest()["state"]:
        value = getattr(module, entry["key"], None)
        with _without_caches(value, f"{runtime.__package__}.", same):
            # what was captured could be pickled; a value that no longer can has changed all the more
            try:
                data = pickle.dumps(value)
            except Exception:
                data = b""
            found[entry["key"]] = (_own_parts(value, f"{runtime.__package__}."), data)
    return found


@contextmanager
def _without_caches(value: Any, package: str, same: Callable[[Any, Any], bool]) -> Iterator[None]:
    """A value without what its objects' cached properties keep and would give anew."""
    kept = []
    for owner, name, found in list(_cached(value, package, set())):
        # a copy, as computing may change more; and the code is the user's
        try:
            anew = pickle.loads(pickle.dumps(owner))
            del vars(anew)[name]
            if same(found, getattr(anew, name)):
                kept.append((owner, name, vars(owner).pop(name)))
        except Exception:
            continue
    try:
        yield
    finally:
        for owner, name, found in kept:
            vars(owner)[name] = found


def _cached(value: Any, package: str, seen: set[int]) -> Iterator[tuple[Any, str, Any]]:
    """What cached properties of the notebook's objects in a value keep: the object, the name and that."""
    if isinstance(value, str | bytes | int | float | complex | None) or id(value) in seen:
        return
    seen.add(id(value))
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple | deque):
        inner = value
    elif type(value).__module__.startswith(package):
        held = getattr(value, "__dict__", {})
        inner = held.values()
        cached = (n for n in held if isinstance(getattr(type(value), n, None), functools.cached_property))
        yield from ((value, name, held[name]) for name in cached)
    for part in list(inner):
        yield from _cached(part, package, seen)


def _own_parts(value: Any, package: str, depth: int = 0) -> Any:
    """What of a value is data or of the notebook's classes, parts by the way to them; other library objects
    may cache: by name."""
    if isinstance(value, str | bytes | int | float | complex | bool | None) or depth > MAX_DEPTH:
        return repr(value)
    if isinstance(value, Mapping):
        parts = {f"[{key!r}]": _own_parts(item, package, depth + 1) for key, item in value.items()}
        return {**parts, "order": list(parts), "kind": type(value).__name__}
    if isinstance(value, list | tuple | deque):
        return {f"[{i}]": _own_parts(item, package, depth + 1) for i, item in enumerate(value)}
    if isinstance(value, set | frozenset | bytearray):
        return sorted(map(repr, value))
    if hasattr(type(value), "iloc"):
        return _of_table(value, package, depth)
    if hasattr(type(value), "dtype") and hasattr(type(value), "tolist"):
        return _of_array(value, package, depth)
    if type(value).__module__.startswith(package):
        inner = getattr(value, "__dict__", {})
        return {f".{name}": _own_parts(item, package, depth + 1) for name, item in inner.items()}
    return type(value).__qualname__


def _of_table(table: Any, package: str, depth: int) -> Any:
    columns = [table.iloc[:, i] for i in range(table.shape[1])] if table.ndim == 2 else [table]
    labels = _digest(repr([[column.name for column in columns], table.index.tolist()]).encode())
    parts = {f".iloc[:, {i}]": _of_array(column.array, package, depth) for i, column in enumerate(columns)}
    return {"labels": labels, **parts} if table.ndim == 2 else {"labels": labels, "": parts[".iloc[:, 0]"]}


def _of_array(array: Any, package: str, depth: int) -> Any:
    """An array as a whole; by its parts only if they are objects that may change."""
    if getattr(array.dtype, "kind", "") == "O":  # types of other libraries have none
        items = array.tolist()
        if not all(isinstance(item, str | bytes | int | float | None) for item in items):
            return _own_parts(items, package, depth + 1)
    try:
        return _digest(pickle.dumps(array))
    except Exception:  # of a class that cannot be stored
        return type(array).__qualname__


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[list[Any]]:
    """For each key of the state that answering has changed: whether that is sure to matter, the first part
    that has changed, the type of a dict that has got a new key, and whether it has got nothing else."""
    keys = [key for key in before if before[key][1] != after[key][1]]
    own = [(key, before[key][0], after[key][0]) for key in keys]
    return [[key, one != other, *_first(one, other), _only_grown(one, other)] for key, one, other in own]


def _only_grown(one: Any, other: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict) or "order" not in one or "order" not in other:
        return False
    kept = {name: part for name, part in other.items() if name in one}
    return {**kept, "order": other["order"][: len(one["order"])]} == one


def _first(one: Any, other: Any, path: str = "") -> tuple[str, str]:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return path, ""
    parts = [name for name in {**one, **other} if name not in ("order", "kind", "labels")]
    name = next((name for name in parts if one.get(name) != other.get(name)), None)
    if name is None or name in one:
        return (path, "") if name is None else _first(one[name], other.get(name), path + name)
    return path + name, one.get("kind", "")
