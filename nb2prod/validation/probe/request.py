"""The example request and the reference data, looked at as soon as their cells have run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from . import contract, rows
from .finding import Refused, refused
from .pickling import Homes, Pickled, Unstorable, pickled, type_name
from .places import article
from .returned import Row, real_rows
from .rows import Rows
from .seen import Seen

SOURCE = "what the example came from"
"""What reference data are called that no cell is tagged for."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of rows, which later cells may change. `count` counts all rows, `instances` holds some.

    `seen` has an entry for each field; None where its values have no JSON form. `real` holds the rows of
    `instances` as they are in the notebook, only of reference data; `called` is what users know that by.
    """

    count: int
    instances: list[Any]
    digest: str
    seen: tuple[Seen | None, ...]
    real: list[Row] = field(default_factory=list)
    called: str = "reference"


@dataclass(frozen=True, slots=True)
class Request:
    """The example: its kind, fields (() if nameless) and values."""

    kind: str
    request: tuple[str, ...]
    names: tuple[str, ...]
    shape: tuple[int, ...]
    stored: Mapping[str, Pickled]
    seen: tuple[Seen, ...]
    look: Look

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each field: the request's own where values are nameless."""
        return self.names or self.request[:1]


def see_request(requests: Mapping[str, Any], homes: Homes, runtime: ModuleType) -> Request:
    """The example that its cells have bound; Refused NB220, NB221 or NB222 if no request can be like it."""
    kind = contract.kind_of(requests)
    value = requests if kind == "names" else next(iter(requests.values()))
    names = contract.names_of(value, kind)
    for name, part in requests.items():
        contract.check_keys(part, name)
    shape = tuple(rows.values_shape(value)) if kind == "array" else ()
    data = rows.of_request(value, kind, names)
    try:
        seen = tuple(
            contract.seen_in_example(data, label, runtime.to_wire) for label in names or tuple(requests)
        )
    except Refused as problem:
        raise (_too_many(requests, problem) if kind == "names" else problem) from problem
    instances = runtime.to_instances(value, kind)
    look = Look(len(data), instances, rows.data_digest(data), seen)
    return Request(kind, tuple(requests), names, shape, _stored(requests, homes), seen, look)


def _too_many(requests: Mapping[str, Any], problem: Refused) -> Refused:
    """Role cells read several names of the example cell, and one cannot be a field: it was not meant so."""
    hint = "Bind only the request in the example cell, and compute the rest from it in the role cells."
    return refused(
        "NB220",
        f"the role cells read {', '.join(requests)} from the example cell, so a request would bring all of"
        f" them; but {problem.finding.message}",
        hint,
    )


def _stored(requests: Mapping[str, Any], homes: Homes) -> dict[str, Pickled]:
    try:
        return {name: pickled(value, homes) for name, value in requests.items()}
    except Unstorable as problem:
        part = article(type_name(problem.part))
        raise refused(
            "NB220", f"the example holds {part}, which no request can hold", contract.ALLOWED
        ) from problem


def source_of(candidates: Mapping[str, Any], requests: Mapping[str, Any], request: Request) -> Rows | None:
    """The data that the example was taken from, among the names that its cells read."""
    value = requests if request.kind == "names" else next(iter(requests.values()))
    example = rows.of_request(value, request.kind, request.names)
    return rows.came_from(candidates, example, request.kind, request.shape)


def see_reference(source: Any, request: Request, runtime: ModuleType) -> Look:
    """The reference data that its cell has bound; Refused NB225 if it does not hold requests."""
    data = rows.of_source(source, request.kind, request.names, request.shape)
    if data is not None:
        return look_at(data, runtime)
    raise refused(
        "NB225",
        f"the reference is {article(type_name(source))} that does not hold rows like the example's"
        + (f", with {', '.join(request.names[:10])}" if request.names else ""),
        "Bind a DataFrame or a list of what requests will hold; further columns do no harm.",
    )


def look_at(data: Rows, runtime: ModuleType, called: str = "reference") -> Look:
    """What is kept of reference data: a sample as instances, and what all of it looks like."""
    seen = tuple(contract.look(data.column(name), runtime.to_wire) for name in data.names or ("",))
    instances, real = _instances(data, runtime), real_rows(data, data.sample())
    return Look(len(data), instances, rows.data_digest(data), seen, real, called)


def _instances(data: Rows, runtime: ModuleType) -> list[Any]:
    try:
        return data.instances(data.sample(), runtime.to_instances)
    except TypeError as error:
        raise _no_wire(error) from error


def _no_wire(error: TypeError) -> Refused:
    return refused("NB225", f"the reference holds values that no request can hold: {error}", contract.ALLOWED)
