"""Copies of state in the package: what a request does to its copy, the next one does not see."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nb2prod.extract.package import copies
from nb2prod.extract.package.copies import deepcopy


def lists() -> pd.Series:
    return pd.Series([["a"], ["b", "c"], None, {"k": [1]}], index=[3, 3, 1, 0], name="held")


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        (lists(), lambda it: it.iloc[0]),
        (lists(), lambda it: it.iloc[3]["k"]),
        (pd.Series([[1, 2], [3, 4]]), lambda it: it.iloc[1]),
        (
            pd.DataFrame({"n": [1, 2, 2, 4], "held": lists().to_numpy()}, index=[1, 1, 2, 0]),
            lambda it: it.iloc[1, 1],
        ),
        ({"a": [SimpleNamespace(table=lists())]}, lambda it: it["a"][0].table.iloc[0]),
        (pd.Series([pd.Series([["deep"]]), None]), lambda it: it.iloc[0].iloc[0]),
    ],
    ids=["Series", "dict in it", "of one length", "DataFrame", "in an object", "in a Series"],
)
def test_what_columns_hold_is_copied(value: Any, inside: Any) -> None:
    before = repr(value)
    made = deepcopy(value)
    assert repr(made) == before
    assert type(inside(made)) is type(inside(value))
    inside(made).append("new")
    assert repr(value) == before
    assert repr(made) != before


def test_columns_stay_as_they_are() -> None:
    table = pd.DataFrame(
        {
            "s": ["x", "y"],
            "o": pd.Series(["x", "y"], dtype=object),
            "d": pd.Series([dt.datetime(2024, 1, 1)] * 2, dtype=object),
            "c": pd.Categorical(["p", "q"]),
            "l": [[1], [2]],
        }
    )
    table.attrs["from"] = "here"
    made = deepcopy(table)
    pd.testing.assert_frame_equal(made, table)
    assert made.attrs == table.attrs
    assert made["d"].map(type).tolist() == [dt.datetime] * 2


def test_one_object_in_two_places_stays_one() -> None:
    shared = ["a"]
    made = deepcopy({"list": shared, "table": pd.Series([shared, shared])})
    assert made["table"].iloc[0] is made["table"].iloc[1] is made["list"] is not shared


def test_what_holds_no_such_columns_is_looked_through_once() -> None:
    value = {"texts": pd.Series(["a", "b"], dtype=object), "array": np.arange(3)}
    made = deepcopy(value)
    made["array"][0] = 9
    assert value["array"].tolist() == [0, 1, 2]
    assert copies._known[id(value)] == (value, [])
