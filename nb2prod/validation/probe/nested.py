"""Dicts and lists inside a field: what they hold, as far as all of them agree. In the notebook's kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .seen import Seen, settled

MAX_DEPTH = 8
"""Levels of nesting that are described; what lies deeper may be anything."""

Look = Callable[[list[Any], int], Seen]
"""What values at a depth look like."""


def look_inside(values: list[Any], look: Look, depth: int) -> Seen | None:
    """What dicts, or lists, look like; None for a mixture, other types, and keys that are not text."""
    if depth >= MAX_DEPTH:
        return None
    if all(isinstance(value, dict) for value in values):
        return _records(values, look, depth)
    if all(type(value) is list for value in values):
        return _lists(values, look, depth)
    return None


def _records(values: list[dict[Any, Any]], look: Look, depth: int) -> Seen | None:
    keys: dict[Any, list[Any]] = {}
    for value in values:
        for key, item in value.items():
            keys.setdefault(key, []).append(item)
    if not all(isinstance(key, str) for key in keys):
        return None
    parts = (
        replace(look(items, depth + 1), name=str(key), optional=len(items) < len(values))
        for key, items in keys.items()
    )
    return settled(Seen("record", "dict", parts=tuple(parts)))


def _lists(values: list[list[Any]], look: Look, depth: int) -> Seen:
    lengths = {len(value) for value in values}
    item = look([item for value in values for item in value], depth + 1)
    length = lengths.pop() if len(lengths) == 1 else None
    return Seen("list", "list", parts=(item,), length=length, count=len(values))
