"""Whether JSON values keep a field of the contract, and what was expected where they do not."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Check = Callable[[Any], str | None]
"""From one value to what was expected instead, or None if the value fits."""

_HIGHEST = {"float16": 65504.0, "float32": 3.4028234663852886e38}

_MOMENT = re.compile(
    r"(\d{4})-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.(?P<fraction>\d{1,9}))?)?(?P<offset>Z|[+-]\d\d:?[0-5]\d)?)?",
    re.ASCII,
)
_DIGITS = {"s": 0, "ms": 3, "us": 6}
_OFFSET = {True: " with UTC offset", False: " without UTC offset", None: ""}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_integer(field: Mapping[str, Any]) -> Check:
    sized = re.match(r"(u?)int(8|16|32|64)", field["python"], re.IGNORECASE)
    if sized is None:
        return _check_whole
    bits = int(sized[2])
    low, high = (0, 2**bits - 1) if sized[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def check(value: Any) -> str | None:
        if not _is_number(value) or value != value // 1:
            return "an integer"
        return None if low <= value <= high else f"an integer from {low} to {high}"

    return check


def _check_whole(value: Any) -> str | None:
    if not _is_number(value) or value != value // 1:
        return "an integer"
    # readers of JSON make such floats of longer integers, which are other numbers then
    beyond = isinstance(value, float) and not -(2**63) < value < 2**64
    return "an integer of at most 64 bits" if beyond else None


def _check_number(field: Mapping[str, Any]) -> Check:
    highest = _HIGHEST.get(field["python"].lower(), 1.7976931348623157e308)
    return lambda v: None if _is_number(v) and -highest <= v <= highest else "a number"


def _check_string(field: Mapping[str, Any]) -> Check:
    return lambda v: None if isinstance(v, str) and (v.isascii() or _encodes(v)) else "a string"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_boolean(field: Mapping[str, Any]) -> Check:
    return lambda v: None if isinstance(v, bool) else "true or false"


def _check_list(field: Mapping[str, Any]) -> Check:
    length = field.get("length")
    expected = "a list" if length is None else f"a list of {length}"
    return lambda v: None if isinstance(v, list) and length in (None, len(v)) else expected


def _check_record(field: Mapping[str, Any]) -> Check:
    return lambda v: None if isinstance(v, dict) else "an object"


_DEEPEST = 200
"""How deep a value may be nested whose parts are not looked at: answers repeat it, and stacks end."""


def _check_depth(fits: Check) -> Check:
    def check(value: Any) -> str | None:
        level = [value]
        for _ in range(_DEEPEST + 1):
            level = [item for outer in level if isinstance(outer, dict | list) for item in _items(outer)]
            if not level:
                return fits(value)
        return f"a value nested at most {_DEEPEST} deep"

    return check


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _check_category(field: Mapping[str, Any]) -> Check:
    """A category, or what could be one: pandas takes what is none as missing.

    Moments and their like must be categories: many texts stand for one, and would be lost.
    """
    text_of, alike = category_texts(field["categories"]), _alike(field)
    expected = "one of " + ", ".join(field["categories"][:20])

    def check(value: Any) -> str | None:
        if alike is not None and alike(value):
            return None
        return None if isinstance(value, str | int | float) and text_of(value) is not None else expected

    return check


CATEGORIES = re.compile(r"category\[(.+?)(, ordered)?\]$")

_ALIKE: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    (r"str(ing)?|object", lambda v: isinstance(v, str) and _encodes(v)),
    (r"u?int\d*|float\d*", _is_number),
    (r"bool(ean)?", lambda v: isinstance(v, bool)),
)
"""What a value must be that could be a category, by the dtype of the categories."""


def _alike(field: Mapping[str, Any]) -> Callable[[Any], bool] | None:
    inner = CATEGORIES.match(field["python"])
    name = inner[1].lower() if inner else "str"
    return next((alike for names, alike in _ALIKE if re.fullmatch(names, name)), None)


def category_texts(texts: Sequence[str]) -> Callable[[Any], str | None]:
    """From a JSON value to the category that it stands for: JSON has one way to write 1 and 1.0."""
    known = set(texts)
    numbers = {value: text for text in texts if (value := _number_of(text)) is not None}

    def text_of(value: Any) -> str | None:
        if (text := str(value)) in known:
            return text
        return numbers.get(value) if _is_number(value) else None

    return text_of


def _number_of(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if text in (str(value), f"{value:.0f}") else None


def _check_datetime(field: Mapping[str, Any]) -> Check:
    dtype = re.match(r"(?:datetime64|timestamp)\[(\w+)(, [^]]+)?\]", field["python"])
    unit = dtype[1] if dtype else ""
    offset = bool(dtype[2]) if dtype else None
    expected = "an ISO 8601 date" if unit == "D" else f"an ISO 8601 date and time{_OFFSET[offset]}"

    def check(value: Any) -> str | None:
        match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
        if offset and match is not None and match["offset"] and _is_beyond(value):
            return f"{expected}, of a year from 1 to 9999 in UTC"
        if match is None or not _is_moment(value) or offset not in (None, match["offset"] is not None):
            return expected
        if unit == "D" and match[2]:
            return expected
        if len((match["fraction"] or "").rstrip("0")) > _DIGITS.get(unit, 9):
            return f"{expected}, in whole {unit}"
        return (
            f"{expected}, from 1678 to 2261" if unit == "ns" and not 1678 <= int(match[1]) <= 2261 else None
        )

    return check


def _is_moment(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_beyond(text: str) -> bool:
    """Whether a moment with an offset is of the year 0 or 10000 in UTC, in which pandas keeps its columns."""
    try:
        dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except ValueError:
        return False
    except OverflowError:
        return True
    return False


_CHECKS: dict[str, Callable[[Mapping[str, Any]], Check]] = {
    "integer": _check_integer,
    "number": _check_number,
    "string": _check_string,
    "boolean": _check_boolean,
    "datetime": _check_datetime,
    "category": _check_category,
    "record": _check_record,
    "map": _check_record,
    "list": _check_list,
    "any": lambda field: lambda v: None,
}

NOUNS = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "datetime": "an ISO 8601 date and time",
    "category": "a string",
    "record": "an object",
    "map": "an object",
    "list": "a list",
    "any": "a value",
}


def checker(field: Mapping[str, Any]) -> Check:
    fits, nullable, noun = _CHECKS[field["dtype"]](field), field["nullable"], NOUNS[field["dtype"]]
    if field["dtype"] in ("any", "list", "map") and inner_look(field) is None:
        fits = _check_depth(fits)

    def check(value: Any) -> str | None:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None if nullable else f"{noun}: never null"
        return fits(value)

    return check


def seen_test(field: Mapping[str, Any]) -> tuple[Callable[[Any], bool], str, Any] | None:
    """Whether a value that fits is one that the notebook's data had, in words what is, and such a one.

    None if that is not known.
    """
    low, high, texts = field["minimum"], field["maximum"], field["categories"]
    if field["dtype"] in ("integer", "number") and low is not None and high is not None:
        return lambda v: low <= v <= high, f"{NOUNS[field['dtype']]} from {low} to {high}", low
    if not texts or field["dtype"] not in ("string", "category"):
        return None
    known, told = frozenset(texts), "one of " + ", ".join(texts[:20])
    if field["dtype"] == "string":
        return lambda v: v in known, told, texts[0]
    text_of = category_texts(texts)
    return lambda v: text_of(v) is not None, told, texts[0]


def usual_test(field: Mapping[str, Any]) -> Callable[[Any], bool]:
    """Whether a value is so like the notebook's that a closer look can be spared: most are."""
    check, low, high = checker(field), field["minimum"], field["maximum"]
    kind = {"integer": int, "number": float}.get(field["dtype"])
    if kind is not None and low is not None and high is not None and not check(low) and not check(high):
        return lambda v: type(v) is kind and low <= v <= high
    if field["dtype"] in ("string", "category"):
        known = frozenset(text for text in field["categories"] or () if check(text) is None)
        return lambda v: type(v) is str and v in known
    return lambda v: False


Found = tuple[str, str, Any]
"""A problem inside a value: the path to it, what was expected, what is there (or ABSENT)."""

ABSENT = object()


def inner_look(field: Mapping[str, Any]) -> Callable[[Any, str], Iterator[Found]] | None:
    """From a value that fits, and the path to it, to the problems in its parts; None if it has none."""
    parts = field.get("parts") or ()
    if field["dtype"] == "record":
        return _inside_record(parts)
    if not parts or (parts[0]["dtype"] == "any" and parts[0]["nullable"]):
        return None
    return _inside_elements(parts[0])


def _inside_elements(part: Mapping[str, Any]) -> Callable[[Any, str], Iterator[Found]]:
    check, inside = checker(part), inner_look(part)

    def look(value: Any, path: str) -> Iterator[Found]:
        named = isinstance(value, dict)
        for key, item in value.items() if named else enumerate(value):
            if expected := check(item):
                yield f"{path}.{key}" if named else f"{path}[{key}]", expected, item
            elif inside is not None and isinstance(item, dict | list):
                yield from inside(item, f"{path}.{key}" if named else f"{path}[{key}]")

    return look


def _inside_record(parts: Sequence[Mapping[str, Any]]) -> Callable[[Any, str], Iterator[Found]]:
    looks = {part["name"]: (checker(part), inner_look(part)) for part in parts}
    required = {part["name"]: NOUNS[part["dtype"]] for part in parts if not part["optional"]}

    def look(value: Mapping[str, Any], path: str) -> Iterator[Found]:
        for name, noun in required.items():
            if name not in value:
                yield f"{path}.{name}", noun, ABSENT
        for name, item in value.items():
            check, inside = looks.get(name, (no_such_field, None))
            if expected := check(item):
                yield f"{path}.{name}", expected, item
            elif inside is not None and isinstance(item, dict | list):
                yield from inside(item, f"{path}.{name}")

    return look


def no_such_field(value: Any) -> str:
    return "no such field"


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "nothing: it is missing"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    names = {type(None): "null", dict: "an object", list: "a list"}
    if type(value) in names:
        return names[type(value)]
    text = json.dumps(value) if isinstance(value, str | int | float | bool) else repr(value)
    return cut(text)


def cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def problem(instance: int | None, field: str | None, expected: str, value: Any) -> dict[str, Any]:
    return {"instance": instance, "field": field, "expected": expected, "got": _shown(value)}


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of lists of lists, level by level, as they may be nested as deep as Python's stack; None if
    they are ragged.
    """
    level, shape = [value], []
    while any(isinstance(item, list) for item in level):
        sizes = {len(item) if isinstance(item, list) else None for item in level}
        if len(sizes) > 1:
            return None
        shape.append(sizes.pop())
        level = [inner for item in level for inner in item]
    return tuple(shape)  # type: ignore[arg-type]


def flat(value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        yield value
        return
    for item in value:
        yield from flat(item)
