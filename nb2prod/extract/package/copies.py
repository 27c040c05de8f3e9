"""Copies of state, for role code that changes it: each request works on one of its own."""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_LEAVES = (str, bytes, int, float, complex, type(None), type, FunctionType, BuiltinFunctionType, ModuleType)

_known: dict[int, tuple[Any, list[tuple[Any, list[int]]]]] = {}
"""By the identity of a piece of state: itself, and the tables and columns with such objects. State stays as
it was loaded."""


def deepcopy(value: Any) -> Any:
    """As `copy.deepcopy`, but for what that shares: lists, dicts and other objects in columns of pandas."""
    if id(value) not in _known:
        _known[id(value)] = (value, _tables(value))
    memo: dict[int, Any] = {}
    for table, columns in _known[id(value)][1]:
        memo[id(table)] = _copied(table, columns, memo)
    return copy.deepcopy(value, memo)


def _tables(value: Any) -> list[tuple[Any, list[int]]]:
    """The DataFrames and Series in a value with columns of objects that can be changed, inner ones first."""
    found, todo, seen = list[tuple[Any, list[int]]](), [value], set[int]()
    while todo:
        part = todo.pop()
        if isinstance(part, _LEAVES) or id(part) in seen:
            continue
        seen.add(id(part))
        if _is_table(part):
            columns = {i: held for i in range(_width(part)) if (held := _objects(part, i))}
            found += [(part, [*columns])] if columns else []
            todo += [item for held in columns.values() for item in held]
        elif isinstance(part, Mapping):
            todo += part.values()
        elif isinstance(part, list | tuple | set | deque):
            todo += part
        todo += getattr(part, "__dict__", {}).values() if not _is_table(part) else ()
    return found[::-1]


def _is_table(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series)


def _width(table: Any) -> int:
    return int(table.shape[1]) if table.ndim == 2 else 1


def _objects(table: Any, i: int) -> list[Any]:
    column = table.iloc[:, i] if table.ndim == 2 else table
    return [item for item in column.array if not isinstance(item, _LEAVES)] if column.dtype == object else []


def _copied(table: Any, columns: list[int], memo: dict[int, Any]) -> Any:
    import pandas as pd

    made = table.copy()
    if table.ndim == 1:
        made.iloc[:] = copy.deepcopy(table.to_numpy(), memo)
        return made
    for i in columns:
        values = copy.deepcopy(table.iloc[:, i].to_numpy(), memo)
        made.isetitem(i, pd.Series(values, index=made.index, dtype=object))
    return made
