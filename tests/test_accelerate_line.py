"""Acceleration on the line: a notebook validated with it and without, its report, its package, its export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import nb2prod
from nb2prod.domain import Manner, Report, to_json
from nb2prod.errors import UsageError
from nb2prod.proofs import Validated
from nb2prod.serving.loader import load, unload
from nb2prod.shells import render
from tests.made import TINY, notebook

TRAINING = """
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

random = np.random.default_rng(0)
df = pd.DataFrame(random.normal(size=(300, 3)), columns=["a", "b", "c"])
df["city"] = random.choice(["Bonn", "Ulm"], 300)
columns = ColumnTransformer([
    ("n", StandardScaler(), ["a", "b", "c"]), ("c", OneHotEncoder(sparse_output=False), ["city"]),
])
model = Pipeline([("columns", columns), ("trees", HistGradientBoostingClassifier(max_iter=20))])
model.fit(df, np.where(df.a > 0, "high", "low"))
prices = make_pipeline(FunctionTransformer(np.log1p), LinearRegression()).fit(df[["b"]].abs(), df.b)
"""

CELLS = (
    ("", TRAINING),
    ("reference", "df"),
    ("example", "rows = df.head(2)"),
    ("model", "p = model.predict_proba(rows)[:, 0]\nlabels = model.predict(rows)"),
    (
        "postprocess",
        "pd.DataFrame({'p': p, 'label': labels, 'price': prices.predict(rows[['b']].abs())})",
    ),
)

DIGITS = "[f'{one!r} {two!r}' for one, two in zip(p, scaler.transform(rows[['a']])[:, 0])]"

TEXTS = (
    (*CELLS[0][:1], TRAINING + "scaler = StandardScaler().fit(df[['a']])\n"),
    *CELLS[1:-1],
    ("postprocess", DIGITS),
)
"""Answers with every digit written out: no rounding passes."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("NB2PROD_PROJECT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def validated(project: Path) -> Validated:
    """One notebook with a model that is accelerated and one that is not."""
    return nb2prod.validate(notebook(project, *CELLS, name="two"))


def test_the_report_says_which_model_and_why_not(validated: Validated) -> None:
    model, prices = validated.report.acceleration
    assert (model.key, model.why, model.methods) == ("model", "", ("predict_proba", "predict"))
    assert model.difference < 1e-9
    assert model.before_ms > 1.2 * model.after_ms
    assert prices.key == "prices"
    assert "FunctionTransformer" in prices.why
    assert validated.report.accelerated == (model,)
    assert Report.from_json(json.loads(json.dumps(to_json(validated.report)))) == validated.report
    lines = [*render.report(validated.report, reused=False)]
    assert any(line.startswith("  accelerated model: predict_proba, predict: one row ") for line in lines)
    assert any(line.startswith("  original    prices: ") for line in lines)


def manner(validated: Validated) -> Manner:
    return Manner.of(json.loads((validated.package / "manifest.json").read_text("utf-8")))


def test_the_package_says_how_it_serves(validated: Validated) -> None:
    found = manner(validated)
    assert found.together
    assert found.why == validated.report.batch_reason
    assert found.models is not None
    assert found.models["model"] == ""
    assert "FunctionTransformer" in found.models["prices"]


def test_requirements_have_both_libraries(validated: Validated) -> None:
    pins = (validated.package / "requirements.txt").read_text("utf-8")
    assert f"onnxruntime=={onnxruntime.__version__}  # model\n" in pins
    assert "scikit-learn==" in pins
    assert "skl2onnx" not in pins


@pytest.mark.parametrize("name", ["model.onnx", "model.skops"])
def test_a_damaged_model_or_original_is_refused_at_once(
    validated: Validated, tmp_path: Path, name: str
) -> None:
    package = Path(shutil.copytree(validated.package, tmp_path / "two"))
    file = package / "state" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(RuntimeError, match=rf"^state/{name} is not the file that was proven"):
        load(package, "two", 1)


def test_the_package_answers_and_keeps_the_original(validated: Validated) -> None:
    release = load(validated.package, "two", 1)
    stand_in = __import__(f"{release.module}.state", fromlist=["model"]).model
    assert "StandIn" in type(stand_in).__name__
    example = list(release.contract["example"])
    answers = release.predictor.predict(example)
    for got, expected in zip(answers, release.contract["response"], strict=True):
        assert got["label"] == expected["label"]
        assert got["p"] == pytest.approx(expected["p"], rel=1e-9)
    assert "original" not in vars(stand_in._accelerated), "nothing asked for it"
    gap: dict[str, Any] = {**example[0], "city": "Rom"}
    with pytest.raises(ValueError, match="unknown categories"):
        release.predictor.answer([gap])
    unload(release)


def test_an_unchanged_notebook_is_not_converted_again(project: Path, validated: Validated) -> None:
    again = nb2prod.validate(project / "two.ipynb")
    assert again.reused
    assert again.bundle.digest == validated.bundle.digest


def test_without_acceleration_the_package_has_none(project: Path, validated: Validated) -> None:
    plain = nb2prod.validate(project / "two.ipynb", accelerate=False)
    assert not plain.reused
    assert plain.report.acceleration is None
    assert Report.from_json(json.loads(json.dumps(to_json(plain.report)))) == plain.report
    assert manner(plain).models is None
    assert not [*plain.package.glob("state/*.onnx")]
    assert "onnxruntime" not in (plain.package / "requirements.txt").read_text("utf-8")
    with pytest.raises(UsageError, match="has no model in ONNX") as caught:
        nb2prod.export(plain.package, onnx=project / "none.onnx")
    assert caught.value.code == "NB343"
    assert "--accelerate" in str(caught.value.hint)


def test_a_setting_leaves_acceleration_out(project: Path, validated: Validated) -> None:
    settings = project / "pyproject.toml"
    settings.write_text("[tool.nb2prod]\naccelerate = false\n")
    plain = nb2prod.validate(project / "two.ipynb")
    settings.unlink()
    assert plain.reused
    assert plain.report.acceleration is None


def test_a_model_is_exported(project: Path, validated: Validated) -> None:
    made = nb2prod.export(validated.package, onnx=project / "model.onnx")
    assert made.inputs == {"numbers": ["a", "b", "c"], "texts": ["city"]}
    session = onnxruntime.InferenceSession(str(made.file))
    feed = {"numbers": np.array([[3.0, 0.0, 0.0]]), "texts": np.array([["Ulm"]], object)}
    assert session.run([made.outputs["predict"]], feed)[0].tolist() == ["high"]
    assert "numbers  float64 (rows, 3): a, b, c" in "\n".join(render.exported(made))


def test_answers_that_differ_leave_the_original(project: Path) -> None:
    made = nb2prod.validate(notebook(project, *TEXTS, name="texts"))
    model, scaler = made.report.acceleration
    assert model.why.startswith("the package answers otherwise with it: example, row 0: ")
    assert (scaler.key, scaler.why, scaler.difference) == ("scaler", "", 0.0)
    assert [file.name for file in made.package.glob("state/*.onnx")] == ["scaler.onnx"]


def test_a_notebook_without_models_has_nothing_to_say(project: Path) -> None:
    assert nb2prod.validate(notebook(project, *TINY, name="tiny")).report.acceleration == ()
