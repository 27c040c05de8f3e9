"""Our own protocol, and what describes an endpoint.

POST /predict         {"instances": [...]} → {"predictions": [...], "model_name", "version", "request_id"}
                      or an Arrow IPC stream; one is answered where `accept` asks for it
GET  /health          200 with model and version once a release is loaded, else 503; `unseen` counts values
                      beyond those that the notebook's data had, by field
GET  /openapi.json    OpenAPI 3.1, from the release's contract
GET  /docs            Swagger UI, served from here

Vertex AI's containers are asked the same way: {"instances": [...], "parameters": {...}}.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from nb2prod.serving import arrow, docs, openapi
from nb2prod.serving.bodies import json_object, member
from nb2prod.serving.core import Call, loaded, named, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, answer
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.routes import Request, get, post


def _predict(request: Request, body: bytes) -> Call:
    kind = request.header(b"content-type").lower()
    render = arrow.answer if accepts_arrow(request) else partial(_answered, request.asked)
    return Call(request.asked, lambda release: _instances(body, kind), render)


def accepts_arrow(request: Request) -> bool:
    """Whether the answer is wanted as an Arrow IPC stream."""
    return arrow.STREAM in request.header(b"accept").lower()


def _instances(body: bytes, kind: str) -> Any:
    if kind.startswith(arrow.STREAM):
        return arrow.read(body)
    if kind.startswith("text/csv"):
        raise Refused(415, f"bodies are application/json or {arrow.STREAM} here; send CSV to /invocations")
    return member(json_object(body, "an object with `instances`"), "instances", "a list of instances")


def _answered(asked: str, release: LoadedRelease, predictions: list[Any]) -> Response:
    data = {
        "predictions": predictions,
        "model_name": release.model_name,
        "version": release.version,
        "request_id": asked,
    }
    return answer(data, *named(release))


def _health(request: Request, host: Host) -> Response:
    release = ready(host)
    health = {
        "status": "ok",
        "model_name": release.model_name,
        "version": release.version,
        "unseen": dict(release.predictor.unseen),
    }
    return answer(health, *named(release))


def _document(host: Host) -> dict[str, Any]:
    release = loaded(host)
    return openapi.document(release.model_name, release.version, release.contract, release.schema)


def _asset(request: Request, host: Host) -> Response:
    found = docs.asset(request.names["asset"])
    if found is None:
        raise Refused(404, f"there is no docs/{request.names['asset']} here")
    return found


ROUTES = (
    post("/predict", _predict),
    get("/health", _health),
    get("/openapi.json", lambda request, host: answer(_document(host))),
    get("/docs", lambda request, host: docs.page()),
    get("/docs/openapi.json", lambda request, host: answer(openapi.as_3_0(_document(host)))),
    get("/docs/{asset}", _asset),
)
