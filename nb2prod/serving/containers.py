"""What the platforms that start containers tell them, in their environment: SageMaker and Vertex AI.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html,
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nb2prod.serving.protocols import ROUTES, TABLE, vertex
from nb2prod.serving.routes import Table

SAGEMAKER_MODEL = "/opt/ml/model"


@dataclass(frozen=True, slots=True)
class Place:
    """Where to serve where nobody says otherwise. `folder` is that of the model, if the platform has one."""

    host: str = "127.0.0.1"
    port: int = 8000
    folder: Path | None = None
    table: Table = TABLE


def place(environ: Mapping[str, str], *, named: bool) -> Place:
    """The place for a process with this environment; `named`: it was told what to serve."""
    if "AIP_HTTP_PORT" in environ:
        health = environ.get("AIP_HEALTH_ROUTE", "/health")
        predict = environ.get("AIP_PREDICT_ROUTE", "/predict")
        table = Table((*ROUTES, *vertex.routes(health, predict)))
        return Place("0.0.0.0", _port(environ["AIP_HTTP_PORT"]), _sagemaker(environ), table)
    folder = None if named else _sagemaker(environ)
    if folder is None:
        return Place()
    return Place("0.0.0.0", _port(environ.get("SAGEMAKER_BIND_TO_PORT", "8080")), folder)


def _port(text: str) -> int:
    return int(text) if text.isdecimal() else 8080


def _sagemaker(environ: Mapping[str, str]) -> Path | None:
    folder = Path(environ.get("SM_MODEL_DIR", SAGEMAKER_MODEL))
    return folder if folder.is_dir() else None
