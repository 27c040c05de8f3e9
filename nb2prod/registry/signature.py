"""A contract as MLflow's signature and input example."""

from __future__ import annotations

from typing import Any

from nb2prod.domain import Contract, Field

_PLAIN = {
    "string": "string",
    "boolean": "boolean",
    "integer": "long",
    "number": "double",
    "datetime": "datetime",
}

_SHAPELESS = frozenset({"any", "record", "map", "list"})
"""What a batch of values may hold, and MLflow would take for a table."""

_INEXACT = _SHAPELESS | {"category"}


def signature_of(contract: Contract) -> Any:
    """The ModelSignature of a contract, or None where MLflow has no schema for its requests."""
    from mlflow.models import ModelSignature

    inputs = _inputs(contract)
    return ModelSignature(inputs=inputs, outputs=_outputs(contract)) if inputs is not None else None


def _inputs(contract: Contract) -> Any:
    import numpy as np
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    first = contract.fields[0] if contract.fields else None
    if contract.kind in ("frame", "records", "record", "names"):
        return Schema([ColSpec(_type(f, contract), f.name, required=not f.nullable) for f in contract.fields])
    assert first is not None
    if contract.kind == "array":
        dtype = np.dtype("str" if first.dtype == "string" else first.python)
        return Schema([TensorSpec(dtype, (-1, *contract.shape))])
    # a list of lists would be taken for a table
    return Schema([ColSpec(_type(first, contract))]) if first.dtype not in _SHAPELESS else None


def _type(field: Field, contract: Contract) -> Any:
    """MLflow's type of a field; its AnyType, which takes everything, where the right one is too strict.

    `double` refuses whole numbers, `long` and `boolean` refuse nulls, `datetime` refuses time zones, and
    `string` refuses categories; the package checks all of that itself.
    """
    from mlflow.types.schema import AnyType, Array

    values = _values(field.name, contract)
    if field.dtype in ("any", "list") and values and all(isinstance(value, list) for value in values):
        return Array(AnyType())
    return _PLAIN[field.dtype] if _is_exact(field, values) else AnyType()


def _is_exact(field: Field, values: list[Any]) -> bool:
    if "[pyarrow]" in field.python or field.dtype in _INEXACT or field.python == "uint64":
        return False
    if field.dtype in ("integer", "boolean"):
        return not field.nullable
    if field.dtype == "number":
        return all(value is None or isinstance(value, float) for value in values)
    return field.dtype == "string" or (field.python.startswith("datetime64[") and "," not in field.python)


def _values(name: str, contract: Contract) -> list[Any]:
    if contract.kind in ("frame", "records", "record", "names"):
        return [instance[name] for instance in contract.example]
    return list(contract.example)


def _outputs(contract: Contract) -> Any:
    """The schema of the predictions, as JSON has them: a column for each key of a record, else one."""
    from mlflow.types.schema import ColSpec, Schema

    answer = contract.answer
    if answer is None:
        return None
    if answer.dtype == "record" and not answer.nullable:
        return Schema([ColSpec(_answer_type(p), p.name, required=_is_required(p)) for p in answer.parts])
    return Schema([ColSpec(_answer_type(answer))])


def _is_required(part: Field) -> bool:
    return not part.optional and not part.nullable


def _answer_type(field: Field) -> Any:
    from mlflow.types.schema import AnyType, Array, Map, Object, Property

    match field.dtype:
        case "record":
            return Object([Property(p.name, _answer_type(p), required=_is_required(p)) for p in field.parts])
        case "map":
            return Map(_answer_type(field.parts[0]))
        case "list":
            return Array(_answer_type(field.parts[0]))
        case "integer" if not _fits_long(field):
            return AnyType()
        case "datetime" | "category":
            return "string"  # so JSON has them
    return _PLAIN.get(field.dtype) or AnyType()


def _fits_long(field: Field) -> bool:
    ends = [end for end in (field.minimum, field.maximum) if isinstance(end, int | float)]
    return all(-(2**63) <= end < 2**63 for end in ends)


def input_example(contract: Contract) -> Any:
    """The contract's example as MLflow wants it: a DataFrame, an array, or a list."""
    import numpy as np
    import pandas as pd

    example = list(contract.example)
    if contract.kind in ("frame", "records", "record", "names"):
        columns = {f.name: _column([row[f.name] for row in example], f, contract) for f in contract.fields}
        return pd.DataFrame(columns)
    field = contract.fields[0]
    if contract.kind == "array":
        dtype = None if field.dtype == "string" else np.dtype(field.python)
        return np.array(_nan_for_none(example), dtype=dtype)
    return example if field.dtype not in _SHAPELESS else None


def _column(values: list[Any], field: Field, contract: Contract) -> Any:
    import pandas as pd

    kind = _type(field, contract)
    if kind == "double":
        return pd.Series(values, dtype="float64")
    if kind == "datetime":
        return pd.to_datetime(pd.Series(values), format="ISO8601")
    return pd.Series(values, dtype=None if kind == "long" or kind == "boolean" else object)


def _nan_for_none(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_nan_for_none(item) for item in value]
    return float("nan") if value is None else value
