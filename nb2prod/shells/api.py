"""The verbs in Python. The command line and the magics call these and render what they return."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nb2prod import flow
from nb2prod.domain import (
    Bundle,
    Comparison,
    Contract,
    Deployment,
    Diagnostic,
    EndpointStatus,
    Explanation,
    Notebook,
    Report,
)
from nb2prod.errors import ClusterError, DeployError, Nb2prodError, RequestError, UsageError
from nb2prod.flow import Watcher
from nb2prod.project import Project
from nb2prod.proofs import Validated

if TYPE_CHECKING:
    from nb2prod.control import ClusterInfo
    from nb2prod.serving.local import Serving
    from nb2prod.shells.doctor import Finding

PREDICT_TIMEOUT_S = 60.0


def read(notebook: str | Path, name: str | None = None) -> Notebook:
    """A notebook file as a noun; UnreadableNotebook if it is none."""
    from nb2prod.notebook import read as read_file

    return read_file(Path(notebook), name)


def check(notebook: str | Path, *, name: str | None = None) -> tuple[Diagnostic, ...]:
    """What is wrong or noteworthy about a notebook, errors first. Nothing is run."""
    from nb2prod.extract import check as check_notebook

    return check_notebook(read(notebook, name))


def explain(notebook: str | Path, what: str | int | None = None, *, name: str | None = None) -> Explanation:
    """Why each line, import, helper, constant and piece of state is in the package or out. Nothing is run.

    `what` limits it to a name, a cell number or a cell id; UsageError if the notebook has no such. A notebook
    that is refused is explained as far as it goes: `ok` is False and `diagnostics` say what to mend.
    """
    from nb2prod.extract import explain as explain_notebook

    return explain_notebook(read(notebook, name), None if what is None else str(what))


def build(notebook: str | Path, *, name: str | None = None, out: str | Path = "build") -> Bundle:
    """The notebook's serving code as a draft package, written to `out`/NAME. Nothing is run."""
    return flow.build(Project.find().rooms(), read(notebook, name), Path(out))


def validate(
    notebook: str | Path,
    *,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    rtol: float | None = None,
    force: bool = False,
    isolated: bool = False,
    accelerate: bool | None = None,
    watcher: Watcher | None = None,
) -> Validated:
    """Run the notebook clean and prove that the extracted package answers as it does.

    `parameters` replace those of the cell tagged so; `rtol` is a relative tolerance (default: exact,
    or the project's). Raises RunError, StateError or ParityError. An unchanged notebook is not run again.
    `isolated` proves it in an empty environment as well, with its requirements.txt installed and nothing
    else; SetupError if they cannot be installed. `accelerate` (default: the project's, True) lets onnxruntime
    answer for scikit-learn, xgboost and lightgbm models, where it is proven to answer alike, and quicker.
    """
    project = _not_in_clean_run()
    return flow.validate(
        project.rooms(),
        read(notebook, name),
        project.work,
        parameters=parameters,
        rtol=project.settings.rtol if rtol is None else rtol,
        force=force,
        isolated=isolated,
        accelerate=project.settings.accelerate if accelerate is None else accelerate,
        watcher=watcher,
    )


def deploy(
    notebook: str | Path,
    *,
    name: str | None = None,
    endpoint: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    rtol: float | None = None,
    force: bool = False,
    accelerate: bool | None = None,
    watcher: Watcher | None = None,
) -> Deployment:
    """A notebook live behind HTTP: check, build, validate, register, deploy, as far as not yet done."""
    project = _not_in_clean_run()
    return flow.deploy(
        project.rooms(),
        read(notebook, name),
        project.work,
        endpoint=endpoint,
        parameters=parameters,
        rtol=project.settings.rtol if rtol is None else rtol,
        force=force,
        accelerate=project.settings.accelerate if accelerate is None else accelerate,
        watcher=watcher,
    )


def diff(a: str | Path, b: str | Path | None = None, *, name: str | None = None) -> Comparison:
    """What changed from A to B, cell by cell and field by field, and whether old clients break.

    Each is a notebook file, a release (NAME, NAME@VERSION or NAME@ALIAS) or a package's folder. Without
    B, a notebook is compared with its champion. Nothing is run: a notebook that was not validated as it
    is now has no contract to compare. Raises UsageError: NB340 to NB342, NB402; NotebookError.
    """
    from nb2prod.extract import compare

    project = Project.find()
    return compare(*project.sides(str(a), None if b is None else str(b), name))


@dataclass(frozen=True, slots=True)
class Exported:
    """A model as an ONNX file. `inputs` has the columns of `numbers` (doubles) and `texts`, in order;
    `outputs` which output gives a method's answers."""

    file: Path
    key: str
    inputs: Mapping[str, Sequence[str | int]]
    outputs: Mapping[str, str]


def export(what: str | Path, *, onnx: str | Path, state: str | None = None) -> Exported:
    """Write a model of a release (NAME, NAME@VERSION, or a package's folder) to `onnx`, for use elsewhere.

    `state` names the model, where there are several. It is the file that serves: UsageError NB343 if the
    proof left the model to its library, NB344 if it is not clear which.
    """
    package, report = Project.find().package(str(what))
    manifest = json.loads((package / "manifest.json").read_text("utf-8"))
    found = {item["key"]: item["accelerated"] for item in manifest["state"] if item.get("accelerated")}
    key = _exported(what, found, report, state)
    target = Path(onnx)
    target.write_bytes((package / found[key]["file"]).read_bytes())
    given, methods = found[key]["inputs"], found[key]["methods"]
    names = given["columns"] or range(len(given["dtypes"]))
    inputs = {kind: [names[at] for at in given[kind]] for kind in ("numbers", "texts") if given[kind]}
    return Exported(target, key, inputs, {name: answer["output"] for name, answer in methods.items()})


def _exported(what: str | Path, found: Mapping[str, Any], report: Report | None, state: str | None) -> str:
    """Which of the models that there are in ONNX is meant."""
    if not found or (state is not None and state not in found):
        known = (report.acceleration if report is not None else None) or ()
        reasons = [f"{m.key}: {m.why}." for m in known if m.why and state in (None, m.key)]
        there = [f"There is: {', '.join(found)}."] if found else []
        hint = " ".join([*reasons, *there]) or "Validate it with --accelerate: the report then says why."
        raise UsageError(f"{what} has no {state or 'model'} in ONNX", code="NB343", hint=hint)
    if state is None and len(found) > 1:
        hint = f"Name one: --state {next(iter(found))}"
        raise UsageError(f"{what} has several models: {', '.join(found)}", code="NB344", hint=hint)
    return state or next(iter(found))


def _not_in_clean_run() -> Project:
    if os.environ.get("NB2PROD_CLEAN_RUN"):
        raise UsageError(
            "a notebook cannot validate or deploy itself from its own clean run",
            hint="Tag the cell `skip`, or use the magics, which do nothing there.",
        )
    project = Project.find()
    project.prepared_home()
    return project


def predict(endpoint: str, instances: Sequence[Any] | None = None) -> dict[str, Any]:
    """The answer of a live endpoint to instances (JSON data); to its own example if None.

    Raises RequestError with the endpoint's problems if it refuses, ClusterError if nothing answers.
    """
    status_ = _known(endpoint)
    if instances is None:
        instances = example(endpoint)
    request = urllib.request.Request(
        f"{status_.endpoint.url}/predict",
        data=json.dumps({"instances": list(instances)}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PREDICT_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise _refused(error) from error
    except OSError as error:
        raise ClusterError(
            f"{status_.endpoint.url} does not answer: {error}", code="NB502", hint="Start it: nb2prod up"
        ) from error


def example(endpoint: str) -> list[Any]:
    """The instances of the notebook's own example for an endpoint."""
    route = _known(endpoint).endpoint.routes[0]
    contract = json.loads((Path(route.path) / "contract.json").read_text("utf-8"))
    return list(Contract.from_json(contract).example)


def _known(endpoint: str) -> EndpointStatus:
    found = status()
    for item in found:
        if item.endpoint.name == endpoint:
            return item
    names = ", ".join(item.endpoint.name for item in found)
    hint = f"There are: {names}." if names else "Deploy one: nb2prod deploy NOTEBOOK"
    raise RequestError(f"no endpoint is called {endpoint!r}", code="NB610", hint=hint, status=404)


def _refused(error: urllib.error.HTTPError) -> RequestError:
    text = error.read().decode("utf-8", "replace")
    try:
        problem = json.loads(text)
    except ValueError:
        problem = {"title": text[:500]}
    if not isinstance(problem, dict):
        problem = {"title": str(problem)}
    message = str(problem.get("detail") or problem.get("title") or error.reason)
    hint = "See the endpoint's /docs for what a request must hold."
    return RequestError(message, hint=hint, problems=problem.get("errors") or (), status=error.code)


# --- without a cluster ---------------------------------------------------------------------------


def serve(
    what: str | Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    drain_s: float | None = None,
    grpc_port: int | None = None,
    limits: Mapping[str, Any] | None = None,
    told: Callable[[Serving], None] = lambda serving: None,
) -> None:
    """Serve a release (NAME, NAME@VERSION, NAME@ALIAS) or a folder here, without Ray, until SIGTERM.

    The folder is a package, or an MLflow model that holds one; SageMaker's /opt/ml/model without `what`.
    With `grpc_port` it speaks gRPC there as well. `limits` are some of [tool.nb2prod], by name, and win over
    the project's. `told` hears where it answers. UsageError for a limit that does not fit, NB402 or NB511 if
    there is nothing to serve; ClusterError NB500 or NB501 if a port cannot be had, DeployError NB510 if the
    release would not load.
    """
    from nb2prod.serving import containers, local

    place = containers.place(os.environ, named=what is not None)
    if what is None and place.folder is None:
        hint = "Name a release (NAME, NAME@3, NAME@champion) or a package's folder."
        raise UsageError("there is nothing to serve", code="NB511", hint=hint)
    try:
        project = Project.find()
        bounds = project.limits(limits or {})
        package, name, version = project.served(str(what or place.folder))
        drain = local.DRAIN_S if drain_s is None else drain_s
        address = host or place.host, place.port if port is None else port
        local.serve(
            local.Serve(package, name, version, *address, drain, grpc_port, place.table, bounds), told
        )
    except local.CannotServe as error:
        kind: type[Nb2prodError] = {"NB511": UsageError, "NB510": DeployError}.get(error.code, ClusterError)
        raise kind("\n".join([error.message, *error.lines]), code=error.code, hint=error.hint) from error


# --- the cluster ---------------------------------------------------------------------------------


def up(*, host: str | None = None, port: int | None = None, grpc_port: int | None = None) -> ClusterInfo:
    """Start the project's Ray cluster if it does not run, and restore its endpoints."""
    return Project.find().up(host=host, port=port, grpc_port=grpc_port)


def down() -> bool:
    """End the cluster that this project started, and no other; False if there was none."""
    from nb2prod import control

    return control.down(Project.find().home)


def status() -> tuple[EndpointStatus, ...]:
    """Every endpoint of the project as it is now."""
    from nb2prod import control

    home = Project.find().home
    return control.status(control.find(home), home)


def logs(endpoint: str, *, lines: int = 100) -> list[str]:
    """The last log lines of an endpoint's replicas, oldest first."""
    from nb2prod import control

    _known(endpoint)
    project = Project.find()
    return control.logs(_running(project), project.home, endpoint, lines)


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Where the Ray dashboard is, and the token that it asks for once; None if it asks for none."""

    url: str
    token: str | None


def dashboard() -> Dashboard:
    """The Ray dashboard of the project's cluster."""
    from nb2prod import control

    info = _running(Project.find())
    return Dashboard(control.dashboard_url(info), control.dashboard_token(info))


def _running(project: Project) -> ClusterInfo:
    from nb2prod import control

    info = control.find(project.home)
    if info is None:
        raise ClusterError("no cluster runs for this project", code="NB503", hint="Start it: nb2prod up")
    return info


# --- beginnings ----------------------------------------------------------------------------------


def new(name: str, *, folder: str | Path = ".") -> Path:
    """Write a starter notebook NAME.ipynb that deploys as it is; refuses to overwrite."""
    from importlib import resources

    stem = name.removesuffix(".ipynb")
    if not stem.isidentifier():
        raise UsageError(f"{name!r} is no valid name", hint="Use letters, digits and underscores: my_model")
    path = Path(folder) / f"{stem}.ipynb"
    text = resources.files("nb2prod.shells").joinpath("starter.ipynb").read_text("utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", hint="Choose another name; nothing was written.") from error
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Choose another folder.") from error
    return path


def doctor() -> tuple[Finding, ...]:
    """What nb2prod needs of this machine, and whether it is there."""
    from nb2prod.shells.doctor import examine

    return examine(Project.find())
