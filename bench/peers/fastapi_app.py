"""A hand-written FastAPI app: uvicorn fastapi_app:app"""

from __future__ import annotations

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

from bench.peers.fitted import CATEGORICAL, NUMERIC

fields = dict.fromkeys(NUMERIC, (float | None, None)) | dict.fromkeys(CATEGORICAL, (str, ...))
Row = create_model("Row", **fields)  # type: ignore[call-overload]


class Body(BaseModel):
    instances: list[Row]  # type: ignore[valid-type]


app = FastAPI()
model = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict(body: Body) -> dict[str, list[float]]:
    frame = pd.DataFrame([row.model_dump() for row in body.instances])
    frame[NUMERIC] = frame[NUMERIC].astype(float)
    return {"predictions": model.predict_proba(frame)[:, 1].tolist()}
