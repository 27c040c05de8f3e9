"""The pipelines that every server serves, and rows to ask them with. Run: python fitted.py KIND FOLDER"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMERIC = [f"n{i}" for i in range(12)]
CATEGORICAL = ["shop", "kind"]
MODELS = {
    "boosting": HistGradientBoostingClassifier(random_state=0),
    "forest": RandomForestClassifier(random_state=0),
}


def rows(count: int) -> pd.DataFrame:
    """Made rows: twelve numbers, some of them missing, and two texts."""
    chance = np.random.default_rng(0)
    frame = pd.DataFrame(chance.normal(size=(count, 12)), columns=NUMERIC)
    frame = frame.mask(chance.random(frame.shape) < 0.02)
    frame["shop"] = chance.choice(["north", "south", "east", "west"], count)
    frame["kind"] = chance.choice([f"kind {i}" for i in range(20)], count)
    return frame


def fitted(kind: str) -> tuple[object, pd.DataFrame]:
    """A fitted pipeline and the rows that it was fitted on."""
    frame = rows(5_000)
    noise = np.random.default_rng(1).normal(size=len(frame))
    target = (frame["n0"].fillna(0) * 2 + frame["n1"].fillna(0) ** 2 + (frame["shop"] == "east") + noise) > 1
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("numbers", numbers, NUMERIC), ("texts", texts, CATEGORICAL)])
    return make_pipeline(columns, MODELS[kind]).fit(frame, target), frame


def write(kind: str, folder: Path) -> None:
    """model.joblib, and rows.json with 100 rows and their probabilities."""
    folder.mkdir(parents=True, exist_ok=True)
    model, frame = fitted(kind)
    joblib.dump(model, folder / "model.joblib")
    asked = frame.head(100)
    answers = model.predict_proba(asked)[:, 1].tolist()  # type: ignore[attr-defined]
    asked_for = json.loads(asked.to_json(orient="records", double_precision=15))
    (folder / "rows.json").write_text(json.dumps({"rows": asked_for, "answers": answers}))


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
