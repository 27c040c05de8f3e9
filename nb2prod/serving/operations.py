"""What the OpenAPI document says of MLflow's protocol, v1 and v2; `openapi` says it of our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nb2prod.serving import arrow
from nb2prod.serving.tensors import DATATYPES

Schema = Mapping[str, Any]
Item = dict[str, Any]

JSON = "application/json"
TEXT: Schema = {"type": "string"}
NAMES: Schema = {"type": "array", "items": TEXT}
PARAMETERS: Schema = {"type": "object"}

REFUSALS = {
    "400": "the body is not what its kind says",
    "408": "the body came too slowly",
    "413": "the request is too large",
    "415": "no such kind of body is taken",
    "422": "the request breaks the contract",
    "500": "the model failed",
    "503": "no release can take it now",
    "504": "it took too long",
}
ERROR = {
    "type": "object",
    "required": ["error", "request_id"],
    "properties": {"error": TEXT, "request_id": TEXT, "errors": {"type": "array"}},
}
MLFLOW_ERROR = {
    "type": "object",
    "required": ["error_code", "message", "request_id"],
    "properties": {"error_code": TEXT, "message": TEXT, "request_id": TEXT, "errors": {"type": "array"}},
}
TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "enum": [*DATATYPES]},
        "data": {"type": "array"},
        "parameters": PARAMETERS,
    },
}
METADATA = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {"name": TEXT, "datatype": TEXT, "shape": {"type": "array", "items": {"type": "integer"}}},
}


def paths(model_name: str, version: int, contract: Schema, schemas: Schema) -> dict[str, Item]:
    """The paths of all protocols but our own. `schemas` are `request` and `response` of schema.json."""
    instances = schemas["request"]["properties"]["instances"]
    predictions = schemas["response"]["properties"]["predictions"]
    example = {"instances": list(contract["example"])}
    one, each = _placed(model_name), _placed(model_name, version)
    found = {
        "/invocations": {"post": _invocations(instances, predictions, example)},
        "/ping": {"get": _get("ping", "Whether a release is loaded", None, MLFLOW_ERROR)},
        "/version": {"get": _version()},
        "/v1/models": {"get": _get("v1Models", "The models", _object({"models": NAMES}), ERROR)},
        "/v2": {"get": _get("v2Server", "What answers", _object({"name": TEXT, "version": TEXT}), ERROR)},
        "/v2/health/live": {"get": _get("v2Live", "Whether the process answers", _flag("live"), ERROR)},
        "/v2/health/ready": {"get": _get("v2Ready", "Whether a release is loaded", _flag("ready"), ERROR)},
    }
    for placed, path, suffix in ((one, "{model}", ""), (each, "{model}/versions/{version}", "OfVersion")):
        found |= _v1(path, suffix, placed, instances, predictions, example)
        found |= _v2(path, suffix, placed)
    return found


def _v1(
    path: str, suffix: str, placed: Item, instances: Schema, predictions: Schema, example: Any
) -> dict[str, Item]:
    asked = {"oneOf": [_object({"instances": instances}), _object({"inputs": _columns(instances)})]}
    given = {"oneOf": [_object({"predictions": predictions}), _object({"outputs": predictions})]}
    state = _object({"name": TEXT, "ready": {"type": "boolean"}, "model_version_status": {"type": "array"}})
    predict = _post(f"v1Predict{suffix}", "One prediction for each instance", asked, given, ERROR, example)
    return {
        f"/v1/models/{path}": {"get": _get(f"v1Model{suffix}", "A model's state", state, ERROR) | placed},
        f"/v1/models/{path}:predict": {"post": predict | placed},
    }


def _v2(path: str, suffix: str, placed: Item) -> dict[str, Item]:
    several = {"type": "array", "items": TENSOR}
    asked = _object({"inputs": {**several, "minItems": 1}}, {"id": TEXT, "parameters": PARAMETERS})
    given = _object({"model_name": TEXT, "model_version": TEXT, "outputs": several}, {"id": TEXT})
    listed = {"type": "array", "items": METADATA}
    about = _object({"name": TEXT, "versions": NAMES, "platform": TEXT, "inputs": listed, "outputs": listed})
    infer = _post(f"v2Infer{suffix}", "Tensors to tensors", asked, given, ERROR, None)
    del infer["responses"]["422"]
    return {
        f"/v2/models/{path}": {"get": _get(f"v2Model{suffix}", "A model's tensors", about, ERROR) | placed},
        f"/v2/models/{path}/ready": {
            "get": _get(f"v2ModelReady{suffix}", "Whether it is loaded", _flag("ready"), ERROR) | placed
        },
        f"/v2/models/{path}/infer": {"post": infer | placed},
    }


def _invocations(instances: Schema, predictions: Schema, example: Any) -> Item:
    split = _object({"columns": NAMES, "data": {"type": "array", "items": {"type": "array"}}})
    forms = {
        "dataframe_split": split,
        "dataframe_records": instances,
        "instances": instances,
        "inputs": _columns(instances),
    }
    asked = {"oneOf": [_object({name: form}) for name, form in forms.items()]}
    given = _object({"predictions": predictions})
    made = _post("invocations", "MLflow's and SageMaker's", asked, given, MLFLOW_ERROR, example)
    made["requestBody"]["content"] |= {"text/csv": {"schema": TEXT}, arrow.STREAM: {}}
    made["responses"]["200"]["content"][arrow.STREAM] = {}
    made["responses"]["406"] = _refusal("no such kind of answer", MLFLOW_ERROR)
    return made


def _columns(instances: Schema) -> Schema:
    """Rows, or an object of columns."""
    columns = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "array"}}
    return {"anyOf": [instances, columns]}


def _version() -> Item:
    made = _get("version", "The version of MLflow, or of nb2prod", None, MLFLOW_ERROR)
    made["responses"]["200"]["content"] = {"text/plain": {"schema": TEXT}}
    made["responses"]["404"] = _refusal("none is known", MLFLOW_ERROR)
    return made


def _placed(model_name: str, version: int | None = None) -> Item:
    """The parameters of a path."""
    names = {"model": model_name} | ({} if version is None else {"version": str(version)})
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
            for name, value in names.items()
        ]
    }


def _get(name: str, summary: str, schema: Schema | None, error: Schema) -> Item:
    refusals = {"404": "another model or version is named", "503": REFUSALS["503"]}
    return _operation(name, summary, schema, error, refusals)


def _post(name: str, summary: str, asked: Schema, given: Schema, error: Schema, example: Any) -> Item:
    refusals = {"404": "another model or version is named", **REFUSALS}
    content = {"schema": asked, **({} if example is None else {"example": example})}
    body = {"required": True, "content": {JSON: content}}
    return {"requestBody": body, **_operation(name, summary, given, error, refusals)}


def _operation(
    name: str, summary: str, schema: Schema | None, error: Schema, refusals: Mapping[str, str]
) -> Item:
    done = {"description": "done", "content": {JSON: {} if schema is None else {"schema": schema}}}
    told = {status: _refusal(text, error) for status, text in refusals.items()}
    return {"summary": summary, "operationId": name, "responses": {"200": done, **told}}


def _refusal(text: str, error: Schema) -> Item:
    return {"description": text, "content": {JSON: {"schema": error}}}


def _flag(name: str) -> Schema:
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}


def _object(properties: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": [*properties], "properties": {**properties, **(optional or {})}}
