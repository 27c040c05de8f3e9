"""From JSON values to what the notebook's code had in their place: the very types of its example."""

from __future__ import annotations

import datetime as dt
import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .checks import CATEGORIES, category_texts


def categorical(values: Sequence[Any], field: Mapping[str, Any]) -> Any:
    """A column of a field of categories.

    `python` says what they are, if not texts: `category[int64]`, `category[str, ordered]`.
    """
    import pandas as pd

    texts = list(field["categories"])
    inner = CATEGORIES.match(field["python"])
    if inner is None:
        categories = pd.Index(texts)
    elif inner[1] == "bool":
        categories = pd.Index([text == "True" for text in texts])
    else:
        categories = pd.Index(texts).astype(inner[1])
    codes, text_of = {text: code for code, text in enumerate(texts)}, category_texts(texts)
    # what is none of them is missing, as pandas has it
    found = [codes.get(text_of(value), -1) for value in values]
    return pd.Categorical.from_codes(found, categories=categories, ordered=bool(inner and inner[2]))


Cast = Callable[[Any], Any]
"""From a JSON value to what the notebook's code had in its place."""


def caster(field: Mapping[str, Any]) -> Cast:
    dtype, python, parts = field["dtype"], field["python"], field.get("parts") or ()
    as_it_comes = (dtype, python) == ("number", "object")
    missing = _missing(field)
    if parts:
        cast = _PART_CASTS[dtype]({part["name"]: caster(part) for part in parts})
    elif dtype in _CASTS and not as_it_comes:
        cast = _scalar_cast(_CASTS[dtype], python)
    else:
        return (lambda value: value) if missing is None else lambda v: missing if v is None else v
    return lambda value: missing if value is None else cast(value)


def _missing(field: Mapping[str, Any]) -> Any:
    """What stands for null in a field: the very object that the notebook's data had there."""
    if kind := field.get("missing"):
        return _MISSING[kind]()
    is_typed = field["dtype"] == "number" and field["python"] != "object"
    return _number(math.nan, field["python"]) if is_typed else None


_MISSING: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "nan": lambda: math.nan,
    "np.nan": lambda: importlib.import_module("numpy").nan,
    "NA": lambda: importlib.import_module("pandas").NA,
    "NaT": lambda: importlib.import_module("pandas").NaT,
}


def _scalar_cast(cast: Callable[[Any, str], Any], python: str) -> Cast:
    return lambda value: cast(value, python)


def _cast_record(casts: Mapping[str, Cast]) -> Cast:
    return lambda value: {name: cast(value[name]) for name, cast in casts.items() if name in value}


def _cast_map(casts: Mapping[str, Cast]) -> Cast:
    (cast,) = casts.values()
    return lambda value: {key: cast(item) for key, item in value.items()}


def _cast_list(casts: Mapping[str, Cast]) -> Cast:
    (cast,) = casts.values()
    return lambda value: [cast(item) for item in value]


_PART_CASTS: dict[str, Callable[[Mapping[str, Cast]], Cast]] = {
    "record": _cast_record,
    "map": _cast_map,
    "list": _cast_list,
}


def _number(value: float, python: str) -> Any:
    """A number of numpy's where the example held one: `{"age": df["age"].max()}`."""
    if python in ("int", "float") or not NUMPY.fullmatch(python):
        return value
    import numpy as np

    return np.dtype(python).type(value)


NUMPY = re.compile(r"(?:u?int|float)(?:8|16|32|64)")
"""Types of numbers that numpy makes of JSON's as pandas would."""


def _cast_datetime(value: str, python: str) -> Any:
    if python == "Timestamp":
        import pandas as pd

        try:
            return pd.Timestamp(value)
        except pd.errors.OutOfBoundsDatetime:
            # nanoseconds of a year that pandas has in microseconds only: cut, as `datetime` cuts them
            return pd.Timestamp(dt.datetime.fromisoformat(value))
    moment = dt.datetime.fromisoformat(value)
    return moment.date() if python == "date" else moment


_CASTS: dict[str, Callable[[Any, str], Any]] = {
    "integer": lambda v, python: _number(int(v), python),
    "number": lambda v, python: _number(float(v), python),
    "datetime": _cast_datetime,
}


def nan_for_none(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [nan_for_none(item) for item in value]
    return math.nan if value is None else value
