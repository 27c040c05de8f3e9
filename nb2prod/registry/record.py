"""What a run remembers of a proof: parameters, metrics, the data's digest."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from nb2prod.domain import Contract, Report

MAX_BATCH = 100
"""Parameters and metrics that MLflow takes in one call (it takes 1000 metrics, 100 parameters)."""

MAX_VALUE = 6_000
MAX_DIGEST = 36


def log(client: Any, run_id: str, report: Report, contract: Contract) -> None:
    """Log parameters, metrics (the notebook's, and how fast the package is) and the data."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    params = [Param(_key(name), str(value)[:MAX_VALUE]) for name, value in report.parameters.items()]
    numbers = {**report.metrics, **{f"nb2prod.ms.{name}": value for name, value in report.latency_ms.items()}}
    metrics = [Metric(_key(name), float(value), now, 0) for name, value in numbers.items()]
    for start in range(0, max(len(params), len(metrics)), MAX_BATCH):
        end = start + MAX_BATCH
        client.log_batch(run_id, metrics=metrics[start:end], params=params[start:end])
    client.log_inputs(run_id, [_data(report, contract)])


def _key(name: str) -> str:
    """MLflow allows letters, digits, and `_-. :/` in names."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


def _data(report: Report, contract: Contract) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    schema = {field.name: field.python for field in contract.fields}
    dataset = Dataset(
        name=f"{report.name} reference",
        digest=report.data_digest[:MAX_DIGEST],
        source_type="code",
        source=json.dumps({"notebook": report.name, "sha256": report.data_digest}),
        schema=_short(schema),
        profile=json.dumps({"num_rows": report.reference_rows}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "reference")])


def _short(schema: Mapping[str, str]) -> str | None:
    text = json.dumps(schema)
    return text if len(text) < 60_000 else None
