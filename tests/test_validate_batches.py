"""Whether rows of several requests may go together: what only rare rows or certain company bring to light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest

from nb2prod.domain import Contract, Field, to_json
from nb2prod.extract.package.runtime import Predictor
from nb2prod.validation import batches, compare

FIELDS = (
    Field("id", "string", "object"),
    Field("shop", "string", "object"),
    Field("day", "integer", "int64"),
    Field("area", "number", "float64", nullable=True),
)
ROWS: list[dict[str, Any]] = [
    {"id": f"C{i:03}", "shop": f"S{i % 100}", "day": i, "area": None if i in (150, 170) else 40.0 + i % 50}
    for i in range(200)
]
Frame = pd.DataFrame


def predictor(answer: Callable[[Frame], Any]) -> Predictor:
    contract = Contract("frame", ("request",), FIELDS)
    return Predictor(to_json(contract), lambda request: [*answer(request.copy())])


def found(answer: Callable[[Frame], Any], rows: list[dict[str, Any]] = ROWS) -> batches.Verdict:
    return batches.verdict(rows, predictor(answer), compare)


def filled(x: Frame) -> Any:
    return x["area"].fillna(x["area"].mean()).fillna(100.0)


def guarded(x: Frame) -> Any:
    return x["area"] / (10.764 if (x["area"] > 1000).any() else 1.0)


def rare(x: Frame) -> Any:
    return x["area"] * (2 if (x["shop"] == "rare").any() else 1)


MIXING: Mapping[str, Callable[[Frame], Any]] = {
    "sums by a unique id": lambda x: x.groupby("id")["area"].transform("sum"),
    "means by two fields that never agree": lambda x: x.groupby(["shop", "day"])["area"].transform("mean"),
    "numbers of one key": lambda x: x.groupby("id").cumcount(),
    "the row before of one key": lambda x: x.groupby("id")["day"].shift(fill_value=0),
    "rows of a key taken for one": lambda x: x.drop_duplicates("id")["day"],
    "a mean for a rare null": filled,
    "a guard against what was never seen": guarded,
    "all scaled": lambda x: (x["day"] - x["day"].mean()) / (x["day"].std() + 1),
    "ranks": lambda x: x["day"].rank(),
    "all the same": lambda x: x["area"] * (2 if x["shop"].nunique() == 1 else 1),
    "an empty text": lambda x: x["area"] * (2 if (x["shop"] == "").any() else 1),
    "texts as long as the longest": lambda x: x["shop"].str.len().max() + x["day"] * 0,
}


@pytest.mark.parametrize("answer", MIXING.values(), ids=MIXING)
def test_rows_that_change_each_others_answers_are_never_said_to_be_safe(
    answer: Callable[[Frame], Any],
) -> None:
    assert found(answer)[::2] == (False, True)


def test_a_rare_row_is_asked() -> None:
    rows = [row | {"shop": "rare"} if row["day"] == 133 else row for row in ROWS]
    assert found(rare)[::2] == (True, False)
    assert found(rare, rows)[::2] == (False, True)


APART: Mapping[str, Callable[[Frame], Any]] = {
    "numbers": lambda x: x["area"] * 2 + x["day"],
    "nulls filled": lambda x: x["area"].fillna(50.0),
    "texts": lambda x: x["id"] + x["shop"].str.upper(),
    "a group that is only looked up": lambda x: x["shop"].map(dict.fromkeys(["S1", "S2"], 1.0)),
}


@pytest.mark.parametrize("answer", APART.values(), ids=APART)
def test_rows_that_know_nothing_of_each_other_are_safe(answer: Callable[[Frame], Any]) -> None:
    assert found(answer) == (True, "50 rows answered alike alone and together", False)


def test_made_rows_that_are_refused_alone_say_nothing() -> None:
    """Neither those that the code refuses, nor those that two fields together make."""

    def answer(x: Frame) -> Any:
        if not x["day"].between(0, 199).all() or (x["id"].str[1:].astype(int) != x["day"]).any():
            raise ValueError("no such day")
        return x["area"]

    assert found(answer) == (True, "50 rows answered alike alone and together", False)


def test_what_is_wrong_with_the_company_is_told() -> None:
    summed = found(MIXING["sums by a unique id"]).reason
    assert summed == "row 4 alone gives 44.0, beside row 4 with `shop` 'S12 S0' 88.0"
    reason = found(
        lambda x: x["day"] * (2 if x["shop"].nunique() == 1 and x["id"].nunique() == 2 else 1)
    ).reason
    assert ", among 3 rows that differ in `id` alone, " in reason
    assert found(guarded).reason.startswith("row 0 alone gives 40.0, beside row 53 with `area` 49089.0 3.7")
    assert "fail together, and not alone: WrongAnswer" in found(MIXING["rows of a key taken for one"]).reason


def test_the_same_is_found_each_time() -> None:
    for answer in (filled, guarded, MIXING["ranks"]):
        assert found(answer) == found(answer)


def test_chosen_rows_cover_what_each_field_holds() -> None:
    rows = [
        {"a": i % 7, "b": "odd" if i == 777 else "even", "c": None if i == 555 else float(i)}
        for i in range(1000)
    ]
    chosen = batches.covering(rows)
    assert len(chosen) == batches.MAX_ROWS
    assert {0, 555, 777, 999} <= {*chosen}
    assert {rows[i]["a"] for i in chosen} == {*range(7)}


ALONE = {
    "values": (
        Field("values", "number", "float"),
        [1.0, 2.0, 4.0],
        lambda v: [x + (max(v) > 20) for x in v],
        list,
    ),
    "array": (
        Field("values", "number", "float64"),
        [[1.0, 2.0], [3.0, 5.0]],
        lambda v: v.sum(axis=1) + (v > 20).any(),
        lambda v: v.sum(axis=1),
    ),
}


@pytest.mark.parametrize("kind", ALONE)
def test_rows_that_are_no_records(kind: Any) -> None:
    field, rows, mixing, apart = ALONE[kind]
    contract = to_json(Contract(kind, ("values",), (field,), (2,) if kind == "array" else ()))
    assert batches.verdict(rows, Predictor(contract, mixing), compare)[::2] == (False, True)
    assert batches.verdict(rows, Predictor(contract, apart), compare)[::2] == (True, False)


def test_large_companies_are_cut_where_rows_take_long() -> None:
    *_, last = batches.large(ROWS[:20], 20, 10)
    assert len(last.rows) == 5 + 20 + 5
    assert [len(company.rows) for company in batches.large(ROWS[:20], 15, 1000)][:4] == [15, 20, 20, 40]
    assert {len(company.rows) for company in batches.small(ROWS[:20], 20)} == {2, 3, 6, 7}
