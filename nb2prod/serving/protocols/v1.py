"""The protocol of TensorFlow Serving, which KServe calls v1.

POST /v1/models/{model}[/versions/{version}]:predict    {"instances": [...]} → {"predictions": [...]}
                                                        {"inputs": {...}} → {"outputs": [...]}
GET  /v1/models/{model}[/versions/{version}]            its state
GET  /v1/models                                         their names

Source: https://www.tensorflow.org/tfx/serving/api_rest,
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from __future__ import annotations

from functools import partial
from typing import Any

from nb2prod.serving.bodies import json_object, refuse
from nb2prod.serving.core import Call, loaded, named, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Refused, Response, answer
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.protocols.mlflow import rows_of_columns
from nb2prod.serving.routes import Request, get, post


def _predict(request: Request, body: bytes) -> Call:
    read = _Read(body)
    return Call(request.asked, partial(read.instances, request), read.answer, _refused)


class _Read:
    """A body, and the form that it had: rows or columns."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._form = "instances"

    def instances(self, request: Request, release: LoadedRelease) -> Any:
        check(request, release)
        data = json_object(self._body)
        given = [name for name in ("instances", "inputs") if name in data]
        if len(given) != 1:
            refuse("the body", "one of instances and inputs", " and ".join(given) or "neither")
        (self._form,) = given
        value = data[self._form]
        columns = self._form == "inputs" and isinstance(value, dict)
        return rows_of_columns(value) if columns else value

    def answer(self, release: LoadedRelease, predictions: list[Any]) -> Response:
        name = "predictions" if self._form == "instances" else "outputs"
        return answer({name: predictions}, *named(release))


def check(request: Request, release: LoadedRelease) -> None:
    """Refused 404 if the path names another model or version than the one that answers."""
    model, version = request.names.get("model"), request.names.get("version")
    if model == "":
        raise Refused(404, f"the request names no model; there is {release.model_name}")
    if model is not None and model != release.model_name:
        raise Refused(404, f"there is no model {model:.200} here; there is {release.model_name}")
    if version is not None and version != str(release.version):
        raise Refused(404, f"version {version:.60} of {model} does not answer here; {release.version} does")


def _refused(refused: Refused, asked: str) -> Response:
    found = {"errors": refused.errors} if refused.errors else {}
    data = {"error": refused.detail, **found, "request_id": asked}
    return answer(data, *refused.headers, status=refused.status)


def _state(request: Request, host: Host) -> Response:
    release = ready(host)
    check(request, release)
    status = {"error_code": "OK", "error_message": ""}
    version = {"version": str(release.version), "state": "AVAILABLE", "status": status}
    data = {"name": release.model_name, "ready": True, "model_version_status": [version]}
    return answer(data, *named(release))


def _models(request: Request, host: Host) -> Response:
    return answer({"models": [loaded(host).model_name]})


ROUTES = (
    get("/v1/models", _models, _refused),
    # the colon would be part of a name without a slash: these come first
    post("/v1/models/{model}:predict", _predict, _refused),
    post("/v1/models/{model}/versions/{version}:predict", _predict, _refused),
    get("/v1/models/{model}", _state, _refused),
    get("/v1/models/{model}/versions/{version}", _state, _refused),
)
