"""One pipeline behind every server, driven with wrk: throughput, latency, memory, time to the first answer.

Run from the root of the repository: make bench. Each server is started and measured in turn, round after
round, so that what else this machine does falls on all of them; the results go to bench/results/serving.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "serving.json"
CONNECTIONS = (1, 16, 64)
PATIENCE_S = 180.0
EXACT = 1e-9

LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    """One server: how it is started on a port, asked, and how its answers are read."""

    name: str
    group: str
    command: Callable[[int], Sequence[str]]
    path: str = "/predict"
    body: Callable[[Rows], Any] = lambda rows: {"instances": rows}
    answers: Callable[[Any], Sequence[float]] = lambda data: data["predictions"]
    stop: Sequence[str] = ()


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
    uvicorn = [str(peers), "-m", "uvicorn", "bench.peers.fastapi_app:app", "--no-access-log", "--port"]
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

    return [
        Server("FastAPI", "defaults", lambda port: [*uvicorn, f"{port}"]),
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
        Server(
            "nb2prod",
            "ours",
            lambda port: [*ours, "up", "--port", f"{port}"],
            "/bench/predict",
            stop=[*ours, "down"],
        ),
    ]


def _mlserver(work: Path, group: str, port: int) -> Path:
    folder = work / f"mlserver-{group}"
    folder.mkdir(exist_ok=True)
    ports = {"http_port": port, "grpc_port": _free(), "metrics_port": _free(), "host": "127.0.0.1"}
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


# --- measuring -----------------------------------------------------------------------------------


def _free() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _ask(url: str, body: bytes) -> Any:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@contextmanager
def running(server: Server, work: Path) -> Iterator[tuple[str, float, Callable[[], float]]]:
    """A server that answers: its URL, seconds to its first answer, and its memory in MB when asked."""
    port = _free()
    rows = json.loads((work / "rows.json").read_text())["rows"]
    body = json.dumps(server.body(rows[:1])).encode()
    url = f"http://127.0.0.1:{port}{server.path}"
    env = {
        **os.environ,
        "MODEL": str(work / "model.joblib"),
        "PYTHONPATH": str(HERE.parent),
        "BENCH_RUN": str(port),
    }
    log = (work / "server.log").open("ab")
    started = time.perf_counter()
    process = subprocess.Popen(server.command(port), env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            try:
                _ask(url, body)
                break
            except (OSError, urllib.error.URLError, ValueError):
                if time.perf_counter() - started > PATIENCE_S:
                    raise TimeoutError(f"{server.name} does not answer: see {log.name}") from None
                time.sleep(0.02)
        yield url, time.perf_counter() - started, lambda: _memory(str(port))
    finally:
        if server.stop:
            subprocess.run(server.stop, check=True, stdout=log, stderr=log)
        _end(process, str(port))
        log.close()


def _ours(run: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BENCH_RUN") == run:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _memory(run: str) -> float:
    total = 0
    for process in _ours(run):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


def _end(process: subprocess.Popen[bytes], run: str) -> None:
    """End a server and what it started: they carry the run's mark in their environment."""
    process.terminate()
    _, left = psutil.wait_procs(_ours(run), timeout=15)
    for one in left:
        try:
            one.kill()
        except psutil.Error:
            continue
    process.wait(15)


def drive(url: str, body: Path, connections: int, seconds: float) -> dict[str, float]:
    """What wrk sees: requests a second, p50 and p99 in ms, errors."""
    script = body.with_suffix(".lua")
    script.write_text(LUA.format(body=body))
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
        url,
    ]
    out = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", out)
    assert found is not None, out
    requests, took, p50, p99, refused, lost = map(int, found.groups())
    return {
        "per_second": requests / took * 1e6,
        "p50_ms": p50 / 1000,
        "p99_ms": p99 / 1000,
        "errors": refused + lost,
    }


def measure(server: Server, work: Path, seconds: float) -> dict[str, Any]:
    """One round of one server: right answers first, then every load."""
    data = json.loads((work / "rows.json").read_text())
    found: dict[str, Any] = {}
    with running(server, work) as (url, first_s, memory):
        got = server.answers(_ask(url, json.dumps(server.body(data["rows"])).encode()))
        worst = max(abs(a - b) for a, b in zip(got, data["answers"], strict=True))
        if worst > 1e-4:
            raise ValueError(f"{server.name} answers otherwise: {worst}")
        found |= {"first_answer_s": first_s, "worst_difference": worst}
        for count in (1, len(data["rows"])):
            body = work / f"body{count}.json"
            body.write_text(json.dumps(server.body(data["rows"][:count])))
            drive(url, body, 16, min(seconds, 2))
            for connections in CONNECTIONS if count == 1 else (4,):
                found[f"{count} rows, {connections} connections"] = drive(url, body, connections, seconds)
        found["memory_mb"] = memory()
    return found


def inside(work: Path) -> dict[str, float]:
    """Median milliseconds of the pipeline itself, in this process: a row from a DataFrame, and 100."""
    code = """
import json, sys, time, statistics, joblib, pandas as pd
model = joblib.load(sys.argv[1]); rows = json.load(open(sys.argv[2]))["rows"]
frame = pd.DataFrame(rows).astype({f"n{i}": float for i in range(12)}); found = {}
for count in (1, 100):
    part, times = frame.head(count), []
    for _ in range(200):
        started = time.perf_counter(); model.predict_proba(part); times.append(time.perf_counter() - started)
    found[f"{count} rows"] = statistics.median(times) * 1000
print(json.dumps(found))
"""
    command = [sys.executable, "-c", code, str(work / "model.joblib"), str(work / "rows.json")]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    data: dict[str, float] = json.loads(out)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="Python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--kinds", nargs="+", default=["boosting", "forest"])
    parser.add_argument("--only", nargs="+", help="names of servers; nothing is written then")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": _machine(), "rounds": options.rounds, "seconds": options.seconds}
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="nb2prod-bench-") as folder:
            work, project = Path(folder, "work"), Path(folder, "project")
            prepare(kind, work, project)
            chosen = [
                s for s in servers(work, options.peers, project) if not options.only or s.name in options.only
            ]
            found: dict[str, list[dict[str, Any]]] = {f"{s.name} ({s.group})": [] for s in chosen}
            within = []
            for number in range(options.rounds):
                within.append(inside(work))
                for server in chosen:
                    print(f"{kind}, round {number + 1}: {server.name} ({server.group})", flush=True)
                    measured = measure(server, work, options.seconds)
                    found[f"{server.name} ({server.group})"].append(measured)
                    print(json.dumps(measured), flush=True)
            results[kind] = {"in_process_ms": within, "servers": found, "ratios": ratios(found)}
    if options.only:
        print(json.dumps(results, indent=1))
    else:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def ratios(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Ours to the best peer of each group, by median over rounds, and the least and the most over rounds."""
    ours = next((rounds for name, rounds in found.items() if name.endswith("(ours)")), [])
    table: dict[str, Any] = {}
    for group in ("defaults", "batching"):
        peers = {name: rounds for name, rounds in found.items() if name.endswith(f"({group})")}
        if not ours or not peers:
            continue
        for load in [key for key in ours[0] if "connections" in key]:
            for what, best in (("per_second", max), ("p50_ms", min)):
                medians = {n: statistics.median(r[load][what] for r in rounds) for n, rounds in peers.items()}
                name = best(medians, key=lambda n: medians[n])
                each = [o[load][what] / p[load][what] for o, p in zip(ours, peers[name], strict=True)]
                table[f"{group}: {load}: {what}"] = {
                    "best peer": name,
                    "ratio": statistics.median(r[load][what] for r in ours) / medians[name],
                    "from": min(each),
                    "to": max(each),
                }
    return table


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
