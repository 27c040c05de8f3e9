"""Ray Serve as its documentation shows it: python ray_app.py PORT [batching]"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import joblib
import pandas as pd
import ray
from ray import serve
from starlette.requests import Request

from bench.peers.fitted import NUMERIC


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame[NUMERIC] = frame[NUMERIC].astype(float)
    return frame


@serve.deployment
class Plain:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        rows = (await request.json())["instances"]
        return {"predictions": self.model.predict_proba(frame_of(rows))[:, 1].tolist()}


@serve.deployment(max_ongoing_requests=1_000)
class Batching:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
    async def together(self, bodies: list[list[dict[str, Any]]]) -> list[list[float]]:
        found = self.model.predict_proba(frame_of([row for rows in bodies for row in rows]))[:, 1].tolist()
        answers = []
        for rows in bodies:
            answers.append(found[: len(rows)])
            found = found[len(rows) :]
        return answers

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        return {"predictions": await self.together((await request.json())["instances"])}


if __name__ == "__main__":
    ray.init(include_dashboard=False, runtime_env={"env_vars": {"MODEL": os.environ["MODEL"]}})
    serve.start(http_options={"port": int(sys.argv[1])})
    serve.run((Batching if sys.argv[2:] == ["batching"] else Plain).bind(), route_prefix="/predict")
    while True:
        time.sleep(1)
