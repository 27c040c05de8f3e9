"""The nouns of nb2prod: what the line read → … → observe passes along.

Frozen dataclasses, standard library only. Every noun turns into plain JSON with `to_json`, and the
ones that are kept on disk come back with their `from_json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["preprocess", "model", "postprocess"]
ROLES: tuple[Role, ...] = ("preprocess", "model", "postprocess")
TAGS: tuple[str, ...] = ("parameters", *ROLES, "example", "reference", "metrics", "check", "skip")

Severity = Literal["error", "warning", "info"]

RequestKind = Literal["record", "records", "frame", "values", "array", "text", "names", "value"]
"""What one request is, by the Python type of the example.

record: dict, one call a record. records: list of dicts, one call a batch. frame: DataFrame, one call
a batch. values: list, array: ndarray, one call a batch. text: str, one call a text. value: int, float
or bool, one call a value. names: several names bound by the example, one call a mapping of them.
"""


def to_json(noun: Any) -> Any:
    """Any noun as plain JSON data (dataclasses to dicts, tuples to lists, paths to strings)."""
    if dataclasses.is_dataclass(noun) and not isinstance(noun, type):
        return {f.name: to_json(getattr(noun, f.name)) for f in dataclasses.fields(noun)}
    if isinstance(noun, Mapping):
        return {str(key): to_json(value) for key, value in noun.items()}
    if isinstance(noun, list | tuple):
        return [to_json(item) for item in noun]
    return str(noun) if isinstance(noun, Path) else noun


def digest(*parts: str | bytes) -> str:
    """SHA-256 over the parts, each framed by its length, as 64 hex digits."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(f"{len(data)}:".encode())
        sha.update(data)
    return sha.hexdigest()


# --- read ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell as it was read. `number` counts all cells of the notebook from 1, as a reader would.

    `code` is the source as plain Python, line for line: IPython's magics are rewritten as the calls
    that they stand for, or the code that they run. Where a cell magic rules the cell (`magic` names it),
    `code` holds no more than what that binds or reads. `execution_count` says when the cell last ran.
    """

    number: int
    id: str
    kind: Literal["code", "markdown", "raw"]
    source: str
    tags: tuple[str, ...] = ()
    code: str = ""
    magic: str | None = None
    execution_count: int | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        """The serving roles among the cell's tags."""
        return tuple(role for role in ROLES if role in self.tags)


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook as it was read. Outputs, execution counts and prose are no part of its digest."""

    name: str
    path: Path
    cells: tuple[Cell, ...]
    language: str = "python"
    kernel: str | None = None
    nbformat: str = "4.5"

    @property
    def digest(self) -> str:
        """Digest of the code: ids, tags and sources of the code cells, in order."""
        code = [[cell.id, sorted(cell.tags), cell.source] for cell in self.code]
        return digest(self.name, json.dumps(code))

    @property
    def code(self) -> tuple[Cell, ...]:
        """The code cells, in order."""
        return tuple(cell for cell in self.cells if cell.kind == "code")

    def tagged(self, tag: str) -> tuple[Cell, ...]:
        """The code cells that carry a tag, in order."""
        return tuple(cell for cell in self.code if tag in cell.tags)

    def cell(self, cell_id: str) -> Cell:
        """The cell with an id; KeyError if there is none."""
        for cell in self.cells:
            if cell.id == cell_id:
                return cell
        raise KeyError(cell_id)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A finding about a notebook: what, where and what to do. `line` counts the cell's lines from 1."""

    code: str
    severity: Severity
    message: str
    cell: str | None = None
    number: int | None = None
    line: int | None = None
    hint: str | None = None

    @property
    def where(self) -> str:
        """`cell 7, line 3`, as much of it as is known."""
        parts = [f"cell {self.number}"] if self.number is not None else []
        parts += [f"line {self.line}"] if self.line is not None else []
        return ", ".join(parts)


# --- extract -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateItem:
    """A value computed by the notebook that serving code needs, and where to capture it.

    `key` names it in the package (`name`, or made unique when two moments of one name are needed).
    The clean run serialises it just before (`when="before"`) or just after the cell `cell` runs.
    `bound_cell`, `bound_number` and `bound_line` say which statement computed it. An `optional` item
    is captured because other state may hold a function that reads it; it is dropped if none does.
    """

    key: str
    name: str
    cell: str
    when: Literal["before", "after"]
    bound_cell: str
    bound_number: int
    bound_line: int
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ConstantItem:
    """A literal that serving code holds as `name`; the clean run checks that it still is `text` by then.

    Text alone cannot tell: the value may have been changed under another name.
    """

    name: str
    text: str
    cell: str
    when: Literal["before", "after"]
    bound_cell: str
    bound_number: int
    bound_line: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One role in the pipeline: `outputs = function(*inputs)`.

    `style` is "inline" (the cells' code became the body of `function`) or "function" (`function` is
    the notebook's own). `inputs` and `outputs` are names of the pipeline: the request's names, or
    outputs of earlier stages; `keywords` tells which inputs are passed by keyword. `result` says where
    an inline stage's answer comes from: its last expression, or the names in `outputs`.
    """

    role: Role
    style: Literal["inline", "function"]
    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    cells: tuple[str, ...]
    result: Literal["expression", "names", "return"]
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MappedLine:
    """A line of a generated file and the notebook line it was taken from (both from 1)."""

    file: str
    line: int
    cell: str
    number: int
    cell_line: int


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What the clean run must see: the pipeline, the state, and after which cell it is asked again.

    `moment` is the last cell that must have run before the role functions are called for parity.
    `rehome` maps notebook functions and classes to the generated module that now holds them, so that
    state that refers to them loads without the notebook. `example_reads` are the names that the
    example was made from.
    """

    request: tuple[str, ...]
    stages: tuple[Stage, ...]
    state: tuple[StateItem, ...]
    moment: str
    rehome: Mapping[str, str] = field(default_factory=dict)
    example_cells: tuple[str, ...] = ()
    example_reads: tuple[str, ...] = ()
    reference_cell: str | None = None
    reference_name: str | None = None
    constants: tuple[ConstantItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request: a column, a key, or the element of a batch of values.

    `dtype` is "integer", "number", "string", "boolean", "datetime", "category" or "any";
    `python` the exact dtype or type name in the notebook ("int64", "float32", "datetime64[ns]", "str").
    """

    name: str
    dtype: str
    python: str
    nullable: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What a request and a response look like, as the clean run saw them.

    `shape` is the shape of one value of an array request. `example` and `response` are JSON data: the
    example as `instances`, and the predictions that it got.
    """

    kind: RequestKind
    request: tuple[str, ...]
    fields: tuple[Field, ...] = ()
    shape: tuple[int, ...] = ()
    example: tuple[Any, ...] = ()
    response: tuple[Any, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """The contract of a package's `contract.json`."""
        fields = tuple(
            Field(**{**item, "categories": tuple(item["categories"]) if item.get("categories") else None})
            for item in data["fields"]
        )
        return cls(
            kind=data["kind"],
            request=tuple(data["request"]),
            fields=fields,
            shape=tuple(data["shape"]),
            example=tuple(data["example"]),
            response=tuple(data["response"]),
        )


@dataclass(frozen=True, slots=True)
class StateFile:
    """A captured piece of state on disk: `file` is relative to the package, `codec` json, npy or pickle."""

    key: str
    file: str
    codec: str
    type: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the clean run adds to what the text says: contract, state files, requirements.

    `rehomed` are the notebook functions and classes that captured state really refers to.
    """

    contract: Contract
    state: tuple[StateFile, ...]
    rehomed: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """The extracted Python package, in memory: `files` maps relative paths to text.

    `imports` are the modules that the code imports, dotted as written.
    Without evidence it is a draft: right code, but contract and pins still unknown.
    """

    name: str
    notebook_digest: str
    files: Mapping[str, str]
    plan: CapturePlan
    imports: tuple[str, ...]
    source_map: tuple[MappedLine, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    evidence: Evidence | None = None

    @property
    def digest(self) -> str:
        """Digest of every file and of the state that belongs to it."""
        files = [part for path in sorted(self.files) for part in (path, self.files[path])]
        state = sorted(f"{item.key}:{item.sha256}" for item in self.evidence.state) if self.evidence else []
        return digest(*files, *state)


# --- validate ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CleanRun:
    """What the clean run left behind, under `folder`: state files, executed notebook, parity cases."""

    folder: Path
    executed: Path
    evidence: Evidence
    metrics: Mapping[str, float]
    parameters: Mapping[str, Any]
    data_digest: str
    reference_rows: int
    seconds: Mapping[str, float]
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that the extracted package answers otherwise than the notebook."""

    case: str
    row: int
    expected: str
    got: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What validation saw. `passed` covers parity, checks and gates; `seconds` is keyed by step."""

    name: str
    notebook_digest: str
    bundle_digest: str
    passed: bool
    rows_compared: int
    differences: tuple[Difference, ...]
    tolerance: float
    batch_safe: bool | None
    batch_reason: str
    metrics: Mapping[str, float]
    parameters: Mapping[str, Any]
    data_digest: str
    reference_rows: int
    seconds: Mapping[str, float]
    latency_ms: Mapping[str, float]
    state: tuple[StateFile, ...]
    pickled: tuple[str, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    python: str = ""
    peak_rss_mb: float = 0.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """The report of a `report.json`."""
        nested = {
            "differences": tuple(Difference(**item) for item in data["differences"]),
            "state": tuple(StateFile(**item) for item in data["state"]),
            "pickled": tuple(data["pickled"]),
            "diagnostics": tuple(Diagnostic(**item) for item in data["diagnostics"]),
        }
        return cls(**{**data, **nested})


# --- register, deploy ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release:
    """A proven Bundle with its state, stored under a version in MLflow. `path` is its package on disk."""

    model_name: str
    version: int
    content: str
    bundle_digest: str
    run_id: str
    path: Path
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One release that an endpoint may send requests to, and its share of them (percent)."""

    model_name: str
    version: int
    path: str
    weight: float = 100.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Route:
        """A route of a table on disk."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A stable URL and its routing table; `generation` grows by one with each change of its routes."""

    name: str
    url: str
    routes: tuple[Route, ...]
    generation: int
    updated: str
    num_replicas: int = 1

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Endpoint:
        """The endpoint of a table on disk."""
        return cls(**{**data, "routes": tuple(Route.from_json(item) for item in data["routes"])})


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """An endpoint as it is now: `state` is "healthy", "updating", "unhealthy", "missing" or "down"."""

    endpoint: Endpoint
    state: str
    replicas: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the line as it happened: `outcome` says what was done, or why it needed no doing."""

    name: str
    outcome: str
    seconds: float
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """What `deploy` did: the release that serves, its endpoint, the steps and a curl line that works."""

    release: Release
    endpoint: Endpoint
    steps: tuple[Step, ...]
    curl: str
    changed: bool = True
