"""Fitted state as bytes and back: which codec a value gets, that it comes back as it was, what is refused."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import hashlib
import io
import json
import math
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.special
import sklearn
import xgboost as xgb
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from nb2prod.extract.extract import FIXED_FILES
from nb2prod.extract.package import codecs, formats
from nb2prod.validation.compare import same
from nb2prod.validation.probe.faithful import difference
from nb2prod.validation.probe.pickling import Homes
from nb2prod.validation.probe.storing import Stored, store
from nb2prod.validation.run import PACKAGE

NONE = Homes.now({}, {})


def through(value: Any, homes: Homes = NONE) -> tuple[Any, Stored]:
    """A value that was stored and read back, and how."""
    stored, data = store(value, homes, codecs)
    return codecs.read(data, stored.codec, stored.trusted, homes.find), stored


def test_the_one_nan_of_a_library_comes_back_as_that_one() -> None:
    back, stored = through({"codes": {np.nan: 1, "a": 2}, "seen": [0.5, np.nan, math.nan]})
    assert (stored.codec, back["codes"][np.nan]) == ("json", 1)
    assert back["seen"][1] is np.nan
    assert back["seen"][2] is math.nan
    assert "numpy" in stored.modules
    back, stored = through([{np.nan: 1}, Fraction(1, 3), math.nan])
    assert (stored.codec, back[0][np.nan], back[2] is math.nan) == ("pickle", 1, True)


# --- which codec ---------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
TABLE = pd.DataFrame({"n": X[:, 0], "c": np.where(X[:, 1] > 0, "a", "b")})
COLUMNS = ColumnTransformer([("n", StandardScaler(), ["n"]), ("c", OneHotEncoder(), ["c"])])
GRID = np.arange(6.0).reshape(2, 3)
SPLIT = pd.DataFrame({"y": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None]))


def with_attrs(frame: pd.DataFrame, **attrs: Any) -> pd.DataFrame:
    frame.attrs = attrs
    return frame


JSON: dict[str, Any] = {
    "plain": {"a": [1, 0.1, None, True, "ä"], "b": {}},
    "odd floats": [math.inf, math.nan, -0.0],
    "large number": 2**5000,
    "tuples": [(1, 2), (), ((1, [2]), 3)],
    "keys": {1: "a", None: "b", ("x", 2): "c", 0.5: "d"},
    "what looks like a tag": [{"$tuple": [1]}, {"$npy": 1, "b": 2}, {"$x": {"$set": 1}}],
    "sets": [{2, "b", None}, frozenset(["a"]), set()],
    "bytes": [b"\x00\xff", bytearray(b"ab"), 2 - 1j, range(1, 9, 2)],
    "moments": [
        dt.date(2020, 1, 2),
        dt.time(3, 4),
        dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
        dt.timedelta(1, 2, 3),
    ],
    "decimal": Decimal("1.10"),
    "collections": [
        collections.Counter("aab"),
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, {"a": [1]}),
        collections.deque([1, 2], 5),
    ],
    "numpy's numbers": {"t": np.float64(0.5), "s": np.float32(0.1), "n": np.int8(3), "b": np.bool_(True)},
    "numpy's others": [
        np.str_("x"),
        np.datetime64("2020-01-01T05", "s"),
        np.timedelta64("NaT"),
        np.complex64(1j),
    ],
    "array of objects": np.array([["a", None], [1, [2, 3]]], dtype=object),
    "timestamps": [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-07-01", tz="Europe/Berlin")],
    "a partial": functools.partial(np.random.default_rng, 3),
    "patterns": [re.compile("a+", re.IGNORECASE), re.compile(b"b")],
    "names": [float, np.float32, StandardScaler, np.clip, np.log1p],
    "the same flat tuple twice": [(1, "a")] * 2,
}
TABLES: dict[str, Any] = {
    "frame": TABLE,
    "nothing": pd.DataFrame(),
    "labels of rows": TABLE.set_index("c"),
    "labels of both": SPLIT,
    "labels of columns": pd.DataFrame(
        GRID, columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    ),
    "numbered columns": pd.DataFrame(GRID),
    "by rows": pd.DataFrame(GRID.copy(), copy=False),
    "named columns": pd.DataFrame(GRID, columns=pd.Index([1, 2, 3], name="n")),
    "two columns of one name": pd.DataFrame(GRID, columns=["a", "b", "a"]),
    "attributes": with_attrs(pd.DataFrame({"a": [1]}), source=("x", 1)),
    "nullable": pd.DataFrame({"i": pd.array([1, None], "Int8"), "b": pd.array([True, None], "boolean")}),
    "objects": pd.DataFrame({"s": ["a", None], "n": [1, 2], "d": [dt.date(2020, 1, 1)] * 2}, dtype=object),
    "categories": pd.Series(pd.Categorical(["b", None], categories=["c", "b"], ordered=True), name="k"),
    "moments": pd.DataFrame(
        {"s": pd.to_datetime(["2020-01-01"]).as_unit("s"), "z": pd.to_datetime(["2020-01-01"], utc=True)}
    ),
    "means": TABLE.groupby("c")["n"].mean(),
    "by day": pd.Series([1.0, 2.0], index=pd.date_range("2020-01-01", periods=2, freq="D")),
    "names": pd.Index(["a", "b"], name="columns"),
    "range": pd.RangeIndex(2, 8, 3, name="r"),
    "intervals": pd.interval_range(0, 3),
    "periods": pd.period_range("2020-01", periods=3, freq="M"),
}
CODECS: dict[str, list[Any]] = {
    "json": list(JSON.values()),
    "parquet": list(TABLES.values()),
    "npy": [
        np.array([[1.5, math.nan]], dtype=np.float32),
        np.array(["2020-01-01"], dtype="datetime64[ns]"),
        np.asfortranarray(GRID),
        GRID[:, ::2],
        np.zeros(3, dtype=[("a", "f4"), ("b", "U3")]),
        np.array(3.0),
    ],
    "npz": [
        {"mean": X.mean(axis=0), "std": X.std(axis=0), "n": 60, 7: np.float32(1)},
        [GRID, (GRID.T, "x")],
        sp.csr_matrix(np.eye(3)),
        {"a": sp.csc_array(np.eye(3)), "b": sp.coo_matrix(np.eye(2))},
    ],
    "zip(parquet)": [pd.CategoricalDtype(["b", "a"]), {"medians": TABLE.median(numeric_only=True)}],
    "zip(npy,parquet)": [{"medians": TABLE.median(numeric_only=True), "rows": X, "columns": ["n"]}],
    "skops": [
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
        make_pipeline(COLUMNS, LogisticRegression()).fit(TABLE, Y),
        RandomForestClassifier(5, random_state=0).fit(X, Y),
        GradientBoostingClassifier(n_estimators=3, random_state=np.random.RandomState(0)).fit(X, Y),
        make_pipeline(FunctionTransformer(np.abs), StandardScaler()).fit(X),
        make_pipeline(StandardScaler(), xgb.XGBClassifier(n_estimators=3)).fit(X, Y),
        lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, Y),
        scipy.special.expit,
        np.random.RandomState(3),
    ],
    "zip(npy,skops)": [{"scaler": StandardScaler().fit(X), "mean": X.mean(axis=0)}],
    "zip(xgboost)": [
        xgb.XGBClassifier(n_estimators=3, max_depth=2, random_state=1).fit(X, Y),
        xgb.XGBRegressor(n_estimators=9, early_stopping_rounds=2).fit(X, Y, eval_set=[(X, Y)], verbose=False),
        xgb.train({"max_depth": 2}, xgb.DMatrix(TABLE[["n"]], label=Y), 3),
    ],
    "zip(lightgbm)": [lgb.train({"verbose": -1}, lgb.Dataset(X, Y), 3)],
}


@pytest.mark.parametrize(("codec", "i"), [(c, i) for c, values in CODECS.items() for i in range(len(values))])
def test_a_value_gets_the_safest_codec_that_gives_it_back(codec: str, i: int) -> None:
    value = CODECS[codec][i]
    back, stored = through(value)
    assert (stored.codec, stored.why) == (codec, "")
    assert difference(value, back) is None


def test_models_answer_as_before_and_keep_their_parameters() -> None:
    for model in [*CODECS["skops"][:3], *CODECS["zip(xgboost)"][:2]]:
        data = TABLE if isinstance(getattr(model, "steps", [[0, 0]])[0][1], ColumnTransformer) else X
        back, _ = through(model)
        assert np.array_equal(back.predict(data), model.predict(data))
        assert repr(back.get_params()) == repr(model.get_params())
    booster = CODECS["zip(xgboost)"][2]
    assert through(booster)[0].feature_names == ["n"]
    assert np.array_equal(
        through(CODECS["zip(lightgbm)"][0])[0].predict(X), CODECS["zip(lightgbm)"][0].predict(X)
    )


def test_what_reading_needs() -> None:
    assert through([1])[1].modules == frozenset()
    assert through(np.float64(1))[1].modules == {"numpy"}
    assert through(TABLE)[1].modules == {"pandas", "pyarrow", "numpy"}
    assert through(CODECS["skops"][0])[1].modules == {"skops", "sklearn", "numpy"}
    assert through(CODECS["skops"][6])[1].modules >= {"skops", "lightgbm"}
    model = through(CODECS["zip(xgboost)"][0])[1]
    assert model.modules >= {"xgboost", "sklearn", "numpy"}
    assert model.trusted == ("xgboost.sklearn:XGBClassifier",)
    assert through(CODECS["skops"][2])[1].trusted == ("sklearn.tree._tree.Tree",)


def test_a_large_vocabulary_is_not_left_to_skops() -> None:
    texts = [" ".join(f"word{i * 10 + j}" for j in range(10)) for i in range(1000)]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [i % 2 for i in range(1000)])
    back, stored = through(model)
    assert stored.codec == "zip(skops)"
    assert stored.trusted[-2:] == (
        "sklearn.feature_extraction.text:TfidfVectorizer",
        "sklearn.pipeline:Pipeline",
    )
    assert np.array_equal(back.predict_proba(texts), model.predict_proba(texts))


# --- pickle, and why -----------------------------------------------------------------------------


class Own:
    """Made in a way of its own."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __reduce__(self) -> Any:
        return Own, (self.x,)


SCALER = StandardScaler().fit(X)
LIST: list[int] = []
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
ZONE = dt.timezone(dt.timedelta(hours=1), "here")

PICKLED: dict[str, tuple[Any, str]] = {
    "a list under two names": ({"a": LIST, "b": LIST}, "one list stands in two places"),
    "an array under two names": ({"a": GRID, "b": GRID}, "one numpy.ndarray stands in two places"),
    "an estimator and a part of it": (
        {"model": make_pipeline(SCALER), "scaler": SCALER},
        "gives back another",
    ),
    "depth": (DEEP, "nested more than 200 deep"),
    "a named time zone": (dt.datetime(2020, 1, 1, tzinfo=ZONE), "json gives back another"),
    "a fraction": (Fraction(1, 3), "fractions.Fraction has no safer form"),
    "two halves of a letter": ("\ud83d\ude00", "json gives back another str"),
    "its own way": ([Own(3)], "Own has no safer form"),
    "longdouble": (np.longdouble(1), "numpy.longdouble has no safer form"),
    "None and NaN": (pd.Series([None, math.nan], dtype=object), "parquet gives back another"),
    "complex column": (pd.Series([1j]), "parquet cannot hold it"),
    "a subclass": (type("Mine", (dict,), {"__module__": "collections"})(a=1), "has no safer form"),
}
for mine in (PICKLED["a subclass"][0],):
    collections.Mine = type(mine)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", PICKLED)
def test_what_needs_pickle_says_why(name: str) -> None:
    value, why = PICKLED[name]
    back, stored = through(value)
    assert stored.codec == "pickle"
    assert why in stored.why
    assert type(back) is type(value)


def test_what_is_one_object_stays_one() -> None:
    back, _ = through(PICKLED["a list under two names"][0])
    assert back["a"] is back["b"]
    back, _ = through(PICKLED["an estimator and a part of it"][0])
    assert back["model"][0] is back["scaler"]


# --- the notebook's own functions and classes ----------------------------------------------------

NOTEBOOK = """
from enum import Enum
from sklearn.base import BaseEstimator, TransformerMixin
def clip(values):
    return values.clip(0)
class Clip(TransformerMixin, BaseEstimator):
    def __init__(self, low=0):
        self.low = low
    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self
    def transform(self, X):
        return X.clip(self.low) - self.mean_
class Size(Enum):
    S = 1
    L = 2
class Box:
    class Lid: pass
    def __init__(self):
        self.lid, self.sizes = Box.Lid(), {"a": (1, 2)}
"""


@pytest.fixture
def notebook() -> dict[str, Any]:
    """What a notebook has bound that defines a function and two classes."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(NOTEBOOK, names)
    return names


REHOME = dict.fromkeys(("clip", "Clip", "Box", "Size"), "helpers")


def test_members_of_an_enumeration_are_kept_by_their_name(notebook: dict[str, Any]) -> None:
    size = notebook["Size"]
    back, stored = through({size.S: [size.L, size.S], "s": size.S}, Homes.now(notebook, REHOME))
    assert (stored.codec, stored.used) == ("json", {"Size"})
    assert back[size.S] == [size.L, size.S]
    assert back["s"] is size.S


def test_objects_of_the_notebook_are_kept_by_the_name_of_their_home(notebook: dict[str, Any]) -> None:
    homes = Homes.now(notebook, REHOME)
    model = make_pipeline(
        notebook["Clip"](0.5), FunctionTransformer(notebook["clip"]), StandardScaler(), LogisticRegression()
    ).fit(X, Y)
    back, stored = through(model, homes)
    assert stored.codec == "zip(npy,skops)"
    assert stored.used == {"clip", "Clip"}
    assert {".helpers:Clip", ".helpers:clip", "sklearn.pipeline:Pipeline"} <= set(stored.trusted)
    assert np.array_equal(back.predict_proba(X), model.predict_proba(X))
    back, stored = through({"box": notebook["Box"]()}, homes)
    assert (stored.codec, stored.used) == ("json", {"Box"})
    assert type(back["box"].lid) is notebook["Box"].Lid
    assert back["box"].sizes == {"a": (1, 2)}


def test_a_package_finds_them_in_its_own_modules(tmp_path: Path, notebook: dict[str, Any]) -> None:
    write_package(tmp_path / "made_here")
    homes = Homes.now(notebook, REHOME)
    values = {"box": notebook["Box"](), "shared": [notebook["Box"]] * 2, "clip": notebook["clip"]}
    add_state(tmp_path / "made_here", values, homes)
    code = (
        "from made_here import runtime, helpers\n"
        "box, shared, clip = (runtime.load_state(key) for key in ('box', 'shared', 'clip'))\n"
        "assert type(box.lid) is helpers.Box.Lid and clip is helpers.clip and shared[1] is helpers.Box\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- the same each time --------------------------------------------------------------------------

FIT = """
import hashlib, sys
import numpy as np, pandas as pd, xgboost as xgb
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from nb2prod.extract.package import codecs
X = np.random.default_rng(0).normal(size=(60, 3))
y = (X[:, 0] > 0).astype(int)
words = {"one", "two", "three", "four"}
for value in (
    make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)).fit(X, y),
    OneHotEncoder(handle_unknown="ignore").fit(pd.DataFrame({"c": sorted(words)})),
    xgb.XGBClassifier(n_estimators=3).fit(X, y),
    {"words": words, "table": pd.DataFrame(X), "rows": X},
):
    print(hashlib.sha256(codecs.write(value).data).hexdigest())
"""


def test_two_processes_write_the_same_bytes() -> None:
    def run(seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", FIT], env=env, capture_output=True, text=True, check=True
        ).stdout

    first = run("1")
    assert len(first.split()) == 4
    assert run("2") == first


# --- loading from a package ----------------------------------------------------------------------


def write_package(folder: Path) -> None:
    """A package of the fixed files and the notebook's `helpers.py`, without state."""
    folder.mkdir()
    (folder / "state").mkdir()
    for name in FIXED_FILES:
        (folder / name).write_text((PACKAGE / name).read_text("utf-8"))
    (folder / "__init__.py").write_text("")
    (folder / "helpers.py").write_text(NOTEBOOK)


def add_state(folder: Path, values: Mapping[str, Any], homes: Homes = NONE) -> None:
    """Store values in a package and name them in its manifest."""
    entries = []
    for key, value in values.items():
        stored, data = store(value, homes, codecs)
        assert stored.codec != "pickle"
        (folder / "state" / key).write_bytes(data)
        entries.append(entry(key, data, stored.codec, stored.trusted))
    (folder / "manifest.json").write_text(json.dumps({"state": entries}))


def entry(key: str, data: bytes, codec: str, trusted: tuple[str, ...] = ()) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    return {"key": key, "file": f"state/{key}", "codec": codec, "sha256": sha256, "trusted": list(trusted)}


ONE_OF_EACH = {**{codec: values[0] for codec, values in CODECS.items()}, "pickle": Fraction(1, 3)}


@pytest.mark.parametrize("codec", ONE_OF_EACH)
def test_a_tampered_file_is_refused_before_it_is_read(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, data = store(ONE_OF_EACH[codec], NONE, codecs)
    assert stored.codec == codec
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "s"
    item = entry("s", data, codec, stored.trusted)
    file.write_bytes(data)
    assert difference(codecs.load(tmp_path, item), ONE_OF_EACH[codec]) is None
    for i in (0, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        monkeypatch.setattr(codecs, "read", None)  # reading would be a TypeError
        with pytest.raises(codecs.DamagedState, match=r"state/s is not the file that was proven"):
            codecs.load(tmp_path, item)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(codecs.DamagedState, match=r"state/s: .*No such file"):
        codecs.load(tmp_path, entry("s", b"1", "json"))


@pytest.mark.parametrize("place", ["../s", "{outside}", "state/link"])
def test_a_file_outside_the_package(place: str, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"1")
    package = tmp_path / "package"
    (package / "state").mkdir(parents=True)
    (package / "state" / "link").symlink_to(tmp_path / "s")
    item = {**entry("s", b"1", "json"), "file": place.format(outside=tmp_path / "s")}
    with pytest.raises(codecs.DamagedState, match="no file of this package"):
        codecs.load(package, item)


ENABLED = """
import sys
from pathlib import Path
from sklearn.experimental import enable_iterative_imputer
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from nb2prod.extract.package import codecs
from nb2prod.validation.probe.pickling import Homes
from nb2prod.validation.probe.storing import store
rows = [[1.0, 2.0], [2.0, 4.0], [3.0, 7.0]]
pipe = make_pipeline(IterativeImputer(), LinearRegression()).fit(rows, [1, 2, 3])
stored, data = store(pipe, Homes.now({}, {}), codecs)
Path(sys.argv[1]).write_bytes(data)
print(stored.codec, *stored.trusted)
"""


READ = """
import sys
from pathlib import Path
from nb2prod.extract.package import codecs
file, codec, *trusted = sys.argv[1:]
print(*codecs.read(Path(file).read_bytes(), codec, trusted).named_steps)
"""


def test_an_estimator_that_an_import_has_enabled_is_read_without_it(tmp_path: Path) -> None:
    def printed(code: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-c", code, str(tmp_path / "s"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    codec, *trusted = printed(ENABLED)
    assert codec == "skops"
    assert "sklearn.impute._iterative.IterativeImputer" in trusted
    assert printed(READ, codec, *trusted) == ["iterativeimputer", "linearregression"]


@pytest.mark.parametrize("codec", ["skops", "zip(xgboost)", "json"])
def test_a_manifest_that_trusts_less_than_the_file_needs(codec: str, tmp_path: Path) -> None:
    value = {"skops": CODECS["skops"][2], "json": JSON["names"]}.get(codec, CODECS[codec][0])
    stored, data = store(value, NONE, codecs)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "s").write_bytes(data)
    assert stored.trusted
    with pytest.raises(
        codecs.DamagedState, match=r"state/s: it names .*, (which )?the manifest does not trust|Untrusted"
    ):
        codecs.load(tmp_path, entry("s", data, codec))


def test_an_archive_is_a_zip_file_that_numpy_can_read_too() -> None:
    _, data = store({"mean": GRID}, NONE, codecs)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert json.loads(file.read("tree.json")) == {"mean": {"$npy": ["0.npy"]}}
    assert np.array_equal(np.load(io.BytesIO(data))["0"], GRID)


def test_reading_plain_state_imports_nothing_but_the_standard_library(tmp_path: Path) -> None:
    write_package(tmp_path / "made_here")
    add_state(tmp_path / "made_here", {"s": {"a": (1, {2})}})
    code = (
        "import sys\nfrom made_here import runtime\nassert runtime.load_state('s') == {'a': (1, {2})}\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(tops & {'numpy', 'pandas', 'pyarrow', 'skops', 'sklearn', 'scipy', 'torch'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_another_process_reads_what_arrow_knows_from_pandas_alone(tmp_path: Path) -> None:
    """Periods and intervals: pandas tells Arrow of them only where it writes some."""
    months = pd.period_range("2024-01", periods=2, freq="M")
    values = {
        "bins": pd.cut([1.0, 2.0, 9.0], 3).categories,
        "by_month": pd.Series([1, 2], index=months),
        "frame": pd.DataFrame({"month": months}),
    }
    write_package(tmp_path / "made_here")
    add_state(tmp_path / "made_here", values)
    for key, value in values.items():  # each on its own: what is read first must not help the next
        code = f"from made_here import runtime\nassert repr(runtime.load_state({key!r})) == {repr(value)!r}"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_library_that_is_not_installed_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    numbers = pd.Series([1.0, 2.0])
    back, stored = through(numbers)
    assert (stored.codec, stored.why) == ("pickle", "pyarrow is not installed")
    assert back.equals(numbers)


# --- any value -----------------------------------------------------------------------------------

TEXTS = st.text(max_size=4)
NATIVE = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="="),
    hnp.floating_dtypes(endianness="="),
    hnp.datetime64_dtypes(endianness="="),
    hnp.timedelta64_dtypes(endianness="="),
)
"""Of other byte orders, numpy's own pickles of empty arrays are not faithful."""

FLOATS = st.floats()
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    FLOATS,
    TEXTS,
    st.binary(max_size=4),
    st.complex_numbers(allow_nan=False),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, ZONE])),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    NATIVE.flatmap(lambda dtype: hnp.arrays(dtype, ()).map(lambda array: array[()])),
    st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)).map(pd.Timestamp),
)
HASHED = st.one_of(
    st.booleans(), st.integers(), TEXTS, st.floats(allow_nan=False), st.dates(), st.binary(max_size=3)
)
ARRAYS = hnp.arrays(NATIVE, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
DTYPES: dict[str, st.SearchStrategy[Any]] = {
    "int8": st.integers(-128, 127),
    "float32": st.floats(width=32),
    "float64": FLOATS,
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "boolean": st.none() | st.booleans(),
    "str": st.none() | TEXTS.filter(lambda text: text.isprintable()),
    "category": st.none() | st.sampled_from("abc"),
    "datetime64[ns]": st.none() | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    "datetime64[s, UTC]": st.datetimes().map(lambda moment: moment.replace(microsecond=0)),
    "timedelta64[us]": st.none() | st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999)),
    "object": st.one_of(st.none(), TEXTS, st.integers(-9, 9)),
}


@st.composite
def series(draw: st.DrawFn, size: int | None = None) -> pd.Series:
    """A column of any dtype."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    count = draw(st.integers(0, 4)) if size is None else size
    values = [draw(DTYPES[dtype]) for _ in range(count)]
    return pd.Series(values, dtype=dtype, name=draw(st.none() | HASHED))


@st.composite
def indexes(draw: st.DrawFn, size: int) -> pd.Index:
    """Labels for rows or columns."""
    kind = draw(st.sampled_from(["range", "texts", "numbers", "days", "pairs", "mixed"]))
    name = draw(st.none() | TEXTS)
    if kind == "range":
        return (
            pd.RangeIndex(draw(st.integers(-3, 3)), None, 1, name=name)[:0]
            if size == 0
            else pd.RangeIndex(size)
        )
    if kind == "days":
        return pd.date_range(
            "2020-01-01", periods=size, freq=draw(st.sampled_from(["D", "MS", "h"])), name=name
        )
    labels = {"texts": TEXTS, "numbers": st.integers(-9, 9), "mixed": st.one_of(TEXTS, st.integers(-9, 9))}
    if kind == "pairs":
        pairs = [(draw(TEXTS), draw(st.integers(0, 2))) for _ in range(size)]
        return pd.MultiIndex.from_tuples(pairs, names=[name, None]) if pairs else pd.Index([])
    return pd.Index([draw(labels[kind]) for _ in range(size)], name=name)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """A table with labels of all kinds."""
    rows, width = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    columns = [draw(series(rows)) for _ in range(width)]
    frame = pd.DataFrame({i: column.array for i, column in enumerate(columns)}, index=draw(indexes(rows)))
    frame.columns = draw(indexes(width))
    return frame


LEAVES = st.one_of(SCALARS, ARRAYS, series(), frames(), st.integers(0, 4).flatmap(indexes))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(TEXTS, inner, max_size=3),
        st.dictionaries(HASHED, inner, max_size=3),
        st.dictionaries(st.sampled_from(["$tuple", "$npy", "a"]), inner, max_size=2),
        st.sets(HASHED, max_size=3),
        st.frozensets(HASHED, max_size=3),
    ),
    max_leaves=6,
)
VALUES = st.tuples(TREES, st.sampled_from([False] * 9 + [True])).map(lambda p: [p[0]] * 2 if p[1] else p[0])


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_any_value_comes_back_as_it_was(value: Any) -> None:
    back, stored = through(value)
    event(stored.codec)
    assert type(back) is type(value)
    assert bool(stored.why) == (stored.codec == "pickle")
    assert stored.codec == "pickle" or difference(value, back) is None
    assert same(value, back)


def test_skops_is_the_vendors_own() -> None:
    from skops import io as skops_io

    _, data = store(CODECS["skops"][0], NONE, codecs)
    assert skops_io.get_untrusted_types(data=data) == []
    assert isinstance(skops_io.loads(data), sklearn.pipeline.Pipeline)
    assert not any(isinstance(finder, formats._PassedBy) for finder in sys.meta_path)
