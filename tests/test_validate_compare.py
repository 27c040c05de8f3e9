"""Which answers count as the same."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nb2prod.validation.compare import mismatches, same, shown

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.floats(width=32).map(np.float32),
    st.integers(-9, 9).map(np.int16),
)
ANSWERS: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
DTYPES = st.one_of(
    hnp.integer_dtypes(), hnp.floating_dtypes(sizes=(32, 64)), hnp.boolean_dtypes(), hnp.datetime64_dtypes()
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(max_dims=3, max_side=4))


# how fast the machine is, is not what is tested
lenient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with kernels and clusters."""


class Plain:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


class Moody:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        raise ValueError("no truth value")

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Point:
    x: float
    y: Any


@lenient
@given(ANSWERS)
def test_an_answer_is_the_same_as_its_copy(answer: Any) -> None:
    assert same(answer, copy.deepcopy(answer))


@lenient
@given(ARRAYS)
def test_an_array_is_the_same_as_its_copy(array: np.ndarray) -> None:
    assert same(array, array.copy())
    if array.dtype.kind != "M":  # pandas has not all of numpy's units
        assert same(pd.DataFrame({"a": array.ravel()}), pd.DataFrame({"a": array.ravel()}))


@lenient
@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e6, 1e6)), st.data())
def test_one_changed_number_is_found_in_its_row(array: np.ndarray, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(array) - 1))
    changed = array.copy()
    changed[row] = np.nextafter(changed[row], np.inf)
    (found,) = mismatches(array, changed)
    assert found.row == row
    (found,) = mismatches(array.tolist(), changed.tolist())
    assert found.row == row
    assert same(array, changed, rtol=1e-9) or abs(array[row]) < 1e-300


@lenient
@given(ANSWERS, ANSWERS)
def test_the_order_of_the_two_does_not_matter(one: Any, other: Any) -> None:
    assert same(one, other) == same(other, one)


@lenient
@given(st.floats(), st.floats(), st.floats(0, 0.5))
def test_a_tolerance_only_forgives(one: float, other: float, rtol: float) -> None:
    if same(one, other):
        assert same(one, other, rtol)
    if math.isfinite(one) and same(one, other, rtol):
        assert math.isclose(one, other, rel_tol=rtol)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (np.float64(1), 1.0),
        (np.array([1.0]), np.array([1.0], dtype=np.float32)),
        (np.array([1, 2]), np.array([[1, 2]])),
        (np.array(["a"]), np.array(["ab"])),
        (np.array([1, "a"], dtype=object), np.array([1, "b"], dtype=object)),
        ([1, 2], (1, 2)),
        ([1, 2], [1, 2, 3]),
        ({"a": 1}, {"b": 1}),
        (None, math.nan),
        (pd.NaT, None),
        (np.datetime64("NaT"), np.datetime64("2020-01-01")),
        (pd.Series([1, 2]), pd.Series([1.0, 2.0])),
        (pd.Series(["a"], dtype="category"), pd.Series(["a"], dtype="category").cat.add_categories("b")),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1, 2]})),
        (pd.Series([1, None], dtype="Int64"), pd.Series([1, 2], dtype="Int64")),
        (pd.Series(["a", None]), pd.Series(["a", "b"])),
        (scipy.sparse.csr_matrix([[0, 1]]), scipy.sparse.csr_matrix([[1, 1]])),
        (Plain(a=1), Plain(a=2)),
        (Plain(a=1), Plain()),
        (Point(1.0, 2), Point(1.0, 3)),
        (Moody(), Moody()),
        ("a", "b"),
        (b"a", b"b"),
    ],
    ids=lambda value: shown(value, 30),
)
def test_different(one: Any, other: Any) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (math.nan, math.nan),
        (np.float32("nan"), np.float32("nan")),
        (pd.NaT, pd.NaT),
        (np.datetime64("NaT"), np.datetime64("NaT")),
        (pd.NA, pd.NA),
        (pd.Series([1, 2], index=[5, 6]), pd.Series([1, 2])),
        (pd.DataFrame({"a": [1, 2]}, index=[5, 6]), pd.DataFrame({"a": [1, 2]})),
        (pd.Series(["a", None]), pd.Series(["a", None])),
        (pd.Series([1, None], dtype="Int64"), pd.Series([1, None], dtype="Int64")),
        (
            pd.to_datetime(pd.Series(["2020-01-01", None]), utc=True),
            pd.to_datetime(pd.Series(["2020-01-01", None]), utc=True),
        ),
        (np.array([np.nan, None], dtype=object), np.array([np.nan, None], dtype=object)),
        (scipy.sparse.csr_matrix([[0, 1]]), scipy.sparse.csr_matrix([[0, 1]])),
        (Plain(a=math.nan), Plain(a=math.nan)),
        (Point(math.nan, np.array([1])), Point(math.nan, np.array([1]))),
        (np.array(math.nan), np.array(math.nan)),
    ],
    ids=lambda value: shown(value, 30),
)
def test_the_same(one: Any, other: Any) -> None:
    assert same(one, other)


def test_a_mismatch_says_where_and_what() -> None:
    (found,) = mismatches([{"p": 0.5, "q": 1}, {"p": 0.25, "q": 1}], [{"p": 0.5, "q": 1}, {"p": 0.5, "q": 1}])
    assert found == (1, "0.25", "0.5", "['p']")
    (found,) = mismatches({"label": ["a", "b"], "p": [0, 1]}, {"label": ["a", "c"], "p": [0, 1]})
    assert found == (1, "'b'", "'c'", "['label']")
    (found,) = mismatches(np.array([1.0]), [1.0])
    assert found.detail == "ndarray of float64 became list"
    (found,) = mismatches(pd.DataFrame({"a": [1, 2], "b": [1, 2]}), pd.DataFrame({"a": [1, 2], "b": [1, 3]}))
    assert (found.row, found.detail) == (1, "['b']")


def test_long_values_are_shortened() -> None:
    assert len(shown("x" * 1000)) == 80
    assert shown(np.zeros((3, 3))).startswith("array([[0., 0., 0.], [0.,")
