"""Pieces of state that share an object: one in the notebook, and two in the package. In the kernel."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .finding import Finding
from .pickling import Homes, Unstorable, path_to, pickled, restore
from .unchanged import LEAVES

MAX_PARTS = 100_000
"""Parts of a piece of state that are looked at."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A piece of state as it was captured: the objects in it, kept so that no other gets their id."""

    value: Any
    objects: Mapping[int, Any]
    looked_up: frozenset[int]
    """The keys of dicts and the members of sets: by identity, if their class says nothing else."""
    listed: frozenset[int]
    """The elements of the piece itself, which `in` finds."""
    numbers: frozenset[int]
    """The numbers in it, which may be what `id` has given."""


def parts_of(value: Any) -> Parts:
    """What a piece of state holds now."""
    objects: dict[int, Any] = {}
    keys: set[int] = set()
    numbers: set[int] = set()
    todo = [value]
    while todo and len(objects) + len(numbers) < MAX_PARTS:
        part = todo.pop()
        if type(part) is int:
            numbers.add(part)
        if isinstance(part, LEAVES) or id(part) in objects:
            continue
        objects[id(part)] = part
        if isinstance(part, Mapping | set | frozenset):
            keys.update(map(id, part))
        todo += _inside(part)
    listed = value if isinstance(value, list | tuple | deque) else ()
    return Parts(value, objects, frozenset(keys), frozenset(map(id, listed)), frozenset(numbers))


def _inside(part: Any) -> Iterator[Any]:
    if isinstance(part, Mapping):
        yield from part
        yield from part.values()
    elif isinstance(part, list | tuple | set | frozenset | deque):
        yield from part
    elif isinstance(attributes := getattr(part, "__dict__", None), dict):
        yield from attributes.values()


def shared(
    items: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Parts], homes: Homes
) -> Iterator[Finding]:
    """NB315, a warning, for each two pieces of which serving code may see that they are no longer one."""
    keys = sorted(parts, key=lambda key: (items[key]["bound_number"], items[key]["bound_line"]))
    yield from _by_number(items, parts, keys)
    for i, key in enumerate(keys):
        for other in (
            known for known in keys[:i] if not items[key]["literal"] or not items[known]["literal"]
        ):
            how = {items[key]["compared"], items[other]["compared"]}
            common = parts[other].objects.keys() & parts[key].objects.keys()
            ids = (one for one in parts[key].objects if one in common)
            one = next((one for one in ids if _is_seen(one, parts[key], parts[other], how, homes)), None)
            if one is not None:
                yield _finding(items[other], items[key], parts[other], parts[key], one)


def _by_number(
    items: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Parts], keys: list[str]
) -> Iterator[Finding]:
    """NB315 for each piece that holds the `id` of an object of some piece: it has another in the package."""
    asks = any(items[key]["compared"] == "is" for key in keys)
    for key, other in itertools.product(keys, keys) if asks else ():
        if one := next(iter(parts[key].numbers & parts[other].objects.keys()), None):
            name = items[other]["name"]
            path = path_to(parts[other].value, parts[other].objects[one]) or ""
            what = f"{items[key]['name']} holds the `id` of {name}{path}, which has another in the package"
            yield _at(items[key], f"{what}, and serving code asks for the `id` of objects or compares them")


def _is_seen(one: int, ours: Parts, others: Parts, how: set[str], homes: Homes) -> bool:
    """Whether it makes a difference that an object is two: by `is`, `==`, `in`, or as a key."""
    part = ours.objects[one]
    if "is" in how and not isinstance(part, tuple | frozenset):
        return not _comes_back(part, homes)
    if any("__eq__" in vars(kind) for kind in type(part).__mro__[:-1]):
        return False
    looked_up = one in ours.looked_up | others.looked_up
    listed = "in" in how and one in ours.listed | others.listed
    return ("eq" in how or looked_up or listed) and not _comes_back(part, homes)


def _comes_back(part: Any, homes: Homes) -> bool:
    """Whether a new process finds the very object again: a member of an Enum, a logger."""
    try:
        return restore(pickled(part, homes)) is part
    except Unstorable:
        return False


def _finding(
    one: Mapping[str, Any], other: Mapping[str, Any], ones: Parts, others: Parts, shared_id: int
) -> Finding:
    part = others.objects[shared_id]
    names = [f"{i['name']}{path_to(p.value, part) or ''}" for i, p in ((one, ones), (other, others))]
    return _at(
        other,
        f"{names[0]} and {names[1]} are one object in the notebook and two in the package, and serving code"
        " compares objects or looks them up by identity",
    )


def _at(item: Mapping[str, Any], message: str) -> Finding:
    return Finding(
        "NB315",
        message,
        "Let a text, a number or a member of an Enum stand for it in both, its key say, and compare that.",
        cell=item["bound_cell"],
        number=item["bound_number"],
        line=item["bound_line"],
        severity="warning",
    )
