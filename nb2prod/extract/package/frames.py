"""DataFrames whose columns are known beforehand, made without pandas' look at each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .casts import NUMPY, caster, categorical

try:
    from pandas.api.internals import create_dataframe_from_blocks as _from_blocks
except ImportError:  # before pandas 3
    _from_blocks = None

Column = Callable[[list[Any]], Any]
"""From the values of a field to what pandas has for them: an array, or a Series."""


class Frames:
    """Makes one DataFrame after another of the columns that `fields` describe.

    Each is what `pandas.DataFrame` makes of the columns, blocks in memory included.
    """

    def __init__(self, fields: Mapping[str, Mapping[str, Any]]) -> None:
        self._fields = fields
        self._column = {name: _column(field) for name, field in fields.items()}
        at = {name: i for i, name in enumerate(fields)}
        alike: dict[str, list[str]] = {}
        for name, field in fields.items():
            if field["dtype"] in ("number", "integer") and NUMPY.fullmatch(field["python"]):
                alike.setdefault(field["python"], []).append(name)
        self._numbers = [(python, n, np.array([at[name] for name in n])) for python, n in alike.items()]
        known = {name for names in alike.values() for name in names}
        self._others = [(name, i) for name, i in at.items() if name not in known]
        self._names: Any = None

    def make(self, columns: Mapping[str, Any]) -> Any:
        """The DataFrame of columns that keep the contract: lists, or arrays of numbers."""
        lists = all(type(values) is list for values in columns.values())
        if self._names is None or not lists or _from_blocks is None:
            frame = pd.DataFrame({name: self._series(name, columns[name]) for name in self._fields})
            self._names = frame.columns.view() if len(frame.columns) else None
            return frame
        blocks = [(_numbers([columns[n] for n in names], python), at) for python, names, at in self._numbers]
        index = pd.RangeIndex(len(next(iter(columns.values()))))
        # views: what the notebook's code does to the names of one DataFrame must not show in the next
        return _from_blocks([*blocks, *self._blocks(columns)], index, self._names.view())

    def _series(self, name: str, values: Any) -> Any:
        if hasattr(values, "dtype"):
            return pd.Series(values, dtype=self._fields[name]["python"])
        return self._column[name](values)

    def _blocks(self, columns: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Blocks of the columns that are no numbers."""
        alike: dict[Any, list[tuple[Any, int]]] = {}
        for name, at in self._others:
            array = self._column[name](columns[name])
            if isinstance(array, pd.Series | pd.arrays.NumpyExtensionArray):
                array = array.to_numpy()
            if isinstance(array, np.ndarray):
                alike.setdefault(array.dtype, []).append((array, at))
            else:
                yield array, np.array([at])
        for found in alike.values():
            yield np.vstack([array for array, _ in found]), np.array([at for _, at in found])


def _column(field: Mapping[str, Any]) -> Column:
    python, dtype = field["python"], field["dtype"]
    if dtype == "category":
        return lambda values: categorical(values, field)
    # Python's own dates stand in a column of objects, too
    if python == "object" or (dtype == "datetime" and "[" not in python):
        cast = caster({**field, "missing": field.get("missing") or "np.nan"} if python == "object" else field)
        return lambda values: pd.Series([cast(value) for value in values], dtype=object)
    known = pd.api.types.pandas_dtype(python)
    make = _array_of(known)
    if dtype != "integer":
        return make
    return lambda values: make(values if None in values else [int(value) for value in values])


def _array_of(dtype: Any) -> Column:
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        of = dtype.construct_array_type()._from_sequence
        return lambda values: of(values, dtype=dtype)
    if NUMPY.fullmatch(str(dtype)):
        # the same column, made in a tenth of the time
        return lambda values: np.array(values, dtype=dtype)
    return lambda values: pd.Series(values, dtype=dtype).array  # without an index: pandas need not align it


def _numbers(columns: list[list[Any]], python: str) -> Any:
    if python[0] in "iu":  # JSON may write 3 as 3.0
        columns = [[int(value) for value in values] for values in columns]
    return np.array(columns, dtype=python)
