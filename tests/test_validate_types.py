"""The types and shapes that the clean run sees pass between the roles.

The first half needs no kernel; the second runs small notebooks for real.
"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import json
import pathlib
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from sklearn.utils import Bunch

from nb2prod.domain import SeenValue
from nb2prod.extract import extract
from nb2prod.notebook import read
from nb2prod.validation import clean_run
from nb2prod.validation.probe.types import (
    LONGEST,
    NONE,
    NOTHING,
    Watch,
    in_words,
    look_at,
    merged,
    second_batch,
    type_of,
    watch_roles,
    written,
)
from tests.made import notebook


class _Private(dict[str, int]):
    pass


class Public(_Private):
    class Inner:
        pass


class Colour(enum.Enum):
    RED = 1


def local() -> Any:
    class Local(pd.DataFrame):
        pass

    return Local({"a": [1]})


HERE = __name__
Point = collections.namedtuple("Point", "x y")

TYPES: list[tuple[Any, str]] = [
    (None, "None"),
    (True, "bool"),
    (1, "int"),
    ("a", "str"),
    (b"a", "bytes"),
    ([], "list[typing:Any]"),
    (["a", "b"], "list[str]"),
    ([1, 2.5], "list[float]"),
    ([1, None], "list[int | None]"),
    ([None, None], "list[None]"),
    ([1, "a"], "list[typing:Any]"),
    ([[1], [2.5], []], "list[list[float]]"),
    ({"a": 1.5}, "dict[str, float]"),
    ({"a": 1.5, "b": "x"}, "dict[str, typing:Any]"),
    ({1: [1]}, "dict[int, list[int]]"),
    ({}, "dict[typing:Any, typing:Any]"),
    ([{"a": 1}, {"b": "x"}], "list[dict[str, typing:Any]]"),
    ((1, "a"), "tuple[int, str]"),
    ((), "tuple[typing:Any, ...]"),
    ((1, 2, 3, 4, 5), "tuple[int, ...]"),
    ([(1, 2), (1, 2, 3)], "list[tuple[int, ...]]"),
    ([(1, "a"), (2, None)], "list[tuple[int, str | None]]"),
    ({"a", "b"}, "set[str]"),
    (frozenset([1]), "frozenset[int]"),
    (range(3), "range"),
    ((i for i in ()), "collections.abc:Iterator[typing:Any]"),
    (map(str, []), "collections.abc:Iterator[typing:Any]"),
    (lambda: None, "collections.abc:Callable[..., typing:Any]"),
    (len, "typing:Any"),
    (re, "typing:Any"),
    (object(), "typing:Any"),
    (ValueError(), "ValueError"),
    (int, "type"),
    (dt.datetime(2020, 1, 1), "datetime:datetime"),
    (dt.date(2020, 1, 1), "datetime:date"),
    (pathlib.PurePosixPath("a"), "pathlib:PurePosixPath"),
    (decimal.Decimal(1), "decimal:Decimal"),
    (uuid.UUID(int=1), "uuid:UUID"),
    (collections.OrderedDict(a=1), "collections:OrderedDict"),
    (re.match("a", "a"), "re:Match"),
    (np.float64(1), "numpy:float64"),
    (np.zeros(2), "numpy:ndarray"),
    (pd.DataFrame(), "pandas:DataFrame"),
    (pd.Series([1]), "pandas:Series"),
    (pd.Timestamp(0), "pandas:Timestamp"),
    (pd.Categorical(["a"]), "pandas:Categorical"),
    ({"a": np.zeros(2)}, "dict[str, numpy:ndarray]"),
    (scipy.sparse.csr_matrix((1, 2)), "scipy.sparse:csr_matrix"),
    (scipy.sparse.coo_array((1, 2)), "scipy.sparse:coo_array"),
    (pa.table({"a": [1]}), "pyarrow:Table"),
    (Bunch(a=1), "sklearn.utils:Bunch"),
    (Colour.RED, f"{HERE}:Colour"),
    (Point(1, 2), f"{HERE}:Point"),
    (Public(), f"{HERE}:Public"),
    (Public.Inner(), f"{HERE}:Public.Inner"),
    (_Private(), "dict[typing:Any, typing:Any]"),
    (local(), "pandas:DataFrame"),
    ({"a": {"b": {"c": {"d": 1}}}}, "dict[str, dict[str, dict[typing:Any, typing:Any]]]"),
    ({(1, "a"): {"k": [({"a": 1}, 1.5)]}}, "dict[tuple[int, str], dict[str, list[typing:Any]]]"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), TYPES, ids=[expected for _, expected in TYPES])
def test_the_type_of_a_value(value: Any, expected: str) -> None:
    assert written(type_of(value)) == expected


def test_no_type_is_longer_than_a_line_can_hold() -> None:
    assert all(len(expected) <= LONGEST for _, expected in TYPES)


def test_a_list_that_holds_itself_ends() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    assert written(type_of(endless)) == "list[typing:Any]"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 1), "int"),
        ((1, 2.5), "float"),
        ((1, None), "int | None"),
        ((None, 1, "a"), "int | str | None"),
        ((1, "a", b"b"), "typing:Any"),
        (([], ["a"]), "list[str]"),
        (([1], ["a"]), "list[typing:Any]"),
        (([1], None, [2.5]), "list[float] | None"),
        ((pd.DataFrame(), None), "pandas:DataFrame | None"),
    ],
)
def test_the_type_of_several_answers(values: Sequence[Any], expected: str) -> None:
    kind = NOTHING
    for value in values:
        kind = merged(kind, type_of(value), most=2)
    assert written(kind) == expected
    assert merged(kind, kind, most=2) == kind
    assert merged(NOTHING, NONE) == NONE


# --- shapes --------------------------------------------------------------------------------------


def frame(rows: int, *columns: str) -> pd.DataFrame:
    return pd.DataFrame({name: [0.5] * rows for name in columns})


def both(one: Any, other: Any, rows: tuple[int | None, int | None] = (3, 2)) -> str:
    return in_words([look_at(one, rows[0]), look_at(other, rows[1])])


SHAPES: list[tuple[str, Any, Any, str]] = [
    ("rows of a table", frame(3, "a", "b"), frame(2, "a", "b"), "DataFrame, rows x 2 columns (a, b)"),
    ("as many columns as rows", frame(3, "a", "b", "c"), frame(2, "a", "b", "c"),
     "DataFrame, rows x 3 columns (a, b, c)"),
    ("many columns", frame(3, *"abcdef"), frame(2, *"abcdef"),
     "DataFrame, rows x 6 columns (a, b, c, d, ...)"),
    ("a column", frame(3, "a"), frame(2, "a"), "DataFrame, rows x 1 column (a)"),
    ("rows are dropped", frame(1, "a"), frame(2, "a"), "DataFrame, 1 column (a)"),
    ("always one row", frame(1, "a"), frame(1, "a"), "DataFrame, 1 row x 1 column (a)"),
    ("columns that differ", frame(3, "a"), frame(2, "b"), "DataFrame, rows x 1"),
    ("columns that are numbers", pd.DataFrame(np.zeros((3, 2))), pd.DataFrame(np.zeros((2, 2))),
     "DataFrame, rows x 2"),
    ("odd names", frame(3, "a", 'b"', "c"), frame(2, "a", 'b"', "c"), "DataFrame, rows x 3 columns (a, ...)"),
    ("an odd name first", frame(3, "a\n", "b"), frame(2, "a\n", "b"), "DataFrame, rows x 2 columns"),
    ("a series", pd.Series([1, 2, 3]), pd.Series([1, 2]), "Series of int64, one for each row"),
    ("another dtype", pd.Series([1, 2, 3]), pd.Series([1, 0.5]), "Series, one for each row"),
    ("an array", np.zeros((3, 4)), np.zeros((2, 4)), "ndarray of float64, rows x 4"),
    ("more dimensions", np.zeros((3, 3, 8), "f4"), np.zeros((2, 3, 8), "f4"),
     "ndarray of float32, rows x 3 x 8"),
    ("twice the rows", np.zeros((6, 4)), np.zeros((4, 4)), "ndarray of float64, any x 4"),
    ("rows on both sides", np.zeros((3, 3)), np.zeros((2, 2)), "ndarray of float64, rows x rows"),
    ("other dimensions", np.zeros((3, 4)), np.zeros(2), ""),
    ("always as many", np.zeros(5), np.zeros(5), "ndarray of float64, 5 values"),
    ("one value", np.zeros(1), np.zeros(1), "ndarray of float64, 1 value"),
    ("any number", np.zeros(7), np.zeros(5), "ndarray of float64"),
    ("texts of any length", np.array(["a", "b", "c"]), np.array(["abc", "d"]),
     "ndarray of str, one for each row"),
    ("a number", np.float64(1), np.float64(2), ""),
    ("sparse", scipy.sparse.csr_matrix((3, 9)), scipy.sparse.csr_matrix((2, 9)),
     "csr_matrix of float64, rows x 9"),
    ("an arrow table", pa.table({"a": [1, 2, 3]}), pa.table({"a": [1, 2]}), "Table, rows x 1 column (a)"),
    ("a list", [1, 2, 3], [1, 2], "list, one for each row"),
    ("a list of any length", [1, 2], [1, 2], ""),
    ("records", [{"a": 1, "b": 2}] * 3, [{"a": 1, "b": 2}] * 2, "list of dicts (a, b), one for each row"),
    ("records that differ", [{"a": 1}, {"b": 2}, {}], [{"a": 1}] * 2, "list, one for each row"),
    ("a record", {"a": 1, "b": 2}, {"a": 3, "b": 4}, "dict (a, b)"),
    ("a record of anything", {"a": 1}, {"b": 2}, ""),
    ("keys that are no texts", {1: 1}, {1: 2}, ""),
    ("a text", "a", "b", ""),
    ("another type", [1, 2, 3], np.zeros(2), ""),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "expected"), [s[1:] for s in SHAPES], ids=[s[0] for s in SHAPES])
def test_the_shape_of_a_value(one: Any, other: Any, expected: str) -> None:
    assert both(one, other) == expected


def test_what_one_request_alone_shows() -> None:
    assert in_words([look_at(frame(3, "a"), 3)]) == "DataFrame, 1 column (a)"
    assert in_words([look_at(np.zeros((3, 4)), 3)]) == ""
    assert in_words([look_at({"a": 1}, None)]) == ""


def test_requests_of_one_record_have_no_rows() -> None:
    assert both(frame(1, "a"), frame(1, "a"), (None, None)) == "DataFrame, 1 row x 1 column (a)"
    assert both(frame(1, "a"), frame(2, "a"), (None, None)) == "DataFrame, 1 column (a)"
    assert both([1], [1], (None, None)) == ""


@pytest.mark.parametrize(
    ("example", "more", "expected"),
    [
        ([1], [2, 3], [1, 2]),
        ([1], [], [1, 1]),
        ([1, 2], [], [1, 2, 1]),
        ([1, 2], [3], [1, 2, 3]),
        ([1, 2, 3], [], [1, 2]),
    ],
)
def test_a_second_batch_has_another_size(example: list[int], more: list[int], expected: list[int]) -> None:
    assert second_batch(example, more) == expected


STAGE = {"role": "model", "inputs": ["x"], "outputs": ["y"]}


def watched(
    example: list[Any], more: list[Any], *, fails: int = 0, batch: bool = True
) -> list[dict[str, str]]:
    """What is seen of a role that doubles, and that cannot answer `fails` instances at a time."""
    watch = Watch()

    def ask(instances: Sequence[Any]) -> None:
        watch.taken(STAGE, {"x": np.array(instances)})
        if len(instances) == fails:
            raise RuntimeError
        watch.given(STAGE, {"y": np.array(instances) * 2})

    ask([1])  # nobody watches
    watch_roles(watch, ask, example, more, batch=batch)
    return watch.values()


def test_both_sizes_are_seen() -> None:
    seen = watched([1, 2, 3], [])
    assert [(s["side"], s["name"], s["type"], s["shape"]) for s in seen] == [
        ("takes", "x", "numpy:ndarray", "ndarray of int64, one for each row"),
        ("gives", "y", "numpy:ndarray", "ndarray of int64, one for each row"),
    ]


def test_a_role_that_fails_for_the_second_size_has_a_type_but_no_shape() -> None:
    assert {(s["type"], s["shape"]) for s in watched([1, 2, 3], [], fails=2)} == {("numpy:ndarray", "")}


def test_a_role_that_fails_for_the_example_is_not_seen() -> None:
    assert watched([1, 2, 3], [], fails=3) == []


def test_single_requests_are_asked_for_one_by_one() -> None:
    assert watched([1], [2, 3], batch=False)[0]["shape"] == "ndarray of int64, 1 value"


# --- in a kernel ---------------------------------------------------------------------------------


def run(
    folder: Path, *cells: tuple[str, str]
) -> tuple[dict[tuple[str, str, str], tuple[str, str]], dict[str, str]]:
    """What a clean run saw, and the package made with it."""
    book = read(notebook(folder, *cells))
    found = clean_run(book, extract(book).plan, folder=folder / "run", parameters={})
    seen = {(v.role, v.side, v.name): (v.type, v.shape) for v in found.evidence.values}
    assert all(isinstance(value, SeenValue) for value in found.evidence.values)
    return seen, dict(extract(book, found.evidence).files)


def test_what_a_clean_run_sees(tmp_path: Path) -> None:
    seen, files = run(
        tmp_path,
        ("", "import pandas as pd\nclass Prepared:\n    def __init__(self, x):\n        self.x = x"),
        ("", "k = pd.Series([2.0]).iloc[0]"),
        ("example", "request = pd.DataFrame({'a': [1.0, 2.0], 'b': ['x', 'y']})"),
        (
            "preprocess",
            "request['c'] = request['a'] * k\nready = Prepared(request)\nnames = list(request['b'])",
        ),
        ("model", "scores = ready.x['c'].to_numpy()\nrows = request.shape"),
        ("postprocess", "[{'name': n, 'score': float(s)} for n, s in zip(names, scores)] if rows else None"),
    )
    assert seen == {
        ("preprocess", "takes", "request"): ("pandas:DataFrame", "DataFrame, rows x 2 columns (a, b)"),
        ("preprocess", "gives", "ready"): ("__main__:Prepared", ""),
        ("preprocess", "gives", "names"): ("list[str]", "list, one for each row"),
        ("preprocess", "gives", "request"): ("pandas:DataFrame", "DataFrame, rows x 3 columns (a, b, c)"),
        ("model", "takes", "ready"): ("__main__:Prepared", ""),
        ("model", "takes", "request"): ("pandas:DataFrame", "DataFrame, rows x 3 columns (a, b, c)"),
        ("model", "gives", "scores"): ("numpy:ndarray", "ndarray of float64, one for each row"),
        ("model", "gives", "rows"): ("tuple[int, int]", ""),
        ("postprocess", "takes", "names"): ("list[str]", "list, one for each row"),
        ("postprocess", "takes", "scores"): ("numpy:ndarray", "ndarray of float64, one for each row"),
        ("postprocess", "takes", "rows"): ("tuple[int, int]", ""),
        ("postprocess", "gives", "answer"): (
            "list[dict[str, typing:Any]]",
            "list of dicts (name, score), one for each row",
        ),
    }
    preprocess = files["preprocess.py"]
    assert "def preprocess(request: pd.DataFrame) -> tuple[Prepared, pd.DataFrame, list[str]]:" in preprocess
    assert "    request before: DataFrame, rows x 2 columns (a, b)\n" in preprocess
    assert "    request after: DataFrame, rows x 3 columns (a, b, c)\n" in preprocess
    assert "-> list[dict[str, Any]]:" in files["pipeline.py"]
    assert json.loads((tmp_path / "run" / "observed.json").read_text())["values"]


def test_functions_are_seen_too(tmp_path: Path) -> None:
    seen, files = run(
        tmp_path,
        ("preprocess", "def preprocess(text):\n    return text.split()"),
        ("model", "def model(words):\n    return len(words) if words[0] != 'b' else None"),
        ("reference", "texts = ['a b', 'b', 'c d e']"),
        ("example", "text = 'a b c'"),
    )
    assert seen == {
        ("preprocess", "takes", "text"): ("str", ""),
        ("preprocess", "gives", "prepared"): ("list[str]", ""),
        ("model", "takes", "prepared"): ("list[str]", ""),
        ("model", "gives", "scores"): ("int | None", ""),
    }
    assert "def run(text: str) -> int | None:" in files["pipeline.py"]
    assert "def preprocess(text):\n" in files["preprocess.py"]


def test_a_notebook_whose_roles_cannot_be_asked_again_has_no_hints(tmp_path: Path) -> None:
    seen, files = run(
        tmp_path,
        ("", "import pandas as pd"),
        ("example", "request = pd.DataFrame({'a': [1.0, 2.0]}, index=['x', 'y'])"),
        ("model", "request.loc[['x', 'y'], 'a'].tolist()"),
    )
    assert seen == {}
    assert "def predict(request):\n" in files["model.py"]
