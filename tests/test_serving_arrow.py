"""Arrow IPC bodies: the frame that they make is the one that JSON makes, or their refusal is the same."""

from __future__ import annotations

import datetime as dt
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nb2prod.domain import Contract, Field
from nb2prod.serving import arrow
from nb2prod.serving.app import application
from nb2prod.serving.core import Whole
from nb2prod.serving.host import Host
from nb2prod.serving.http import App
from nb2prod.serving.limits import Limits
from nb2prod.serving.loader import LoadedRelease, load
from tests.packages import CONTRACT, write_package
from tests.test_serving_app import AS_IS, ask

FRAME = Contract(
    kind="frame",
    request=("df",),
    fields=(
        Field("x", "number", "float64", nullable=True),
        Field("f", "number", "float32"),
        Field("n", "integer", "int64"),
        Field("small", "integer", "int8"),
        Field("yes", "boolean", "bool"),
        Field("text", "string", "object", nullable=True),
        Field("colour", "category", "category", categories=("red", "green"), nullable=True),
        Field("at", "datetime", "datetime64[us]", nullable=True),
    ),
)
# what the notebook's code sees goes into its answer
SEEN = (
    "def model(df):\n    return [f'{row!r} {dict(df.dtypes.astype(str))}' for row in df.to_dict('records')]\n"
)
WRITES = "def model(df):\n    df.loc[:, 'x'] = 1.0\n    df['n'] += 1\n    return df['n'].tolist()\n"
ROWS = [
    {"x": 1.5, "f": 0.25, "n": 1, "small": -3, "yes": True, "text": "a", "colour": "red",
     "at": dt.datetime(2020, 1, 2)},
    {"x": None, "f": 3.0, "n": 2**62, "small": 9, "yes": False, "text": "ü", "colour": "green", "at": None},
]  # fmt: skip
SCHEMA = pa.schema(
    {
        "x": pa.float64(), "f": pa.float32(), "n": pa.int64(), "small": pa.int8(), "yes": pa.bool_(),
        "text": pa.string(), "colour": pa.dictionary(pa.int8(), pa.string()), "at": pa.timestamp("us"),
    }
)  # fmt: skip


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def post(app: App, body: bytes, path: str = "/predict", **headers: str) -> httpx.Response:
    sent = {"content-type": arrow.STREAM, **headers}
    return ask(app, "POST", path, content=body, headers=sent)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> LoadedRelease:
    folder = tmp_path_factory.mktemp("arrow") / "p"
    return load(write_package(folder, contract=FRAME, model=SEEN, preprocess=AS_IS), "seen", 1)


@pytest.fixture(scope="module")
def app(release: LoadedRelease) -> App:
    return application(Host(release))


TABLE = pa.Table.from_pylist(ROWS, schema=SCHEMA)


def as_json(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"instances": [{**row, "at": row["at"] and row["at"].isoformat()} for row in rows]}


def test_a_table_is_answered_as_its_rows_are(app: App) -> None:
    expected = ask(app, "POST", "/predict", json=as_json(ROWS)).json()["predictions"]
    assert post(app, stream(TABLE)).json()["predictions"] == expected
    invoked = post(app, stream(TABLE), "/invocations")
    assert invoked.json() == {"predictions": expected}
    in_pieces = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 1)])
    assert post(app, stream(in_pieces)).json()["predictions"] == expected


OTHERS = {
    "plain texts for a category": {"colour": pa.string()},
    "wider integers": {"small": pa.int64()},
    "narrower and unsigned ones": {"n": pa.uint64()},
    "floats of another size": {"x": pa.float32(), "f": pa.float64()},
    "large texts": {"text": pa.large_string()},
    "texts as a dictionary": {"text": pa.dictionary(pa.int32(), pa.string())},
    "moments of another unit": {"at": pa.timestamp("ms")},
}


@pytest.mark.parametrize("name", OTHERS)
def test_types_that_hold_the_same(app: App, release: LoadedRelease, name: str) -> None:
    schema = pa.schema([(f.name, OTHERS[name].get(f.name, f.type)) for f in SCHEMA])
    table = pa.Table.from_pylist(ROWS, schema=schema)
    expected = ask(app, "POST", "/predict", json=as_json(ROWS)).json()["predictions"]
    assert post(app, stream(table)).json()["predictions"] == expected
    assert isinstance(arrow.read(stream(table)).instances(release), Whole), "no detour through rows"


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_the_frame_is_the_one_that_rows_make(release: LoadedRelease, data: st.DataObject) -> None:
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
    row = st.fixed_dictionaries(
        {
            "x": st.floats(allow_infinity=False) | st.none(),
            "f": st.floats(width=32, allow_nan=False, allow_infinity=False),
            "n": st.integers(-(2**63), 2**63 - 1),
            "small": st.integers(-128, 127),
            "yes": st.booleans(),
            "text": texts | st.none(),
            "colour": st.sampled_from(["red", "green", None]),
            "at": moments | st.none(),
        }
    )
    table = pa.Table.from_pylist(data.draw(st.lists(row, min_size=1, max_size=5)), schema=SCHEMA)
    whole = arrow.read(stream(table)).instances(release)
    assert isinstance(whole, Whole)
    rows = [
        {**r, "x": None if r["x"] != r["x"] else r["x"], "at": r["at"] and r["at"].isoformat()}
        for r in table.to_pylist()
    ]
    assert release.predictor.problems(rows) == []
    (frame,) = release.predictor.decode(rows)
    pd.testing.assert_frame_equal(whole.request, frame, check_exact=True)


def test_what_the_notebooks_data_did_not_have_is_counted(tmp_path: Path) -> None:
    fields = (Field("x", "number", "float64", minimum=0.0, maximum=9.0), Field("n", "integer", "int64"))
    contract = Contract(kind="frame", request=("df",), fields=fields)
    model = "def model(df):\n    return df['n'].tolist()\n"
    release = load(write_package(tmp_path / "p", contract=contract, model=model, preprocess=AS_IS), "m", 1)
    app = application(Host(release))
    body = stream(pa.table({"x": [1.0, -0.5, 9.5], "n": [1, 2, 3]}))
    assert post(app, body).json()["predictions"] == [1, 2, 3]
    assert ask(app, "GET", "/health").json()["unseen"] == {"x": 2}
    release.predictor.on_unseen = "refuse"
    assert [e["instance"] for e in post(app, body).json()["errors"]] == [1, 2]


def test_code_may_write_into_its_frame(tmp_path: Path) -> None:
    package = write_package(tmp_path / "p", contract=FRAME, model=WRITES, preprocess=AS_IS)
    app = application(Host(load(package, "m", 1)))
    table = TABLE.set_column(2, "n", pa.array([1, 2], pa.int64()))
    assert post(app, stream(table)).json()["predictions"] == [2, 3]


# --- refusals ------------------------------------------------------------------------------------


def changed(**columns: Any) -> pa.Table:
    table = TABLE
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table


BROKEN = {
    "a null": (changed(n=pa.array([1, None], pa.int64())), 1, "n", "an integer: never null", "null"),
    "NaN where null may not be": (changed(f=pa.array([1.0, np.nan])), 1, "f", "a number: never null", "null"),
    "an infinity": (changed(x=pa.array([1.0, np.inf])), 1, "x", "a number", "Infinity"),
    "too large": (changed(f=pa.array([1.0, 1e300])), 1, "f", "a number", "1e+300"),
    "out of the range": (changed(small=pa.array([1, 128])), 1, "small", "an integer from -128 to 127", "128"),
    "no whole number": (changed(n=pa.array([1.0, 1.5])), 1, "n", "an integer", "1.5"),
    "texts": (changed(x=pa.array(["1", "2"])), 0, "x", "a number", '"1"'),
    "numbers": (changed(text=pa.array([1, 2])), 0, "text", "a string", "1"),
    "an unknown category": (
        changed(colour=pa.array([1, 2])), 0, "colour", "one of red, green", "1",
    ),
    "a moment with offset": (
        changed(at=pa.array(ROWS[0]["at"] and [ROWS[0]["at"]] * 2, pa.timestamp("us", "UTC"))),
        0, "at", "an ISO 8601 date and time without UTC offset", '"2020-01-02T00:00:00+00:00"',
    ),
    "another column": (TABLE.append_column("more", pa.array([1, 2])), 0, "more", "no such field", "1"),
    "a column less": (TABLE.drop_columns(["yes"]), 0, "yes", "true or false", "nothing: it is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_the_contract_is_held(app: App, name: str) -> None:
    table, instance, field, expected, got = BROKEN[name]
    answer = post(app, stream(table))
    assert answer.status_code == 422
    error = {"instance": instance, "field": field, "expected": expected, "got": got}
    assert answer.json()["errors"][0] == error


def with_names(*names: str) -> pa.Table:
    return pa.Table.from_arrays([pa.array([1])] * len(names), names=list(names))


REFUSED = {
    "nothing": (b"", 400, "no Arrow IPC stream"),
    "JSON": (b'{"instances": []}', 400, "no Arrow IPC stream"),
    "cut off": (stream(TABLE)[:-200], 400, "no Arrow IPC stream"),
    "no rows": (stream(TABLE.slice(0, 0)), 422, "at least one instance"),
    "a name twice": (stream(with_names("x", "x")), 422, "columns of different names"),
    "compressed": (stream(TABLE, compression="zstd"), 422, "buffers that are not compressed"),
    "a kind that JSON lacks": (stream(changed(x=pa.array([b"a", b"b"]))), 422, "got binary"),
    "more rows than are taken": (stream(pa.concat_tables([TABLE] * 6)), 413, "at most 10 instances"),
    "rows without bytes": (stream(pa.table({"x": pa.nulls(10**9)})), 413, "at most 10 instances"),
    "moments that Python lacks": (
        stream(changed(at=pa.array([2**62, 0], pa.timestamp("s")))),
        400,
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken(release: LoadedRelease, name: str) -> None:
    body, status, detail = REFUSED[name]
    app = application(Host(replace(release, limits=Limits(max_rows=10))))
    answer = post(app, body)
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text


def test_a_model_that_fails_on_an_unknown_category_says_so(tmp_path: Path) -> None:
    model = "def model(frame):\n    return frame.colour.cat.codes.map({0: 1, 1: 2}).astype(int)\n"
    package = write_package(tmp_path / "p", contract=FRAME, model=model, preprocess=AS_IS)
    app = application(Host(load(package, "m", 1)))
    answer = post(app, stream(changed(colour=pa.array(["red", "blue"]))))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["instance"], error["field"], error["got"]) == (1, "colour", '"blue"')


def test_offsets_that_lie_outside_are_refused(app: App) -> None:
    good = pa.array(["ab", "cd"])
    _, _, data = good.buffers()
    bad = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 2**30, 4)), data])
    answer = post(app, stream(pa.table({"text": bad})))
    assert (answer.status_code, "no Arrow IPC stream" in answer.json()["detail"]) == (400, True)


def test_names_of_columns_are_utf_8_and_there_once(app: App) -> None:
    broken = stream(pa.table({"xx": [1]})).replace(b"xx", b"\xff\xfe")
    answer = post(app, broken)
    assert (answer.status_code, "no Arrow IPC stream: 'utf-8'" in answer.json()["detail"]) == (400, True)
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert "got 'x' twice" in post(app, stream(twice)).json()["detail"]


def test_without_pyarrow(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = post(app, b"")
    assert (answer.status_code, "needs pyarrow" in answer.json()["detail"]) == (415, True)
    answer = ask(app, "POST", "/predict", json=as_json(ROWS), headers={"accept": arrow.STREAM})
    assert (answer.status_code, "needs pyarrow" in answer.json()["detail"]) == (406, True)


# --- other kinds, and answers --------------------------------------------------------------------


def test_records_and_their_answer_as_a_table(tmp_path: Path) -> None:
    app = application(Host(load(write_package(tmp_path / "p"), "doubler", 1)))
    table = pa.Table.from_pylist(list(CONTRACT.example))
    answer = post(app, stream(table), accept=arrow.STREAM)
    assert (answer.status_code, answer.headers["content-type"]) == (200, arrow.STREAM)
    assert pa.ipc.open_stream(answer.content).read_all().to_pydict() == {"predictions": [1.2, None]}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("[{'p': v, 'l': str(v)} for v in values]", {"p": [1, 2], "l": ["1", "2"]}),
        ("['a', 1]", {"predictions": ["a", "1"]}),
        ("[[1, 2], [3]]", {"predictions": [[1, 2], [3]]}),
        ("[2**70, 1]", {"predictions": [str(2**70), "1"]}),
    ],
)
def test_values_and_their_answers(tmp_path: Path, model: str, expected: Any) -> None:
    contract = Contract("values", ("values",), (Field("values", "integer", "int"),))
    package = write_package(
        tmp_path / "p", contract=contract, model=f"def model(values):\n    return {model}\n", preprocess=AS_IS
    )
    app = application(Host(load(package, "m", 1)))
    answer = post(app, stream(pa.table({"any": [1, 2]})), "/invocations", accept=arrow.STREAM)
    assert pa.ipc.open_stream(answer.content).read_all().to_pydict() == expected
    assert post(app, stream(pa.table({"a": [1], "b": [2]}))).status_code == 422


def test_an_array(tmp_path: Path) -> None:
    contract = Contract("array", ("a",), (Field("a", "number", "float64"),), shape=(2,))
    package = write_package(
        tmp_path / "p", contract=contract, model="def model(a):\n    return a.sum(axis=1)\n", preprocess=AS_IS
    )
    app = application(Host(load(package, "m", 1)))
    for kind in (pa.list_(pa.float64()), pa.list_(pa.float64(), 2)):
        table = pa.table({"a": pa.array([[1, 2], [3, 4]], kind)})
        assert post(app, stream(table)).json()["predictions"] == [3.0, 7.0]
