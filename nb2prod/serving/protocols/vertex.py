"""Vertex AI's protocol for containers, at the paths that it names.

POST predict    {"instances": [...], "parameters": {}} → {"predictions": [...]}
GET  health     200 once a release is loaded

Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

from typing import Any

from nb2prod.serving.bodies import json_object, kind_of, member, refuse
from nb2prod.serving.core import Call, named, ready
from nb2prod.serving.host import Host
from nb2prod.serving.http import Response, answer
from nb2prod.serving.loader import LoadedRelease
from nb2prod.serving.routes import Request, Route, get, post


def routes(health: str, predict: str) -> tuple[Route, ...]:
    """The routes of a container that Vertex AI starts."""
    return get(health, _health), post(predict, _predict)


def _predict(request: Request, body: bytes) -> Call:
    return Call(request.asked, lambda release: _instances(body), _answered)


def _instances(body: bytes) -> Any:
    data = json_object(body, "an object with `instances`")
    if data.get("parameters"):
        refuse("parameters", "nothing: this model takes no parameters", kind_of(data["parameters"]))
    return member(data, "instances", "a list of instances")


def _answered(release: LoadedRelease, predictions: list[Any]) -> Response:
    return answer({"predictions": predictions}, *named(release))


def _health(request: Request, host: Host) -> Response:
    return answer({}, *named(ready(host)))
