"""MLflow's scoring protocol, which SageMaker's containers share.

POST /invocations    one of dataframe_split, dataframe_records, instances and inputs, or CSV, or an Arrow IPC
                     stream: {"predictions": [...]}, or such a stream where `accept` asks for it
GET  /ping           200 once a release is loaded
GET  /version        the version of MLflow that is installed here, else of nb2prod

Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from nb2prod.serving import arrow
from nb2prod.serving.bodies import json_object, kind_of, refuse
from nb2prod.serving.core import Call, named, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, answer
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.protocols.native import accepts_arrow
from nb2prod.serving.routes import Request, get, post

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CODES = {400: "BAD_REQUEST", 422: "INVALID_PARAMETER_VALUE", 503: "TEMPORARILY_UNAVAILABLE"}


def _invocations(request: Request, body: bytes) -> Call:
    kind = request.header(b"content-type").partition(";")[0].strip().lower()
    parse = _of_csv if kind == "text/csv" else _of_json
    if kind == arrow.STREAM:
        parse = _of_arrow
    elif kind not in ("", "application/json", "text/csv"):
        parse = partial(_unknown, kind)
    render = arrow.answer if accepts_arrow(request) else _answered
    return Call(request.asked, partial(_instances, parse, body), render, _refused)


def _instances(parse: Any, body: bytes, release: LoadedRelease) -> Any:
    return parse(body, release)


def _of_arrow(body: bytes, release: LoadedRelease) -> Any:
    return arrow.read(body)


def _unknown(kind: str, body: bytes, release: LoadedRelease) -> Any:
    raise Refused(415, f"bodies are application/json, text/csv or {arrow.STREAM}, not {kind}")


def _answered(release: LoadedRelease, predictions: list[Any]) -> Response:
    return answer({"predictions": predictions}, *named(release))


def _refused(refused: Refused, asked: str) -> Response:
    data = {"error_code": CODES.get(refused.status, "INTERNAL_ERROR"), "message": refused.detail}
    found = {"errors": refused.errors} if refused.errors else {}
    return answer({**data, **found, "request_id": asked}, *refused.headers, status=refused.status)


# --- JSON ----------------------------------------------------------------------------------------


def _of_json(body: bytes, release: LoadedRelease) -> Any:
    data = json_object(body, nan=True)
    given = [name for name in FORMS if name in data]
    if len(given) != 1:
        refuse("the body", f"exactly one of {', '.join(FORMS)}", " and ".join(given) or "none of them")
    if data.get("params"):
        refuse("params", "nothing: this model takes no parameters", kind_of(data["params"]))
    value = data[given[0]]
    if given[0] == "dataframe_split":
        return _as_instances(_split(value), release)
    if given[0] == "dataframe_records":
        return _as_instances(value, release)
    return rows_of_columns(value) if given[0] == "inputs" and isinstance(value, dict) else value


def _split(value: Any) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        refuse("dataframe_split", "an object with `columns` and `data`", kind_of(value))
    columns = value.get("columns")
    if not isinstance(columns, list) or len({*map(str, columns)}) < len(columns):
        refuse("dataframe_split.columns", "a list of different names", kind_of(columns))
    for i, row in enumerate(value["data"]):
        if not isinstance(row, list) or len(row) != len(columns):
            got = f"a list of {len(row)}" if isinstance(row, list) else kind_of(row)
            refuse(f"dataframe_split.data[{i}]", f"a list of {len(columns)}", got)
    return [dict(zip(map(str, columns), row, strict=True)) for row in value["data"]]


def rows_of_columns(value: Mapping[str, Any]) -> list[Any]:
    """Rows of named columns."""
    if not value or any(not isinstance(column, list) for column in value.values()):
        refuse("inputs", "a list, or an object of lists", "an object of something else")
    lengths = {len(column) for column in value.values()}
    if len(lengths) > 1:
        refuse("inputs", "columns of one length", f"lengths {', '.join(map(str, sorted(lengths)))}")
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def _as_instances(rows: Any, release: LoadedRelease) -> Any:
    """Rows of a table for a model that takes values: those of its one column."""
    if release.predictor.takes_records or not isinstance(rows, list):
        return rows
    return [next(iter(row.values())) if isinstance(row, dict) and len(row) == 1 else row for row in rows]


# --- CSV -----------------------------------------------------------------------------------------


def _of_csv(body: bytes, release: LoadedRelease) -> Any:
    try:
        lines = [*csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(400, f"the body is not CSV in UTF-8: {error}") from None
    if not lines:
        raise Refused(400, "the body is empty; its first line names the columns")
    columns, *rows = lines
    for i, row in enumerate(rows, 2):
        if len(row) != len(columns):
            raise Refused(400, f"line {i} has {len(row)} values for {len(columns)} columns")
    fields = {field["name"]: field for field in release.contract["fields"]}
    kinds = [fields.get(name, {}).get("dtype", "string") for name in columns]
    if not release.predictor.takes_records and len(columns) == 1 and len(fields) == 1:
        kinds = [field["dtype"] for field in fields.values()]
    read = [
        {name: _value(text, kind) for name, text, kind in zip(columns, row, kinds, strict=True)}
        for row in rows
    ]
    return _as_instances(read, release)


def _value(text: str, kind: str) -> Any:
    """A value of a CSV file as JSON has it; where it does not fit, the text, of which the contract tells."""
    if not text:
        return "" if kind == "string" else None
    if kind in ("string", "datetime", "category"):
        return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return json.loads(text)
    except ValueError:
        return text


# --- health --------------------------------------------------------------------------------------


def _ping(request: Request, host: Host) -> Response:
    return Response(200, b"\n", headers=named(ready(host)))


def _version(request: Request, host: Host) -> Response:
    for name in ("mlflow", "nb2prod"):
        try:
            return Response(200, importlib.metadata.version(name).encode(), "text/plain")
        except importlib.metadata.PackageNotFoundError:
            continue
    raise Refused(404, "no version is known here")


ROUTES = (
    post("/invocations", _invocations, _refused),
    get("/ping", _ping, _refused),
    get("/version", _version, _refused),
)
