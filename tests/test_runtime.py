"""What every generated package carries: state, the contract's checks, requests from JSON and back."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.util
import json
import math
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nb2prod.extract.extract import FIXED_FILES
from nb2prod.extract.package import runtime
from nb2prod.validation.compare import mismatches
from nb2prod.validation.probe import contract as observed
from nb2prod.validation.probe import rows
from nb2prod.validation.run import PACKAGE

# how fast the machine is, is not what is tested
lenient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with kernels and clusters."""


def loaded(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module(f"{name}.runtime")


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package of the fixed files and `helpers.py`."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name in FIXED_FILES:
        (folder / name).write_text((PACKAGE / name).read_text("utf-8"))
    (folder / "helpers.py").write_text(
        "def double(x):\n    return 2 * x\n\n\nclass Box:\n    class Lid: pass\n"
    )
    yield folder
    for name in [name for name in sys.modules if name.startswith("_made_")]:
        del sys.modules[name]


def field(dtype: str, python: str, *, name: str = "v", nullable: bool = False, **more: Any) -> dict[str, Any]:
    base = {"minimum": None, "maximum": None, "categories": None}
    return {"name": name, "dtype": dtype, "python": python, "nullable": nullable, **base, **more}


def predictor(kind: str, *fields: dict[str, Any], shape: tuple[int, ...] = (), run: Any = None) -> Any:
    return runtime.Predictor({"kind": kind, "fields": list(fields), "shape": list(shape)}, run)


def observe(request: Any, reference: Any = None) -> Any:
    """The predictor of the contract that the probe reads off an example."""
    kind = observed.kind_of({"request": request})
    names = observed.names_of(request, kind)
    data = rows.of_request(request, kind, names)
    seen = [observed.seen_in_example(data, name, runtime.to_wire) for name in names or ("request",)]
    shape = rows.values_shape(request) if kind == "array" else ()
    return predictor(kind, *observed.fields_of(names or ("request",), seen, None), shape=shape)


# --- requests there and back ---------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)
MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))


def series(dtype: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=6).map(lambda items: pd.Series(items, dtype=dtype))


def ints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


FINITE = st.floats(allow_infinity=False)
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "int64": series("int64", ints(64)),
    "int8": series("int8", ints(8)),
    "uint64": series("uint64", st.integers(0, 2**64 - 1)),
    "Int64": series("Int64", ints(64) | st.none()),
    "float64": series("float64", FINITE),
    "float32": series("float32", st.floats(width=32, allow_infinity=False)),
    "Float64": series("Float64", st.floats(allow_infinity=False, allow_nan=False) | st.none()),
    "bool": series("bool", st.booleans()),
    "boolean": series("boolean", st.booleans() | st.none()),
    "str": series("str", TEXTS | st.none()),
    "string": series("string", TEXTS | st.none()),
    "object": series("object", TEXTS),
    "objects": series("object", st.booleans()),
    "datetime64[ns]": series("datetime64[ns]", MOMENTS | st.none()),
    "datetime64[us]": series("datetime64[us]", st.datetimes() | st.none()),
    "datetime64[s]": series("datetime64[s]", st.datetimes().map(lambda m: m.replace(microsecond=0))),
    "datetime64[ns, UTC]": series("datetime64[ns, UTC]", MOMENTS | st.none()),
    "datetime64[us, Europe/Berlin]": series("datetime64[us, UTC]", MOMENTS).map(
        lambda s: s.dt.tz_convert("Europe/Berlin")
    ),
    "dates": series("object", st.dates()),
    "category": series("category", st.sampled_from(["a", "b", "c"]) | st.none()),
    "category of ints": series("category", st.integers(-3, 3)),
    "category of floats": series("category", st.sampled_from([0.5, 1.5])),
    "category of bools": series("category", st.booleans()),
    "ordered": series("str", st.sampled_from(["lo", "hi"])).map(
        lambda s: s.astype(pd.CategoricalDtype(["lo", "hi"], ordered=True))
    ),
    "int64[pyarrow]": series("int64[pyarrow]", ints(64) | st.none()),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_as_it_was(name: str) -> None:
    @lenient
    @given(COLUMNS[name])
    def check(column: Any) -> None:
        frame = pd.DataFrame({"v": column})
        back = through_json(frame)
        assert list(mismatches(frame, back)) == []

    check()


@lenient
@given(
    st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=6).flatmap(
        lambda names: st.tuples(*(COLUMNS[name] for name in names))
    )
)
def test_a_frame_of_known_columns_is_the_one_that_pandas_makes(columns: tuple[Any, ...]) -> None:
    count = min(map(len, columns))
    frame = pd.DataFrame({f"c{i}": column[:count] for i, column in enumerate(columns)})
    model = observe(frame)
    instances = json.loads(json.dumps(runtime.to_instances(frame, "frame")))
    by_pandas, known = model.decode(instances)[0], model.decode(instances)[0]
    pd.testing.assert_frame_equal(known, by_pandas, check_exact=True, check_freq=True)
    assert list(mismatches(by_pandas, known)) == []
    # what numpy or the notebook's own code sees of it
    assert known.to_numpy().dtype == by_pandas.to_numpy().dtype
    assert all(
        known[name].to_numpy().flags.writeable == by_pandas[name].to_numpy().flags.writeable for name in frame
    )
    known["c0"], by_pandas["c0"] = known["c0"].iloc[::-1], by_pandas["c0"].iloc[::-1]
    known.insert(0, "new", 1)
    by_pandas.insert(0, "new", 1)
    pd.testing.assert_frame_equal(known, by_pandas)


def test_what_is_done_to_one_frame_does_not_show_in_the_next() -> None:
    model = observe(pd.DataFrame({"a": [1.5], "b": ["x"], "c": [2.5]}))
    instances = [{"a": 1.5, "b": "x", "c": 2.5}]
    for _ in range(3):
        frame = model.decode(instances)[0]
        assert frame.columns.name is None
        assert frame.index.name is None
        assert frame.to_dict("records") == instances
        frame.columns.name = frame.index.name = "mine"
        frame.loc[0, "a"] = 7.0
        frame["d"] = 1


def test_numbers_that_json_writes_otherwise_are_taken_alike() -> None:
    model = observe(pd.DataFrame({"a": [1, 2], "b": [0.5, math.nan], "c": [2**63 - 1, 3]}))
    instances = [{"a": 1.0, "b": None, "c": 2**63 - 1}, {"a": 2, "b": 1, "c": 3.0}]
    by_pandas, known = model.decode(instances)[0], model.decode(instances)[0]
    pd.testing.assert_frame_equal(known, by_pandas, check_exact=True)
    assert known["c"][0] == 2**63 - 1


FIELDS = [
    field("integer", "int64", minimum=0, maximum=9),
    field("integer", "uint8", minimum=0.0, maximum=255.0),
    field("integer", "int", nullable=True),
    field("number", "float32", minimum=-1.5, maximum=2.5, nullable=True),
    field("number", "float64", minimum=0, maximum=math.inf),
    field("string", "str", categories=["a", "1", "\ud800"], nullable=True),
    field("string", "object"),
    field("category", "category", categories=["a", "1", "True"]),
    field("category", "category[int64]", categories=["1", "2"], nullable=True),
    field("category", "category[bool]", categories=["True", "False"]),
    field("boolean", "bool"),
    field("datetime", "datetime64[ns]"),
    field("list", "list", parts=[{**field("number", "float"), "optional": False}]),
]
VALUES = st.one_of(
    st.sampled_from([0, 1, 9, 10, 255, 256, -1, 1.0, 1.5, -1.5, 2.5, 2.6, -0.0, 1e39, math.nan, math.inf]),
    st.sampled_from(
        ["a", "1", "True", "b", "", "\ud800", "2020-01-01T00:00:00", True, False, None, [], [1, "x"]]
    ),
    st.integers(),
    st.floats(),
)


@lenient
@given(st.data())
def test_a_closer_look_is_spared_only_where_it_would_tell_nothing(data: st.DataObject) -> None:
    chosen = [
        {**one, "name": f"f{i}"}
        for i, one in enumerate(data.draw(st.lists(st.sampled_from(FIELDS), min_size=1)))
    ]
    instances = data.draw(
        st.lists(st.fixed_dictionaries({}, optional={one["name"]: VALUES for one in chosen}), max_size=4)
    )
    model, thorough = predictor("records", *chosen), predictor("records", *chosen)
    thorough._usual = dict.fromkeys(thorough._usual, lambda value: False)
    assert model.problems(instances) == thorough.problems(instances)
    assert model.unseen == thorough.unseen


def through_json(request: Any) -> Any:
    """What the package's code gets for a request that was sent as JSON."""
    model = observe(request)
    instances = json.loads(json.dumps(runtime.to_instances(request, model.kind), allow_nan=False))
    assert model.problems(instances) == []
    decoded = model.decode(instances)
    return decoded[0] if model.batch or len(decoded) == 1 else decoded


ARRAYS = {
    "float64": np.array([[1.5, math.nan], [2.0, -0.0]]),
    "float32": np.array([0.1, 2.0], dtype=np.float32),
    "int16": np.array([[[1], [2]], [[3], [4]]], dtype=np.int16),
    "uint64": np.array([2**64 - 1], dtype=np.uint64),
    "bool": np.array([True, False]),
    "text": np.array(["a", "bcd"]),
    "objects": np.array(["a", "bcd"], dtype=object),
    "nanoseconds": np.array(["2020-01-01T00:00:00.123456789", "NaT"], dtype="datetime64[ns]"),
    "moments": np.array([["2020-01-01T00:00:00.5"]], dtype="datetime64[ms]"),
    "days": np.array(["2020-01-01"], dtype="datetime64[D]"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_as_it_was(name: str) -> None:
    back = through_json(ARRAYS[name])
    assert back.dtype.kind == ARRAYS[name].dtype.kind
    assert list(mismatches(ARRAYS[name], back)) == []


SCALARS = st.one_of(ints(200), FINITE, st.booleans(), TEXTS)


@lenient
@given(st.dictionaries(st.text(string.ascii_letters, min_size=1), SCALARS, min_size=1, max_size=4))
def test_a_record_comes_back_as_it_was(record: dict[str, Any]) -> None:
    assert list(mismatches(record, through_json(record))) == []


@lenient
@given(st.one_of(st.lists(ints(200), min_size=1), st.lists(FINITE, min_size=1), st.lists(TEXTS, min_size=1)))
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    assert list(mismatches(values, through_json(values))) == []


@pytest.mark.parametrize(
    "request_",
    [
        "a text",
        7,
        0.5,
        True,
        {"when": dt.datetime(2020, 1, 2, 3, 4), "day": dt.date(2020, 1, 2), "at": pd.Timestamp("2020-01-01")},
        {"when": dt.datetime(2020, 1, 2, tzinfo=dt.UTC), "tags": ["a", "b"], "inner": {"x": [1, 2.5, None]}},
        [{"a": 1, "b": None}, {"a": 2, "b": "x"}],
        [[1.0, 2.0], [3.0]],
        [None, 1.5],
    ],
    ids=str,
)
def test_a_request_comes_back_as_it_was(request_: Any) -> None:
    back = through_json(request_)
    assert list(mismatches(request_, back)) == []


@pytest.mark.parametrize(
    "missing", [None, math.nan, np.nan, pd.NA, pd.NaT], ids=["None", "nan", "np", "NA", "NaT"]
)
@pytest.mark.parametrize("value", [True, "a", 3, 1.5, ["x"], {"k": "v"}, dt.date(2020, 1, 2)], ids=str)
def test_null_becomes_the_very_object_that_stood_for_a_missing_value(missing: Any, value: Any) -> None:
    frame = pd.DataFrame({"v": pd.Series([value, missing], dtype=object)})
    assert through_json(frame)["v"][1] is missing
    assert through_json([{"v": value}, {"v": missing}])[1]["v"] is missing
    assert through_json({"v": {"in": [value, missing]}})["v"]["in"][1] is missing


# --- what breaks the contract --------------------------------------------------------------------

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str) | ints(64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
KINDS = {
    **{name: ("frame", name, dtype) for name, dtype in {
        "int64": "integer", "int8": "integer", "uint32": "integer", "Int64": "integer", "float64": "number",
        "float32": "number", "bool": "boolean", "str": "string", "object": "any",
        "datetime64[ns]": "datetime", "datetime64[s]": "datetime", "datetime64[us, UTC]": "datetime",
    }.items()},
    "category": ("frame", "category", "category"),
    "category[int64]": ("frame", "category[int64]", "category"),
    "record int": ("record", "int", "integer"),
    "record date": ("record", "date", "datetime"),
    "record Timestamp": ("record", "Timestamp", "datetime"),
    "value float": ("value", "float", "number"),
    "text": ("text", "str", "string"),
    "values": ("values", "str", "string"),
    "array float32": ("array", "float32", "number"),
    "array int8": ("array", "int8", "integer"),
    "array days": ("array", "datetime64[D]", "datetime"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_what_passes_the_contract_can_be_decoded(name: str) -> None:
    kind, python, dtype = KINDS[name]
    categories = ["1", "2"] if dtype == "category" else None
    nullable = python in ("Int64", "float64", "str", "datetime64[ns]", "date", "category")
    model = predictor(kind, field(dtype, python, nullable=nullable, categories=categories))

    @lenient
    @given(st.lists(JSON_VALUES, min_size=1, max_size=3))
    def check(values: list[Any]) -> None:
        instances = [{"v": value} for value in values] if kind in ("frame", "record") else values
        if not model.problems(instances):
            decoded = model.decode(instances)
            assert len(decoded) == (1 if model.batch else len(instances))

    check()


MOMENT = "an ISO 8601 date and time"
HALF = "2020-01-01T00:00:00.5"
NAIVE = f"{MOMENT} without UTC offset"


def problem_of(model: Any, *instances: Any) -> tuple[str, str]:
    (found,) = model.problems(list(instances))
    return found["expected"], found["got"]


AWARE = "an ISO 8601 date and time with UTC offset, of a year from 1 to 9999 in UTC"


@pytest.mark.parametrize(
    ("dtype", "python", "value", "expected", "got"),
    [
        ("integer", "int64", "7", "an integer", '"7"'),
        ("integer", "int64", 7.5, "an integer", "7.5"),
        ("integer", "int64", True, "an integer", "true"),
        ("integer", "int8", 128, "an integer from -128 to 127", "128"),
        ("integer", "uint8", -1, "an integer from 0 to 255", "-1"),
        ("integer", "int64", math.inf, "an integer", "Infinity"),
        ("integer", "int", 2.0**64, "an integer of at most 64 bits", "1.8446744073709552e+19"),
        ("datetime", "datetime64[us, UTC]", "0001-01-01T00:00+14:00", AWARE, '"0001-01-01T00:00+14:00"'),
        ("datetime", "datetime64[us, UTC]", "9999-12-31T23:59-14:00", AWARE, '"9999-12-31T23:59-14:00"'),
        ("number", "float64", "7.5", "a number", '"7.5"'),
        ("number", "float64", None, "a number: never null", "null"),
        ("number", "float64", math.nan, "a number: never null", "NaN"),
        ("number", "float64", 10**400, "a number", "1" + "0" * 56 + "..."),
        ("number", "float64", math.inf, "a number", "Infinity"),
        ("string", "str", 7, "a string", "7"),
        ("string", "str", "\ud800", "a string", '"\\ud800"'),
        ("string", "str", ["a"], "a string", "a list"),
        ("boolean", "bool", 1, "true or false", "1"),
        ("datetime", "datetime64[ns]", "soon", NAIVE, '"soon"'),
        ("datetime", "datetime64[ns]", "2020-02-30", NAIVE, '"2020-02-30"'),
        ("datetime", "datetime64[ns]", "2020-01-01T00:00Z", NAIVE, '"2020-01-01T00:00Z"'),
        ("datetime", "datetime64[ns, UTC]", "2020-01-01", f"{MOMENT} with UTC offset", '"2020-01-01"'),
        ("datetime", "datetime64[ns]", "1492-10-12", f"{NAIVE}, from 1678 to 2261", '"1492-10-12"'),
        ("datetime", "datetime64[s]", HALF, f"{NAIVE}, in whole s", f'"{HALF}"'),
        ("datetime", "date", 20200101, MOMENT, "20200101"),
        ("category", "category", 7, "one of a, b", "7"),
        ("category", "category", {}, "one of a, b", "an object"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit(dtype: str, python: str, value: Any, expected: str, got: str) -> None:
    model = predictor("frame", field(dtype, python, categories=["a", "b"] if dtype == "category" else None))
    assert problem_of(model, {"v": value}) == (expected, got)


@pytest.mark.parametrize(
    ("moment", "is_then"),
    [
        ("1492-10-12", "1492-10-12"),
        ("2261-12-31T00:00:00.000000001", "2261-12-31T00:00:00.000000001"),
        ("0001-01-01T00:00+23:59", "0001-01-01T00:00+23:59"),
        ("1492-10-12T00:00:00.000001999Z", "1492-10-12T00:00:00.000001Z"),
    ],
)
def test_a_timestamp_of_any_year(moment: str, is_then: str) -> None:
    model = predictor("record", field("datetime", "Timestamp"))
    assert model.problems([{"v": moment}]) == []
    (request,) = model.decode([{"v": moment}])
    assert request["v"] == pd.Timestamp(is_then)


def test_instances_that_do_not_fit() -> None:
    model = predictor("frame", field("integer", "int64"))
    assert problem_of(model, {}) == ("an integer", "nothing: it is missing")
    assert problem_of(model, {"v": 1, "w": 2}) == ("no such field", "2")
    assert problem_of(model, [1]) == ("an object with the fields v", "a list")
    assert model.problems({"v": 1})[0]["expected"] == "a list"
    assert model.problems([])[0]["got"] == "none"
    assert len(model.problems([{}] * 500)) == 100


def test_arrays_that_do_not_fit() -> None:
    model = predictor("array", field("number", "float64"), shape=(2,))
    assert problem_of(model, [1.0]) == ("shape [2]", "shape [1]")
    assert problem_of(model, [1.0, [2.0]]) == ("shape [2]", "a ragged list")
    assert problem_of(model, [1.0, "a"]) == ("a number", '"a"')
    assert model.problems([[1.0, 2]]) == []


def test_an_array_nested_too_deeply_for_pythons_stack() -> None:
    model, value = predictor("array", field("number", "float64"), shape=(2,)), []
    for _ in range(5_000):
        value = [value]
    ((problem),) = model.problems([value])
    assert problem["got"].startswith("shape [1, 1, 1, ")
    assert len(problem["got"]) <= 60


@pytest.mark.parametrize("kind", ["any", "list", "map"])
def test_a_value_nested_too_deeply_to_be_answered(kind: str) -> None:
    value: Any = 1
    for _ in range(600):
        value = {"k": value} if kind == "map" else [value]
    model = predictor("values", field(kind, "object"), run=lambda request: request)
    assert model.problems([value])[0]["expected"] == "a value nested at most 200 deep"
    while model.problems([value]):
        value = value["k"] if kind == "map" else value[0]
    assert model.predict([value]) == [value]


def test_integers_of_any_length_pass_where_they_are_exact() -> None:
    assert not predictor("values", field("integer", "int")).problems([2**70, 2.0**62, 1e3])


def test_what_the_notebooks_data_did_not_have_passes_and_is_counted() -> None:
    x = field("number", "float64", name="x", nullable=True, minimum=0.0, maximum=9.0)
    n = field("integer", "int64", name="n", minimum=1, maximum=3)
    text = field("string", "str", name="t", categories=["a", "b"])
    model = predictor("records", x, n, text)
    rows_ = [{"x": 9.5, "n": 2, "t": "c"}, {"x": -1, "n": 3, "t": "a"}, {"x": None, "n": 4, "t": "b"}]
    assert model.problems(rows_) == []
    assert model.unseen == {"x": 2, "n": 1, "t": 1}
    model.on_unseen = "refuse"
    found = [(p["instance"], p["field"], p["expected"], p["got"]) for p in model.problems(rows_)]
    assert found == [
        (0, "x", "a number from 0.0 to 9.0", "9.5"),
        (0, "t", "one of a, b", '"c"'),
        (1, "x", "a number from 0.0 to 9.0", "-1"),
        (2, "n", "an integer from 1 to 3", "4"),
    ]
    assert model.unseen == {"x": 2, "n": 1, "t": 1}


def test_an_unknown_category_is_missing_and_counted() -> None:
    names = field("category", "category", name="c", categories=["a", "b"], nullable=True)
    counts = field("category", "category[int64, ordered]", name="k", categories=["1", "2"])
    model = predictor("frame", names, counts)
    rows_ = [{"c": "z", "k": 1}, {"c": "a", "k": 7}, {"c": None, "k": 2.0}]
    assert model.problems(rows_) == []
    assert model.unseen == {"c": 1, "k": 1}
    (frame,) = model.decode(rows_)
    expected = {
        "c": pd.Categorical([None, "a", None], ["a", "b"]),
        "k": pd.Categorical([1, None, 2], [1, 2], ordered=True),
    }
    pd.testing.assert_frame_equal(frame, pd.DataFrame(expected))
    model.on_unseen = "refuse"
    found = [(p["instance"], p["field"], p["expected"], p["got"]) for p in model.problems(rows_)]
    assert found == [(0, "c", "one of a, b", '"z"'), (1, "k", "one of 1, 2", "7")]


@pytest.mark.parametrize(
    ("python", "categories", "alike", "other"),
    [
        ("category", ["a", "b"], ["z", ""], [1, 1.5, True, ["a"], None, math.nan, "\ud800"]),
        ("category", ["1", "02"], ["z", 1, 1.0], [2, True]),
        ("category[str, ordered]", ["a"], ["z"], [1]),
        ("category[object]", ["a", "1"], ["z", 1], [2]),
        ("category[int64]", ["1", "2"], [7, 1.5, "1"], ["7", True, None]),
        ("category[Int8, ordered]", ["1"], [7], ["7"]),
        ("category[float32]", ["0.5"], [7, "0.5"], ["7", False]),
        ("category[bool]", ["True"], [False, "True"], ["False", 1, 0]),
        ("category[datetime64[us]]", ["2020-01-01T00:00:00"], ["2020-01-01T00:00:00"], ["2020-01-01", 1]),
    ],
)
def test_what_could_be_a_category_passes_and_nothing_else(
    python: str, categories: list[str], alike: list[Any], other: list[Any]
) -> None:
    model = predictor("frame", field("category", python, categories=categories))
    assert [value for value in alike if model.problems([{"v": value}])] == []
    assert [value for value in other if not model.problems([{"v": value}])] == []


def test_what_was_not_seen_is_replaced_by_what_was() -> None:
    x = field("number", "float64", name="x", nullable=True, minimum=0.5, maximum=9.0)
    c = field("category", "category", name="c", categories=["a", "b"])
    free = field("any", "object", name="free")
    rows_ = [{"x": 9.5, "c": "b", "free": 1}, {"x": None, "c": "z", "free": []}]
    like, others = predictor("frame", x, c, free).seen(rows_)
    assert like == [{"x": 0.5, "c": "b", "free": 1}, {"x": None, "c": "a", "free": []}]
    assert [(p["instance"], p["field"], p["got"]) for p in others] == [(0, "x", "9.5"), (1, "c", '"z"')]
    assert rows_[0]["x"] == 9.5
    texts = predictor("values", field("string", "str", categories=["a", "b"]))
    like, others = texts.seen(["b", "z"])
    assert (like, [(p["instance"], p["field"]) for p in others]) == (["b", "a"], [(1, None)])
    assert predictor("array", field("number", "float64", minimum=0, maximum=1), shape=(2,)).seen(
        [[1, 9]]
    ) == (
        [[1, 9]],
        [],
    )


def test_an_invalid_request_says_all() -> None:
    model = predictor("frame", field("integer", "int64"))
    with pytest.raises(runtime.InvalidRequest, match=r"instance 0, field 'v': .* \(and 1 more\)") as caught:
        model.predict([{"v": "a"}, {"v": "b"}])
    assert [p["instance"] for p in caught.value.problems] == [0, 1]


# --- answers -------------------------------------------------------------------------------------


def answered(answer: Any, count: int = 2, kind: str = "values") -> Any:
    model = predictor(kind, field("integer", "int"), run=lambda request: answer)
    return model.predict([1] * count)


@pytest.mark.parametrize(
    ("answer", "wire"),
    [
        (np.array([0.5, math.nan]), [0.5, None]),
        (pd.Series([1, 2], index=[7, 8]), [1, 2]),
        (pd.DataFrame({"p": [0.5, math.inf], "q": "a"}), [{"p": 0.5, "q": "a"}, {"p": None, "q": "a"}]),
        ({"label": np.array(["a", "b"]), "p": [1, 2]}, [{"label": "a", "p": 1}, {"label": "b", "p": 2}]),
        ([np.float32(0.5), np.bool_(True)], [0.5, True]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"), ["2020-01-01T00:00:00.000000000", None]),
        (pd.to_datetime(pd.Series(["2020-01-01", None])), ["2020-01-01T00:00:00", None]),
        (pd.Categorical(["a", "b"]), ["a", "b"]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        ([{"a", "b"}, (1, 2)], [["a", "b"], [1, 2]]),
        ([dt.date(2020, 1, 1), {1: pd.Timestamp(0)}], ["2020-01-01", {"1": "1970-01-01T00:00:00"}]),
    ],
)  # fmt: skip
def test_answers_of_a_batch(answer: Any, wire: list[Any]) -> None:
    assert answered(answer) == wire
    json.dumps(wire, allow_nan=False)


@pytest.mark.parametrize(
    "answer", [[1], [1, 2, 3], 7, "ab", None, {"a": 1, "b": 2}, {"a": [1, 2], "b": [1]}, {1, 2}, {}]
)
def test_an_answer_that_is_not_one_for_each_row(answer: Any) -> None:
    with pytest.raises(runtime.WrongAnswer, match="one answer for each of 2"):
        answered(answer)


@pytest.mark.parametrize(
    "answer", [[object(), 1], [b"ab", 1], [1j, 2], np.array([1, 2], dtype="timedelta64[ns]")]
)
def test_an_answer_without_a_json_form(answer: Any) -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        answered(answer)


def test_names_arrive_as_keywords() -> None:
    model = predictor(
        "names", field("string", "str", name="a"), field("integer", "int", name="b"), run=lambda a, b: a * b
    )
    assert model.predict([{"a": "x", "b": 3}, {"a": "y", "b": 1}]) == ["xxx", "y"]


# --- state ---------------------------------------------------------------------------------------


def test_state_is_read_by_its_key(package: Path) -> None:
    data = b'{"a": [1, 0.1]}'
    (package / "state").mkdir()
    (package / "state" / "s.json").write_bytes(data)
    entry = {"key": "s", "file": "state/s.json", "codec": "json", "sha256": hashlib.sha256(data).hexdigest()}
    (package / "manifest.json").write_text(json.dumps({"state": [entry]}))
    found = loaded(package, "_made_json")
    assert found.load_state("s") == {"a": [1, 0.1]}
    with pytest.raises(found.DamagedState, match=r"'other'.*draft"):
        found.load_state("other")


@pytest.mark.parametrize("text", [None, b"", b'{"state": [', b"\xff"])
@pytest.mark.parametrize("name", ["manifest.json", "contract.json"])
def test_a_damaged_package_names_its_file(package: Path, name: str, text: bytes | None) -> None:
    (package / "manifest.json").write_text('{"state": []}')
    (package / "contract.json").write_text("{}")
    (package / name).unlink() if text is None else (package / name).write_bytes(text)
    found = loaded(package, "_made_damaged")
    with pytest.raises(found.DamagedState, match=f"^{name}: "):
        found.load_state("s") if name == "manifest.json" else found.load()
