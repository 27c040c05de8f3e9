"""Our own protocol: {"instances": [...]} → {"predictions": [...], "model_name", "version", "request_id"}."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import orjson

from nb2prod.serving.core import Call, named
from nb2prod.serving.http import Refused, Response, answer, problem
from nb2prod.serving.loader import LoadedRelease


def call(body: bytes, asked: str) -> Call:
    """A request for predictions by its body."""
    return Call(asked, lambda release: _instances(body, asked), partial(_answered, asked))


def _answered(asked: str, release: LoadedRelease, predictions: list[Any]) -> Response:
    data = {
        "predictions": predictions,
        "model_name": release.model_name,
        "version": release.version,
        "request_id": asked,
    }
    return answer(data, *named(release))


def _instances(body: bytes, asked: str) -> Any:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse_body(body, error, asked)
    if not isinstance(data, dict):
        _refuse_shape(asked, "the body", "an object with `instances`", _kind(data))
    if "instances" not in data:
        _refuse_shape(asked, "instances", "a list of instances", "nothing: it is missing")
    return data["instances"]


def _refuse_shape(asked: str, field: str, expected: str, got: str) -> NoReturn:
    error = {"instance": None, "field": field, "expected": expected, "got": got}
    raise Refused(problem(422, f"{field}: expected {expected}, got {got}", asked, errors=[error]))


def _kind(data: Any) -> str:
    if data is None:
        return "null"
    names = {list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(data), "a number")


class _Constant(Exception):
    """The body holds NaN or an infinity."""


def _refuse_body(body: bytes, error: orjson.JSONDecodeError, asked: str) -> NoReturn:
    detail = f"{error.msg} (line {error.lineno}, column {error.colno})" if body else "the body is empty"
    try:
        with suppress(ValueError, RecursionError):
            json.loads(body, parse_constant=_refuse_constant)
    except _Constant as found:
        detail = f"{found} is not JSON; send null for a missing value"
    raise Refused(problem(400, detail, asked)) from None


def _refuse_constant(name: str) -> NoReturn:
    raise _Constant(name)
