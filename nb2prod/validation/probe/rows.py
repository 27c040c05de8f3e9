"""Requests and reference data as rows: how many, which columns, some of them, their digest.

`data` is a DataFrame or a list of dicts (a column for each field), or a Series, list or array (one
nameless column). Runs inside the notebook's kernel; pandas and numpy only if the data are theirs.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_SAMPLE = 200


def is_frame(value: Any) -> bool:
    """A pandas DataFrame, without importing pandas."""
    return _is_pandas(value, "DataFrame")


def is_series(value: Any) -> bool:
    """A pandas Series."""
    return _is_pandas(value, "Series")


def is_array(value: Any) -> bool:
    """A numpy array."""
    return any(
        c.__module__.partition(".")[0] == "numpy" and c.__name__ == "ndarray" for c in type(value).__mro__
    )


def _is_pandas(value: Any, name: str) -> bool:
    return any(c.__module__.partition(".")[0] == "pandas" and c.__name__ == name for c in type(value).__mro__)


def values_shape(array: Any) -> tuple[int, ...]:
    """The shape of one value of an array of values."""
    return tuple(int(size) for size in array.shape[1:])


def is_records(value: Any) -> bool:
    """A list of dicts with at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a request or of reference data. `names` are the fields, () where values have no name."""

    data: Any
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.data)

    def column(self, name: str) -> Any:
        """All values of a field: a Series, a flat array or a list."""
        if not self.names:
            return self.data.ravel() if is_array(self.data) else self.data
        if is_frame(self.data):
            return self.data[name]
        return [row.get(name) for row in self.data]

    def instances(self, indices: Sequence[int], to_instances: Callable[[Any, str], list[Any]]) -> list[Any]:
        """Some rows as instances (JSON data)."""
        if is_frame(self.data):
            return to_instances(self.data.iloc[list(indices)], "frame")
        if is_series(self.data):
            return to_instances(self.data.iloc[list(indices)].tolist(), "values")
        picked = [self.data[i] for i in indices]
        if self.names:
            picked = [{name: row.get(name) for name in self.names} for row in picked]
        return to_instances(picked, "values")

    def sample(self, count: int = MAX_SAMPLE) -> list[int]:
        """Positions of at most `count` rows, ascending; the same each time, from no one's random state."""
        total = len(self)
        return sorted(random.Random(0).sample(range(total), count)) if total > count else list(range(total))


def of_request(request: Any, kind: str, names: tuple[str, ...]) -> Rows:
    """A request's own rows."""
    if kind in ("frame", "records"):
        return Rows(request, names)
    if kind in ("record", "names"):
        return Rows([request], names)
    return Rows(request if kind in ("values", "array") else [request])


def of_source(source: Any, kind: str, names: tuple[str, ...], shape: tuple[int, ...]) -> Rows | None:
    """Reference data as rows of the request's shape, or None if they are not of that shape."""
    if kind in ("frame", "record", "records", "names"):
        return _named(source, names)
    if kind == "array":
        return _arrays(source, shape)
    return Rows(source) if _is_column(source) else None


def _named(source: Any, names: tuple[str, ...]) -> Rows | None:
    if is_frame(source) and source.columns.is_unique and set(names) <= set(source.columns) and len(source):
        return Rows(source[list(names)], names)
    if is_records(source) and all(set(names) <= row.keys() for row in source):
        return Rows(source, names)
    if isinstance(source, dict) and set(names) <= source.keys():
        return Rows([source], names)
    return None


def _arrays(source: Any, shape: tuple[int, ...]) -> Rows | None:
    if is_frame(source) and source.shape[1:] == shape:
        source = source.to_numpy()
    fits = is_array(source) and source.ndim > 0 and source.shape[1:] == shape and len(source)
    return Rows(source) if fits else None


def _is_column(source: Any) -> bool:
    if is_array(source):
        return source.ndim == 1 and len(source) > 0
    return (is_series(source) or isinstance(source, list)) and len(source) > 0 and not is_records(source)


def came_from(candidates: Mapping[str, Any], example: Rows, kind: str, shape: tuple[int, ...]) -> Rows | None:
    """The rows that the example was made from: the longest candidate of its shape."""
    found = [
        rows
        for value in candidates.values()
        if (rows := of_source(value, kind, example.names, shape) or _text_column(value, example, kind))
        is not None
        and len(rows) > len(example)
        and _alike(rows, example)
    ]
    return max(found, key=len, default=None)


def _alike(rows: Rows, example: Rows) -> bool:
    """Nameless values must at least be of the example's type: a list of column names is no data."""
    if rows.names or is_array(example.data):
        return True
    values = rows.data.tolist() if hasattr(rows.data, "tolist") else rows.data
    kinds = {type(value) for value in example.data}
    return all(type(value) in kinds or value is None or value != value for value in values)


def _text_column(source: Any, example: Rows, kind: str) -> Rows | None:
    """The column of a frame that holds the example's very text."""
    if kind not in ("text", "values") or not is_frame(source) or not isinstance(example.data[0], str):
        return None
    for i in range(source.shape[1]):
        column = source.iloc[:, i]
        if str(column.dtype) in ("object", "str", "string") and bool((column == example.data[0]).any()):
            return Rows(column)
    return None


def data_digest(rows: Rows) -> str:
    """SHA-256 of the data: names, dtypes and values, in order."""
    sha = hashlib.sha256()
    for part in _digested(rows.data):
        sha.update(part)
    return sha.hexdigest()


def _digested(data: Any) -> list[bytes]:
    if is_array(data) and not data.dtype.hasobject:
        return [str((data.dtype, data.shape)).encode(), data.tobytes()]
    if is_frame(data) or is_series(data):
        from pandas.util import hash_pandas_object

        head = str([(str(n), str(t)) for n, t in data.dtypes.items()] if is_frame(data) else data.dtype)
        try:
            return [head.encode(), hash_pandas_object(data, index=False).to_numpy().tobytes()]
        except TypeError:  # a column of lists or dicts
            return [head.encode(), data.to_json(orient="values", default_handler=str).encode()]
    try:
        return [json.dumps(data, sort_keys=True).encode()]
    except (TypeError, ValueError):
        return [pickle.dumps(data)]
