"""BentoML: bentoml serve bento_app:Plain, or bento_app:Batching"""

from __future__ import annotations

import os
from typing import Any

import bentoml
import joblib
import pandas as pd

from bench.peers.fitted import NUMERIC


def answers(model: Any, rows: list[dict[str, Any]]) -> list[float]:
    frame = pd.DataFrame(rows)
    frame[NUMERIC] = frame[NUMERIC].astype(float)
    return model.predict_proba(frame)[:, 1].tolist()  # type: ignore[no-any-return]


@bentoml.service(traffic={"timeout": 60})
class Plain:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, instances: list[dict[str, Any]]) -> list[float]:
        return answers(self.model, instances)


@bentoml.service(traffic={"timeout": 60})
class Batching:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=6_400, max_latency_ms=1_000)
    def predict(self, instances: list[dict[str, Any]]) -> list[float]:
        return answers(self.model, instances)
