"""The OpenAPI document of a release, from its contract and schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nb2prod.serving import arrow, operations

ONLY_3_1 = frozenset({"examples", "not"})
"""Words of our schemas that OpenAPI 3.0 lacks, or that use its missing type "null"."""

PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "detail", "errors", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "instance": {"type": ["integer", "null"]},
                    "field": {"type": ["string", "null"]},
                    "expected": {"type": "string"},
                    "got": {"type": "string"},
                },
            },
        },
    },
}


def document(
    model_name: str, version: int, contract: Mapping[str, Any], schema: Mapping[str, Any]
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a release. Its server is the folder that it is fetched from.

    `contract` and `schema` are the package's contract.json and schema.json.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": model_name, "version": str(version)},
        "servers": [{"url": "."}],
        "paths": {
            "/predict": {"post": _predict(model_name, version, contract, schema["$defs"])},
            "/health": {"get": _health(model_name, version)},
            **operations.paths(model_name, version, contract, schema["$defs"]),
        },
        "components": {"schemas": {"Problem": PROBLEM}},
    }


def _predict(
    model_name: str, version: int, contract: Mapping[str, Any], schemas: Mapping[str, Any]
) -> dict[str, Any]:
    example = {"instances": list(contract["example"])}
    response = {
        "predictions": list(contract["response"]),
        "model_name": model_name,
        "version": version,
        "request_id": "0b4c",
    }
    refusals = operations.REFUSALS | {
        "406": "no such kind of answer",
        "422": "the instances break the contract; every wrong field is listed",
    }
    arrows: dict[str, Any] = {arrow.STREAM: {}}
    return {
        "summary": "One prediction for each instance",
        "operationId": "predict",
        "requestBody": {"required": True, "content": _json(schemas["request"], example) | arrows},
        "responses": {
            "200": {
                "description": "the predictions",
                "content": _json(schemas["response"], response) | arrows,
            },
            **{status: _refusal(text) for status, text in refusals.items()},
        },
    }


def _health(model_name: str, version: int) -> dict[str, Any]:
    body = {"status": "ok", "model_name": model_name, "version": version, "unseen": {}}
    schema = _object({name: {} for name in body})
    return {
        "summary": "Which release answers",
        "operationId": "health",
        "responses": {
            "200": {"description": "a release is loaded", "content": _json(schema, body)},
            "503": _refusal("no release is loaded"),
        },
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def _json(schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}


def _refusal(text: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}


def as_3_0(node: Any) -> Any:
    """A document of ours as OpenAPI 3.0, which is all that the bundled Swagger UI (4.15) reads.

    It is fetched from docs/, one folder below the server.
    """
    if isinstance(node, list):
        return [as_3_0(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _child_as_3_0(key, value) for key, value in node.items() if key not in ONLY_3_1}
    if "openapi" in node:
        node |= {"openapi": "3.0.3", "servers": [{"url": ".."}]}
    if isinstance(node.get("type"), list):
        node |= {"type": node["type"][0], "nullable": True}
    return node


def _child_as_3_0(key: str, value: Any) -> Any:
    if key == "properties":  # the keys are the user's own
        return {name: as_3_0(schema) for name, schema in value.items()}
    return value if key == "example" else as_3_0(value)
