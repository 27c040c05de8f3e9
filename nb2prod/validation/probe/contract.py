"""What a request looks like, as the clean run saw it. Runs inside the notebook's kernel."""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import rows as rows_
from .finding import refused
from .nested import look_inside
from .places import article
from .rows import Rows
from .seen import MAX_CATEGORIES, Seen, both_kinds, field_of, merged, without_distinct

ALLOWED = (
    "An example is a dict (one record), a list of dicts or a DataFrame (rows), a list or an array (values), "
    "a str (one text), or a number."
)

_SCALARS = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "U": "string", "M": "datetime"}


def kind_of(requests: Mapping[str, Any]) -> str:
    """The kind of request that the example's names make; Refused NB220 or NB222 if they make none."""
    if len(requests) != 1:
        return "names"
    name, value = next(iter(requests.items()))
    kind = _kind(value)
    if kind is None:
        raise refused(
            "NB220",
            f"the example {name!r} is {article(type(value).__name__)}, which no request can be",
            _hint(value),
        )
    if kind in ("frame", "records", "values", "array", "record") and len(value) == 0:
        raise refused("NB222", f"the example {name!r} is empty", "Give it at least one row.")
    return kind


def _kind(value: Any) -> str | None:
    if rows_.is_frame(value):
        return "frame"
    if rows_.is_array(value):
        return "array" if value.ndim and (value.dtype.kind in _SCALARS or value.dtype.hasobject) else None
    if isinstance(value, dict):
        return "record"
    if isinstance(value, list):
        return "records" if rows_.is_records(value) else "values"
    if isinstance(value, str):
        return "text"
    is_numpy = hasattr(value, "dtype") and hasattr(value, "item") and not hasattr(value, "__len__")
    return "value" if isinstance(value, bool | int | float) or is_numpy else None


def _hint(value: Any) -> str:
    if rows_.is_series(value):
        return "Use .to_frame().T or .to_dict() for one row, .tolist() for a column of values."
    return {
        "tuple": "Make it a list.",
        "Tensor": "Use .numpy(): an array can be sent as JSON.",
        "bytes": "Bytes have no JSON form: send text, or a list of numbers.",
    }.get(type(value).__name__, ALLOWED)


def _what(column: Any) -> str:
    if hasattr(column, "dtype") and str(column.dtype) != "object":
        return f"{column.dtype} values"
    return "values of type " + " and ".join(sorted({type(value).__name__ for value in column}))


def names_of(request: Any, kind: str) -> tuple[str, ...]:
    """The fields of a request, () where its values have no name; Refused NB221 if they cannot be fields."""
    if kind == "frame":
        names = list(request.columns)
    elif kind in ("record", "names"):
        names = list(request)
    elif kind == "records":
        names = list(request[0])
        if any(row.keys() != request[0].keys() for row in request):
            odd = next(i for i, row in enumerate(request) if row.keys() != request[0].keys())
            differ = sorted(map(str, request[0].keys() ^ request[odd].keys()))
            raise refused(
                "NB221",
                f"record {odd} of the example has other keys than record 0: {', '.join(differ)}",
                "Give all records the same keys; None stands for a missing value.",
            )
    else:
        return ()
    return _checked(names, kind)


_AS_TEXT = {
    "frame": "df.columns = df.columns.astype(str)",
    "tuple": "df.columns = ['_'.join(map(str, c)) for c in df.columns]",
    "keys": "{str(k): v for k, v in d.items()}",
}


def check_keys(value: Any, path: str) -> None:
    """Refused NB221 for a dict inside an example with keys that JSON would make text."""
    if isinstance(value, dict):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise refused(
                "NB221",
                f"the example has a key that is no text in {path}: {odd[0]!r}; keys of JSON are text",
                f"Let requests have text, `{_AS_TEXT['keys']}`, and make `int(k)` of it in the role cell.",
            )
        for key, item in value.items():
            check_keys(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            check_keys(item, f"{path}[{i}]")
    elif rows_.is_frame(value):
        for name, column in value.items():
            if str(column.dtype) == "object":
                check_keys(column.tolist(), f"{path}[{name!r}]")


def _checked(names: list[Any], kind: str) -> tuple[str, ...]:
    what = "columns" if kind == "frame" else "keys"
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        fix = _AS_TEXT["tuple" if isinstance(odd[0], tuple) else kind if kind == "frame" else "keys"]
        raise refused(
            "NB221", f"the example's {what} are not all text: {odd[0]!r}", f"JSON needs names: `{fix}`."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refused(
            "NB221", f"the example has two columns named {twice[0]!r}", "Rename or drop one of them."
        )
    return tuple(str(name) for name in names)


# --- one field -----------------------------------------------------------------------------------


def seen_in_example(example: Rows, name: str, to_wire: Callable[[Any], Any]) -> Seen:
    """What a field of the example looks like; Refused NB220 if its values have no JSON form."""
    column = example.column(name)
    if (seen := look(column, to_wire)) is None:
        message = f"{name!r} of the example holds {_what(column)}, which have no faithful JSON form"
        raise refused("NB220", message, ALLOWED)
    return seen


def fields_of(
    names: Iterable[str], example: Sequence[Seen], reference: Sequence[Seen | None] | None
) -> list[dict[str, Any]]:
    """The fields of a contract: types from the example, ranges and nulls from all the reference too."""
    return [field_of(name, seen) for name, seen in zip(names, together(example, reference), strict=True)]


def together(example: Sequence[Seen], reference: Sequence[Seen | None] | None) -> list[Seen]:
    """What example and reference show of each field."""
    more = reference if reference is not None else [None] * len(example)
    return [
        merged(seen, other) if other else without_distinct(seen)
        for seen, other in zip(example, more, strict=True)
    ]


def look_values(values: list[Any]) -> Seen:
    """What plain values look like that are known to have a JSON form."""
    return _look_part(values, 0)


def look(column: Any, to_wire: Callable[[Any], Any]) -> Seen | None:
    """What a column looks like, or None if its values have no JSON form."""
    if rows_.is_series(column):
        return _look_series(column, to_wire)
    if rows_.is_array(column) and not column.dtype.hasobject:
        return _look_array(column)
    if not rows_.is_array(column):
        return _look_list(column, to_wire)
    seen = _look_list(column.tolist(), to_wire)
    return replace(seen, python="object") if seen is not None else None


def _look_series(column: Any, to_wire: Callable[[Any], Any]) -> Seen | None:
    from pandas.api import types

    dtype = column.dtype
    python, nullable = str(dtype), bool(column.isna().any())
    if hasattr(dtype, "categories") and hasattr(dtype, "ordered"):
        return _look_categorical(dtype, nullable, to_wire)
    if types.is_bool_dtype(dtype) and python != "object":
        return Seen("boolean", python, nullable)
    if types.is_integer_dtype(dtype) or types.is_float_dtype(dtype):
        name = "integer" if types.is_integer_dtype(dtype) else "number"
        return _ranged(Seen(name, python, nullable), column.dropna())
    if types.is_datetime64_any_dtype(dtype):
        return _ranged(Seen("datetime", python, nullable), column.dropna())
    if python in ("object", "str") or python.startswith("string"):
        seen = _look_list(column.tolist(), to_wire)
        if seen is None or python != "object":
            return seen and replace(seen, python=python, missing=())
        return seen if seen.dtype == "datetime" else replace(seen, python=python)
    return None


def _look_categorical(dtype: Any, nullable: bool, to_wire: Callable[[Any], Any]) -> Seen:
    import pandas as pd

    inner = str(dtype.categories.dtype)
    plain = dtype.categories.dtype == pd.Index([""]).dtype and not dtype.ordered
    python = "category" if plain else f"category[{inner}{', ordered' if dtype.ordered else ''}]"
    texts = tuple(str(to_wire(category)) for category in dtype.categories)
    return Seen("category", python, nullable, categories=texts)


def _look_array(column: Any) -> Seen | None:
    name = _SCALARS.get(column.dtype.kind)
    if name is None:
        return None
    missing = column != column
    seen = Seen(name, str(column.dtype), bool(missing.any()))
    if name == "string":
        return replace(seen, distinct=_few(str(value) for value in column))
    return _ranged(seen, column[~missing])


def _ranged(seen: Seen, values: Any) -> Seen:
    """With the range of the values that are there; infinite ones have no JSON form and count as missing."""
    if seen.dtype == "number":
        finite = (values != math.inf) & (values != -math.inf)
        seen, values = replace(seen, nullable=seen.nullable or not bool(finite.all())), values[finite]
    if seen.dtype == "boolean" or len(values) == 0:
        return seen
    return replace(seen, minimum=_end(values.min()), maximum=_end(values.max()))


def _end(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    plain = value.item() if hasattr(value, "item") else value
    return (
        plain if isinstance(plain, int | float | str) and type(value).__name__ != "datetime64" else str(value)
    )


# --- plain Python values -------------------------------------------------------------------------


def _look_list(values: list[Any], to_wire: Callable[[Any], Any]) -> Seen | None:
    there = [value for value in values if not is_missing(value)]
    seen = _look_plain(values, there)
    if seen.dtype != "any":
        return seen
    if not _have_wire(there, to_wire):
        return None
    inside = look_inside(there, _look_part, 0) if there else None
    if inside is None:
        return seen
    return replace(inside, nullable=seen.nullable, missing=seen.missing)


def _look_part(values: list[Any], depth: int) -> Seen:
    """What values inside a dict or list look like; `python` is "object" where they stay as in JSON."""
    there = [value for value in values if not is_missing(value)]
    inside = look_inside(there, _look_part, depth) if there else None
    if inside is not None:
        return replace(inside, nullable=len(there) < len(values), missing=_kinds_of_missing(values))
    seen, kinds = _look_plain(values, there), {type(value) for value in there}
    mixed = seen.dtype == "number" and (len(kinds) > 1 or kinds == {int} or None in values)
    return replace(seen, python="object") if mixed else seen


def _look_plain(values: list[Any], there: list[Any]) -> Seen:
    """What numbers, texts, truth values or moments look like; "any" if they are others, or a mixture."""
    nullable, missing = len(there) < len(values), _kinds_of_missing(values)
    kinds = {type(value) for value in there}
    names = {_dtype(kind) for kind in kinds}
    if names == {"integer", "number"} or (names <= {"integer"} and any(_is_nan(value) for value in values)):
        names = {"number"}
    python = next(iter(kinds)).__name__ if len(kinds) == 1 else "float" if names == {"number"} else "object"
    if len(names) != 1 or names == {"any"}:
        return Seen("any", python, nullable, empty=not there, missing=missing)
    return _ranged_list(Seen(names.pop(), python, nullable, missing=missing), there)


def _ranged_list(seen: Seen, there: list[Any]) -> Seen:
    if seen.dtype == "string":
        return replace(seen, distinct=_few(str(value) for value in there))
    if seen.dtype == "number":
        finite = [value for value in there if math.isfinite(value)]
        seen, there = replace(seen, nullable=seen.nullable or len(finite) < len(there)), finite
    if seen.dtype == "boolean" or not there:
        return seen
    try:
        return replace(seen, minimum=_end(min(there)), maximum=_end(max(there)))
    except TypeError:  # datetimes with and without a time zone have no order
        return seen


def _dtype(kind: type) -> str:
    for names, base in _BY_TYPE:
        if issubclass(kind, base):
            return names
    module = kind.__module__.partition(".")[0]
    if module == "numpy" and hasattr(kind, "dtype"):
        return _numpy_scalar(kind)
    return "any"


_BY_TYPE: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("boolean", bool),
    ("integer", int),
    ("number", float),
    ("string", str),
    ("datetime", (dt.datetime, dt.date)),
)


def _numpy_scalar(kind: type) -> str:
    import numpy as np

    try:
        return _SCALARS.get(np.dtype(kind).kind, "any")
    except TypeError:
        return "any"


def is_missing(value: Any) -> bool:
    return value is None or _is_nan(value) or type(value).__name__ in ("NaTType", "NAType")


def _kinds_of_missing(values: Iterable[Any]) -> tuple[str, ...]:
    """The kinds of missing values, the most frequent first."""
    counts = Counter(kind for value in values if is_missing(value) and (kind := kind_of_missing(value)))
    return both_kinds(tuple(kind for kind, _ in counts.most_common()), ())


def kind_of_missing(value: Any) -> str:
    """What a contract calls a missing value; "" where the type of its field says it."""
    if type(value) is float:
        numpy = sys.modules.get("numpy")
        return "np.nan" if numpy is not None and value is numpy.nan else "nan"
    return {"NoneType": "None", "NAType": "NA", "NaTType": "NaT"}.get(type(value).__name__, "")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _have_wire(values: list[Any], to_wire: Callable[[Any], Any]) -> bool:
    try:
        for value in values:
            to_wire(value)
    except TypeError:
        return False
    # an array inside a record would come back as a list
    return not any(hasattr(value, "__array__") for value in values)


def _few(texts: Iterable[str]) -> frozenset[str] | None:
    distinct: set[str] = set()
    for text in texts:
        distinct.add(text)
        if len(distinct) > MAX_CATEGORIES:
            return None
    return frozenset(distinct)
