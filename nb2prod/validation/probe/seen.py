"""What a column of values looks like, and two looks at it as one. Runs inside the notebook's kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

MAX_CATEGORIES = 50

MIN_LISTS = 8
"""Lists of one length that must be seen before another length is thought wrong."""

NESTED = frozenset({"record", "map", "list"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What a column of values looks like. `distinct` are its texts, None if too many or not texts.

    `parts` are the keys of records (each with its `name`; `optional` if not in all of them), or the one
    element of maps or lists. `length` is that of all `count` lists, None if they differ. `empty`: no
    value was there. `missing` are the kinds of missing values seen, where the type leaves a choice.
    """

    dtype: str
    python: str
    nullable: bool = False
    minimum: Any = None
    maximum: Any = None
    distinct: frozenset[str] | None = None
    categories: tuple[str, ...] | None = None
    parts: tuple[Seen, ...] = ()
    length: int | None = None
    count: int = 0
    empty: bool = False
    name: str = ""
    optional: bool = False
    missing: tuple[str, ...] = ()

    def all_parts(self) -> Iterator[Seen]:
        """This and everything in it."""
        yield self
        for part in self.parts:
            yield from part.all_parts()


def without_distinct(seen: Seen) -> Seen:
    """The same, but the texts of too few values are not taken for all that there are."""
    return replace(seen, distinct=None, parts=tuple(without_distinct(part) for part in seen.parts))


def field_of(name: str, seen: Seen) -> dict[str, Any]:
    """A field of the contract."""
    categories = seen.categories
    if categories is None and seen.dtype == "string" and seen.distinct:
        categories = tuple(sorted(seen.distinct))
    return {
        "name": name,
        "dtype": seen.dtype,
        "python": seen.python,
        "nullable": seen.nullable or seen.empty,
        "minimum": seen.minimum,
        "maximum": seen.maximum,
        "categories": categories,
        "parts": [field_of(part.name, part) for part in seen.parts],
        "length": seen.length if seen.count >= MIN_LISTS else None,
        "optional": seen.optional,
        "missing": seen.missing[0] if seen.missing else "",
    }


# --- example and reference together --------------------------------------------------------------


def merged(seen: Seen, more: Seen) -> Seen:
    """A field as the example and the reference together show it: the type is the example's."""
    if {seen.dtype, more.dtype} & NESTED:
        return _agreed(seen, more)
    dtype, python = _wider(seen, more)
    ends = _ends(seen, more) if dtype != "any" else {}
    distinct = _union(seen.distinct, more.distinct)
    nullable, missing = seen.nullable or more.nullable, both_kinds(seen.missing, more.missing)
    return replace(
        seen, dtype=dtype, python=python, nullable=nullable, missing=missing, distinct=distinct, **ends
    )


def both_kinds(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Kinds of missing values, those of the first before others; one NaN is as good as another."""
    found = dict.fromkeys((*one, *other))
    return tuple(kind for kind in found if kind != "nan" or "np.nan" not in found)


def _wider(seen: Seen, more: Seen) -> tuple[str, str]:
    """An integer in the example that is a float in the data is a number: the example was but one row."""
    if seen.dtype == "integer" and more.dtype == "number":
        return "number", "float64" if seen.python not in ("int",) else "float"
    if seen.dtype == more.dtype and more.nullable and not seen.nullable:
        return seen.dtype, more.python  # numpy's integers and booleans have no place for nulls
    if seen.dtype == "any" and seen.python == "object" and seen.nullable and more.dtype != "any":
        return more.dtype, more.python
    return seen.dtype, seen.python


def _ends(seen: Seen, more: Seen) -> dict[str, Any]:
    if more.dtype not in (seen.dtype, "integer", "number"):
        return {}
    return {
        "minimum": _pick(min, seen.minimum, more.minimum),
        "maximum": _pick(max, seen.maximum, more.maximum),
    }


def _pick(choose: Callable[..., Any], one: Any, other: Any) -> Any:
    there = [value for value in (one, other) if value is not None]
    try:
        return choose(there) if there else None
    except TypeError:
        return one


def _union(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None or len(one | other) > MAX_CATEGORIES:
        return None
    return one | other


# --- nested values: what both agree on -----------------------------------------------------------


def _agreed(seen: Seen, more: Seen) -> Seen:
    """What holds of both; "any" where they are of different kinds."""
    nullable, missing = seen.nullable or more.nullable, both_kinds(seen.missing, more.missing)
    if seen.empty or more.empty:
        one = more if seen.empty else seen
        return replace(one, nullable=nullable, missing=missing, name=seen.name)
    kinds = {seen.dtype, more.dtype}
    python = seen.python if seen.python == more.python else "object"
    both = replace(seen, python=python, nullable=nullable, missing=missing)
    if kinds == {"list"}:
        return _lists(both, more)
    if kinds <= {"record", "map"}:
        return _records(both, more)
    if len(kinds) == 1 or kinds == {"integer", "number"}:
        dtype = "number" if len(kinds) > 1 else seen.dtype
        ends = _ends(seen, more) if dtype != "any" else {}
        return replace(both, dtype=dtype, distinct=_union(seen.distinct, more.distinct), **ends)
    return Seen("any", "object", nullable, name=seen.name, missing=missing)


def _lists(seen: Seen, more: Seen) -> Seen:
    item = _agreed(seen.parts[0], more.parts[0])
    length = seen.length if seen.length == more.length else None
    return replace(seen, parts=(item,), length=length, count=seen.count + more.count)


def _records(seen: Seen, more: Seen) -> Seen:
    if "map" in (seen.dtype, more.dtype):
        return as_map(replace(seen, parts=(*seen.parts, *more.parts)))
    other = {part.name: part for part in more.parts}
    parts = [_key(part, other.pop(part.name, None)) for part in seen.parts]
    parts += [_key(part, None) for part in other.values()]
    return settled(replace(seen, parts=tuple(parts)))


def _key(part: Seen, other: Seen | None) -> Seen:
    if other is None:
        return replace(part, optional=True)
    return replace(_agreed(part, other), optional=part.optional or other.optional)


def settled(record: Seen) -> Seen:
    """A record; a map if fewer than half of its keys are in every one: then keys are data."""
    common = sum(not part.optional for part in record.parts)
    return record if record.parts and 2 * common >= len(record.parts) else as_map(record)


def as_map(record: Seen) -> Seen:
    """A record with any keys: what all its values have in common is what each value looks like."""
    plain = [replace(part, name="", optional=False) for part in record.parts]
    element = functools.reduce(_agreed, plain, Seen("any", "object", empty=True))
    return replace(record, dtype="map", parts=(element,))
