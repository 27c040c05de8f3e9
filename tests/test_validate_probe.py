"""What the probe captures and observes: state, the example, the notebook's own answers, reference rows.

The first half needs no kernel; the second runs small notebooks for real.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import pickle
import socket
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nb2prod.domain import CapturePlan, CleanRun, Contract, to_json
from nb2prod.errors import NotebookError, ParityError, RunError, StateError
from nb2prod.extract import extract
from nb2prod.extract.package import codecs
from nb2prod.validation.probe import contract as contract_
from nb2prod.validation.probe import pickling, rows
from nb2prod.validation.probe.finding import Finding, Refused
from nb2prod.validation.probe.pickling import Homes, Unstorable, pickled, restore
from nb2prod.validation.probe.state import StateCapture
from nb2prod.validation.probe.storing import store
from tests import plans
from tests.plans import book, function, inline, plan, state


def notebook_names(source: str) -> dict[str, Any]:
    """What a notebook would have bound by some source."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    return names


NONE = Homes.now({}, {})


# --- storing values ------------------------------------------------------------------------------


def test_a_pickle_keeps_what_is_one_object() -> None:
    inner: list[int] = []
    back = restore(pickled({"a": inner, "b": inner}, NONE))
    assert back["a"] is back["b"]


def test_a_copy_keeps_the_one_nan_of_a_library() -> None:
    copy = restore(pickled({"k": {np.nan: 1}, "v": np.array([math.nan, np.nan], dtype=object)}, NONE))
    assert copy["k"][np.nan] == 1
    assert [copy["v"][0] is math.nan, copy["v"][1] is np.nan] == [True, True]


def test_the_notebooks_functions_and_classes_are_pickled_by_name() -> None:
    names = notebook_names(
        "def double(x): return 2 * x\nclass Box:\n    class Lid: pass\ntriple = lambda x: 3 * x\nbox = Box()"
    )
    homes = Homes.now(names, dict.fromkeys(("double", "Box", "triple"), "helpers"))
    value = [functools.partial(names["double"], 1), names["box"], names["Box"].Lid(), names["triple"]]
    stored = pickled(value, homes)
    assert stored.used == {"double", "Box", "triple"}
    assert b"__main__" not in stored.data
    assert restore(stored)[3] is names["triple"]


def test_what_was_only_imported_keeps_its_own_home() -> None:
    homes = Homes.now(
        {"loads": json.loads, "Path": Path, "missing": None}, dict.fromkeys(("loads", "Path"), "helpers")
    )
    assert homes.by_id == {}


def unstorable(value: Any, homes: Homes = NONE) -> Unstorable:
    with pytest.raises(Unstorable) as caught:
        store(value, homes, codecs)
    return caught.value


def test_an_older_definition_is_noticed() -> None:
    names = notebook_names("def f(): pass\nold = f\ndef f(): pass")
    problem = unstorable([names["old"]], Homes.now(names, {"f": "helpers"}))
    assert problem.kind == "redefined"


def test_a_function_without_a_home_is_noticed() -> None:
    assert unstorable([notebook_names("def f(): pass")["f"]]).kind == "homeless"


class Stubborn:
    def __getstate__(self) -> object:
        raise RuntimeError("not me")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (threading.Lock(), "_thread.lock"),
        ((i for i in ()), "generator"),
        (lambda: None, "function"),
        (Stubborn(), "Stubborn"),
        (sqlite3.connect(":memory:"), "Connection"),
        (socket.socket(), "socket"),
        (io.BufferedReader(io.BytesIO()), "BufferedReader"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_part_that_cannot_be_stored_is_found(part: Any, name: str) -> None:
    value = {"steps": [1, (2, part)]}
    problem = unstorable(value)
    assert problem.kind == "value"
    assert name in pickling.type_name(problem.part)
    assert pickling.path_to(value, problem.part) == "['steps'][1][1]"


# --- the contract --------------------------------------------------------------------------------


def to_wire(value: Any) -> Any:
    if isinstance(value, complex | bytes):
        raise TypeError
    return value


def field(example: Any, reference: Any = None) -> dict[str, Any]:
    """The one field of an example: a column of a frame, or the values of a list or array."""
    named = ("v",) if isinstance(example, pd.DataFrame) else ()
    seen = contract_.seen_in_example(rows.Rows(example, named), "v", to_wire)
    more = contract_.look(rows.Rows(reference, named).column("v"), to_wire) if reference is not None else None
    (found,) = contract_.fields_of(["v"], [seen], [more] if more else None)
    return found


@pytest.mark.parametrize(
    ("values", "dtype", "python", "nullable"),
    [
        (pd.Series([1, 2]), "integer", "int64", False),
        (pd.Series([1, None], dtype="Int8"), "integer", "Int8", True),
        (pd.Series([1.5, None]), "number", "float64", True),
        (pd.Series([1.5, math.inf]), "number", "float64", True),
        (pd.Series([True]), "boolean", "bool", False),
        (pd.Series(["a", None]), "string", str(pd.Series(["a"]).dtype), True),
        (pd.Series(["a"], dtype="object"), "string", "object", False),
        (pd.Series([1, "a"], dtype="object"), "any", "object", False),
        (pd.Series(["a", None], dtype="category"), "category", "category", True),
        (pd.Series([1, 2], dtype="category"), "category", "category[int64]", False),
        (
            pd.to_datetime(pd.Series(["2020-01-01"])).astype("datetime64[ns]"),
            "datetime",
            "datetime64[ns]",
            False,
        ),
        (pd.to_datetime(pd.Series(["2020-01-01"]), utc=True), "datetime", None, False),
        (pd.Series([pd.Timestamp("2020-01-01").date()], dtype="object"), "datetime", "date", False),
        (pd.Series([[1, 2]]), "list", "object", False),
        (pd.Series([[1, 2], (3,)]), "any", "object", False),
        (pd.Series([{"a": 1}, None]), "record", "object", True),
        ([1, 2], "integer", "int", False),
        ([1, 2.5], "number", "float", False),
        ([1, math.nan], "number", "int", True),
        (["a", None], "string", "str", True),
        ([True, 1], "any", "object", False),
        ([np.int64(1)], "integer", "int64", False),
        ([None], "any", "object", True),
        (np.array([1, 2], dtype=np.uint8), "integer", "uint8", False),
        (np.array([["a"], ["b"]]), "string", "<U1", False),
    ],
    ids=str,
)
def test_the_type_of_a_field(values: Any, dtype: str, python: str | None, nullable: bool) -> None:
    found = field(pd.DataFrame({"v": values}) if isinstance(values, pd.Series) else values)
    assert (found["dtype"], found["nullable"]) == (dtype, nullable)
    assert python in (None, found["python"])


def test_ranges_and_nulls_come_from_all_the_reference() -> None:
    found = field(pd.DataFrame({"v": [2.0]}), pd.DataFrame({"v": [1.0, 9.0, None]}))
    assert (found["nullable"], found["minimum"], found["maximum"]) == (True, 1.0, 9.0)
    found = field([5], [1.5, 2])
    assert (found["dtype"], found["python"], found["minimum"], found["maximum"]) == (
        "number",
        "float",
        1.5,
        5,
    )
    found = field(pd.DataFrame({"v": [True]}), pd.DataFrame({"v": [True, None]}))
    assert (found["dtype"], found["python"], found["nullable"]) == ("boolean", "object", True)
    found = field(pd.DataFrame({"v": [1]}), pd.DataFrame({"v": pd.Series([1, None], dtype="Int64")}))
    assert (found["dtype"], found["python"], found["nullable"]) == ("integer", "Int64", True)
    found = field(
        pd.DataFrame({"v": pd.to_datetime(["2020-01-02"])}),
        pd.DataFrame({"v": pd.to_datetime(["2020-01-05"])}),
    )
    assert (found["minimum"], found["maximum"]) == ("2020-01-02T00:00:00", "2020-01-05T00:00:00")


def test_categories_are_the_texts_of_the_reference_if_they_are_few() -> None:
    assert field(["b"], ["a", "c"])["categories"] == ("a", "b", "c")
    assert field(["b"], [str(i) for i in range(51)])["categories"] is None
    assert field(["b"])["categories"] is None
    frame = pd.DataFrame({"v": pd.Categorical(["a"], categories=["a", "z"])})
    assert field(frame)["categories"] == ("a", "z")


@pytest.mark.parametrize(
    ("example", "code", "text"),
    [
        ((1, 2), "NB220", "a tuple"),
        (None, "NB220", "a NoneType"),
        (b"ab", "NB220", "a bytes"),
        (pd.Series([1]), "NB220", "a Series"),
        (np.array(1 + 2j), "NB220", "an ndarray"),
        (np.array([1j]), "NB220", "an ndarray"),
        (pd.DataFrame({"a": []}), "NB222", "is empty"),
        ([], "NB222", "is empty"),
        ({}, "NB222", "is empty"),
    ],
    ids=str,
)
def test_what_no_request_can_be(example: Any, code: str, text: str) -> None:
    with pytest.raises(Refused, match=text) as caught:
        contract_.kind_of({"x": example})
    assert caught.value.finding.code == code
    assert caught.value.finding.hint


@pytest.mark.parametrize(
    ("example", "kind", "text"),
    [
        (pd.DataFrame({0: [1]}), "frame", "not all text: 0"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "frame", "two columns named 'a'"),
        (
            pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", 1)])),
            "frame",
            "not all text: .'a', 1",
        ),
        ({1: "a"}, "record", "not all text: 1"),
        ([{"a": 1}, {"a": 1, "b": 2}], "records", "record 1 of the example has other keys.*b"),
    ],
)
def test_names_that_cannot_be_fields(example: Any, kind: str, text: str) -> None:
    with pytest.raises(Refused, match=text) as caught:
        contract_.names_of(example, kind)
    assert caught.value.finding.code == "NB221"


@pytest.mark.parametrize(
    "values", [pd.Series(pd.to_timedelta(["1s"])), pd.Series([1j]), pd.Series([b"a"], dtype=object)]
)
def test_columns_without_a_json_form(values: pd.Series) -> None:
    with pytest.raises(Refused, match="no faithful JSON form") as caught:
        field(pd.DataFrame({"v": values}))
    assert caught.value.finding.code == "NB220"


# --- rows ----------------------------------------------------------------------------------------


def test_a_sample_is_the_same_each_time_and_in_order() -> None:
    data = rows.Rows(list(range(1000)))
    assert data.sample() == data.sample()
    assert len(data.sample()) == 200
    assert data.sample() == sorted(set(data.sample()))
    assert rows.Rows([7, 8]).sample() == [0, 1]


def test_what_an_example_was_taken_from() -> None:
    frame = pd.DataFrame({"a": range(9), "b": "x", "target": 1})
    example = rows.Rows(frame[["a", "b"]].head(2), ("a", "b"))
    candidates = {
        "columns": ["a", "b"],
        "frame": frame,
        "small": frame.head(3),
        "other": frame[["b"]],
        "n": 3,
    }
    found = rows.came_from(candidates, example, "frame", ())
    assert found is not None
    assert (len(found), list(found.data.columns)) == (9, ["a", "b"])
    assert rows.came_from({"columns": ["a", "b"]}, example, "frame", ()) is None


def test_a_text_was_taken_from_the_column_that_holds_it() -> None:
    frame = pd.DataFrame({"id": ["1", "2"], "review": ["good", "bad"]})
    found = rows.came_from({"frame": frame}, rows.Rows(["bad"]), "text", ())
    assert found is not None
    assert found.data.tolist() == ["good", "bad"]
    assert rows.came_from({"words": ["a", "bad", "c"]}, rows.Rows(["bad"]), "text", ()) is not None
    assert rows.came_from({"numbers": [1, 2, 3]}, rows.Rows(["bad"]), "text", ()) is None


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pd.DataFrame({"a": [[1], [2]]}),
        pd.Series([1, 2]),
        np.array([[1.0], [2.0]]),
        np.array([1, "a"], dtype=object),
        [{"a": 1}, {"a": 2}],
        [1, {2}],
    ],
    ids=str,
)
def test_the_digest_of_data(data: Any) -> None:
    copy = pickle.loads(pickle.dumps(data))
    assert rows.data_digest(rows.Rows(data)) == rows.data_digest(rows.Rows(copy))
    assert rows.data_digest(rows.Rows(data)) != rows.data_digest(rows.Rows(data[:1]))


# --- in the kernel -------------------------------------------------------------------------------


def text_run(folder: Path, before: str, model: str, *items: str, **more: Any) -> CleanRun:
    """Cells: c1 what comes before, c2 the example, c3 the inline model on `text`."""
    notebook = book(folder, ("", before), ("example", "text = 'abc'"), ("model", model))
    what = plan(
        "text",
        inline("model", "text", "prediction", "c3"),
        moment="c3",
        example="c2",
        items=tuple(state(name, "c3") for name in items),
        **more,
    )
    return plans.run(notebook, what)


def response(done: CleanRun) -> Any:
    return done.evidence.contract.response


def cases(done: CleanRun) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pickle.loads((done.folder / "cases.pkl").read_bytes())
    return [{**case, "answers": pickle.loads(case["answers"])} for case in found]


ENDS = {
    "plain": "text.upper() + str(n)",
    "cell magic": "%%time\nx = text.upper()\nx + str(n)",
    "line magic": "%time text.upper() + str(n);",
    "captured": "%%capture\nx = text\nx.upper() + str(n)",
    "shown after": "x = text\nx.upper() + str(n);\nprint(x)",
}


@pytest.mark.parametrize("name", ENDS)
def test_the_answer_is_the_expression_in_which_the_cell_ends(tmp_path: Path, name: str) -> None:
    assert response(text_run(tmp_path, "n = 7", ENDS[name], "n")) == ("ABC7",)


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> CleanRun:
    """State that later cells re-bind, a request that its role changes, a reference cell that comes last."""
    cells = (
        (
            "",
            "import functools, random\ndef double(x):\n    return 2 * x\n"
            "scale = 3\nseen = []\nlevel = {'base': 1}",
        ),
        (
            "",
            "def score(row):\n    return double(row['x'] * scale) + level['base']\n"
            "hold = functools.partial(double)",
        ),
        ("example", "row = {'x': 1, 'note': 'a'}"),
        ("preprocess", "row['x'] = row['x'] + len(seen)\nready = dict(row)\nrow['x'] = 'spoilt'"),
        ("model", "predict = score"),
        ("", "scale = 1000\nlevel['base'] = 5000\nseen.append(1)\ndouble = None\nready = None\nhold = None"),
        ("reference", "past = [{'x': i, 'note': None, 'target': 0} for i in range(500)]"),
        ("", "past.clear()\nrandom.seed(1)"),
        ("check", "assert (scale, seen, double, row['x']) == (1000, [1], None, 'spoilt')"),
    )
    folder = tmp_path_factory.mktemp("moments")
    what = plan(
        "row",
        inline("preprocess", "row", "ready", "c4", result="names"),
        function("model", "score", "ready", "prediction", "c2"),
        moment="c5",
        example="c3",
        items=(
            state("seen", "c4"),
            state("scale", "c5", "after"),
            state("level", "c5", "after"),
            state("hold", "c5", "after", optional=True),
        ),
        rehome={"double": "helpers", "score": "model"},
        reference=("c7", "past"),
    )
    return plans.run(book(folder, *cells), what)


def test_state_is_captured_at_the_moment_it_is_read(moments: CleanRun) -> None:
    def read(name: str) -> Any:
        return json.loads((moments.folder / "state" / f"{name}.json").read_text())

    assert [read(name) for name in ("seen", "scale", "level")] == [[], 3, {"base": 1}]
    item = moments.evidence.state[0]
    assert (item.key, item.file, item.codec, item.type, item.bytes) == (
        "seen",
        "state/seen.json",
        "json",
        "list",
        2,
    )


def test_rows_of_a_later_reference_are_asked_with_the_state_of_the_moment(moments: CleanRun) -> None:
    example, reference = cases(moments)
    assert (example["instances"], example["answers"]) == ([{"x": 1, "note": "a"}], [7])
    assert len(reference["instances"]) == 200
    assert [2 * 3 * row["x"] + 1 for row in reference["instances"]] == reference["answers"]
    assert moments.reference_rows == 500


def test_the_contract_is_what_example_and_reference_show(moments: CleanRun) -> None:
    contract = moments.evidence.contract
    assert isinstance(contract, Contract)
    assert (contract.kind, contract.request, contract.response) == ("record", ("row",), (7,))
    x, note = contract.fields
    assert (x.dtype, x.python, x.minimum, x.maximum, x.nullable) == ("integer", "int", 0, 499, False)
    assert (note.dtype, note.python, note.nullable) == ("string", "str", True)


def test_optional_state_is_dropped_if_nothing_stored_refers_to_functions(moments: CleanRun) -> None:
    assert [item.key for item in moments.evidence.state] == ["seen", "scale", "level"]
    assert moments.evidence.rehomed == ()
    assert sorted(p.name for p in (moments.folder / "state").iterdir()) == [
        "level.json",
        "scale.json",
        "seen.json",
    ]


def test_optional_state_is_kept_if_stored_state_refers_to_functions(tmp_path: Path) -> None:
    before = "import functools, threading\nn = 2\nlock = threading.Lock()\n"
    before += "def times(x):\n    return x * n\nf = functools.partial(times)"
    notebook = book(tmp_path, ("", before), ("example", "text = 'ab'"), ("model", "f(text)"))
    what = plan(
        "text",
        inline("model", "text", "prediction", "c3"),
        moment="c3",
        example="c2",
        items=(state("f", "c3"), state("n", "c3", optional=True), state("lock", "c3", optional=True)),
        rehome={"times": "helpers"},
    )
    evidence = plans.run(notebook, what).evidence
    assert [item.key for item in evidence.state] == ["f", "n"]
    assert evidence.rehomed == ("times",)


OLD = "import functools\ndef g(x): pass\nf = functools.partial(g)\ndef g(x): pass"
ONE_WAY = "class Odd:\n    def __setstate__(self, state):\n        raise KeyError('no')\nf = Odd()\nf.x = 1"
STATE_ERRORS = {
    "lambda": ("f = {'a': [lambda x: x]}", "NB310", r"function '<lambda>' in f\['a'\]\[0\]"),
    "file": ("f = {'log': open('log', 'w')}", "NB310", r"_io.TextIOWrapper in f\['log'\]"),
    "generator": ("f = (i for i in [1])", "NB310", "'f' \\(a generator\\).*the generator '<genexpr>'"),
    "old": (OLD, "NB311", "older definition.*'g'"),
    "homeless": ("def h(x): pass\nf = [h]", "NB312", r"function 'h' in f\[0\]"),
    "unbound": ("if not __name__:\n    f = 1", "NB313", "reads 'f', which the clean run never bound"),
    "sentinel": (
        "f = {'a': [object()]}",
        "NB310",
        r"the object in f\['a'\]\[0\], which is known by identity",
    ),
    "one way": (ONE_WAY, "NB310", "cannot be read back: KeyError"),
}


@pytest.mark.parametrize("name", STATE_ERRORS)
def test_state_that_cannot_be_stored(tmp_path: Path, name: str) -> None:
    source, code, text = STATE_ERRORS[name]
    notebook = book(tmp_path, ("", source), ("example", "text = 'abc'"), ("model", "text"))
    items = (state("f", "c3", bound=("c1", 1, 2)),)
    rehome = {"g": "helpers", "Odd": "helpers"}
    what = plan(
        "text", inline("model", "text", "p", "c3"), moment="c3", example="c2", items=items, rehome=rehome
    )
    with pytest.raises(StateError, match=text) as caught:
        plans.run(notebook, what)
    assert (caught.value.code, caught.value.cell, caught.value.number, caught.value.line) == (
        code,
        "c1",
        1,
        2,
    )
    assert caught.value.hint


def test_a_sentinel_alone_is_one_object_in_the_package_too(tmp_path: Path) -> None:
    done = text_run(tmp_path, "missing = object()", "'no' if text is missing else text", "missing")
    assert [(item.key, item.codec) for item in done.evidence.state] == [("missing", "pickle")]


def test_each_piece_of_state_says_how_it_is_stored_and_what_reading_it_needs(tmp_path: Path) -> None:
    before = (
        "import fractions\nimport numpy as np\nimport pandas as pd\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "a = {'m': np.ones(3)}\nb = StandardScaler().fit([[1.0], [2.0]])\nc = fractions.Fraction(1, 3)\n"
        "d = (1, 2)\ne = pd.Series([1.0], index=['k'])\nf = [c]"
    )
    evidence = text_run(tmp_path, before, "text", *"abcdef").evidence
    found = {item.key: (item.codec, item.file, item.modules) for item in evidence.state}
    assert found == {
        "a": ("npz", "state/a.npz", ("numpy",)),
        "b": ("skops", "state/b.skops", ("numpy", "sklearn", "skops")),
        "c": ("pickle", "state/c.pkl", ("fractions",)),
        "d": ("json", "state/d.json", ()),
        "e": ("parquet", "state/e.parquet", ("numpy", "pandas", "pyarrow")),
        "f": ("pickle", "state/f.pkl", ("fractions",)),
    }
    assert {item.key: item.why for item in evidence.state if item.why} == {
        "c": "fractions.Fraction has no safer form",
        "f": "fractions.Fraction has no safer form",
    }
    assert {item.type for item in evidence.state} >= {"tuple", "fractions.Fraction", "pandas.Series"}
    for item in evidence.state:
        data = (tmp_path / "run" / item.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (item.bytes, item.sha256)


HERE_AND_NOW = {
    "path": ("from pathlib import Path\nf = {'data': [Path.cwd() / 'x.csv']}", "warning", "x.csv"),
    "text": ("import os\nf = os.path.join(os.getcwd(), 'x.csv')", "warning", "x.csv"),
    "home": ("f = '~/x.csv'", "warning", "'~/x.csv'"),
    "now": ("import datetime as dt\nf = dt.datetime.now()", "info", "time of this run"),
    "utc": ("import datetime as dt\nf = [dt.datetime.now(dt.UTC)]", "info", "time of this run"),
    "pandas": ("import pandas as pd\nf = pd.Timestamp.now().normalize()", "info", "time of this run"),
    "today": ("import datetime as dt\nf = {'at': dt.date.today()}", "info", "time of this run"),
}


@pytest.mark.parametrize("name", HERE_AND_NOW)
def test_state_that_holds_only_here_and_now_is_named(tmp_path: Path, name: str) -> None:
    source, severity, text = HERE_AND_NOW[name]
    (found,) = text_run(tmp_path, source, "text", "f").diagnostics
    assert (found.code, found.severity, found.cell, found.line) == ("NB338", severity, "c1", 1)
    assert text in found.message


def test_state_that_holds_anywhere_and_ever_is_not_named(tmp_path: Path) -> None:
    source = "import datetime as dt\nf = ['/', '/usr/share/x', 'a/b', dt.datetime(2020, 1, 2), dt.date.min]"
    assert text_run(tmp_path, source, "text", "f").diagnostics == ()


def test_a_large_value_is_named_with_the_line_that_pulled_it_in(tmp_path: Path) -> None:
    cells = (
        ("", "import numpy as np\n\ntable = np.zeros(15_000_000)\nsmall = np.zeros(9)"),
        ("example", "text = 'abc'"),
        ("model", "text.upper()\ntext + str(table[3] + small[2])"),
    )
    book_ = book(tmp_path, *cells)
    done = plans.run(book_, extract(book_).plan)
    (warning,) = done.diagnostics
    assert (warning.code, warning.severity) == ("NB314", "warning")
    assert (warning.cell, warning.number, warning.line) == ("c1", 1, 3)
    assert warning.message == (
        "'table' (an ndarray) of 120 MB goes into the package, because serving code reads it in cell 3,"
        " line 2"
    )
    assert warning.hint


MODELS = """\
import enum
class Model:
    def __init__(self, score):
        self.score = score
class Unit(enum.Enum):
    KM = 1
models = {name: Model(ord(name)) for name in "ab"}
best = max(models.values(), key=lambda model: model.score)
good = [best]
ranks = {best: 1}
settings = {"depth": [3]}
depth = settings["depth"]
units = {"a": Unit.KM}
unit = [Unit.KM][0]
MISSING = Model(0)
table = {"a": MISSING}
scores = {id(models["b"]): 1}
"""

COMPARED = {
    "is": ("models[text] is best", "models['b'] and best"),
    "is not": ("best is not models[text]", "models['b'] and best"),
    "==": ("models[text] == best", "models['b'] and best"),
    "in": ("models[text] in good", "models['b'] and good[0]"),
    "key": ("ranks.get(models[text])", "models['b'] and ranks"),
    "a dict": ("settings[text] is depth", "settings['depth'] and depth"),
    "sentinel": ("table.get(text, MISSING) is MISSING", "MISSING and table['a']"),
    "id": ("scores.get(id(models[text]), 0)", "scores holds the `id` of models['b']"),
    "two ids": ("id(models[text]) == id(best)", "models['b'] and best"),
    "in a helper": ("same(models[text], best)", "models['b'] and best"),
    "read only": ("[models[text].score, best.score]", ""),
    "key in a dict": ("(models[text] if text in models else best).score", ""),
    "None": ("models.get(text) is not None and best.score", ""),
    "a parameter": ("(lambda id: id.score)(models[text]) < best.score", ""),
    "a type": ("type(models[text]) is type(best)", ""),
    "equal dicts": ("settings.get(text) == depth", ""),
    "an enumeration": ("units[text] is unit", ""),
}


@pytest.mark.parametrize("name", COMPARED)
def test_one_object_in_two_pieces_of_state_is_named_where_it_is_compared(name: str, tmp_path: Path) -> None:
    role, text = COMPARED[name]
    helper = "def same(one, other):\n    return one is other\n" if "helper" in name else ""
    cells = (("", MODELS + helper), ("example", "text = 'a'"), ("model", role))
    findings = shared_in(tmp_path, *cells)
    assert [(f.code, f.severity, f.cell) for f in findings] == ([("NB315", "warning", "c1")] if text else [])
    assert all(text in f.message for f in findings)


def shared_in(folder: Path, *cells: tuple[str, str]) -> list[Finding]:
    """What is said of the state of a notebook; its first cell alone has run."""
    what = extract(book(folder, *cells)).plan
    names = notebook_names(cells[0][1])
    captured = StateCapture(to_json(what.state), folder / "state", codecs, lambda one, other: one is other)
    for item in what.state:
        captured.capture(item.cell, item.when, names, what.rehome)
    return captured.findings()


# --- roles that cannot be served -----------------------------------------------------------------


def refused(folder: Path, cells: tuple[tuple[str, str], ...], what: CapturePlan) -> NotebookError:
    with pytest.raises(NotebookError) as caught:
        plans.run(book(folder, *cells), what)
    assert caught.value.number is not None
    return caught.value


def test_a_role_that_answers_at_random(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="differently each time") as caught:
        text_run(tmp_path, "import random", "text + str(random.random())")
    assert (caught.value.code, caught.value.cell, caught.value.number) == ("NB321", "c3", 3)


def test_a_role_function_that_fails_on_the_example(tmp_path: Path) -> None:
    cells = (("model", "def score(text):\n    return text / 2"), ("example", "text = 'abc'"))
    what = plan("text", function("model", "score", "text", "p", "c1"), moment="c2", example="c2")
    error = refused(tmp_path, cells, what)
    assert isinstance(error, RunError)
    assert (error.code, error.cell, error.line) == ("NB303", "c1", 2)
    assert "score fails on the example: TypeError" in error.message
    assert "text / 2" in error.traceback


ONE_ROLE = plan("x", inline("model", "x", "p", "c2"), moment="c2", example="c1", reference=("c3", None))
ROLE_ERRORS = {
    "unsupported example": ("x = (1, 2)", "x", "[]", "NB220", "c1"),
    "example that cannot be copied": ("x = {'f': open('f', 'w')}", "1", "[]", "NB220", "c1"),
    "names that are no text": ("x = {1: 2}", "1", "[]", "NB221", "c1"),
    "empty example": ("x = []", "x", "[]", "NB222", "c1"),
    "too few answers": ("x = [1, 2, 3]", "[i for i in x if i > 1]", "[1]", "NB223", "c2"),
    "no rows": ("x = [1, 2, 3]", "sum(x)", "[1]", "NB223", "c2"),
    "too few answers to the reference": ("x = [1, 2]", "[i for i in x if i > 0]", "[0, 1, 2]", "NB223", "c2"),
    "an answer of None": ("x = [1, 2]", "open('f', 'w').close()", "[1]", "NB223", "c2"),
    "a row alone": ("import numpy as np\nx = [1, 2]", "np.array(x).squeeze()", "[1]", "NB223", "c2"),
    "keys inside that are no text": ("x = {'r': [{10: 5}]}", "1", "[]", "NB221", "c1"),
    "columns of one name": (
        "import pandas as pd\nx = pd.DataFrame({'a': [1, 2]})",
        "pd.concat([x, x], axis=1)",
        "x",
        "NB224",
        "c2",
    ),
    "keys that become one": ("x = {'a': 1}", "{1: 2, '1': 3}", "x", "NB224", "c2"),
    "answer without JSON form": ("x = 'a'", "x.encode()", "['b']", "NB224", "c2"),
    "answer that cannot be kept": ("x = 'a'", "(i for i in x)", "['b']", "NB224", "c2"),
    "reference of another kind": ("x = {'a': 1}", "x['a']", "[1, 2]", "NB225", "c3"),
    "reference without a column": ("x = {'a': 1, 'b': 2}", "x['a']", "[{'a': 1}]", "NB225", "c3"),
}


@pytest.mark.parametrize("name", ROLE_ERRORS)
def test_roles_that_cannot_be_served(tmp_path: Path, name: str) -> None:
    example, model, reference, code, cell = ROLE_ERRORS[name]
    error = refused(tmp_path, (("example", example), ("model", model), ("reference", reference)), ONE_ROLE)
    assert (error.code, error.cell) == (code, cell)


def test_an_example_that_is_not_bound(tmp_path: Path) -> None:
    error = refused(tmp_path, (("example", "if 0: x = 1"), ("model", "1"), ("reference", "[1]")), ONE_ROLE)
    assert (error.code, error.cell) == ("NB220", "c1")


# --- reference rows ------------------------------------------------------------------------------


def test_reference_rows_unlike_the_example_are_left_out(tmp_path: Path) -> None:
    cells = (
        ("example", "x = [1, 2]"),
        ("model", "[100 // i for i in x]"),
        ("reference", "[4, 'a', 5, 0, 20]"),
    )
    done = plans.run(book(tmp_path, *cells), ONE_ROLE)
    assert [d.code for d in done.diagnostics] == ["NB323", "NB325"]
    assert "1 of 5 sampled reference rows" in done.diagnostics[0].message
    assert "fails on 1 of 4 sampled reference rows: ZeroDivisionError" in done.diagnostics[1].message
    assert cases(done)[1] == {"name": "reference", "instances": [4, 5, 20], "answers": [[25, 20, 5]]}


def test_a_field_with_two_kinds_of_missing_values(tmp_path: Path) -> None:
    rows = "import numpy as np\nx = [{'v': 'a'}, {'v': None}]"
    cells = (
        ("example", rows),
        ("model", "[r['v'] is None for r in x]"),
        ("reference", "[*x, {'v': np.nan}]"),
    )
    done = plans.run(book(tmp_path, *cells), ONE_ROLE)
    (warning,) = done.diagnostics
    assert (warning.code, warning.severity) == ("NB337", "warning")
    assert "'v' holds None and np.nan for missing values" in warning.message
    assert done.evidence.contract.fields[0].missing == "None"


def test_reference_rows_that_json_does_not_carry(tmp_path: Path) -> None:
    cells = (
        ("example", "x = [{'v': [1]}, {'v': [2]}]"),
        ("model", "[type(r['v']).__name__ for r in x]"),
        ("reference", "[*x, {'v': (3,)}, {'v': [4]}]"),
    )
    (warning,) = plans.run(book(tmp_path, *cells), ONE_ROLE).diagnostics
    assert warning.code == "NB337"
    assert "1 of 4 sampled reference rows hold (3,) (tuple) in 'v'" in warning.message
    assert "as [3] (list)" in warning.message


def test_a_role_that_uses_what_json_does_not_carry(tmp_path: Path) -> None:
    cells = (
        ("example", "import pandas as pd\nx = pd.DataFrame({'a': [1, 2, 3]}, index=[7, 8, 9])"),
        ("model", "x.index.to_numpy() + x['a'].to_numpy()"),
        ("reference", "x"),
    )
    (warning,) = plans.run(book(tmp_path, *cells), ONE_ROLE).diagnostics
    assert (warning.code, warning.severity) == ("NB324", "warning")


def test_without_a_reference_cell_rows_come_from_where_the_example_came_from(tmp_path: Path) -> None:
    cells = (
        (
            "",
            "import pandas as pd\n"
            "all_rows = pd.DataFrame({'a': range(300), 'b': [0.5, None, 1.5] * 100, 't': 1})",
        ),
        ("example", "columns = ['a', 'b']\nbatch = all_rows[columns].head(30)"),
        ("model", "batch['c'] = 1\nbatch.a + batch.b.fillna(0)"),
    )
    model = inline("model", "batch", "p", "c3")
    what = plan("batch", model, moment="c3", example="c2", reads="all_rows columns")
    done = plans.run(book(tmp_path, *cells), what)
    assert done.diagnostics == ()
    assert done.reference_rows == 300
    assert [f.maximum for f in done.evidence.contract.fields] == [299, 1.5]
    example, reference = cases(done)
    assert reference["name"] == "what the example came from"
    assert len(example["instances"]) == 30
    assert len(done.evidence.contract.example) == len(response(done)) == 20
    assert len(reference["answers"][0]) == len(reference["instances"]) == 200
    assert done.evidence.decoding == ("numpy", "pandas")


def test_several_names_make_a_request(tmp_path: Path) -> None:
    cells = (("example", "a = 'x'\nn = 3"), ("model", "a * n"))
    done = plans.run(
        book(tmp_path, *cells), plan("a n", inline("model", "a n", "p", "c2"), moment="c2", example="c1")
    )
    contract = done.evidence.contract
    assert (contract.kind, contract.request) == ("names", ("a", "n"))
    assert (contract.example, contract.response) == (({"a": "x", "n": 3},), ("xxx",))
