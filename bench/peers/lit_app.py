"""LitServe: python lit_app.py PORT [batching]. It reads annotations as they are: none is put off here."""

import os
import sys
from typing import Any

import joblib
import litserve
import pandas as pd

from bench.peers.fitted import NUMERIC


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame[NUMERIC] = frame[NUMERIC].astype(float)
    return frame


class Plain(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        return request["instances"]  # type: ignore[no-any-return]

    def predict(self, x: list[dict[str, Any]]) -> list[float]:
        return self.model.predict_proba(frame_of(x))[:, 1].tolist()  # type: ignore[no-any-return]

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        return {"predictions": output}


class Batching(Plain):
    def predict(self, x: Any) -> Any:
        found = super().predict([row for rows in x for row in rows])
        answers = []
        for rows in x:
            answers.append(found[: len(rows)])
            found = found[len(rows) :]
        return answers

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output


if __name__ == "__main__":
    api = Batching(max_batch_size=64, batch_timeout=0.005) if sys.argv[2:] == ["batching"] else Plain()
    litserve.LitServer(api, accelerator="cpu", timeout=60).run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error"
    )
