"""The servers that `bench.serving` drives: peers at their defaults and batching, ours, and the floor."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).parent

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    """One server: how it is started on a port, asked, and how its answers are read.

    `group`: peers as they are ("defaults") or with their own batching ("batching"), "ours", or "floor": what
    answers without a model.
    """

    name: str
    group: str
    command: Callable[[int], Sequence[str]]
    path: str = "/predict"
    body: Callable[[Rows], Any] = lambda rows: {"instances": rows}
    answers: Callable[[Any], Sequence[float]] = lambda data: data["predictions"]
    stop: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)


# --- servers -------------------------------------------------------------------------------------


def _tensors(rows: Rows) -> Any:
    """Rows as MLServer takes a DataFrame."""
    inputs = [
        {
            "name": name,
            "shape": [len(rows), 1],
            "datatype": "BYTES" if isinstance(rows[0][name], str) else "FP64",
            "parameters": {"content_type": "str" if isinstance(rows[0][name], str) else "np"},
            "data": [row[name] for row in rows],
        }
        for name in rows[0]
    ]
    outputs = [{"name": "predict_proba"}]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": outputs}


def _second(flat: Sequence[float]) -> list[float]:
    return [*flat[1::2]]


def servers(work: Path, peers: Path, project: Path) -> list[Server]:
    """Every server, ours last. `peers` is the interpreter of their environment."""
    apps, bin_ = HERE / "peers", peers.parent
    ours = [sys.executable, "-m", "nb2prod", "--project", str(project)]
    uvicorn = [str(peers), "-m", "uvicorn", "--no-access-log", "--port"]
    echo = [sys.executable, str(apps / "echo_app.py")]
    mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(work / "mlflow")]
    lit, ray = [str(peers), str(apps / "lit_app.py")], [sys.executable, str(apps / "ray_app.py")]
    bento = [str(bin_ / "bentoml"), "serve"]

    def mlserver(group: str) -> Server:
        command = [str(bin_ / "mlserver"), "start"]
        return Server(
            "MLServer",
            group,
            lambda port: [*command, str(_mlserver(work, group, port))],
            "/v2/models/m/infer",
            _tensors,
            lambda data: _second(data["outputs"][0]["data"]),
        )

    def up(port: int) -> list[str]:
        return [*ours, "up", "--port", f"{port}", "--grpc-port", f"{free_port()}"]

    return [
        Server("FastAPI", "defaults", lambda port: [*uvicorn, f"{port}", "bench.peers.fastapi_app:app"]),
        Server("Ray Serve", "defaults", lambda port: [*ray, f"{port}"]),
        Server(
            "MLflow",
            "defaults",
            lambda port: [*mlflow, "--env-manager", "local", "-p", f"{port}"],
            "/invocations",
            lambda rows: {"dataframe_records": rows},
            lambda data: [pair[1] for pair in data["predictions"]],
        ),
        Server(
            "BentoML",
            "defaults",
            lambda port: [*bento, "bench.peers.bento_app:Plain", "-p", f"{port}"],
            answers=lambda data: data,
        ),
        Server("LitServe", "defaults", lambda port: [*lit, f"{port}"]),
        mlserver("defaults"),
        Server("Ray Serve", "batching", lambda port: [*ray, f"{port}", "batching"]),
        Server(
            "BentoML",
            "batching",
            lambda port: [*bento, "bench.peers.bento_app:Batching", "-p", f"{port}"],
            answers=lambda data: data,
        ),
        Server("LitServe", "batching", lambda port: [*lit, f"{port}", "batching"]),
        mlserver("batching"),
        *(
            Server(
                f"{name}{how}",
                "ours",
                command,
                path,
                stop=[*ours, "down"] if path == "/bench/predict" else (),
                env=env,
            )
            for how, env in (("", {}), (", not accelerated", {"NB2PROD_ACCELERATE": "0"}))
            for name, path, command in (
                ("nb2prod", "/bench/predict", up),
                ("nb2prod serve", "/predict", lambda port: [*ours, "serve", "bench@1", "--port", f"{port}"]),
            )
        ),
        Server("echo on Ray Serve", "floor", lambda port: [*echo, f"{port}"]),
        Server("echo on uvicorn", "floor", lambda port: [*uvicorn, f"{port}", "bench.peers.echo_app:app"]),
    ]


def _mlserver(work: Path, group: str, port: int) -> Path:
    folder = work / f"mlserver-{group}"
    folder.mkdir(exist_ok=True)
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "host": "127.0.0.1"}
    (folder / "settings.json").write_text(json.dumps({**ports, "debug": False}))
    batching = {"max_batch_size": 6_400, "max_batch_time": 0.005} if group == "batching" else {}
    model = {
        "name": "m",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(work / "model.joblib"), "version": "1"},
        **batching,
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    return folder


def prepare(kind: str, work: Path, project: Path) -> None:
    """Fit the pipeline; write it for MLflow; deploy it as a notebook of ours, and end the cluster."""
    python = [sys.executable, "-m"]
    subprocess.run([*python, "bench.peers.fitted", kind, str(work)], check=True)
    save = (
        "import joblib, mlflow, sys; mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2],"
        " pyfunc_predict_fn='predict_proba', serialization_format='cloudpickle')"
    )
    model = str(work / "model.joblib")
    subprocess.run([sys.executable, "-c", save, model, str(work / "mlflow")], check=True, capture_output=True)
    cells = [
        ("", f"import sys\nsys.path.insert(0, {str(HERE.parent)!r})\nfrom bench.peers.fitted import fitted"),
        ("", f"pipeline, frame = fitted({kind!r})"),
        ("example", "request = frame.head(3)"),
        ("model", "pipeline.predict_proba(request)[:, 1]"),
        ("reference", "frame"),
    ]
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for tag, source in cells:
        book.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [tag] if tag else []}))
    (project / ".nb2prod").mkdir(parents=True)
    nbformat.write(book, project / "bench.ipynb")
    command = [*python, "nb2prod", "--project", str(project)]
    subprocess.run([*command, "deploy", str(project / "bench.ipynb")], check=True)
    subprocess.run([*command, "down"], check=True)


def package(project: Path) -> Path:
    """The package that `prepare` deployed."""
    return next(project.glob(".nb2prod/releases/bench/*/bench"))


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
