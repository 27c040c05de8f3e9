"""What objects of the notebook's classes lose on their way through a file. Runs inside the notebook's kernel.

What `__getstate__` leaves out, pickles do not tell: so the value itself is compared with what was read back.
The classes of libraries may drop what they like.
"""

from __future__ import annotations

import copyreg
import functools
import re
import types
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .faithful import difference, has_type
from .finding import Finding
from .pickling import Homes, Unstorable, pickled, type_name
from .unchanged import LEAVES

ALL = "*"
"""Among the attributes that serving code reads: it may read any, by `vars` or a computed name."""

_BUILTIN = (dict, list, tuple, set, frozenset, deque)
_WRITING = ("__reduce_ex__", "__reduce__", "__getnewargs_ex__", "__getnewargs__", "__getstate__")


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose attribute is looked at; "" are the items of the object, or the object itself."""

    path: str
    holder: Any
    attribute: str
    value: Any


@dataclass(frozen=True, slots=True)
class _Pair:
    path: str
    one: Any
    other: Any
    owner: _Owner | None


def lost(
    item: Mapping[str, Any], value: Any, back: Any, homes: Homes, read: Collection[str]
) -> Iterator[Finding]:
    """NB316 for each attribute that what was read back lacks, or has otherwise.

    An error if serving code reads it; but a warning of a lock, a connection, which has to be made anew.
    """
    seen: set[tuple[str, str]] = set()
    for owner in _lost(value, back):
        key = (type_name(owner.holder), owner.attribute)
        if key not in seen:
            seen.add(key)
            yield _finding(item, owner, homes, read)


def holds_own(value: Any) -> bool:
    """Whether an object of a class of the notebook is somewhere in a value."""
    todo, seen = [value], set[int]()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        if _is_own(part):
            return True
        seen.add(id(part))
        if not _is_plain(part):
            todo += [inner for _, inner in _parts(part) if not isinstance(inner, LEAVES)]
    return False


def _is_plain(value: Any) -> bool:
    """Whether a long list or dict holds numbers and texts alone: most do, and need no look into."""
    if type(value) is dict:
        return all(isinstance(key, LEAVES) and isinstance(inner, LEAVES) for key, inner in value.items())
    return type(value) in (list, tuple, set, frozenset) and all(isinstance(inner, LEAVES) for inner in value)


def _is_own(value: Any) -> bool:
    return any(kind.__module__ == "__main__" for kind in type(value).__mro__)


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What a container or object holds, each with where it lies."""
    found: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        found += [(f"[key {i}]", key) for i, key in enumerate(value) if not isinstance(key, LEAVES)]
        found += [(f"[{key!r}]", inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple | deque):
        found += [(f"[{i}]", inner) for i, inner in enumerate(value)]
    elif isinstance(value, functools.partial):
        found += [(".args", value.args), (".keywords", value.keywords)]
    elif isinstance(value, types.MethodType):
        found += [(".__self__", value.__self__)]
    elif has_type(value, "numpy", "ndarray") and value.dtype.hasobject:
        found += [(f".flat[{i}]", inner) for i, inner in enumerate(value.ravel().tolist())]
    return found + [(f".{name}", inner) for name, inner in _attributes(value).items()]


def _attributes(value: Any) -> dict[str, Any]:
    """`__dict__` and `__slots__` of an object."""
    if isinstance(value, LEAVES):
        return {}
    held = getattr(value, "__dict__", None)
    found = dict(held) if isinstance(held, dict) else {}
    for kind in type(value).__mro__:
        if kind.__module__ == "__main__":
            slots = [n for n, d in vars(kind).items() if isinstance(d, types.MemberDescriptorType)]
            found |= {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return found


def _lost(value: Any, back: Any) -> Iterator[_Owner]:
    todo = deque([_Pair("", value, back, None)])
    seen: set[int] = set()
    while todo:
        pair = todo.popleft()
        if pair.one is pair.other:
            continue
        owner = pair.owner
        if _is_own(pair.one) and type(pair.one) is not type(pair.other):
            owner = owner or _Owner(pair.path, pair.one, "", pair.one)
        if owner is not None and not _alike(pair.one, pair.other):
            yield owner
        elif _is_plain(pair.one) and pair.one == pair.other:
            continue
        elif not isinstance(pair.one, LEAVES) and id(pair.one) not in seen:
            seen.add(id(pair.one))
            yield from _missing(pair)
            todo += _inner(pair)


def _missing(pair: _Pair) -> Iterator[_Owner]:
    """The attributes and items of an own object that the other has not."""
    if _is_own(pair.one):
        if not _alike(pair.one, pair.other):
            yield _Owner(pair.path, pair.one, "", pair.one)
        there = _attributes(pair.other)
        for name, held in _attributes(pair.one).items():
            made = getattr(type(pair.one), name, None)
            if name not in there and not isinstance(made, functools.cached_property):
                yield _Owner(pair.path, pair.one, name, held)


def _inner(pair: _Pair) -> Iterator[_Pair]:
    """What two objects hold, side by side."""
    own, plain = _is_own(pair.one), type(pair.one) in _BUILTIN
    attributes = {f".{name}": name for name in _attributes(pair.one)}
    others = dict(_parts(pair.other))
    for place, inner in _parts(pair.one):
        if place not in others:
            continue
        owner = pair.owner if plain else None
        if own:
            name = attributes.get(place, "")
            owner = _Owner(pair.path, pair.one, name, inner if name else pair.one)
        plain_same = isinstance(inner, LEAVES) and (owner is None or _alike(inner, others[place]))
        if not plain_same:
            yield _Pair(f"{pair.path}{place}", inner, others[place], owner)


def _alike(one: Any, other: Any) -> bool:
    """Whether two parts are the same as far as they are no objects that are looked into."""
    if type(one) is not type(other):
        return False
    if isinstance(one, str | bytes | int | float | complex):
        return bool(one == other) or (one != one and other != other)
    if isinstance(one, dict):
        return len(one) == len(other) and list(map(_text, one)) == list(map(_text, other))
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other)
    if isinstance(one, set | frozenset):
        return sorted(map(_text, one)) == sorted(map(_text, other))
    if has_type(one, "numpy", "ndarray"):
        return one.shape == other.shape and one.dtype == other.dtype and _same_elements(one, other)
    if has_type(one, "pandas", "DataFrame", "Series", "Index"):
        return bool(one.equals(other)) or difference(one, other) is None
    return True


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, LEAVES) else type_name(value)


def _same_elements(one: Any, other: Any) -> bool:
    import numpy as np

    if one.dtype.hasobject:
        return True  # they are looked at one by one
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


# --- in words ------------------------------------------------------------------------------------


def _finding(item: Mapping[str, Any], owner: _Owner, homes: Homes, read: Collection[str]) -> Finding:
    name, kind = item["name"], type(owner.holder).__qualname__
    by, own = _dropped_by(type(owner.holder))
    whole = f"{name}{owner.path}"
    what = f"`{whole}.{owner.attribute}`" if owner.attribute else f"what `{whole}` holds"
    is_read = not owner.attribute or ALL in read or _unmangled(owner.attribute) in read
    severity = "info" if not is_read else "error" if _storable(owner.value, homes) else "warning"
    what += ", which serving code reads," if is_read else ", which serving code does not read,"
    where = {"cell": item["bound_cell"], "number": item["bound_number"], "line": item["bound_line"]}
    message = f"{what} is lost on the way into the package: `{by}` leaves it out"
    hint = _hint(owner, kind, by, own, name) if is_read else None
    return Finding("NB316", message, hint, severity=severity, **where)


def _hint(owner: _Owner, kind: str, by: str, own: bool, name: str) -> str:
    what = f"`{owner.attribute}`" if owner.attribute else "all that the object holds"
    if own:
        hint = f"Let `{by}` keep {what}"
        if owner.attribute:
            hint += f", or set `{name}{owner.path}.{owner.attribute}` to what a copy has"
            hint += f" (`copy.deepcopy({name})` shows it) before the role cells"
        return f"{hint}."
    return (
        f"Keep {what} beside the object, as an attribute of a plain class that holds both; or write"
        f" `__reduce__` and `__setstate__` in `{kind}` that keep it."
    )


def _dropped_by(kind: type) -> tuple[str, bool]:
    """What says how objects of a class are stored, and whether that is the notebook's own."""
    registered = copyreg.dispatch_table.get(kind)
    if registered is not None:
        return getattr(registered, "__qualname__", repr(registered)), True
    own = [above for above in kind.__mro__ if above.__module__ == "__main__"]
    others = [above for above in kind.__mro__ if above not in own and above is not object]
    for classes, methods in ((own, _WRITING), (own, ("__setstate__",)), (others, _WRITING)):
        for above in classes:
            for method in methods:
                if method in vars(above):
                    return f"{above.__qualname__}.{method}", above in own
    return "pickle", False


def _unmangled(attribute: str) -> str:
    """`__x` of a class `Model` is stored as `_Model__x`."""
    return re.sub(r"^_.*?(?=__\w*[^_]$)", "", attribute)


def _storable(value: Any, homes: Homes) -> bool:
    try:
        pickled(value, homes)
    except Unstorable:
        return False
    return True
