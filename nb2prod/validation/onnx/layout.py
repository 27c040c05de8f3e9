"""What a model is given: the columns of a table or an array, and which of them are numbers and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nb2prod.validation.onnx.trees import Unsupported

MAX_TEXTS = 1_000
"""Different texts of one column that a manifest may list."""

ANY_ROWS = 10**9


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of an input; `columns` is None for an array. Each is numbers or texts, by position."""

    columns: tuple[str, ...] | None
    dtypes: tuple[str, ...]
    numbers: tuple[int, ...]
    texts: tuple[int, ...]

    def fits(self, given: Any) -> bool:
        """Whether another input looks the same."""
        try:
            return layout_of(given) == self
        except Unsupported:
            return False

    def inputs(
        self,
        nan: Sequence[int] = (),
        known: Mapping[int, Sequence[str] | None] | None = None,
        only: Mapping[int, Sequence[float]] | None = None,
        rows: int = ANY_ROWS,
    ) -> dict[str, Any]:
        """As a manifest says it, with the columns that may hold NaN, and what others may hold at all."""
        return {
            "columns": list(self.columns) if self.columns is not None else None,
            "dtypes": list(self.dtypes),
            "numbers": list(self.numbers),
            "texts": list(self.texts),
            "nan": list(nan),
            "known": [(known or {}).get(at) for at in self.texts],
            "only": {str(at): list(values) for at, values in (only or {}).items()},
            "rows": rows,
        }


def layout_of(given: Any) -> Layout:
    """The layout of a DataFrame or an array of numbers; Unsupported for anything else."""
    import pandas as pd

    if type(given) is pd.DataFrame:
        return _frame(given)
    if type(given) is not np.ndarray or given.ndim != 2 or given.dtype.kind not in "biuf":
        raise Unsupported(f"it is given {_described(given)}, neither a table nor an array of numbers")
    width = given.shape[1]
    return Layout(None, (str(given.dtype),) * width, tuple(range(width)), ())


def _described(given: Any) -> str:
    shape = f" of {given.dtype}" if isinstance(getattr(given, "dtype", None), np.dtype) else ""
    return f"{type(given).__name__}{shape}"


def _frame(frame: Any) -> Layout:
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise Unsupported("the names of its columns are not all texts, each another")
    numbers = [i for i in range(len(names)) if _is_number(frame.iloc[:, i])]
    texts = [i for i in range(len(names)) if i not in numbers]
    for at in texts:
        if not all(isinstance(v, str) or _is_missing(v) for v in frame.iloc[:, at].to_numpy(object)):
            raise Unsupported(f"the column {names[at]!r} holds neither numbers nor texts")
    return Layout(tuple(names), tuple(map(str, frame.dtypes)), tuple(numbers), tuple(texts))


def _is_number(column: Any) -> bool:
    import pandas as pd

    dtype = column.dtype
    return bool(pd.api.types.is_numeric_dtype(dtype)) and not pd.api.types.is_complex_dtype(dtype)


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


# --- rows of one layout --------------------------------------------------------------------------


def joined(parts: Sequence[Any], most: int) -> Any:
    """Inputs of one layout as one, cut to so many rows."""
    import pandas as pd

    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[:most]
    return pd.concat(parts, ignore_index=True)[:most].astype(dict(parts[0].dtypes))


def taken(rows: Any, numbers: Any) -> Any:
    """Rows by their numbers."""
    return rows.iloc[numbers].reset_index(drop=True) if hasattr(rows, "iloc") else rows[numbers]


def column(rows: Any, at: int) -> Any:
    """The values of a column, as an array."""
    return rows.iloc[:, at].to_numpy() if hasattr(rows, "iloc") else rows[:, at]


def whole(layout: Layout, rows: Any) -> Any:
    """The rows whose texts are all there and whose numbers are no infinities: others go to the original."""
    keep = np.ones(len(rows), bool)
    for at in layout.texts:
        keep &= [isinstance(value, str) for value in column(rows, at)]
    for at in layout.numbers:
        keep &= ~np.isinf(_doubles(rows, at))
    return taken(rows, np.flatnonzero(keep))


def filled(layout: Layout, rows: Any) -> Any:
    """The rows without gaps: a number that is missing is the column's median."""
    for at in layout.numbers:
        values = _doubles(rows, at)
        if np.isnan(values).any():
            middle = np.median(values[~np.isnan(values)]) if not np.isnan(values).all() else 0.0
            rows = with_column(rows, at, np.where(np.isnan(values), middle, values))
    return rows


def _doubles(rows: Any, at: int) -> Any:
    values = column(rows, at)
    if values.dtype == object:  # pandas.NA among numbers
        values = np.array([np.nan if _is_missing(value) else value for value in values])
    return values.astype(np.float64)


def with_column(rows: Any, at: int, values: Any) -> Any:
    """The rows with other values in one column, of its own type as far as that holds them."""
    made = rows.copy()
    if hasattr(rows, "iloc"):
        import pandas as pd

        made[rows.columns[at]] = pd.Series(values, index=rows.index).astype(rows.dtypes.iloc[at])
    else:
        made[:, at] = values
    return made
