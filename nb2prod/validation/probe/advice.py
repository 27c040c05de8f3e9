"""What to write instead of a value that cannot be stored. Runs inside the notebook's kernel."""

from __future__ import annotations

import re
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from types import FunctionType, GeneratorType, MappingProxyType, ModuleType
from typing import Any

from .pickling import Unstorable, children

_HINT = {
    "value": "Write a function that makes it, inside a role cell or a helper cell: serving code calls that.",
    "redefined": "Make the value after the last definition, or give the two definitions different names.",
    "identity": "Let None, a text or a member of an Enum stand for it: `is` then holds in every process.",
    "homeless": "Define it in a cell of its own that is not tagged `skip`, or import it from a module.",
}
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_ONCE: tuple[type, ...] = (GeneratorType, map, filter, zip, enumerate)
_FITTED = ("predict", "transform", "params", "coef_")
_MAX_SEARCHED, _MAX_SHOWN = 20_000, 8


def advice(name: str, value: Any, problem: Unstorable, names: Mapping[str, Any]) -> str:
    """The hint for a value of a name, of which a part cannot be stored; `names` are the notebook's."""
    part, called = problem.part, getattr(problem.part, "__qualname__", "")
    if called == "<lambda>":  # not one that a function has made
        return "Give the lambda a name: write it as a `def` in a cell of its own."
    if problem.kind == "value" and "<locals>." in called:
        return "Give what it holds a name in a line above, and write it as a `def` at the top of a cell."
    if problem.kind == "homeless" and names.get(called) is part:
        return _homeless(name, value, part, names)
    if problem.kind == "homeless" and isinstance(names.get(called), FunctionType):
        return (
            f"`{called}` is defined more than once, as in a loop: define it once above, with what differs as"
            f" a parameter, and keep `functools.partial({called}, ...)`."
        )
    return (_instead(name, value, part) if problem.kind == "value" else None) or _HINT[problem.kind]


def unreadable(error: BaseException) -> str:
    """The hint for a value that was stored, but cannot be read where the notebook is not."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, RecursionError) and any(frame.name == "__getattr__" for frame in frames):
        return (
            "Its `__getattr__` is asked before the object has its attributes, and asks itself: begin it with"
            ' `if name.startswith("_"): raise AttributeError(name)`.'
        )
    missing = re.search(r"name '(\w+)' is not defined", str(error))
    if missing is None:
        return _HINT["value"]
    return (
        f"Reading it looks for `{missing[1]}`, which only the notebook has. In a formula, name a column in"
        f" place of a call of `{missing[1]}`: compute it in lines of your own, for training and in the role."
    )


def _instead(name: str, value: Any, part: Any) -> str | None:
    if isinstance(part, MappingProxyType):
        return "Make it a dict where serving code reads it: `dict(...)` around it."
    if isinstance(part, ModuleType) and part is value:
        chosen = f"`import {part.__name__} as {name}`"
        return f"Write {chosen} in a line of its own; a `try` that chooses may hold nothing but imports."
    if callable(part) and hasattr(part, "__wrapped__"):
        called = getattr(part, "__name__", "it")
        return (
            f"Write a `def` in a cell of its own that calls `{called}`, under another name and with the"
            " decorator above it."
        )
    if isinstance(part, _VIEWS) or (isinstance(part, _ONCE) and part is not value):
        return "Make it a list: `list(...)` around it."
    if part is not value and any(hasattr(value, known) for known in _FITTED):
        return (
            "Set that part to None before the role cells, or make it in the method that uses it; or keep what"
            f" serving needs of `{name}`, its parameters, say, under a name of its own and read that."
        )
    return None


# --- what the package has no home for ------------------------------------------------------------


def _homeless(name: str, value: Any, part: Any, names: Mapping[str, Any]) -> str:
    """The notebook defines it, but its text does not say that the value holds it."""
    own = part.__qualname__
    if part is value:
        return (
            f"Define `{own}` at the top of a cell, or in an `if` that holds nothing but definitions and"
            " imports, below the cell that computes what it depends on."
        )
    written = _written_out(value, part, names) or f"{{{own!r}: {own}}}"
    return (
        f"Write out what serving code reads of `{name}` in a line below the definitions, so that the text"
        f" names it: `known = {written}`."
    )


def _written_out(value: Any, part: Any, names: Mapping[str, Any]) -> str | None:
    """The dict or list that holds a part, or objects of it, as one would write it."""
    for holder in _containers(value):
        inside = list(holder.values() if isinstance(holder, dict) else holder)
        if any(item is part or type(item) is part for item in inside):
            shown = [_named(item, names) for item in inside]
            if None in shown or len(shown) > _MAX_SHOWN:
                return None
            if isinstance(holder, dict):
                return f"{{{', '.join(f'{k!r}: {v}' for k, v in zip(holder, shown, strict=True))}}}"
            return f"[{', '.join(map(str, shown))}]"
    return None


def _named(item: Any, names: Mapping[str, Any]) -> str | None:
    kind = item if isinstance(item, type | FunctionType) else type(item)
    if names.get(kind.__qualname__) is not kind:
        return None
    return kind.__qualname__ if kind is item else f"{kind.__qualname__}(...)"


def _containers(value: Any) -> Iterator[Any]:
    queue, seen = deque([value]), set[int]()
    while queue and len(seen) < _MAX_SEARCHED:
        item = queue.popleft()
        if id(item) not in seen:
            seen.add(id(item))
            if isinstance(item, dict | list | tuple):
                yield item
            queue.extend(inner for _, inner in children("", item))
