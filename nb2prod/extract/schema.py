"""A contract as JSON Schema, draft 2020-12: the package's `schema.json`, and what OpenAPI shows.

A request is valid if and only if the package's runtime accepts it, but for what JSON Schema cannot say or
no request can hold:

- days that no calendar has (30 February) are refused by the runtime alone;
- a text that is no valid Unicode and a number beyond a double are refused already as JSON;
- a line break after a moment is seen by some validators' `$` (Python's), and not by the runtime.

Ranges, texts and categories that were seen are told in descriptions: others are accepted. A response may hold
more than is said here, never less.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nb2prod.domain import Contract, Field

DIALECT = "https://json-schema.org/draft/2020-12/schema"
RECORDS = frozenset({"frame", "records", "record", "names"})

SHOWN = 3
"""Instances that a schema shows as an example."""

SHOWN_TEXTS = 20

Schema = dict[str, Any]


def schema_of(contract: Contract, name: str) -> Schema:
    """The schema of a request's body, with `request` and `response` among its definitions."""
    return {
        "$schema": DIALECT,
        "title": name,
        "description": f"What POST /predict of {name} takes; what it gives is #/$defs/response.",
        "$ref": "#/$defs/request",
        "$defs": {"request": _request(contract, name), "response": _response(contract, name)},
    }


def _request(contract: Contract, name: str) -> Schema:
    instances = {"type": "array", "minItems": 1, "items": {"title": "instance", **_instance(contract)}}
    shown = {"instances": list(contract.example[:SHOWN])}
    return {"title": f"request to {name}", **_object({"instances": instances}), "examples": [shown]}


def _response(contract: Contract, name: str) -> Schema:
    answer = _field(contract.answer, asked=False) if contract.answer is not None else {}
    predictions = {
        "type": "array",
        "description": "one for each instance, in their order",
        "items": {"title": "prediction", **answer},
        "examples": [list(contract.response[:SHOWN])],
    }
    others = {
        "model_name": {"type": "string"},
        "version": {"type": "integer"},
        "request_id": {"type": "string"},
    }
    return {"title": f"response of {name}", **_object({"predictions": predictions, **others})}


def _instance(contract: Contract) -> Schema:
    if contract.kind in RECORDS:
        return _record(contract.fields, asked=True)
    if not contract.fields:
        return {}
    field = contract.fields[0]
    schema = _field(field, asked=True)
    if contract.kind == "array":
        if field.dtype == "any":  # a list would be a dimension more
            schema = {"not": {"type": ["array"] if field.nullable else ["array", "null"]}}
        for size in reversed(contract.shape):
            schema = {"type": "array", "minItems": size, "maxItems": size, "items": schema}
    return schema


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


# --- one field -----------------------------------------------------------------------------------


def _field(field: Field, *, asked: bool) -> Schema:
    """The schema of a value; `asked` is False for a prediction, which may hold more than is said."""
    schema = _TYPES[field.dtype](field, asked)
    if told := [text for text in (schema.pop("description", ""), _seen(field)) if text]:
        schema["description"] = "; ".join(told)
    if not field.nullable:
        return schema if schema or field.dtype != "any" else {"not": {"type": "null"}}
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    for part in (schema, *schema.get("anyOf", ())):
        if "enum" in part:
            part["enum"].append(None)
    return schema


def _seen(field: Field) -> str:
    if field.minimum is not None and field.maximum is not None:
        return f"seen: {field.minimum} to {field.maximum}"
    return f"seen: {_shown(field.categories)}" if field.dtype == "string" and field.categories else ""


def _shown(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN_TEXTS]) + (", …" if len(texts) > SHOWN_TEXTS else "")


def _integer(field: Field, asked: bool) -> Schema:
    sized = re.match(r"(u?)int(8|16|32|64)", field.python, re.IGNORECASE)
    if not asked:
        return {"type": "integer"}
    if sized is None:  # beyond, readers of JSON make other numbers of them
        return {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
    bits = int(sized[2])
    low, high = (0, 2**bits - 1) if sized[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return {"type": "integer", "minimum": low, "maximum": high}


def _number(field: Field, asked: bool) -> Schema:
    highest = {"float16": 65504.0, "float32": 3.4028234663852886e38}.get(field.python.lower())
    if highest is None or not asked:
        return {"type": "number"}
    return {"type": "number", "minimum": -highest, "maximum": highest}


def _category(field: Field, asked: bool) -> Schema:
    texts = list(field.categories or ())
    others = [value for text in texts if (value := json_value(text)) is not None]
    kind = category_type(field.python) if asked else ""
    if not kind:
        return {"enum": [*texts, *others]} if others else {"type": "string", "enum": texts}
    beside = others if kind == "string" else texts
    schema: Schema = {"anyOf": [{"type": kind}, {"enum": beside}]} if beside else {"type": kind}
    return {**schema, "description": f"one of {_shown(texts)}; others are missing"}


def category_type(python: str) -> str:
    """The JSON type that categories have and unknown ones may have; "" where unknown ones are refused."""
    inner = re.match(r"category\[(.+?)(, ordered)?\]$", python)
    name = inner[1].lower() if inner is not None else "str"
    if name in ("str", "string", "object"):
        return "string"
    if re.fullmatch(r"u?int\d*|float\d*", name):
        return "number"
    return "boolean" if name in ("bool", "boolean") else ""


def json_value(text: str) -> bool | int | float | None:
    """The number or truth value that may stand for a category in JSON, None if there is none."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if str(value) == text and math.isfinite(value) else None
    return None


_TIME = "[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]({fraction})?)?"
_OFFSET = "(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"
_YEARS_OF_NS = "(16(7[89]|[89][0-9])|1[7-9][0-9]{2}|2[01][0-9]{2}|22[0-5][0-9]|226[01])"
_FRACTIONS = {"s": r"\.0{1,9}", "ms": r"\.[0-9]{1,3}0{0,6}", "us": r"\.[0-9]{1,6}0{0,3}"}


def _datetime(field: Field, asked: bool) -> Schema:
    dtype = re.match(r"(?:datetime64|timestamp)\[(\w+)(, [^]]+)?\]", field.python)
    unit, offset = (dtype[1], bool(dtype[2])) if dtype else ("", None)
    what = "ISO 8601 date" if unit == "D" else "ISO 8601 date and time"
    told = what if unit == "D" or offset is None else f"{what} with{'' if offset else 'out'} UTC offset"
    schema: Schema = {"type": "string", "description": told}
    return {**schema, "pattern": _moments(unit, offset)} if asked else schema


def _moments(unit: str, offset: bool | None) -> str:
    year = _YEARS_OF_NS if unit == "ns" else "(?!0000)[0-9]{4}"
    date = f"{year}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    time = _TIME.replace("{fraction}", _FRACTIONS.get(unit, r"\.[0-9]{1,9}"))
    if unit == "D":
        return f"^{date}$"
    if offset is True:
        return f"^{date}{time}{_OFFSET}$"
    return f"^{date}({time}{'' if offset is False else f'{_OFFSET}?'})?$"


def _record(fields: tuple[Field, ...], *, asked: bool) -> Schema:
    schema: Schema = {
        "type": "object",
        "required": [field.name for field in fields if not field.optional],
        "properties": {field.name: _field(field, asked=asked) for field in fields},
    }
    return {**schema, "additionalProperties": False} if asked else schema


def _map(field: Field, asked: bool) -> Schema:
    return {"type": "object", "additionalProperties": _field(field.parts[0], asked=asked)}


def _list(field: Field, asked: bool) -> Schema:
    schema: Schema = {"type": "array", "items": _field(field.parts[0], asked=asked)}
    return schema if field.length is None else {**schema, "minItems": field.length, "maxItems": field.length}


_TYPES: Mapping[str, Callable[[Field, bool], Schema]] = {
    "integer": _integer,
    "number": _number,
    "string": lambda field, asked: {"type": "string"},
    "boolean": lambda field, asked: {"type": "boolean"},
    "datetime": _datetime,
    "category": _category,
    "record": lambda field, asked: _record(field.parts, asked=asked),
    "map": _map,
    "list": _list,
    "any": lambda field, asked: {},
}
