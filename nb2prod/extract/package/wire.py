"""Values of notebook code as plain JSON data, and requests as instances."""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BATCH_KINDS = frozenset({"frame", "records", "values", "array"})


class SameNames(TypeError):
    """Two columns or keys of an answer have one name in JSON, so that one of their values would be lost."""


def is_missing(value: Any) -> bool:
    """True of None, NaN, NaT and pandas.NA."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return type(value).__name__ in ("NaTType", "NAType") or (
        hasattr(value, "dtype") and getattr(value, "shape", None) == () and bool(operator.ne(value, value))
    )


def to_wire(value: Any) -> Any:
    """Any value of notebook code as plain JSON data; TypeError where there is no faithful form."""
    if isinstance(value, bool | int | str) and type(value) in (bool, int, str):
        return value
    if isinstance(value, Mapping):
        _check_names(names := [str(to_wire(key)) for key in value])
        return dict(zip(names, map(to_wire, value.values()), strict=True))
    if isinstance(value, list | tuple):
        return [to_wire(item) for item in value]
    if is_missing(value):
        return None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return _to_wire_other(value)


def _to_wire_other(value: Any) -> Any:
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return _to_wire_moment(value)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [to_wire(row) for row in _records(value)]
    if hasattr(value, "tolist"):
        return _to_wire_array(value)
    if isinstance(value, set | frozenset):
        return sorted((to_wire(item) for item in value), key=repr)
    if isinstance(value, bool | int | str):
        return next(kind for kind in (bool, int, str) if isinstance(value, kind))(value)
    raise TypeError(f"no JSON form for {type(value).__module__}.{type(value).__qualname__}")


def _to_wire_moment(value: Any) -> str:
    offset = value.utcoffset() if isinstance(value, dt.datetime) else None
    if offset is not None and offset.seconds % 60:  # local time before time zones: ISO 8601 has whole minutes
        value = value.astimezone(dt.UTC)
    text: str = value.isoformat()
    return text


def _to_wire_array(value: Any) -> Any:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    listed = value.tolist()
    if kind == "M" and type(value).__module__ == "numpy":  # nanoseconds would come as bare integers
        listed = [None if text == "NaT" else text for text in value.astype(str).ravel().tolist()]
        listed = listed[0] if value.shape == () else _nested(listed, value.shape)
    if kind == "m" or type(listed) is type(value):
        raise TypeError(f"no JSON form for {type(value).__module__}.{type(value).__qualname__}")
    return to_wire(listed)


def _nested(flat: list[Any], shape: tuple[int, ...]) -> list[Any]:
    if len(shape) == 1:
        return flat
    step = len(flat) // shape[0] if shape[0] else 0
    return [_nested(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def _check_names(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise SameNames(f"more than one column or key is named {', '.join(map(repr, twice))}")


def _records(frame: Any) -> Iterator[dict[str, Any]]:
    _check_names(names := [str(name) for name in frame.columns])
    columns = [frame.iloc[:, i].tolist() for i in range(len(names))]
    for i in range(len(frame)):
        yield {name: column[i] for name, column in zip(names, columns, strict=True)}


def to_instances(request: Any, kind: str) -> list[Any]:
    """A request, as notebook code holds it, as instances: the inverse of Predictor.decode."""
    if kind == "frame":
        return [to_wire(row) for row in _records(request)]
    if kind in BATCH_KINDS:
        return [to_wire(row) for row in request]
    return [to_wire(request)]


def rows_of(answer: Any) -> list[Any] | None:
    """An answer as one JSON value for each row; None if it has no rows."""
    if isinstance(answer, Mapping):
        _check_names(names := [str(name) for name in answer])
        return _rows_of_columns(dict(zip(names, map(rows_of, answer.values()), strict=True)))
    if isinstance(answer, str | bytes | set | frozenset) or getattr(answer, "shape", None) == ():
        return None
    wire = to_wire(answer) if hasattr(answer, "__len__") else None
    return wire if isinstance(wire, list) else None


def _rows_of_columns(columns: Mapping[str, list[Any] | None]) -> list[Any] | None:
    there = [column for column in columns.values() if column is not None]
    if len(there) != len(columns) or len({len(column) for column in there}) != 1:
        return None
    return [dict(zip(columns, row, strict=True)) for row in zip(*there, strict=True)]
