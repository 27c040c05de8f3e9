"""DataFrames whose columns are known beforehand, made without pandas' look at each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .runtime import NUMPY

try:
    from pandas.api.internals import create_dataframe_from_blocks as _from_blocks
except ImportError:  # before pandas 3
    _from_blocks = None

Column = Callable[[Any, Mapping[str, Any]], Any]
"""From the values of a field to what pandas has for them: an array, or a Series."""


class Frames:
    """Makes one DataFrame after another of the columns that `fields` describe.

    Each is what `pandas.DataFrame` makes of the columns, blocks in memory included.
    """

    def __init__(self, fields: Mapping[str, Mapping[str, Any]], column: Column) -> None:
        self._fields = fields
        self._column = column
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
            frame = pd.DataFrame({n: self._column(columns[n], field) for n, field in self._fields.items()})
            self._names = frame.columns.view() if len(frame.columns) else None
            return frame
        blocks = [(_numbers([columns[n] for n in names], python), at) for python, names, at in self._numbers]
        index = pd.RangeIndex(len(next(iter(columns.values()))))
        # views: what the notebook's code does to the names of one DataFrame must not show in the next
        return _from_blocks([*blocks, *self._blocks(columns)], index, self._names.view())

    def _blocks(self, columns: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Blocks of the columns that are no numbers."""
        alike: dict[Any, list[tuple[Any, int]]] = {}
        for name, at in self._others:
            array = self._column(columns[name], self._fields[name])
            if isinstance(array, pd.Series | pd.arrays.NumpyExtensionArray):
                array = array.to_numpy()
            if isinstance(array, np.ndarray):
                alike.setdefault(array.dtype, []).append((array, at))
            else:
                yield array, np.array([at])
        for found in alike.values():
            yield np.vstack([array for array, _ in found]), np.array([at for _, at in found])


def _numbers(columns: list[list[Any]], python: str) -> Any:
    if python[0] in "iu":  # JSON may write 3 as 3.0
        columns = [[int(value) for value in values] for values in columns]
    return np.array(columns, dtype=python)
