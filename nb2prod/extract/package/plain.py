"""Python's own values, and the single ones of numpy and pandas, as JSON: what fitted state is made of.

JSON's own types stand for themselves; any other is an object with one key, its tag, and a list of parts.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from .formats import NoForm, type_name


def _flat(mapping: Mapping[Any, Any]) -> list[Any]:
    return [part for pair in mapping.items() for part in pair]


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _ordered(parts: list[Any]) -> OrderedDict[Any, Any]:
    made = OrderedDict(_pairs(parts[1:]))
    vars(made).update(parts[0])  # torch's state dicts carry an attribute
    return made


def _partial(parts: list[Any]) -> Any:
    function, arguments, keywords, attributes = parts
    made = partial(function, *arguments, **keywords)
    vars(made).update(attributes)
    return made


_FACTORIES: dict[str, Any] = {
    "None": None,
    **{kind.__name__: kind for kind in (int, float, str, bool, list, dict, set, OrderedDict)},
}


def _factory(mapping: defaultdict[Any, Any]) -> str:
    for name, kind in _FACTORIES.items():
        if kind is mapping.default_factory:
            return name
    raise NoForm("the default of a defaultdict has no safer form")


SPLIT: dict[type, tuple[str, Callable[[Any], list[Any]]]] = {
    int: ("$int", lambda v: [hex(v)]),
    complex: ("$complex", lambda v: [v.real, v.imag]),
    bytes: ("$bytes", lambda v: [base64.b64encode(v).decode()]),
    bytearray: ("$bytearray", lambda v: [base64.b64encode(v).decode()]),
    range: ("$range", lambda v: [v.start, v.stop, v.step]),
    dt.date: ("$date", lambda v: [v.isoformat()]),
    dt.time: ("$time", lambda v: [v.isoformat()]),
    dt.datetime: ("$datetime", lambda v: [v.isoformat()]),
    dt.timedelta: ("$timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    Decimal: ("$decimal", lambda v: [str(v)]),
    re.Pattern: ("$pattern", lambda v: [v.pattern, v.flags]),
    tuple: ("$tuple", list),
    set: ("$set", lambda v: sorted(v, key=repr)),
    frozenset: ("$frozenset", lambda v: sorted(v, key=repr)),
    deque: ("$deque", lambda v: [v.maxlen, *v]),
    dict: ("$dict", _flat),
    partial: ("$partial", lambda v: [v.func, list(v.args), v.keywords, vars(v)]),
    OrderedDict: ("$ordered", lambda v: [vars(v), *_flat(v)]),
    Counter: ("$counter", _flat),
    defaultdict: ("$defaultdict", lambda v: [_factory(v), *_flat(v)]),
}
"""What JSON has no word for: its tag, and the parts that it is made of."""

JOIN: dict[str, Callable[[list[Any]], Any]] = {
    "$int": lambda p: int(p[0], 16),
    "$complex": lambda p: complex(*p),
    "$bytes": lambda p: base64.b64decode(p[0]),
    "$bytearray": lambda p: bytearray(base64.b64decode(p[0])),
    "$range": lambda p: range(*p),
    "$date": lambda p: dt.date.fromisoformat(p[0]),
    "$time": lambda p: dt.time.fromisoformat(p[0]),
    "$datetime": lambda p: dt.datetime.fromisoformat(p[0]),
    "$timedelta": lambda p: dt.timedelta(*p),
    "$decimal": lambda p: Decimal(p[0]),
    "$pattern": lambda p: re.compile(*p),
    "$nan": lambda p: _nan(*p),
    "$member": lambda p: p[0].__members__[p[1]],
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$deque": lambda p: deque(p[1:], p[0]),
    "$dict": lambda p: dict(_pairs(p)),
    "$partial": _partial,
    "$ordered": _ordered,
    "$counter": lambda p: Counter(dict(_pairs(p))),
    "$defaultdict": lambda p: defaultdict(_FACTORIES[p[0]], _pairs(p[1:])),
    "$scalar": lambda p: _scalar(*p),
    "$objects": lambda p: _objects(*p),
    "$timestamp": lambda p: _timestamp(*p),
}


def is_nan(value: Any) -> bool:
    """Whether a value is a float without a value."""
    return isinstance(value, float) and math.isnan(value)


def nan_of(value: Any) -> str | None:
    """The module whose own NaN a value is: a dict finds that one among its keys, and no other NaN."""
    if not is_nan(value):
        return None
    return next((m for m in ("numpy", "math") if value is getattr(sys.modules.get(m), "nan", None)), None)


def _nan(module: str) -> Any:
    if module == "math":
        return math.nan
    import numpy as np

    return np.nan


PLAIN = (str, float, bool, type(None))
ONE = (int, complex, bytes, range, dt.date, dt.time, dt.timedelta, Decimal, re.Pattern)
"""Nobody can tell whether two equal ones are one object."""


def split_scalar(value: Any) -> list[Any]:
    """A number, text or moment of numpy's."""
    kind = value.dtype.kind
    if kind not in "biufcUmM" or value.dtype.char in "gG":  # wider than Python's own
        raise NoForm(f"{type_name(value)} has no safer form")
    return [value.dtype.str, int(value.view("i8")) if kind in "mM" else value.item()]


def _scalar(dtype: str, plain: Any) -> Any:
    import numpy as np

    kind = np.dtype(dtype)
    return np.array(plain, "i8" if kind.kind in "mM" else kind).view(kind)[()]


def split_objects(array: Any) -> list[Any]:
    """An array of objects: its shape, its order in memory, and its items."""
    flags = array.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    return [list(array.shape), order, array.ravel().tolist()]


def _objects(shape: list[int], order: str, items: list[Any]) -> Any:
    import numpy as np

    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # a list among them must stay one item
        array[i] = item
    return array.reshape(shape).copy(order="F" if order == "F" else "C")


def split_timestamp(value: Any) -> list[Any]:
    """A moment of pandas: a count of a unit since 1970, and a time zone."""
    return [value.asm8.view("i8").item(), value.unit, None if value.tz is None else str(value.tz)]


def _timestamp(count: int, unit: str, zone: str | None) -> Any:
    import numpy as np
    import pandas as pd

    moment = pd.Timestamp(np.array(count, f"M8[{unit}]")[()])
    return moment if zone is None else moment.tz_localize("UTC").tz_convert(zone)
