"""Bodies of requests, read; what is wrong with one is told as every protocol's refusals are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from nb2prod.serving.core import Columns
from nb2prod.serving.http import Refused
from nb2prod.serving.loader import LoadedRelease


def json_object(body: bytes, expected: str = "an object", *, nan: bool = False) -> dict[str, Any]:
    """A body that holds a JSON object; Refused 400 if it is no JSON, 422 if it holds something else.

    With `nan` a NaN stands for null, as clients of some protocols write it.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        data = _with_nan(body) if nan else None
        if data is None:
            _refuse(body, error)
    if not isinstance(data, dict):
        refuse("the body", expected, kind_of(data))
    return data


@dataclass(frozen=True, slots=True)
class Rows(Columns):
    """As many instances as `count`, of which `make` makes a list."""

    count: int
    make: Callable[[LoadedRelease], list[Any]]

    def __len__(self) -> int:
        return self.count

    def instances(self, release: LoadedRelease) -> list[Any]:
        """One for each row."""
        return self.make(release)


def said_twice(names: Iterable[str]) -> str:
    """The first of these names that is there twice, short enough for a refusal; "" if none is."""
    known: set[str] = set()
    for name in names:
        if name in known:
            return f"{name!r:.60}"
        known.add(name)
    return ""


def member(data: dict[str, Any], name: str, expected: str) -> Any:
    """A member of the body; Refused 422 if it is missing."""
    if name not in data:
        refuse(name, expected, "nothing: it is missing")
    return data[name]


def refuse(field: str, expected: str, got: str) -> NoReturn:
    """Refused 422 for one part of the body."""
    error = {"instance": None, "field": field, "expected": expected, "got": got}
    raise Refused(422, f"{field}: expected {expected}, got {got}", errors=[error])


def kind_of(data: Any) -> str:
    """What a JSON value is, in words."""
    if data is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(data), "a number")


class _Constant(Exception):
    """The body holds NaN or an infinity."""


def _with_nan(body: bytes) -> Any:
    """A body that is JSON but for NaN, else None. Python's reader takes more: what it finds is checked."""
    if b"NaN" not in body:
        return None
    with suppress(ValueError, RecursionError, TypeError, _Constant):
        return orjson.loads(orjson.dumps(json.loads(body.decode(), parse_constant=_null_for_nan)))
    return None


def _null_for_nan(name: str) -> None:
    if name != "NaN":
        raise _Constant(name)


def _refuse(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    detail = _looks_like(body) or f"{error.msg} (line {error.lineno}, column {error.colno})"
    try:
        with suppress(ValueError, RecursionError):
            json.loads(body, parse_constant=_refuse_constant)
    except _Constant as found:
        detail = f"{found} is not JSON; send null for a missing value"
    raise Refused(400, detail) from None


def _looks_like(body: bytes) -> str:
    """What a body is that is no JSON, if it shows; else ""."""
    if not body:
        return "the body is empty"
    if body.startswith((b"\xff\xff\xff\xff", b"ARROW1")):
        kind = "application/vnd.apache.arrow.stream"
        return f"the body looks like Arrow; send an IPC stream, with the content type {kind}"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        return "the body looks like UTF-16 or UTF-32; send UTF-8"
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"the body is not UTF-8: {error.reason} at byte {error.start}; send UTF-8"
    return ""


def _refuse_constant(name: str) -> NoReturn:
    raise _Constant(name)
