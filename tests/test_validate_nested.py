"""What the probe says of dicts and lists inside a request, and of predictions."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from nb2prod.domain import Contract, Field
from nb2prod.extract import extract
from nb2prod.extract.schema import schema_of
from nb2prod.notebook import read
from nb2prod.validation import clean_run, write_package
from nb2prod.validation.probe import contract as observed
from nb2prod.validation.probe import rows
from nb2prod.validation.probe.predictions import field_of_answers
from nb2prod.validation.probe.seen import MIN_LISTS
from tests.made import notebook
from tests.test_runtime import loaded, observe, problem_of, runtime, through_json

SEVERAL = MIN_LISTS


def column(example: list[Any], reference: list[Any] | None = None) -> Field:
    """The field of a column of values in the example, and in the reference."""
    seen = observed.seen_in_example(rows.Rows(example), "v", runtime.to_wire)
    more = [observed.look(reference, runtime.to_wire)] if reference is not None else None
    (found,) = observed.fields_of(["v"], [seen], more)
    return Field.from_json(found)


def short(field: Field) -> str:
    """`{zip: string, floor?: integer}`, `[number]*3`: a field in one line; `|null` where it may be."""
    inner = [short(part) for part in field.parts]
    names = [f"{part.name}{'?' if part.optional else ''}" for part in field.parts]
    text = {
        "record": "{" + ", ".join(f"{n}: {t}" for n, t in zip(names, inner, strict=True)) + "}",
        "map": "{*: " + "".join(inner) + "}",
        "list": "[" + "".join(inner) + "]" + (f"*{field.length}" if field.length is not None else ""),
    }.get(field.dtype, field.dtype)
    return text + ("|null" if field.nullable else "")


# --- one look ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([{"zip": "1", "floor": 2}], "{zip: string, floor: integer}"),
        ([{"zip": "1", "floor": 2}, {"zip": "2"}], "{zip: string, floor?: integer}"),
        ([{"zip": "1"}, None], "{zip: string}|null"),
        ([{"zip": None}, {"zip": "1"}], "{zip: string|null}"),
        ([{"a": {"b": {"c": 1.5}}}], "{a: {b: {c: number}}}"),
        # keys that are data: fewer than half are in every dict
        ([{"the": 1, "cat": 2}, {"a": 1, "dog": 3}], "{*: integer}"),
        ([{"the": 1}, {}], "{*: integer}"),
        ([{}], "{*: any|null}"),
        ([{"x": 1}, {"y": "a"}], "{*: any}"),
        # keys that are not text stay as JSON gives them
        ([{1: "a"}], "any"),
        ([{"a": 1}, [1]], "any"),
        ([{"a": 1}, "b"], "any"),
        ([[1, 2], [3]], "[integer]"),
        ([[1, 2.5], [None]], "[number|null]"),
        ([["a"], []], "[string]"),
        ([[], []], "[any|null]"),
        ([["a", 1]], "[any]"),
        ([[True], [False]], "[boolean]"),
        ([[{"sku": "x", "n": 1}], [{"sku": "y", "n": 2}] * 2], "[{sku: string, n: integer}]"),
        ([[[1.0, 2.0]] * SEVERAL], "[[number]*2]"),
        # a length is no promise while few lists were seen
        ([[1, 2], [3, 4]], "[integer]"),
        ([[1, 2]] * SEVERAL, "[integer]*2"),
        ([[1, 2]] * SEVERAL + [[1]], "[integer]"),
        ([(1, 2)], "any"),
        ([{"when": dt.datetime(2020, 1, 1)}], "{when: datetime}"),
        ([{"x": np.float32(0.5), "v": np.array([1.0])}], "{x: number, v: any}"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_inside(values: list[Any], expected: str) -> None:
    assert short(column(values)) == expected


def test_what_lies_too_deep_may_be_anything() -> None:
    deep: Any = 1
    for _ in range(12):
        deep = {"a": deep}
    assert short(column([deep])).count("{") == 8


def test_ranges_and_texts_inside() -> None:
    reference = [{"n": 1, "kind": "a"}, {"n": 7, "kind": "b"}]
    n, kind = column([{"n": 3, "kind": "a"}], reference).parts
    assert (n.minimum, n.maximum, kind.categories) == (1, 7, ("a", "b"))
    assert column([{"kind": "a"}]).parts[0].categories is None


# --- example and reference -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "reference", "expected"),
    [
        ({"a": 1}, [{"a": 2, "b": 1}, {"a": 3}], "{a: integer, b?: integer}"),
        ({"a": 1, "b": 1}, [{"a": 2}], "{a: integer, b?: integer}"),
        ({"a": 1}, [{"a": 2.5}], "{a: number}"),
        ({"a": 1.5}, [{"a": 2}], "{a: number}"),
        ({"a": 1}, [{"a": "x"}], "{a: any}"),
        ({"a": None}, [{"a": "x"}], "{a: string|null}"),
        ({"a": 1}, [{"a": None}], "{a: integer|null}"),
        ({"a": 1}, [None, {"a": 1}], "{a: integer}|null"),
        (None, [{"a": 1}], "{a: integer}|null"),
        ({"a": 1}, [None], "{a: integer}|null"),
        ({"the": 1}, [{"cat": 1}, {"dog": 2}], "{*: integer}"),
        ({"the": 1}, [{"cat": "x"}, {"dog": "y"}], "{*: any}"),
        ({}, [{"a": 1}, {"a": 1}], "{*: integer}"),
        ({"a": 1}, [[1]], "any"),
        ({"a": 1}, ["x"], "any"),
        ([], [[1]], "[integer]"),
        ([1], [[]], "[integer]"),
        ([1], [["x"]], "[any]"),
        ([1, 2], [[1, 2]] * SEVERAL, "[integer]*2"),
        ([1, 2, 3], [[1, 2]] * SEVERAL, "[integer]"),
        ([{"a": 1}], [[{"a": 1, "b": None}]], "[{a: integer, b?: any|null}]"),
    ],
    ids=str,
)
def test_what_example_and_reference_agree_on(example: Any, reference: list[Any], expected: str) -> None:
    assert short(column([example], reference)) == expected


# --- requests ------------------------------------------------------------------------------------

ORDER = {
    "id": 7,
    "address": {"street": "x", "zip": "10115", "geo": [52.5, 13.4]},
    "items": [{"sku": "a", "price": 1.5}, {"sku": "b", "price": 2.0, "gift": True}],
    "scores": {"a": 1.0, "b": 2.0},
    "when": {"from": dt.datetime(2020, 1, 1), "to": None},
}


@pytest.mark.parametrize(
    ("path", "value", "expected", "got"),
    [
        ("address.zip", 10115, "a string", "10115"),
        ("address.zip", None, "a string: never null", "null"),
        ("address.zip", ..., "a string", "nothing: it is missing"),
        ("address.geo", ..., "a list", "nothing: it is missing"),
        ("address.country", "DE", "no such field", '"DE"'),
        ("address.geo[1]", "13", "a number", '"13"'),
        ("address.geo", 13.4, "a list", "13.4"),
        ("address", [], "an object", "a list"),
        ("address", None, "an object: never null", "null"),
        ("items[1].price", "2", "a number", '"2"'),
        ("items[0]", "a", "an object", '"a"'),
        ("items", {}, "a list", "an object"),
        ("scores.a", "1", "a number", '"1"'),
        ("scores.b", ..., "a number", "nothing: it is missing"),
        ("when.from", "soon", "an ISO 8601 date and time", '"soon"'),
    ],
)
def test_a_nested_value_that_does_not_fit(path: str, value: Any, expected: str, got: str) -> None:
    model = observe(ORDER)
    instance = json.loads(json.dumps(runtime.to_wire(ORDER)))
    assert model.problems([instance]) == []
    *way, last = [int(key) if key.isdigit() else key for key in re.findall(r"\w+", path)]
    holder = instance
    for key in way:
        holder = holder[key]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    (problem,) = model.problems([instance])
    assert problem == {"instance": 0, "field": path, "expected": expected, "got": got}


def test_an_optional_key_may_be_missing_and_a_map_takes_any_key() -> None:
    model = observe([{"a": {"x": 1, "y": 2}, "m": {"p": 1}}, {"a": {"x": 1}, "m": {"q": 1}}])
    assert model.problems([{"a": {"x": 5}, "m": {}}, {"a": {"x": 5, "y": 1}, "m": {"r": 0, "s": 1}}]) == []
    assert problem_of(model, {"a": {"x": 5}, "m": {"r": "0"}}) == ("an integer", '"0"')


def test_values_that_are_lists_are_named_by_their_place() -> None:
    model = observe([[{"a": 1}], [{"a": 2}, {"a": 3}]])
    (problem,) = model.problems([[{"a": 1}, {"a": "x"}]])
    assert problem["field"] == "[1].a"
    (problem,) = model.problems([7])
    assert (problem["field"], problem["expected"]) == (None, "a list")


def test_a_list_of_another_length() -> None:
    model = observe([{"v": [1.0, 2.0]}] * SEVERAL)
    assert problem_of(model, {"v": [1.0]}) == ("a list of 2", "a list")


@pytest.mark.parametrize(
    "request_",
    [
        ORDER,
        {"a": {"when": pd.Timestamp("2020-01-01", tz="UTC"), "day": dt.date(2020, 1, 2)}},
        {"a": {"x": [0.5, math.nan]}, "b": [[1, 2.5, None]]},
        {"a": {"n": np.int64(3), "x": np.float32(0.1)}},
        [{"a": {"b": 1, "c": None}}, {"a": {"b": 2}}],
        [[{"a": 1}], []],
        pd.DataFrame({"a": [{"x": 1.0, "when": dt.datetime(2020, 1, 1)}], "b": [[dt.date(2020, 1, 1)]]}),
    ],
    ids=str,
)
def test_a_nested_request_comes_back_as_it_was(request_: Any) -> None:
    from nb2prod.validation.compare import mismatches

    assert list(mismatches(request_, through_json(request_))) == []


# --- predictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (pd.DataFrame({"p": [0.5, None], "when": pd.to_datetime(["2020-01-01"] * 2), "l": ["a", "b"]}),
         "{p: number|null, when: datetime, l: string}"),
        (pd.Series([1, 2]), "integer"),
        (pd.Series(pd.Categorical(["a", "b"])), "string"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "datetime"),
        (np.array([0.5, math.inf]), "number|null"),
        (np.array([[0.5, 0.5]] * SEVERAL), "[number]*2"),
        (np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"), "datetime|null"),
        ({"label": np.array(["a", "b"]), "p": [1, 2]}, "{label: string, p: integer}"),
        ([{"a": 1}, {"a": 2, "b": {"c", "d"}}], "{a: integer, b?: [string]}"),
        ([1, "a"], "any"),
        ([(1, 2.5), (3, 4)], "[number]"),
        ([None, None], "any|null"),
        ([np.bool_(True), np.datetime64("2020-01-01")], "any"),
    ],
    ids=str,
)  # fmt: skip
def test_a_prediction_of_a_batch(answer: Any, expected: str) -> None:
    found = field_of_answers([answer], batch=True, typical=True)
    assert found is not None
    field = Field.from_json(found)
    assert short(field) == expected
    count = len(answer["p"]) if isinstance(answer, dict) else len(answer)
    predictions = runtime.Predictor({"kind": "values", "fields": []}, None).encode([answer], count)
    assert list(response_problems(Contract("values", ("v",), (field,), answer=field), predictions)) == []


def response_problems(contract: Contract, predictions: list[Any]) -> Iterator[Any]:
    """What the schema of a contract finds wrong with a response."""
    schema = json.loads(json.dumps(schema_of(contract, "made")))
    body = {"predictions": predictions, "model_name": "made", "version": 1, "request_id": "1"}
    yield from Draft202012Validator(schema["$defs"]["response"]).iter_errors(body)


def test_predictions_asked_for_one_by_one() -> None:
    answers = [{"label": "a", "p": np.float64(0.5)}, {"label": "b", "p": np.float64(1.5)}]
    found = field_of_answers(answers, batch=False, typical=True)
    assert found is not None
    label, p = Field.from_json(found).parts
    assert (label.categories, p.minimum, p.maximum) == (("a", "b"), 0.5, 1.5)
    rare = field_of_answers(answers, batch=False, typical=False)
    assert rare is not None
    assert Field.from_json(rare).parts[0].categories is None


# --- in a kernel ---------------------------------------------------------------------------------

SHOP = (
    ("", "rate = sum([0.1, 0.1])"),
    (
        "example",
        "order = {'customer': {'zip': '1', 'vip': True}, 'items': [{'price': 2.0, 'n': 3}], 'note': None}",
    ),
    (
        "reference",
        "orders = [{'customer': {'zip': str(i)}, 'items': [{'price': i / 2, 'n': i}] * (i % 3), 'note': 'x'}"
        " for i in range(12)]",
    ),
    (
        "model",
        "total = sum(item['price'] * item['n'] for item in order['items'])\n"
        "{'total': total * (1 - rate), 'lines': [item['n'] for item in order['items']],\n"
        " 'zip': order['customer']['zip']}",
    ),
)


def test_a_notebook_with_nested_requests_and_answers(tmp_path: Path) -> None:
    book = read(notebook(tmp_path, *SHOP))
    run = clean_run(book, extract(book).plan, folder=tmp_path / "run", parameters={})
    contract = run.evidence.contract
    assert [short(field) for field in contract.fields] == [
        "{zip: string, vip?: boolean}",
        "[{price: number, n: integer}]",
        "string|null",
    ]
    assert contract.answer is not None
    assert short(contract.answer) == "{total: number, lines: [integer], zip: string}"
    assert (contract.answer.parts[0].minimum, contract.answer.parts[0].maximum) == (0, 121 * 0.8)
    bundle = extract(book, run.evidence)
    write_package(bundle, run.folder, tmp_path / "made")
    predictor = loaded(tmp_path / "made", "_made_shop").load()
    good = {"customer": {"zip": "1"}, "items": [], "note": None}
    schema = Draft202012Validator(json.loads((tmp_path / "made" / "schema.json").read_text()))
    assert schema.is_valid({"instances": [good]})
    assert list(response_problems(contract, predictor.predict([good]))) == []
    assert list(response_problems(contract, [{"total": 1.5, "lines": [0.5], "zip": ""}])) != []
    bad = {**good, "customer": {"zip": 1}}
    assert predictor.problems([bad])[0]["field"] == "customer.zip"
    assert not schema.is_valid({"instances": [bad]})
