"""The nouns of nb2prod: what the line read → … → observe passes along.

Frozen dataclasses, standard library only. Every noun turns into plain JSON with `to_json`, and the
ones that are kept on disk come back with their `from_json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
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


def sized(count: float) -> str:
    """A number of bytes for people: `3.9 kB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


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
    """A notebook as it was read. Outputs, execution counts and prose are no part of its digest.

    `stars` are the names that `from module import *` brings, by module, once they have been looked up.
    """

    name: str
    path: Path
    cells: tuple[Cell, ...]
    language: str = "python"
    kernel: str | None = None
    nbformat: str = "4.5"
    stars: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

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
    `bound_cell`, `bound_number` and `bound_line` say which statement computed it, `read_number` and
    `read_line` which line of serving code reads it. An `optional` item is captured because other state
    may hold a function that reads it; it is dropped if none does.

    Two kinds are kept only if the clean run shows that text has deceived: an item with a `literal` if the
    value is no longer that text (it was changed under another name), one with `same_as` if the value is no
    longer the one captured under that key. Else serving code uses the literal, or that other item.

    `looked_up`: serving code does nothing with it but `it[key]`, which may put a key into a defaultdict.
    `compared` says how serving code compares it with other objects: by "is", by "eq" (`==`), as what `in`
    looks through.
    """

    key: str
    name: str
    cell: str
    when: Literal["before", "after"]
    bound_cell: str
    bound_number: int
    bound_line: int
    optional: bool = False
    literal: str | None = None
    same_as: str | None = None
    read_number: int | None = None
    read_line: int | None = None
    compared: Literal["", "in", "eq", "is"] = ""
    looked_up: bool = False

    @property
    def expected(self) -> bool:
        """Whether the item is kept whatever the clean run shows."""
        return not self.optional and self.literal is None and self.same_as is None


@dataclass(frozen=True, slots=True)
class Watched:
    """What the clean run must find unchanged in a cell, for the text to be right.

    `kind` "passing": the cell, which is no role's, must not change `name` (a request or a role's result).
    "reached": the cell, which is no role's, knows the request and must not put it into the state `name`.
    "definition": the function or class `name`, defined in `bound_cell`, must still be the same by then.
    `others` are names in closures that the functions of the notebook change themselves; `embedded`: it counts
    only if captured state refers to the definition. The package's must be like it then.
    "constant": the package's constant `name`, bound in `bound_cell`, must be like the notebook's by then.
    "alone": the role code of the cell works on a copy of `name`, so none of `others` may be part of it.
    """

    kind: Literal["passing", "reached", "definition", "constant", "alone"]
    name: str
    cell: str
    when: Literal["before", "after"] = "before"
    bound_cell: str = ""
    bound_number: int = 0
    bound_line: int = 0
    others: tuple[str, ...] = ()
    embedded: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One role in the pipeline: `outputs = function(*inputs)`.

    `style` is "inline" (the cells' code became the body of `function`) or "function" (`function` is
    the notebook's own). `inputs` and `outputs` are names of the pipeline: the request's names, or
    outputs of earlier stages; `keywords` tells which inputs are passed by keyword. `result` says where
    an inline stage's answer comes from: its last expression, or the names in `outputs`. An `asynchronous`
    function gives a coroutine.
    """

    role: Role
    style: Literal["inline", "function"]
    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    cells: tuple[str, ...]
    result: Literal["expression", "names", "return"]
    keywords: tuple[str, ...] = ()
    asynchronous: bool = False


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
    example was made from, `attributes` those of attributes that serving code reads ("*": any).
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
    watched: tuple[Watched, ...] = ()
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request or an answer: a column, a key, or the element of a batch of values.

    `dtype` is "integer", "number", "string", "boolean", "datetime", "category", "record" (a dict with
    known keys), "map" (a dict with any keys), "list" or "any"; `python` the exact dtype or type name in
    the notebook ("int64", "float32", "datetime64[ns]", "str"), "object" where several or none is kept.
    `parts` are the keys of a record, or the one element of a map or list; `length` is that of every list
    seen, None where lists differ or too few were seen; `optional` says that a key was not in all records.
    `missing` is what null becomes where the type leaves a choice: "None", "nan", "np.nan", "NA" or "NaT".
    """

    name: str
    dtype: str
    python: str
    nullable: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    categories: tuple[str, ...] | None = None
    parts: tuple[Field, ...] = ()
    length: int | None = None
    optional: bool = False
    missing: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Field:
        """A field of a contract on disk."""
        categories = tuple(data["categories"]) if data.get("categories") else None
        parts = tuple(cls.from_json(part) for part in data.get("parts", ()))
        return cls(**{**data, "categories": categories, "parts": parts})


@dataclass(frozen=True, slots=True)
class Contract:
    """What a request and a response look like, as the clean run saw them.

    `shape` is the shape of one value of an array request. `answer` is what one prediction looks like,
    in the answers to the example and to reference rows. `example` and `response` are JSON data: the
    example as `instances`, and the predictions that it got.
    """

    kind: RequestKind
    request: tuple[str, ...]
    fields: tuple[Field, ...] = ()
    shape: tuple[int, ...] = ()
    answer: Field | None = None
    example: tuple[Any, ...] = ()
    response: tuple[Any, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """The contract of a package's `contract.json`."""
        return cls(
            kind=data["kind"],
            request=tuple(data["request"]),
            fields=tuple(Field.from_json(item) for item in data["fields"]),
            shape=tuple(data["shape"]),
            answer=Field.from_json(data["answer"]) if data.get("answer") else None,
            example=tuple(data["example"]),
            response=tuple(data["response"]),
        )


@dataclass(frozen=True, slots=True)
class StateFile:
    """A captured piece of state on disk; `file` is relative to the package.

    `codec` says how it is written: json, npy, npz, parquet, safetensors, skops, `zip(...)` of several, or
    pickle, and then `why` says why nothing safer would do. `modules` are the top-level ones that reading it
    imports; `trusted` names the classes and functions that it may refer to, where the codec asks for that.
    """

    key: str
    file: str
    codec: str
    type: str
    bytes: int
    sha256: str
    modules: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    why: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StateFile:
        """An entry of what the clean run observed, or of a report."""
        return cls(**{**data, "modules": tuple(data["modules"]), "trusted": tuple(data["trusted"])})


@dataclass(frozen=True, slots=True)
class Imported:
    """A module that code imports, dotted, and the cell and line that say so. `from a import b` is a.b."""

    module: str
    cell: str
    number: int
    line: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a role needs from outside the package: what its code imports, and keys of state."""

    imports: tuple[Imported, ...] = ()
    state: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirement:
    """An installed distribution that answering requests really imports, at the version that was proven.

    `roles` need it. `via` names the distributions that it came with, () if the code itself, its state or
    its requests ask for it. An `optional` one is declared by none of these: they import it where it is
    installed, and may answer a little otherwise where it is not.
    """

    name: str
    version: str
    roles: tuple[Role, ...]
    via: tuple[str, ...] = ()
    optional: bool = False

    @property
    def pin(self) -> str:
        """`name==version`, as an installer reads it."""
        return f"{self.name}=={self.version}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Requirement:
        """A requirement of a report."""
        return cls(**{**data, "roles": tuple(data["roles"]), "via": tuple(data["via"])})


@dataclass(frozen=True, slots=True)
class SeenValue:
    """A value that a role takes or gives, as the clean run saw it. `name` is the Stage's.

    `type` is an annotation whose names are builtins or `module:name` ("dict[str, pandas:DataFrame]"); the
    notebook's own classes are of the module `__main__`. `shape` says in words what the type does not, in
    terms of the request's rows ("DataFrame, rows x 3 columns (a, b, c)"); empty where that is nothing.
    """

    role: Role
    side: Literal["takes", "gives"]
    name: str
    type: str
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Accelerated:
    """A fitted model in the state, and how onnxruntime answers for it; or `why` the original answers alone.

    `file` holds it as ONNX, relative to the package. `methods` are those that it takes over, `left` says of
    others why not. `difference` is the largest relative one between their numbers and the original's, over
    `rows` rows. `before_ms` and `after_ms` are one call of one row; with more than `most_rows` in a call the
    original is quicker, and answers. `serving` is what the package's manifest says.
    """

    key: str
    type: str
    why: str = ""
    file: str = ""
    bytes: int = 0
    sha256: str = ""
    methods: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    difference: float = 0.0
    rows: int = 0
    before_ms: float = 0.0
    after_ms: float = 0.0
    most_rows: int = 0
    serving: Mapping[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the manifest says of it; nothing if the original answers alone."""
        return {} if self.why else {"file": self.file, "sha256": self.sha256, **self.serving}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Accelerated:
        """A model of a report."""
        return cls(**{**data, "methods": tuple(data["methods"])})


ACCELERATED_RTOL = 1e-5
"""Relative difference that the numbers of an accelerated package may have to the notebook's."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the clean run and the proof add to what the text says: contract, state files, requirements.

    `rehomed` are the notebook functions and classes that captured state really refers to, `decoding` the
    modules that a request is rebuilt with, `values` what passed between the roles. The requirements,
    whether rows of several requests may be asked together, and which models are accelerated are known last:
    `prove` and `accelerate` see them. Of these and `acceleration` (None: not tried), see Report.
    """

    contract: Contract
    state: tuple[StateFile, ...]
    rehomed: tuple[str, ...] = ()
    decoding: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    values: tuple[SeenValue, ...] = ()
    batch_safe: bool | None = None
    batch_reason: str = ""
    acceleration: tuple[Accelerated, ...] | None = None

    @property
    def accelerated(self) -> tuple[Accelerated, ...]:
        """The models for which onnxruntime answers."""
        return tuple(item for item in self.acceleration or () if not item.why)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """The evidence of an `evidence.json`, without what `prove` sees."""
        return cls(
            contract=Contract.from_json(data["contract"]),
            state=tuple(StateFile.from_json(item) for item in data["state"]),
            rehomed=tuple(data["rehomed"]),
            decoding=tuple(data["decoding"]),
            values=tuple(SeenValue(**item) for item in data["values"]),
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """The extracted Python package, in memory: `files` maps relative paths to text.

    `imports` are the modules that the code imports, dotted as written; `needs` says it by role.
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
    needs: Mapping[Role, Needs] = field(default_factory=dict)

    @property
    def requirements_by_role(self) -> dict[Role, tuple[str, ...]]:
        """What each role needs installed, pinned, as far as a proof has shown it."""
        return requirements_by_role(self.needs, self.evidence)

    @property
    def digest(self) -> str:
        """Digest of every file and of the state that belongs to it."""
        files = [part for path in sorted(self.files) for part in (path, self.files[path])]
        state = sorted(f"{item.key}:{item.sha256}" for item in self.evidence.state) if self.evidence else []
        return digest(*files, *state)


def requirements_by_role(roles: Iterable[Role], evidence: Evidence | None) -> dict[Role, tuple[str, ...]]:
    """The pins of each role, in the order of `requirements.txt`; none before the proof."""
    found = evidence.requirements if evidence is not None else ()
    return {role: tuple(item.pin for item in found if role in item.roles) for role in roles}


# --- explain -------------------------------------------------------------------------------------


NodeKind = Literal["line", "import", "helper", "constant", "magic", "state", "request", "role"]

Standing = Literal["in", "perhaps", "out"]


@dataclass(frozen=True, slots=True)
class ExplainedCell:
    """A cell of an explained notebook; `note` says what holds for all of it, if anything does."""

    number: int
    id: str
    kind: Literal["code", "markdown", "raw"]
    tags: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExplainedNode:
    """One thing that serving needs or leaves behind, and why.

    A top-level statement of the notebook (its kind is line, import, helper, constant or magic), a piece of
    state, the request, or a role. `names` are those that it binds; `modules` are the files of the package
    that hold it. `standing`: "perhaps" is decided by the clean run, which sees whether state refers to it.
    `reason` is `why` in one word. `line` and `last_line` count the cell's lines from 1; `code` is their text.
    """

    id: str
    kind: NodeKind
    standing: Standing
    reason: str
    why: str
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    cell: str | None = None
    number: int | None = None
    line: int | None = None
    last_line: int | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class ExplainedEdge:
    """Node `source` depends on node `target` through `name`, which it mentions in `line` of its cell.

    `kind`: "holds" from a role to its own code; "takes" from a role to the request or the role whose result
    it gets; "reads" from code of the package to what it needs; "made by" from state to the statements that
    bind or change it; "behind" from one of those to what it was computed from.
    """

    source: str
    target: str
    name: str
    kind: Literal["holds", "takes", "reads", "made by", "behind"]
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ExplainedUse:
    """How a role comes by a name: `chain` leads from its module to what the name stands for, in words.

    `path` is the same way as nodes, from the role to the last reader. `kind` is what the name stands for
    there; `bindings` are the nodes of the statements that reach.
    """

    role: Role
    kind: Literal["import", "helper", "constant", "state", "request", "result", "local"]
    chain: tuple[str, ...]
    path: tuple[str, ...]
    bindings: tuple[str, ...]
    number: int
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class ExplainedBinding:
    """A statement that binds or changes a name, the roles that mean it, and why, or why not."""

    node: str
    number: int
    line: int
    roles: tuple[Role, ...]
    why: str


@dataclass(frozen=True, slots=True)
class ExplainedName:
    """All about one name. `behind` are the nodes of the training lines that its state is computed from."""

    name: str
    uses: tuple[ExplainedUse, ...] = ()
    bindings: tuple[ExplainedBinding, ...] = ()
    behind: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why each line, import, helper, constant and piece of state is in the package or out of it.

    `ok` is False for a notebook that is refused; then `diagnostics` hold the refusals, and the nodes say what
    would be. `what` is the name or cell that it is limited to, None for the whole notebook; `about` is there
    if it is a name.
    """

    name: str
    file: str
    notebook_digest: str
    ok: bool
    cells: tuple[ExplainedCell, ...]
    nodes: tuple[ExplainedNode, ...] = ()
    edges: tuple[ExplainedEdge, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    what: str | None = None
    about: ExplainedName | None = None


# --- validate ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CleanRun:
    """What the clean run left behind, under `folder`: state files, executed notebook, parity cases.

    `settings` are those that its cells may have made: the `values` that roles have met, and the place.
    """

    folder: Path
    executed: Path
    evidence: Evidence
    metrics: Mapping[str, float]
    parameters: Mapping[str, Any]
    data_digest: str
    reference_rows: int
    seconds: Mapping[str, float]
    diagnostics: tuple[Diagnostic, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that the extracted package answers otherwise than the notebook."""

    case: str
    row: int
    expected: str
    got: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Isolation:
    """The proof in an environment that holds `requirements.txt` and nothing else, with this Python.

    `environment` is its folder under .nb2prod/envs. `packages` counts the distributions in it: the pins,
    and what the installer added to them. `seconds` has "install" (0 if an environment of the same
    requirements was there) and "prove".
    """

    environment: str
    installer: str
    packages: int
    megabytes: float
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """What validation saw. `passed` covers parity, checks and gates; `seconds` is keyed by step.

    `requirements` are what answering really imported. `isolated` tells of the proof with these alone, if
    it was asked for. `acceleration` has each fitted model for which onnxruntime was tried, None
    if that was not to be.
    """

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
    diagnostics: tuple[Diagnostic, ...] = ()
    python: str = ""
    peak_rss_mb: float = 0.0
    requirements: tuple[Requirement, ...] = ()
    isolated: Isolation | None = None
    acceleration: tuple[Accelerated, ...] | None = None

    @property
    def accelerated(self) -> tuple[Accelerated, ...]:
        """The models for which onnxruntime answers."""
        return tuple(item for item in self.acceleration or () if not item.why)

    @property
    def within(self) -> float:
        """The relative difference that numbers of the package may have to the notebook's."""
        return max(self.tolerance, ACCELERATED_RTOL) if self.accelerated else self.tolerance

    @property
    def pickled(self) -> tuple[StateFile, ...]:
        """The state that has no form safer than a pickle; each piece says why."""
        return tuple(item for item in self.state if item.codec == "pickle")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """The report of a `report.json`."""
        tried = data["acceleration"]
        nested = {
            "differences": tuple(Difference(**item) for item in data["differences"]),
            "state": tuple(StateFile.from_json(item) for item in data["state"]),
            "diagnostics": tuple(Diagnostic(**item) for item in data["diagnostics"]),
            "requirements": tuple(Requirement.from_json(item) for item in data["requirements"]),
            "isolated": Isolation(**data["isolated"]) if data["isolated"] else None,
            "acceleration": None if tried is None else tuple(Accelerated.from_json(item) for item in tried),
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
    """One release that an endpoint may send requests to, and its share of them (percent).

    `limits` bound requests to it, by the names that [tool.nb2prod] has for them.
    """

    model_name: str
    version: int
    path: str
    weight: float = 100.0
    limits: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Route:
        """A route of a table on disk."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A stable URL and its routing table; `generation` grows by one with each change of its routes.

    `grpc` is where it answers over gRPC, asked by its name: host and port, "" if nowhere.
    """

    name: str
    url: str
    routes: tuple[Route, ...]
    generation: int
    updated: str
    num_replicas: int = 1
    grpc: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Endpoint:
        """The endpoint of a table on disk."""
        return cls(**{**data, "routes": tuple(Route.from_json(item) for item in data["routes"])})


@dataclass(frozen=True, slots=True)
class Manner:
    """How a release serves, as its proof found.

    `together`: requests that wait are answered by one call of the model; `why` says why, or why not.
    `models` has its fitted models: "" where onnxruntime answers, else why the original does; None if that
    was not to be tried.
    """

    together: bool
    why: str
    models: Mapping[str, str] | None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Manner:
        """What a package's `manifest.json` says of it."""
        tried = manifest.get("acceleration")
        models = None if tried is None else {item["key"]: item["why"] for item in tried}
        return cls(manifest.get("batch_safe") is True, manifest.get("batch_reason", ""), models)


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """An endpoint as it is now: `state` is "healthy", "updating", "unhealthy", "missing" or "down".

    `manners` are those of its routes, in their order; None where a release lies here no more.
    """

    endpoint: Endpoint
    state: str
    replicas: int
    message: str = ""
    manners: tuple[Manner | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the line as it happened: `outcome` says what was done, or why it needed no doing."""

    name: str
    outcome: str
    seconds: float
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """What `deploy` did: the release that serves, its endpoint, the steps and a curl line that works.

    `diagnostics` are those of its proof.
    """

    release: Release
    endpoint: Endpoint
    steps: tuple[Step, ...]
    curl: str
    changed: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()


# --- compare -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CellMark:
    """A code cell as a package remembers it, without its source.

    `digest` is that of its source, `code` that of its code without comments and layout. `lines` are
    short digests of its lines that are not blank, to see how alike two cells are.
    """

    id: str
    number: int
    tags: tuple[str, ...]
    digest: str
    code: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Behind:
    """The statements of one cell that a value depends on: the cell's id, and a digest of their code."""

    cell: str
    digest: str


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: a package's files (text by relative path), and the report if there is one."""

    label: str
    files: Mapping[str, str]
    report: Report | None = None


Breaks = Literal["yes", "maybe", "no"]


@dataclass(frozen=True, slots=True)
class CellChange:
    """What became of a code cell. `changes` is empty where it is the same.

    `changes` are of "added", "removed", "edited", "layout" (only comments or blanks), "moved",
    "retagged" and "stale" (its code is the same, but not what its state is computed from, or the state
    itself). `number` is its place now, `before` its place then. `added` and `removed` count lines.
    """

    id: str
    changes: tuple[str, ...]
    number: int | None = None
    before: int | None = None
    added: int = 0
    removed: int = 0
    tags: tuple[str, ...] = ()
    tags_before: tuple[str, ...] = ()
    state: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StateChange:
    """What became of a piece of state: `change` is "same", "stale", "other value", "added" or "removed".

    "stale": code behind it has changed, in the cells with the numbers `cells`; "same" if that gave the
    very same bytes. "other value": the same code gave other bytes. `what` and `what_before` tell type,
    size and codec, as far as it was captured.
    """

    key: str
    change: str
    cell: int
    cells: tuple[int, ...] = ()
    what: str = ""
    what_before: str = ""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A change of the contract. `path` is "" for the whole of a request or response.

    `breaks` says whether clients written for the old contract break, `reason` why.
    """

    side: Literal["request", "response"]
    path: str
    change: str
    breaks: Breaks
    reason: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """A generated file that differs: counts of lines, and the unified diff."""

    path: str
    added: int
    removed: int
    diff: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from `old` to `new`. Pins, parameters and metrics map a name to (old, new).

    `data_changed` says whether the reference data are others, None where a side has no report. `notes` say
    what could not be compared, and what to do about it.
    """

    old: str
    new: str
    cells: tuple[CellChange, ...]
    state: tuple[StateChange, ...]
    contract: tuple[FieldChange, ...]
    requirements: Mapping[str, tuple[str | None, str | None]]
    metrics: Mapping[str, tuple[float | None, float | None]]
    files: tuple[FileChange, ...]
    parameters: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    data_changed: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def breaks(self) -> Breaks:
        """Whether clients written for the old contract break with the new one."""
        found = {change.breaks for change in self.contract}
        return "yes" if "yes" in found else "maybe" if "maybe" in found else "no"
