"""Whether old clients break: a row for each verdict, and every verdict held against the runtime."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from nb2prod.domain import Comparison, Contract, Field, FieldChange
from nb2prod.extract.compat import compared
from nb2prod.extract.schema import schema_of
from tests.test_extract_schema import ADDRESS, FIELDS, plain, runtime


def field(dtype: str = "integer", python: str = "int", name: str = "v", **more: Any) -> Field:
    return Field(name, dtype, python, **more)


def contract(*fields: Field, answer: Field | None = None) -> Contract:
    return Contract("record", ("r",), fields, answer=answer)


def record(*parts: Field, name: str = "v", **more: Any) -> Field:
    return Field(name, "record", "dict", parts=parts, **more)


def listed(part: Field, **more: Any) -> Field:
    return Field("v", "list", "list", parts=(part,), **more)


CATEGORY = field("category", "category", categories=("a", "b"))
ROW = tuple[Field | None, Field | None, str, str, str]

REQUESTS: dict[str, ROW] = {
    "the same": (field(), field(), "", "", ""),
    "required field added": (None, field(), "v", "added: integer", "yes"),
    "optional key added": (record(), record(field(name="k", optional=True)), "v.k", "added: integer", "no"),
    "field removed": (field(), None, "v", "removed", "yes"),
    "optional key removed": (record(field(name="k", optional=True)), record(), "v.k", "removed", "yes"),
    "key required": (
        record(field(name="k", optional=True)), record(field(name="k")), "v.k", "optional → required", "yes",
    ),
    "key optional": (
        record(field(name="k")), record(field(name="k", optional=True)), "v.k", "required → optional", "no",
    ),
    "null refused": (field(nullable=True), field(), "v", "may be null → never null", "yes"),
    "null accepted": (field(), field(nullable=True), "v", "never null → may be null", "no"),
    "widened": (field(), field("number", "float"), "v", "integer → number", "no"),
    "narrowed": (field("number", "float"), field(), "v", "number → integer", "yes"),
    "smaller integers": (
        field(python="int64", minimum=0, maximum=9), field(python="int8", minimum=0, maximum=9),
        "v", "int64 → int8", "maybe",
    ),
    "smaller than what was sent": (
        field(python="int64", minimum=0, maximum=900), field(python="int8", minimum=0, maximum=9),
        "v", "int64 → int8", "yes",
    ),
    "larger integers": (field(python="int8"), field(python="int64"), "", "", ""),
    "no sign": (
        field(python="int64", minimum=-1, maximum=1), field(python="uint64"), "v", "int64 → uint64", "yes",
    ),
    "smaller numbers": (
        field("number", "float64"), field("number", "float32"), "v", "float64 → float32", "maybe",
    ),
    "retyped": (field("string", "str"), field("boolean", "bool"), "v", "string → boolean", "yes"),
    "text now": (field(), field("string", "str"), "v", "integer → string", "yes"),
    "anything now": (field(), field("any", "object"), "v", "integer → any", "no"),
    "anything before": (field("any", "object"), field(), "v", "any → integer", "maybe"),
    "category removed": (
        CATEGORY, replace(CATEGORY, categories=("a",)), "v", "categories removed: b", "maybe",
    ),
    "other categories": (
        CATEGORY, field("category", "category[int64]", categories=("1", "2")),
        "v", "categories: texts → numbers", "yes",
    ),
    "moment removed": (
        field("category", "category[datetime64[us]]", categories=("2020-01-01", "2020-01-02")),
        field("category", "category[datetime64[us]]", categories=("2020-01-01",)),
        "v", "categories removed: 2020-01-02", "yes",
    ),
    "category added": (
        CATEGORY, replace(CATEGORY, categories=("a", "b", "c")), "v", "categories added: c", "no",
    ),
    "categories of text": (CATEGORY, field("string", "str"), "v", "category → string", "no"),
    "categories of numbers": (
        field("category", "category[int64]", categories=("1", "2")), field("string", "str"),
        "v", "category → string", "yes",
    ),
    "text to categories": (field("string", "str"), CATEGORY, "v", "string → category", "maybe"),
    "text to categories of numbers": (
        field("string", "str"), field("category", "category[int64]", categories=("1", "2")),
        "v", "string → category", "yes",
    ),
    "known text to categories": (
        field("string", "str", categories=("a",)), CATEGORY, "v", "string → category", "maybe",
    ),
    "truth to categories": (
        field("boolean", "bool"), field("category", "category[bool]", categories=("False", "True")),
        "v", "boolean → category", "no",
    ),
    "moments as text": (field("datetime", "date"), field("string", "str"), "v", "datetime → string", "no"),
    "text as moments": (field("string", "str"), field("datetime", "date"), "v", "string → datetime", "yes"),
    "offset wanted": (
        field("datetime", "datetime64[ns]"), field("datetime", "datetime64[ns, UTC]"),
        "v", "without UTC offset → with UTC offset", "yes",
    ),
    "offset wanted of dates": (
        field("datetime", "datetime64[D]"), field("datetime", "datetime64[us, UTC]"),
        "v", "without UTC offset → with UTC offset", "yes",
    ),
    "offset perhaps unwanted": (
        field("datetime", "Timestamp"), field("datetime", "datetime64[us]"),
        "v", "with or without UTC offset → without UTC offset", "maybe",
    ),
    "offset free": (
        field("datetime", "datetime64[us]"), field("datetime", "Timestamp"),
        "v", "without UTC offset → with or without UTC offset", "no",
    ),
    "coarser": (
        field("datetime", "datetime64[us]"), field("datetime", "datetime64[s]"), "v", "unit us → s", "maybe",
    ),
    "finer": (field("datetime", "datetime64[s]"), field("datetime", "datetime64[us]"), "", "", ""),
    "nanoseconds": (
        field("datetime", "datetime64[us]"), field("datetime", "datetime64[ns]"),
        "v", "unit us → ns", "maybe",
    ),
    "a length asked for": (
        listed(field()), listed(field(), length=2), "v", "any length → length 2", "maybe",
    ),
    "another length": (
        listed(field(), length=3), listed(field(), length=2), "v", "length 3 → length 2", "yes",
    ),
    "any length": (listed(field(), length=3), listed(field()), "v", "length 3 → any length", "no"),
    "items retyped": (listed(field()), listed(field("string", "str")), "v[]", "integer → string", "yes"),
    "keys free": (record(field(name="k")), Field("v", "map", "dict", parts=(field(name=""),)),
                  "v", "record → map of integer", "no"),
    "values of a map": (
        Field("v", "map", "dict", parts=(field(name=""),)),
        Field("v", "map", "dict", parts=(field("string", "str", name=""),)), "v.*", "integer → string", "yes",
    ),
    "range": (
        field(minimum=0, maximum=9), field(minimum=1, maximum=12), "v", "seen 0 to 9 → 1 to 12", "no",
    ),
    "texts seen": (
        field("string", "str", categories=("a", "b")), field("string", "str", categories=("b", "c")),
        "v", "texts seen: +c; -a", "no",
    ),
}  # fmt: skip

ANSWERS: dict[str, ROW] = {
    "the same": (field(), field(), "", "", ""),
    "key removed": (record(field(name="k")), record(), "k", "removed", "yes"),
    "optional key removed": (record(field(name="k", optional=True)), record(), "k", "removed", "maybe"),
    "key added": (record(), record(field(name="k")), "k", "added: integer", "no"),
    "key optional": (
        record(field(name="k")), record(field(name="k", optional=True)),
        "k", "always there → may be missing", "maybe",
    ),
    "key always there": (
        record(field(name="k", optional=True)), record(field(name="k")),
        "k", "may be missing → always there", "no",
    ),
    "null now": (field(), field(nullable=True), "", "never null → may be null", "maybe"),
    "null no more": (field(nullable=True), field(), "", "may be null → never null", "no"),
    "whole numbers now": (field("number", "float"), field(), "", "number → integer", "no"),
    "fractions now": (field(), field("number", "float"), "", "integer → number", "maybe"),
    "retyped": (field(), field("string", "str"), "", "integer → string", "yes"),
    "a record now": (field("number", "float"), record(field(name="k")), "", "number → record", "yes"),
    "anything now": (field(), field("any", "object"), "", "integer → any", "yes"),
    "anything before": (field("any", "object"), field(), "", "any → integer", "no"),
    "text as moments": (field("string", "str"), field("datetime", "date"), "", "string → datetime", "no"),
    "moments as text": (field("datetime", "date"), field("string", "str"), "", "datetime → string", "yes"),
    "a label more": (
        field("string", "str", categories=("a",)), field("string", "str", categories=("a", "b")),
        "", "texts added: b", "maybe",
    ),
    "a label less": (
        field("string", "str", categories=("a", "b")), field("string", "str", categories=("a",)),
        "", "texts not seen any more: b", "no",
    ),
    "labels no more": (
        field("string", "str", categories=("a",)), field("string", "str"),
        "", "few texts → any text", "maybe",
    ),
    "any text before": (field("string", "str"), field("string", "str", categories=("a",)), "", "", ""),
    "another length": (
        listed(field(), length=3), listed(field(), length=2), "", "length 3 → length 2", "yes",
    ),
    "any length": (listed(field(), length=3), listed(field()), "", "length 3 → any length", "maybe"),
    "one length": (listed(field()), listed(field(), length=3), "", "any length → length 3", "no"),
    "range": (field(minimum=0, maximum=9), field(minimum=1, maximum=12), "", "seen 0 to 9 → 1 to 12", "no"),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str) -> None:
    old, new, *expected = REQUESTS[name]
    check("request", compared(contract(*([old] if old else [])), contract(*([new] if new else []))), expected)


@pytest.mark.parametrize("name", ANSWERS)
def test_responses(name: str) -> None:
    old, new, *expected = ANSWERS[name]
    check("response", compared(contract(answer=old), contract(answer=new)), expected)


def check(side: str, found: tuple[FieldChange, ...], expected: list[str]) -> None:
    path, change, breaks = expected
    assert worst(found) == (breaks or "no")
    assert all(f.reason and f.side == side for f in found)
    assert [(f.path, f.change, f.breaks) for f in found][:1] == ([(path, change, breaks)] if change else [])


def worst(found: tuple[FieldChange, ...]) -> str:
    return Comparison("", "", (), (), found, {}, {}, ()).breaks


def test_what_the_kinds_of_requests_look_like_on_the_wire() -> None:
    number = (Field("request", "number", "float"),)
    value, values = Contract("value", ("r",), number), Contract("values", ("r",), number)
    array = Contract("array", ("r",), number, (2,))
    assert compared(value, values) == ()
    (found,) = compared(value, array)
    assert (found.path, found.change, found.breaks) == ("", "number → list of 2 number", "yes")
    (found,) = compared(array, replace(array, shape=(3,)))
    assert (found.change, found.breaks) == ("length 2 → length 3", "yes")
    (found,) = compared(Contract("frame", ("r",), number), values)
    assert (found.change, found.breaks) == ("record → number", "yes")
    assert compared(Contract("frame", ("r",), number), Contract("records", ("rows",), number)) == ()


def test_without_an_answer_only_requests_are_compared() -> None:
    assert compared(contract(field(), answer=field()), contract(field())) == ()


# --- every verdict holds -------------------------------------------------------------------------

DAYS = ("1492-10-12", "1678-01-01", "2020-02-29", "2261-12-31", "2262-01-01")
TIMES = ("", "T10:00", "T10:00:00", " 10:00:00.5", "T10:00:00.123", "T10:00:00.123456", "T10:00:00.123456789")
OFFSETS = ("", "Z", "+01:00")
MOMENTS = [
    f"{day}{time}{offset}" for day in DAYS for time in TIMES for offset in OFFSETS if time or not offset
]
WHOLE = [0, 1, -1, 127, 128, -129, 255, 256, 65535, 65536, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**64]
NUMBERS = [0.5, 1.0, 2.0, -0.5, 65504.0, 65505.5, 3.4028234663852886e38, 3.5e38, 1e300]
TEXTS = ["", "a", "b", "c", "1", "02", "2", "0.5", "1.0", "True", "False", "other"]
GEO: list[Any] = [[], [1.5], [1.5, 2.5], [1.5, 2.5, 3.5], ["a", "b"], ["a"], [1], [None, 1.5], 7, None]
RECORDS: list[Any] = [
    {}, {"zip": "1"}, {"n": 1}, {"n": 1, "k": 2}, {"n": "1"}, {"n": 1.5}, {"n": None},
    *({"zip": "1", "geo": geo} for geo in GEO),
    *({"zip": zip_, "geo": [1.5, 2.5], "floor": 1} for zip_ in (None, 1, "a", "b")),
    *({"zip": zip_, "geo": [1.5, 2.5]} for zip_ in (None, 1, "a", "b")),
    {"zip": "1", "floor": 1},
    {"zip": "1", "geo": [1.5, 2.5], "floor": 1}, {"zip": "1", "geo": [1.5, 2.5], "floor": None},
    {"zip": "1", "geo": [1.5, 2.5], "more": 1},
]  # fmt: skip
LISTS: list[Any] = [
    *GEO,
    *([item] for item in RECORDS),
    [{"zip": "1", "geo": [1.5, 2.5]}] * 2,
    ["a", 1],
    [[1]],
]
POOL: list[Any] = [None, True, False, *WHOLE, *NUMBERS, *TEXTS, *MOMENTS, *RECORDS, *LISTS]

ZIP, FLOOR, GEO_FIELD = ADDRESS
MORE_FIELDS = {
    "floor required": record(ZIP, replace(FLOOR, optional=False), GEO_FIELD),
    "no floor": record(ZIP, GEO_FIELD),
    "no geo": record(ZIP, FLOOR),
    "zip perhaps null": record(replace(ZIP, nullable=True), FLOOR, GEO_FIELD),
    "zip a number": record(replace(ZIP, dtype="integer", python="int"), FLOOR, GEO_FIELD),
    "more": record(*ADDRESS, Field("more", "integer", "int", optional=True)),
    "geo of any length": record(ZIP, FLOOR, replace(GEO_FIELD, length=None)),
    "map of anything": Field("v", "map", "dict", parts=(Field("", "any", "object", nullable=True),)),
    "list of anything": Field("v", "list", "list", parts=(Field("", "any", "object", nullable=True),)),
    "list of texts": Field("v", "list", "list", parts=(Field("", "string", "str"),)),
}
VARIANTS = {
    (name, null): replace(field_, nullable=null, minimum=None, maximum=None)
    for name, field_ in {**FIELDS, **MORE_FIELDS}.items()
    for null in (False, True)
}


def taken(one: Field) -> frozenset[int]:
    """The values of the pool that the runtime accepts."""
    predictor = runtime.Predictor(plain(contract(one)), None)
    return frozenset(i for i, value in enumerate(POOL) if not predictor.problems([{"v": value}]))


def given(one: Field) -> frozenset[int]:
    """The values of the pool that fit a response."""
    schema = schema_of(contract(answer=one), "made")["$defs"]["response"]["properties"]["predictions"][
        "items"
    ]
    validator = Draft202012Validator(plain(schema))
    return frozenset(i for i, value in enumerate(POOL) if validator.is_valid(value))


def wrong(fits: Mapping[Any, frozenset[int]], side: str) -> Iterator[str]:
    """Verdicts that the pool shows to be wrong: "no" where a value breaks a client, "yes" where none does."""
    for old, new in itertools.product(fits, fits):
        before, after = VARIANTS[old], VARIANTS[new]
        pair = [contract(f) if side == "request" else contract(answer=f) for f in (before, after)]
        breaking = fits[old] - fits[new] if side == "request" else fits[new] - fits[old]
        verdict = worst(compared(*pair))
        if (breaking and verdict == "no") or (not breaking and verdict == "yes"):
            shown = [POOL[i] for i in sorted(breaking)[:3]]
            yield f"{side}: {old} → {new}: {verdict}, but {shown}"


def test_every_verdict_on_requests_holds() -> None:
    assert list(wrong({name: taken(one) for name, one in VARIANTS.items()}, "request")) == []


def test_every_verdict_on_responses_holds() -> None:
    # no answer is a category, and JSON Schema takes any text for a moment
    fits = {n: given(one) for n, one in VARIANTS.items() if one.dtype not in ("category", "datetime")}
    assert list(wrong(fits, "response")) == []
