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
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nb2prod.serving import arrow
from nb2prod.serving.bodies import Rows, json_object, kind_of, refuse, said_twice
from nb2prod.serving.core import Call, named, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, answer
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.protocols.native import accepts_arrow
from nb2prod.serving.routes import Request, get, post

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CODES = {
    404: "ENDPOINT_NOT_FOUND",
    422: "INVALID_PARAMETER_VALUE",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""MLflow's own, by status; of what else a client does wrong it says BAD_REQUEST."""

SEPARATORS = (";", "\t", "|")
"""What other tools write between the values of what they call CSV."""


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
    data = {"error_code": CODES.get(refused.status, "BAD_REQUEST"), "message": refused.detail}
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
        return _split(value)
    if given[0] == "dataframe_records" and isinstance(value, list):
        return Rows(len(value), partial(_as_instances, value))
    return rows_of_columns(value) if given[0] == "inputs" and isinstance(value, dict) else value


def _split(value: Any) -> Rows:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        refuse("dataframe_split", "an object with `columns` and `data`", kind_of(value))
    columns = value.get("columns")
    # texts of lists that are nested too deep cannot be made
    if not isinstance(columns, list) or any(isinstance(name, list | dict) for name in columns):
        got = "a list of lists or objects" if isinstance(columns, list) else kind_of(columns)
        refuse("dataframe_split.columns", "a list of different names", got)
    names = [*map(str, columns)]
    if twice := said_twice(names):
        refuse("dataframe_split.columns", "a list of different names", f"{twice} twice")
    return Rows(len(value["data"]), partial(_rows_of_lists, names, value["data"]))


def _rows_of_lists(names: Sequence[str], data: Sequence[Any], release: LoadedRelease) -> list[Any]:
    for i, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            got = f"a list of {len(row)}" if isinstance(row, list) else kind_of(row)
            refuse(f"dataframe_split.data[{i}]", f"a list of {len(names)}", got)
    rows = [dict(zip(names, row, strict=True)) for row in data]
    return _as_instances(rows, release)


def rows_of_columns(value: Mapping[str, Any]) -> Rows:
    """Rows of named columns."""
    for name, column in value.items():
        if not isinstance(column, list):
            refuse("inputs", "a list, or an object of lists", f"{kind_of(column)} as {name!r:.60}")
    lengths = {len(column) for column in value.values()}
    if not lengths:
        refuse("inputs", "a list, or an object of lists", "an empty object")
    if len(lengths) > 1:
        refuse("inputs", "columns of one length", f"lengths {', '.join(map(str, sorted(lengths)))}")
    return Rows(
        lengths.pop(),
        lambda release: [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)],
    )


def _as_instances(rows: list[Any], release: LoadedRelease) -> list[Any]:
    """Rows of a table for a model that takes values: those of its one column."""
    if release.predictor.takes_records:
        return rows
    return [next(iter(row.values())) if isinstance(row, dict) and len(row) == 1 else row for row in rows]


# --- CSV -----------------------------------------------------------------------------------------


def _of_csv(body: bytes, release: LoadedRelease) -> list[Any]:
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not CSV in UTF-8: {error}") from None
    records = _records(lines)
    _, columns = next(records, (0, []))
    if not columns:
        raise Refused(400, "the body is empty; its first line names the columns")
    fields = {field["name"]: field for field in release.contract["fields"]}
    _check_columns(columns, fields)
    kinds = [fields.get(name, {}).get("dtype", "string") for name in columns]
    if not release.predictor.takes_records and len(columns) == 1 and len(fields) == 1:
        kinds = [field["dtype"] for field in fields.values()]
    rows: list[Any] = []
    for i, row in records:
        if len(row) != len(columns):
            raise Refused(400, f"line {i} has {len(row)} values for {len(columns)} columns")
        if len(rows) == release.limits.max_rows:
            raise Refused(413, f"at most {len(rows)} instances are taken at a time, got more")
        values = (_value(text, kind) for text, kind in zip(row, kinds, strict=True))
        rows.append(dict(zip(columns, values, strict=True)))
    return _as_instances(rows, release)


def _records(lines: Any) -> Iterator[tuple[int, list[str]]]:
    """Records and the lines that they begin at; blank lines are none, as pandas has it."""
    start = 1
    try:
        for record in lines:
            if record:
                yield start, record
            start = lines.line_num + 1
    except csv.Error as error:
        raise Refused(400, f"the body is not CSV: {error} (in line {start})") from None


def _check_columns(columns: Sequence[str], fields: Mapping[str, Any]) -> None:
    if twice := said_twice(columns):
        raise Refused(400, f"the first line names the column {twice} twice")
    used = next((mark for mark in SEPARATORS if mark in columns[0]), None)
    if used and len(columns) == 1 < len(fields):
        raise Refused(400, f"values of CSV are separated by commas here, and the first line has {used!r}")


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
    except (ValueError, RecursionError):  # of brackets without end
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
