"""Models as ONNX: which are converted, that they answer alike, and what goes to the original."""

from __future__ import annotations

import copy
import hashlib
import importlib
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from nb2prod.domain import Accelerated
from nb2prod.extract.package import accelerated
from nb2prod.validation.compare import same
from nb2prod.validation.onnx.convert import LIBRARIES, Watched, tried
from nb2prod.validation.onnx.converters import register
from tests.packages import FIXED

NUMBERS = [f"x{i}" for i in range(12)]
ROWS = 400


def table(seed: int = 0) -> pd.DataFrame:
    """12 columns of numbers and 2 of categories."""
    random = np.random.default_rng(seed)
    made = pd.DataFrame(random.normal(size=(ROWS, 12)), columns=NUMBERS)
    made["city"] = random.choice(["Bonn", "Köln", "Ulm"], ROWS)
    made["kind"] = random.choice(["a", "b"], ROWS)
    return made


X = table()
SCORE = X.x0 + X.x1 * X.x2 + (X.city == "Ulm")
YES = np.where(SCORE > 0.3, "yes", "no")
THREE = np.digitize(SCORE, [-0.5, 0.8])
GAPS = X[NUMBERS].mask(np.random.default_rng(1).random((ROWS, 12)) < 0.1)


def encoded(last: Any, numbers: Any = None, categories: Any = None) -> Pipeline:
    """A pipeline of scaled numbers, encoded categories and a model."""
    encoder = categories or OneHotEncoder(handle_unknown="ignore")
    columns = [("n", numbers or StandardScaler(), NUMBERS), ("c", encoder, ["city", "kind"])]
    return Pipeline([("columns", ColumnTransformer(columns)), ("model", last)])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of trees wait for each other where there are fewer processors."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module of stand-ins, as a package has it; skl2onnx knows our converters."""
    register(LIBRARIES)
    folder = tmp_path_factory.mktemp("packages") / "stands_in"
    shutil.copytree(FIXED, folder)
    sys.path.insert(0, str(folder.parent))
    yield importlib.import_module("stands_in.accelerated")
    sys.path.remove(str(folder.parent))


Convert = Callable[..., tuple[Accelerated, Any, Callable[[], int]]]


@pytest.fixture
def convert(package: ModuleType, tmp_path: Path) -> Convert:
    """Converts a model that was asked: what became of it, its stand-in, how often the original loaded."""
    (tmp_path / "state").mkdir()

    def converting(model: Any, asked: Any, *methods: str) -> tuple[Accelerated, Any, Callable[[], int]]:
        watched, loads = Watched(model), []
        for name in methods:
            getattr(model, name)(asked)
        found = tried("model", watched, package, tmp_path)
        if found.why:
            return found, None, lambda: len(loads)
        # how many rows are quicker depends on the machine
        inputs = {**found.serving["inputs"], "rows": 1_000}
        entry = {"accelerated": {**found.manifest, "inputs": inputs}}
        return found, package.load(tmp_path, entry, lambda: loads.append(1) or model), lambda: len(loads)

    return converting


MODELS: dict[str, tuple[Any, Any, Any, tuple[str, ...]]] = {
    "logistic": (encoded(LogisticRegression()), X, YES, ("predict", "predict_proba")),
    "forest": (encoded(RandomForestClassifier(20, random_state=0)), X, YES, ("predict", "predict_proba")),
    "boosting": (
        encoded(GradientBoostingClassifier(n_estimators=20)),
        X,
        THREE,
        ("predict", "predict_proba"),
    ),
    "scores": (encoded(GradientBoostingClassifier(n_estimators=9)), X, YES, ("predict", "decision_function")),
    "exponential": (
        GradientBoostingClassifier(n_estimators=9, loss="exponential"),
        X[NUMBERS],
        YES == "yes",
        ("predict", "predict_proba"),
    ),
    "histogram": (HistGradientBoostingClassifier(max_iter=20), GAPS, YES, ("predict", "predict_proba")),
    "histogram of 3": (HistGradientBoostingClassifier(max_iter=9), GAPS, THREE, ("predict", "predict_proba")),
    "histogram number": (HistGradientBoostingRegressor(max_iter=20), GAPS, SCORE, ("predict",)),
    "counts": (
        HistGradientBoostingRegressor(max_iter=9, loss="poisson"),
        GAPS,
        SCORE.abs(),
        ("predict",),
    ),
    "imputed": (
        encoded(LogisticRegression(), make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())),
        GAPS.assign(city=X.city, kind=X.kind),
        YES,
        ("predict_proba",),
    ),
    "xgboost": (xgboost.XGBClassifier(n_estimators=20), GAPS, YES == "yes", ("predict", "predict_proba")),
    "xgboost of 3": (xgboost.XGBClassifier(n_estimators=9), GAPS, THREE, ("predict", "predict_proba")),
    "xgboost number": (xgboost.XGBRegressor(n_estimators=20), GAPS.to_numpy(), SCORE, ("predict",)),
    "lightgbm": (lightgbm.LGBMClassifier(verbose=-1), GAPS, YES, ("predict", "predict_proba")),
    "lightgbm of 3": (
        lightgbm.LGBMClassifier(n_estimators=9, verbose=-1),
        X[NUMBERS],
        THREE,
        ("predict", "predict_proba"),
    ),
    "lightgbm number": (lightgbm.LGBMRegressor(verbose=-1), GAPS, SCORE, ("predict",)),
    "regressor": (encoded(RandomForestRegressor(20)), X, SCORE, ("predict",)),
    "boosted number": (GradientBoostingRegressor(n_estimators=9), X[NUMBERS], SCORE, ("predict",)),
    "extra trees": (ExtraTreesRegressor(9), X[NUMBERS].astype(np.float32).to_numpy(), SCORE, ("predict",)),
    "linear": (LinearRegression(), X[NUMBERS], SCORE, ("predict",)),
    "margin": (LinearSVC(), X[NUMBERS], YES, ("predict", "decision_function")),
    "clusters": (KMeans(4, random_state=0), X[NUMBERS], None, ("predict", "transform")),
    "searched": (
        GridSearchCV(encoded(LogisticRegression()), {"model__C": [0.1, 1.0]}, cv=2),
        X,
        YES,
        ("predict", "predict_proba"),
    ),
    "components": (make_pipeline(StandardScaler(), PCA(3)), X[NUMBERS].to_numpy(), None, ("transform",)),
}


def fitted(name: str) -> tuple[Any, Any, tuple[str, ...]]:
    model, asked, target, methods = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(model).fit(asked, target), asked, methods


@pytest.mark.parametrize("name", MODELS)
def test_a_model_answers_as_the_original(convert: Convert, name: str) -> None:
    model, asked, methods = fitted(name)
    found, stand_in, loads = convert(model, asked[:200], *methods)
    assert found.why == ""
    assert (found.methods, found.left) == (methods, {})
    rest = asked[200:]
    few = rest[:1]
    for method in methods:
        assert same(getattr(model, method)(rest), getattr(stand_in, method)(rest), 1e-5)
        assert same(getattr(model, method)(few), getattr(stand_in, method)(few), 1e-5)
    assert loads() == 0, "the original was not asked"
    assert found.difference < 1e-5
    assert found.before_ms > found.after_ms


class Halved(BaseEstimator):
    """A step of the notebook's own."""

    def fit(self, X: Any, y: Any = None) -> Halved:
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Any) -> Any:
        return X / 2


LEFT = {
    "function": (make_pipeline(FunctionTransformer(np.log1p), LinearRegression()), X[NUMBERS].abs(), SCORE),
    "own step": (make_pipeline(Halved(), LinearRegression()), X[NUMBERS], SCORE),
    "text": (make_pipeline(TfidfVectorizer(), LogisticRegression()), [*X.city], YES),
    "dates": (LinearRegression(), X[["x0"]].assign(day=pd.Timestamp("2026-01-01")), None),
}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("function", "FunctionTransformer"),
        ("own step", "Halved"),
        ("text", "it is given list, neither a table nor an array of numbers"),
    ],
)
def test_what_has_no_form_is_left_to_the_original(convert: Convert, name: str, why: str) -> None:
    model, asked, target = LEFT[name]
    found, stand_in, _ = convert(model.fit(asked, target), asked[:50], "predict")
    assert stand_in is None
    assert why in found.why


NONE: dict[str, tuple[Any, str]] = {
    "zero is missing": (xgboost.XGBRegressor(n_estimators=3, missing=0.0), "takes 0.0 for missing"),
    "linear booster": (xgboost.XGBRegressor(n_estimators=3, booster="gblinear"), "booster gblinear"),
    "counts": (xgboost.XGBRegressor(n_estimators=3, objective="count:poisson"), "objective count:poisson"),
    "linear trees": (lightgbm.LGBMRegressor(linear_tree=True, verbose=-1), "linear models"),
    "zeros are gaps": (lightgbm.LGBMRegressor(zero_as_missing=True, verbose=-1), "zero for missing"),
    "tweedie": (lightgbm.LGBMRegressor(objective="tweedie", verbose=-1), "objective tweedie"),
    "own guess": (GradientBoostingRegressor(init=LinearRegression(), n_estimators=3), "a model of its own"),
    "categories": (HistGradientBoostingRegressor(categorical_features=[0]), "splits by categories"),
}


@pytest.mark.parametrize("name", NONE)
def test_trees_of_another_kind_are_left_to_the_original(convert: Convert, name: str) -> None:
    model, why = NONE[name]
    numbers = X[NUMBERS].assign(x0=np.arange(ROWS) % 4)
    found, _, _ = convert(clone(model).fit(numbers, SCORE.abs()), numbers, "predict")
    assert why in found.why


def test_early_stopping_is_kept(convert: Convert) -> None:
    model = xgboost.XGBRegressor(n_estimators=50, early_stopping_rounds=1, learning_rate=1.0)
    model.fit(X[NUMBERS][:200], SCORE[:200], eval_set=[(X[NUMBERS][200:], SCORE[200:])], verbose=False)
    assert model.best_iteration < 49
    found, stand_in, _ = convert(model, X[NUMBERS], "predict")
    assert found.why == ""
    assert same(model.predict(X[NUMBERS]), stand_in.predict(X[NUMBERS]), 1e-5)


SCALERS = (StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler())


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda scaler: type(scaler).__name__)
def test_scaled_numbers_are_the_same_to_the_last_bit(convert: Convert, scaler: Any) -> None:
    # behind them stand thresholds of trees, which often lie on a value of the training data
    found, _, _ = convert(clone(scaler).fit(X[NUMBERS]), X[NUMBERS], "transform")
    assert (found.why, found.difference) == ("", 0.0)


def test_a_booster_is_left_to_the_original(convert: Convert) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(X[NUMBERS], SCORE).booster_
    found, _, _ = convert(model, X[NUMBERS], "predict")
    assert found.why == "a Booster has no form in ONNX here; an estimator has"


def test_categories_of_a_booster_are_left_to_it(convert: Convert) -> None:
    frame = X[["x0"]].assign(city=X.city.astype("category"))
    model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(frame, X.x1 + (X.city == "Ulm"))
    found, _, _ = convert(model, frame, "predict")
    assert found.why


# --- how tables are read -------------------------------------------------------------------------

NUMERIC = {"a": "float64", "n": "int64", "b": "float64", "s": "bool"}
MIXED = {**NUMERIC, "t": "str", "u": "object", "c": "category"}
ALIKE: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "as it is": lambda rows: rows,
    "one row": lambda rows: rows[:1],
    "some rows, in another order": lambda rows: rows.iloc[[5, 2, 9]],
    "every second row": lambda rows: rows[::2],
    "a column set": lambda rows: rows.assign(b=rows.a * 2, t="x"),
    "columns taken out and put in": lambda rows: rows[["b"]].join(rows.drop(columns="b"))[[*MIXED]],
    "written in place": lambda rows: rows.copy().mask(rows.a > 0.5, rows),
    "missing": lambda rows: rows.assign(a=rows.a.where(rows.a > 0.5), t=rows.t.where(rows.n > 5)),
    "records": lambda rows: pd.DataFrame(rows.to_dict("records")).astype(MIXED),
    "other labels": lambda rows: rows.set_axis([f"r{i}" for i in range(len(rows))]),
}


@pytest.mark.parametrize("how", ALIKE)
def test_a_table_is_read_alike_by_blocks_and_by_columns(how: str) -> None:
    chance = np.random.default_rng(1)
    numbers = {"a": chance.random(20), "n": range(20), "b": chance.random(20), "s": [True, False] * 10}
    texts = {"t": list("pq" * 10), "u": list("vw" * 10), "c": list("xy" * 10)}
    rows = pd.DataFrame(numbers | texts).astype(MIXED)
    spec = {
        "columns": [*MIXED],
        "dtypes": [*MIXED.values()],
        "numbers": [0, 1, 2, 3],
        "texts": [4, 5, 6],
        "nan": [0],
        "known": [None, None, ["x", "y"]],
        "only": {},
        "rows": 1000,
    }
    by_blocks, table = accelerated.Inputs(spec), ALIKE[how](rows)
    assert by_blocks.feed(rows) is not None
    by_blocks.feed(table)  # its blocks may lie otherwise, and are known from now on
    expected, found = accelerated.Inputs(spec).feed(table), by_blocks.feed(table)
    if how == "missing":  # a text that is missing is for the original
        assert expected is found is None
        table = table.assign(t="p")
        expected, found = accelerated.Inputs(spec).feed(table), by_blocks.feed(table)
    assert expected is not None
    assert found is not None
    for name, array in expected.items():
        assert array.dtype == found[name].dtype
        assert found[name].flags.c_contiguous
        assert pd.DataFrame(array).equals(pd.DataFrame(found[name]))


# --- what goes to the original -------------------------------------------------------------------


@pytest.fixture
def logistic(convert: Convert) -> tuple[Any, Any, Callable[[], int]]:
    """A pipeline, its stand-in, and how often the original was loaded."""
    model, asked, methods = fitted("logistic")
    _, stand_in, loads = convert(model, asked[:100], *methods)
    return model, stand_in, loads


UNLIKE: dict[str, Callable[[pd.DataFrame], Any]] = {
    "columns in another order": lambda rows: rows[rows.columns[::-1]],
    "one column more": lambda rows: rows.assign(more=1),
    "another dtype": lambda rows: rows.astype({"x3": "float32"}),
    "whole numbers": lambda rows: rows.assign(x3=2),
    "missing category": lambda rows: rows.assign(city=None),
    "a text that ends early": lambda rows: rows.assign(kind="a\0b"),
    "huge numbers": lambda rows: rows.assign(x3=1e300),
}


@pytest.mark.parametrize("what", UNLIKE)
def test_other_input_goes_to_the_original(logistic: Any, what: str) -> None:
    model, stand_in, loads = logistic
    rows = UNLIKE[what](X[100:110])
    assert same(model.predict_proba(rows), stand_in.predict_proba(rows))
    assert loads() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_the_original_refuses_is_refused(logistic: Any, value: float) -> None:
    _, stand_in, _ = logistic
    with pytest.raises(ValueError, match="Input"):
        stand_in.predict(X[:3].assign(x3=value))


def test_an_unknown_category_is_answered_if_the_original_does(logistic: Any) -> None:
    model, stand_in, loads = logistic
    rows = X[:5].assign(city="Rom")
    assert same(model.predict_proba(rows), stand_in.predict_proba(rows), 1e-9)
    assert loads() == 0


def test_an_unknown_category_is_refused_if_the_original_refuses(convert: Convert) -> None:
    model = encoded(LogisticRegression(), categories=OneHotEncoder()).fit(X, YES)
    found, stand_in, loads = convert(model, X[:100], "predict")
    assert found.serving["inputs"]["known"] == [["Bonn", "Köln", "Ulm"], ["a", "b"]]
    assert same(model.predict(X), stand_in.predict(X))
    assert loads() == 0
    with pytest.raises(ValueError, match="unknown categories"):
        stand_in.predict(X[:5].assign(city="Rom"))


def test_an_unknown_number_is_refused_if_the_original_refuses(convert: Convert) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3, 4] * 20, "x": np.arange(80.0)})
    columns = ColumnTransformer([("c", OneHotEncoder(), ["n"]), ("n", "passthrough", ["x"])])
    model = make_pipeline(columns, LinearRegression()).fit(frame, frame.n * 2 + frame.x)
    found, stand_in, loads = convert(model, frame, "predict")
    assert found.serving["inputs"]["only"] == {"0": [1, 2, 3, 4]}
    assert same(model.predict(frame), stand_in.predict(frame), 1e-9)
    assert loads() == 0
    with pytest.raises(ValueError, match="unknown categories"):
        stand_in.predict(pd.DataFrame({"n": [7], "x": [1.0]}))


def test_more_than_one_argument_goes_to_the_original(convert: Convert) -> None:
    model, asked, _ = fitted("lightgbm")
    _, stand_in, loads = convert(model, asked[:100], "predict")
    rows = asked[:5]
    assert same(model.predict(rows, num_iteration=3), stand_in.predict(rows, num_iteration=3))
    assert same(model.predict(X=rows), stand_in.predict(X=rows))
    assert loads() == 1


def test_nan_goes_where_the_trees_send_it(convert: Convert) -> None:
    model, asked, _ = fitted("histogram")
    found, stand_in, loads = convert(model, asked[:100], "predict_proba")
    assert found.serving["inputs"]["nan"] == list(range(12))
    nothing = pd.DataFrame(np.full((1, 12), np.nan), columns=NUMBERS)
    assert same(model.predict_proba(nothing), stand_in.predict_proba(nothing), 1e-9)
    assert loads() == 0


# --- a stand-in is the model to whoever looks ----------------------------------------------------


def test_a_stand_in_has_all_that_the_model_has(logistic: Any) -> None:
    model, stand_in, loads = logistic
    assert isinstance(stand_in, Pipeline)
    assert loads() == 0, "its class is known without it"
    assert stand_in["model"].coef_ is model["model"].coef_
    assert list(stand_in.classes_) == ["no", "yes"]
    assert (len(stand_in), stand_in[:1].__class__) == (2, Pipeline)
    assert repr(stand_in) == repr(model)
    assert vars(stand_in) is vars(model)
    assert not hasattr(stand_in, "no_such_thing")
    assert loads() == 1, "the original is loaded once"


def test_copies_are_of_the_original(logistic: Any) -> None:
    _, stand_in, _ = logistic
    for made in (copy.deepcopy(stand_in), copy.copy(stand_in), clone(stand_in)):
        assert type(made) is Pipeline


def test_a_model_that_is_fitted_anew_answers_itself(convert: Convert) -> None:
    model = LinearRegression().fit(X[NUMBERS], SCORE)
    _, stand_in, _ = convert(model, X[NUMBERS], "predict")
    stand_in.fit(X[NUMBERS], -SCORE)
    assert same(model.predict(X[NUMBERS]), stand_in.predict(X[NUMBERS]))


def test_a_changed_model_answers_itself(logistic: Any) -> None:
    model, stand_in, loads = logistic
    stand_in.marked = True
    assert model.marked
    assert same(model.predict_proba(X), stand_in.predict_proba(X))
    assert loads() == 1


def test_the_original_serves_where_it_is_to(
    package: ModuleType, logistic: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = (tmp_path / "state" / "model.onnx").read_bytes()
    entry = {"accelerated": {"file": "state/model.onnx", "sha256": hashlib.sha256(data).hexdigest()}}
    with monkeypatch.context() as patched:
        patched.setenv("NB2PROD_ACCELERATE", "0")
        assert package.load(tmp_path, entry, lambda: "original") == "original"
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "onnxruntime", None)
        assert package.load(tmp_path, entry, lambda: "original") == "original"


def test_another_file_is_refused(package: ModuleType, logistic: Any, tmp_path: Path) -> None:
    file = tmp_path / "state" / "model.onnx"
    entry = {"accelerated": {"file": "state/model.onnx", "sha256": hashlib.sha256(b"").hexdigest()}}
    with pytest.raises(package.codecs.DamagedState, match=r"state/model\.onnx is not the file"):
        package.load(tmp_path, entry, lambda: "original")
    file.unlink()
    with pytest.raises(package.codecs.DamagedState, match="No such file"):
        package.load(tmp_path, entry, lambda: "original")
