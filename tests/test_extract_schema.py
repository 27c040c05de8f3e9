"""The JSON Schema of a contract: valid if and only if the package's runtime accepts."""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nb2prod.domain import Contract, Field, RequestKind, to_json
from nb2prod.extract.package import runtime as package_runtime
from nb2prod.extract.schema import schema_of
from nb2prod.validation.probe import contract as observed
from nb2prod.validation.probe import rows
from tests.packages import CONTRACT

runtime: Any = package_runtime


def plain(noun: Any) -> Any:
    """As it is read from a file."""
    return json.loads(json.dumps(to_json(noun)))


def contract_of(request: Any) -> Contract:
    """The contract that the probe reads off an example."""
    kind = observed.kind_of({"request": request})
    names = observed.names_of(request, kind)
    data = rows.of_request(request, kind, names)
    labels = names or ("request",)
    seen = [observed.seen_in_example(data, name, runtime.to_wire) for name in labels]
    return Contract.from_json(
        {
            "kind": kind,
            "request": ["request"],
            "fields": observed.fields_of(labels, seen, None),
            "shape": rows.values_shape(request) if kind == "array" else (),
            "example": runtime.to_instances(request, kind),
            "response": [],
        }
    )


def request_schema(contract: Contract) -> Draft202012Validator:
    schema = plain(schema_of(contract, "made"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


# --- valid if and only if accepted ---------------------------------------------------------------

ITEM = Field("", "number", "object", nullable=True)
ADDRESS = (
    Field("zip", "string", "str"),
    Field("floor", "integer", "int", optional=True),
    Field("geo", "list", "list", parts=(Field("", "number", "float"),), length=2),
)
FIELDS = {
    "int": Field("v", "integer", "int"),
    "int64": Field("v", "integer", "int64"),
    "int8": Field("v", "integer", "int8"),
    "UInt16": Field("v", "integer", "UInt16", nullable=True),
    "uint64": Field("v", "integer", "uint64"),
    "float": Field("v", "number", "float", nullable=True, minimum=0.5, maximum=1.5),
    "float32": Field("v", "number", "float32"),
    "float16": Field("v", "number", "float16"),
    "str": Field("v", "string", "str", categories=("a", "b")),
    "nullable str": Field("v", "string", "str", nullable=True),
    "bool": Field("v", "boolean", "bool"),
    "date": Field("v", "datetime", "date"),
    "Timestamp": Field("v", "datetime", "Timestamp", nullable=True),
    "s": Field("v", "datetime", "datetime64[s]"),
    "ms": Field("v", "datetime", "datetime64[ms]"),
    "us": Field("v", "datetime", "datetime64[us, Europe/Berlin]"),
    "ns": Field("v", "datetime", "datetime64[ns]"),
    "ns, UTC": Field("v", "datetime", "datetime64[ns, UTC]"),
    "D": Field("v", "datetime", "datetime64[D]"),
    "category": Field("v", "category", "category", nullable=True, categories=("a", "b")),
    "category of digits": Field("v", "category", "category", categories=("1", "02", "b")),
    "category of ints": Field("v", "category", "category[int64]", categories=("1", "2")),
    "category of floats": Field("v", "category", "category[float64]", categories=("0.5", "1.0")),
    "category of bools": Field("v", "category", "category[bool]", categories=("False", "True")),
    "category of some bools": Field("v", "category", "category[bool]", categories=("True",)),
    "category of objects": Field("v", "category", "category[object]", categories=("a", "1")),
    "category of moments": Field("v", "category", "category[datetime64[us]]", categories=("2020-02-29",)),
    "any": Field("v", "any", "object"),
    "nullable any": Field("v", "any", "object", nullable=True),
    "list": Field("v", "list", "list", parts=(ITEM,)),
    "pair": Field("v", "list", "list", nullable=True, parts=(Field("", "string", "str"),), length=2),
    "map": Field("v", "map", "dict", parts=(Field("", "integer", "int"),)),
    "record": Field("v", "record", "dict", parts=ADDRESS),
    "list of records": Field("v", "list", "list", parts=(Field("", "record", "dict", parts=ADDRESS),)),
}

DIGITS = "0123456789"
MOMENTS = st.one_of(
    st.datetimes().map(str),
    st.datetimes().map(lambda m: m.isoformat("T", "milliseconds") + "+01:00"),
    st.dates().map(str),
    st.from_regex(
        r"(1[67]|20|22)[0-9]{2}-[01][0-9]-[0-3][0-9]"
        r"([T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,10})?)?(Z|[+-][0-2][0-9]:?[0-6][0-9])?)?",
        fullmatch=True,
        alphabet=st.sampled_from(DIGITS + "-T :.Z+"),
    ),
    st.sampled_from(["2020-01-01T00:00:00.500", "2020-01-01T00:00:00.000000000", "0000-01-01", "20200101"]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([0, 127, 128, -129, 255, 65535, 65536, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 65504.0]),
    st.sampled_from([0.5, 1.0, 2.0, -0.0, 65505.0, 3.4028234663852886e38, 3.5e38, 1e300]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["a", "b", "c", "1", "02", "2", "0.5", "1.0", "True", "False", "red", ""]),
    st.text(max_size=3),
    MOMENTS,
)
KEYS = st.sampled_from(["zip", "floor", "geo", "v", "w"])
NEAR = st.fixed_dictionaries(
    {
        "zip": st.text(max_size=2),
        "geo": st.lists(st.floats(0, 1) | st.integers(0, 1), min_size=1, max_size=2),
    },
    optional={"floor": st.integers(0, 2) | SCALARS, "more": SCALARS},
)
VALUES = st.recursive(
    SCALARS | NEAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def unsayable(value: Any) -> bool:
    """What the docstring of extract/schema.py lists: JSON Schema cannot say it, or no request can hold it."""
    if isinstance(value, Mapping):
        return any(unsayable(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return any(unsayable(item) for item in value)
    if isinstance(value, str):
        return value.endswith("\n") or _is_no_day(value)
    return isinstance(value, int) and abs(value) > 1.7e308


def _is_no_day(text: str) -> bool:
    """30 February and its like."""
    day = re.match(r"(\d{4})-(0[1-9]|1[0-2])-(29|30|31)", text, re.ASCII)
    return day is not None and int(day[3]) > calendar.monthrange(int(day[1]) or 1, int(day[2]))[1]


@pytest.mark.parametrize("name", FIELDS)
def test_valid_if_and_only_if_accepted(name: str) -> None:
    field = FIELDS[name]
    kinds: list[RequestKind] = ["frame", "record", "values", *(["array"] if field.dtype != "list" else [])]
    contracts = {kind: Contract(kind, ("v",), (field,), (2,) * (kind == "array")) for kind in kinds}
    made = {k: (request_schema(c), runtime.Predictor(plain(c), None)) for k, c in contracts.items()}

    @settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.sampled_from(kinds),
        st.lists(VALUES, min_size=1, max_size=2).filter(lambda values: not unsayable(values)),
    )
    def check(kind: str, values: list[Any]) -> None:
        validator, predictor = made[kind]
        named = kind in ("frame", "record")
        instances = [{"v": value} for value in values] if named else [values] if kind == "array" else values
        accepted = predictor.problems(instances) == []
        event("accepted" if accepted else "refused")
        assert validator.is_valid({"instances": instances}) == accepted, instances

    check()


# --- requests as they are made -------------------------------------------------------------------

REQUESTS: dict[str, Any] = {
    "frame": pd.DataFrame(
        {
            "n": [1, 2],
            "x": [0.5, None],
            "text": ["a", None],
            "kind": pd.Categorical(["lo", None], categories=["lo", "hi"]),
            "level": pd.Categorical([1, 2]),
            "when": pd.to_datetime(["2020-01-01T00:00:00", "2020-01-02T03:04:05.678"], format="ISO8601"),
            "zoned": pd.to_datetime(["2020-01-01", "2020-07-02"], utc=True).tz_convert("Europe/Berlin"),
            "tags": [["a"], []],
        }
    ),
    "records": [{"n": 1, "b": None}, {"n": 2, "b": True}],
    "record": {"n": 1, "address": {"zip": "1", "geo": [1.5]}, "lines": [{"sku": "a"}, {"sku": "b", "n": 1}]},
    "values": [0.5, 1.5],
    "lists": [[1, 2], [3]],
    "texts": ["a", "b"],
    "array": np.array([[[0.5], [1.5]]], dtype=np.float32),
    "days": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "mixed array": np.array([1, "a"], dtype=object),
    "text": "a text",
    "value": 7,
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_an_example_is_valid(name: str) -> None:
    contract = contract_of(REQUESTS[name])
    validator = request_schema(contract)
    body = {"instances": list(contract.example)}
    validator.validate(plain(body))
    validator.validate(plain({**body, "parameters": {}}))
    for wrong in ({}, {"instances": []}, {"instances": {}}, {"instances": [None]}, []):
        assert not validator.is_valid(wrong)


def test_what_a_schema_looks_like() -> None:
    contract = Contract.from_json(
        {
            **plain(CONTRACT),
            "answer": {"name": "prediction", "dtype": "number", "python": "float", "nullable": True},
        }
    )
    schema = schema_of(contract, "doubler")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "doubler"
    assert schema["$ref"] == "#/$defs/request"
    request, response = schema["$defs"]["request"], schema["$defs"]["response"]
    assert request["examples"] == [{"instances": list(CONTRACT.example)}]
    assert request["properties"]["instances"]["items"] == {
        "title": "instance",
        "type": "object",
        "required": ["x", "n", "colour"],
        "properties": {
            "x": {"type": ["number", "null"], "description": "seen: 0.0 to 9.0"},
            "n": {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
            "colour": {"type": "string", "description": "one of red, green; others are missing"},
        },
        "additionalProperties": False,
    }
    predictions = response["properties"]["predictions"]
    assert predictions["items"] == {"title": "prediction", "type": ["number", "null"]}
    assert predictions["examples"] == [[1.2, None]]
    assert response["required"] == ["predictions", "model_name", "version", "request_id"]


def test_a_response_may_hold_more_and_not_less() -> None:
    part = Field("p", "number", "float", minimum=0.0, maximum=1.0)
    answer = Field("prediction", "record", "dict", parts=(part, Field("why", "string", "str", optional=True)))
    schema = schema_of(Contract("value", ("v",), (Field("v", "integer", "int"),), answer=answer), "made")
    item = Draft202012Validator(schema["$defs"]["response"]["properties"]["predictions"]["items"])
    assert [item.is_valid(v) for v in ({"p": 7}, {"p": 1, "more": 2}, {"why": "x"}, {"p": "1"}, None)] == [
        True,
        True,
        False,
        False,
        False,
    ]
