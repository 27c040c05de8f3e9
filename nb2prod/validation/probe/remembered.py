"""What cached functions of the notebook remember, and would answer otherwise now. Runs in the kernel.

The notebook goes on with what they remember; the package begins with nothing.
"""

from __future__ import annotations

import functools
import gc
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import CellType, FunctionType
from typing import Any

from .held import PLAIN

MAX_KEYS = 100
"""Remembered answers that are asked for anew, the first ones, of each function."""

SECONDS = 2.0
"""Time after which no more are asked for."""

Same = Callable[[Any, Any], bool]

_NO_DATA = object()


@dataclass(frozen=True, slots=True)
class Stale:
    """An answer from before what a function reads was changed: `path` leads from the definition to it.

    It `clears` what it remembers, if asked to.
    """

    path: str
    call: str
    remembered: str
    now: str
    clears: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a function has been asked; `again` finds what it remembers, `anew` does without."""

    path: str
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    again: Callable[..., Any]
    anew: Callable[..., Any]


def stale(definition: Any, changing: Collection[str], same: Same) -> Stale | None:
    """The first answer that a function, or a method of a class, remembers and would not give anew.

    `changing` names the dicts in closures and objects that functions of the notebook fill themselves.
    """
    end = time.perf_counter() + SECONDS
    for asked in (*_by_library(definition), *_by_own(definition, changing)):
        if time.perf_counter() > end:
            return None
        if (found := _compared(asked, same)) is not None:
            return found
    return None


def _by_library(definition: Any) -> Iterator[_Asked]:
    """Questions to what `lru_cache` has made."""
    inside = vars(definition).items() if isinstance(definition, type) else ()
    for name, it in [("", definition), *inside]:
        function = it.__func__ if isinstance(it, staticmethod) else it
        if isinstance(function, type(functools.lru_cache(stale))):
            for args, keywords in _keys(function):
                yield _Asked(f".{name}" if name else "", args, keywords, function, function.__wrapped__)


def _keys(function: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments in the keys of its dict, which only the collector of garbage shows."""
    count = function.cache_info().currsize
    if not count or function.cache_parameters()["typed"]:
        return
    known = [d for d in gc.get_referents(function) if type(d) is dict and d is not vars(function)]
    for key in list(known[0])[:MAX_KEYS] if known and len(known[0]) == count else ():
        parts = key if type(key) is tuple else (key,)
        end = next((i for i, part in enumerate(parts) if type(part) is object), len(parts))
        yield parts[:end], dict(zip(parts[end + 1 :: 2], parts[end + 2 :: 2], strict=True))


def _by_own(definition: Any, changing: Collection[str]) -> Iterator[_Asked]:
    """Questions to a function or an object that has a dict of its own, from arguments to answers."""
    holds: Mapping[str, Any] = {}
    if type(definition) is FunctionType:
        cells = zip(definition.__code__.co_freevars, definition.__closure__ or (), strict=True)
        holds = {name: cell.cell_contents for name, cell in cells if cell != CellType()}
    elif type(definition).__module__ == "__main__" and callable(definition):
        holds = getattr(definition, "__dict__", {})
    for known in [value for name, value in holds.items() if name in changing and type(value) is dict]:
        for key, value in list(known.items())[:MAX_KEYS]:
            args = key if type(key) is tuple else (key,)
            hit = functools.partial(_found, definition, known, value)
            yield _Asked("", args, {}, hit, functools.partial(_without, definition, known, key))


def _found(function: Callable[..., Any], known: dict[Any, Any], value: Any, *args: Any) -> Any:
    """What a function answers, if it has that from `known`; else what is no data."""
    before = {**known}
    # the dict may be no cache at all, and its keys no arguments
    try:
        return value if function(*args) is value else _NO_DATA
    except Exception:
        return _NO_DATA
    finally:
        _restore(known, before)


def _without(function: Callable[..., Any], known: dict[Any, Any], key: Any, *args: Any) -> Any:
    before = {**known}
    del known[key]
    try:
        return function(*args)
    finally:
        _restore(known, before)


def _restore(known: dict[Any, Any], before: Mapping[Any, Any]) -> None:
    known.clear()
    known.update(before)


def _compared(asked: _Asked, same: Same) -> Stale | None:
    # what is no longer remembered is asked for anew, and the function is the user's
    try:
        before = asked.again(*asked.args, **asked.keywords)
    except Exception:
        return None
    if not _is_data(before):
        return None
    keywords = (f"{name}={_shown(value)}" for name, value in asked.keywords.items())
    shown = ", ".join([*map(_shown, asked.args), *keywords])
    old = Stale(asked.path, shown, _shown(before), "", hasattr(asked.again, "cache_clear"))
    # what it raises without its cache, it raises in the package
    try:
        now = asked.anew(*asked.args, **asked.keywords)
    except Exception as error:
        return replace(old, now=f"{type(error).__name__}: {error}")
    return None if same(before, now) else replace(old, now=_shown(now))


def _is_data(value: Any) -> bool:
    """Whether two values can be compared: objects of classes may be alike though they are not equal."""
    if isinstance(value, Mapping):
        return all(map(_is_data, [*value.keys(), *value.values()]))
    if isinstance(value, list | tuple | set | frozenset | deque):
        return all(map(_is_data, value))
    return isinstance(value, PLAIN) or hasattr(value, "dtype") or hasattr(value, "iloc")


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if _is_data(value) else type(value).__name__
