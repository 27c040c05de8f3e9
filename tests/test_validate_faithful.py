"""Whether a value that was read back is the very one: what counts as a difference, and what does not."""

from __future__ import annotations

import collections
import datetime as dt
import math
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nb2prod.validation.probe.faithful import difference


class Box:
    def __init__(self, inside: Any) -> None:
        self.inside = inside


def pair(inside: Any) -> list[Any]:
    return [inside, inside]


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def with_attrs(data: pd.DataFrame, **attrs: Any) -> pd.DataFrame:
    data.attrs = attrs
    return data


FITTED = make_pipeline(StandardScaler(), LogisticRegression()).fit([[0.0], [1.0], [3.0]], [0, 1, 1])
DAYS = pd.date_range("2020-01-01", periods=3)
GRID = np.arange(6.0).reshape(2, 3)

SAME: dict[str, Any] = {
    "plain values": {"a": [1, 0.5, None, True, "ä", b"b", 2j], "b": {}},
    "not a number": [math.nan, np.float32("nan"), np.array([np.nan]), pd.Series([np.nan])],
    "moments": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.timedelta(1), Decimal("1.10"), DAYS[0]],
    "one object in two places": pair([1]),
    "a cycle": (lambda cycle: cycle.append(cycle) or cycle)([1]),
    "arrays": [GRID, GRID.T, np.array([1, "a"], dtype=object), np.zeros(2, dtype=[("a", "f4"), ("b", "i8")])],
    "a view": GRID[:, ::2],
    "sparse": [sp.csr_matrix(np.eye(3)), sp.coo_array(np.eye(3))],
    "random state": np.random.RandomState(1),
    "tables": frame(a=[1, 2], b=["x", None], c=pd.Categorical(["u", "v"])).set_index("a"),
    "labels": [DAYS, pd.MultiIndex.from_product([["a"], [1, 2]]), pd.RangeIndex(3), pd.interval_range(0, 2)],
    "nullable": pd.Series([1, None], dtype="Int64"),
    "a fitted pipeline": FITTED,
    "an object": Box([Box(1)]),
}


@pytest.mark.parametrize("name", SAME)
def test_a_copy_is_the_same(name: str) -> None:
    assert difference(SAME[name], pickle.loads(pickle.dumps(SAME[name]))) is None


def refitted() -> Any:
    model = pickle.loads(pickle.dumps(FITTED))
    model[1].coef_[0, 0] = np.nextafter(model[1].coef_[0, 0], 1)
    return model


def drawn() -> np.random.RandomState:
    state = np.random.RandomState(1)
    state.random_sample()
    return state


def categorical(categories: list[str], *, ordered: bool = False) -> pd.Series:
    return pd.Series(pd.Categorical(["a"], categories=categories, ordered=ordered))


OTHERS: dict[str, tuple[Any, Any, str]] = {
    "type": (1, True, "int"),
    "subclass": (collections.OrderedDict(a=1), {"a": 1}, "collections.OrderedDict"),
    "value": ({"a": [1, 2]}, {"a": [1, 3]}, "int"),
    "sign of zero": (0.0, -0.0, "float"),
    "sign of zero in an array": (np.array([0.0]), np.array([-0.0]), "numpy.ndarray"),
    "order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "str"),
    "more items": ([1], [1, 2], "list"),
    "type in a set": ({1}, {True}, "set"),
    "two objects for one": (pair([1]), [[1], [1]], "list"),
    "one object for two": ([[1], [1]], pair([1]), "list"),
    "dtype": (np.array([1], "i4"), np.array([1], "i8"), "numpy.ndarray"),
    "shape": (np.zeros((1, 2)), np.zeros((2, 1)), "numpy.ndarray"),
    "order in memory": (np.ascontiguousarray(GRID), np.asfortranarray(GRID), "numpy.ndarray"),
    "numpy scalar": (np.float32(0.1), np.float64(np.float32(0.1)), "numpy.float32"),
    "index dtype of a sparse matrix": (
        sp.csr_matrix((np.ones(1), np.zeros(1, "i4"), np.array([0, 1], "i4"))),
        sp.csr_matrix((np.ones(1), np.ones(1, "i4"), np.array([0, 1], "i4")), shape=(1, 2)),
        "int",
    ),
    "what is drawn next": (np.random.RandomState(1), drawn(), "numpy.ndarray"),
    "name of a series": (pd.Series([1], name="a"), pd.Series([1], name="b"), "str"),
    "kind of index": (pd.Series([1]), pd.Series([1], index=[0]), "pandas.RangeIndex"),
    "frequency": (DAYS, pd.DatetimeIndex(list(DAYS)), "pandas.offsets.Day"),
    "unit": (DAYS.as_unit("s"), DAYS.as_unit("ms"), "DatetimeArray"),
    "object column": (frame(a=["x"]), frame(a=pd.Series(["x"], dtype=object)), "pandas.DataFrame"),
    "None for NaN": (pd.Series([None], dtype=object), pd.Series([math.nan], dtype=object), "NoneType"),
    "order of categories": (categorical(["a", "b"]), categorical(["b", "a"]), "pandas.Categorical"),
    "ordered categories": (categorical(["a"]), categorical(["a"], ordered=True), "pandas.Categorical"),
    "attributes": (with_attrs(frame(a=[1]), x=1), with_attrs(frame(a=[1]), x=2), "int"),
    "a table by rows": (
        pd.DataFrame(GRID.copy(), copy=False),
        pd.DataFrame(np.asfortranarray(GRID), copy=False),
        "pandas.DataFrame",
    ),
    "a model's last bit": (FITTED, refitted(), "numpy.ndarray"),
    "an object's part": (Box([1]), Box([2]), "int"),
    "another class": (Box, LogisticRegression, "type"),
    "another function": (frame, pair, "function"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_difference_is_named_by_the_part_that_differs(name: str) -> None:
    one, other, part = OTHERS[name]
    found = difference(one, other)
    assert found is not None
    assert found.rpartition(".")[2] == part.rpartition(".")[2]


class Untouchable:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("no")


def test_what_cannot_be_compared_is_not_the_same() -> None:
    assert difference([Untouchable()], [Untouchable()]) == "list"
