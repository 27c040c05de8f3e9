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
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.servers import HERE, Server, free_port, package, prepare, servers

RESULTS = HERE / "results" / "serving.json"
CONNECTIONS = (1, 16, 64)
PATIENCE_S = 180.0
WRONG = 1e-4
"""How far an answer may be from the pipeline's own: accelerated ones are proven to 1e-5 of their size."""

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


def _ask(url: str, body: bytes) -> Any:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@contextmanager
def running(server: Server, work: Path) -> Iterator[tuple[str, float, Callable[[], float]]]:
    """A server that answers: its URL, seconds to its first answer, and its memory in MB when asked."""
    port = free_port()
    rows = json.loads((work / "rows.json").read_text())["rows"]
    body = json.dumps(server.body(rows[:1])).encode()
    url = f"http://127.0.0.1:{port}{server.path}"
    env = {
        **os.environ,
        "MODEL": str(work / "model.joblib"),
        "PYTHONPATH": str(HERE.parent),
        # MLflow calls uvicorn by its name
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "BENCH_RUN": str(port),
        **server.env,
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
                # what has a command to stop it runs on after its start has ended well
                ended = process.poll() is not None and (not server.stop or process.returncode != 0)
                if ended or time.perf_counter() - started > PATIENCE_S:
                    raise TimeoutError(
                        f"{server.name} does not answer: see server.log in its folder"
                    ) from None
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
        found["first_answer_s"] = first_s
        if server.group != "floor":
            got = server.answers(_ask(url, json.dumps(server.body(data["rows"])).encode()))
            worst = max(abs(a - b) for a, b in zip(got, data["answers"], strict=True))
            if worst > WRONG:
                raise ValueError(f"{server.name} answers otherwise: {worst}")
            found["worst_difference"] = worst
        for count in (1, len(data["rows"])):
            body = work / f"body{count}.json"
            body.write_text(json.dumps(server.body(data["rows"][:count])))
            drive(url, body, 16, min(seconds, 2))
            for connections in CONNECTIONS if count == 1 else (4,):
                found[f"{count} rows, {connections} connections"] = drive(url, body, connections, seconds)
        found["memory_mb"] = memory()
    return found


INSIDE = """
import json, statistics, sys, time
from nb2prod.serving.loader import load
release, found = load(sys.argv[1], "bench", 1), {}
rows = json.load(open(sys.argv[2]))["rows"]
for count in (1, 100):
    request, times = release.predictor.decode(rows[:count])[0], []
    for _ in range(300):
        started = time.perf_counter()
        release.predictor.run(request)
        times.append(time.perf_counter() - started)
    found[f"{count} rows"] = statistics.median(times) * 1000
print(json.dumps(found))
"""


def inside(package: Path, work: Path, *, accelerated: bool) -> dict[str, float]:
    """Median milliseconds of the bare predict of a DataFrame of 1 row and of 100, in a process of its own."""
    command = [sys.executable, "-c", INSIDE, str(package), str(work / "rows.json")]
    env = {**os.environ, "NB2PROD_ACCELERATE": str(int(accelerated))}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
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
        results[kind] = every_server(kind, options)
        if not options.only:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if options.only:
        print(json.dumps(results, indent=1))


def every_server(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds with one pipeline. "failed" says what went wrong with a server: that counts for nothing."""
    with tempfile.TemporaryDirectory(prefix="nb2prod-bench-") as folder:
        work, project = Path(folder, "work"), Path(folder, "project")
        prepare(kind, work, project)
        chosen = [
            s for s in servers(work, options.peers, project) if not options.only or s.name in options.only
        ]
        found: dict[str, list[dict[str, Any]]] = {f"{s.name} ({s.group})": [] for s in chosen}
        bare: dict[str, list[dict[str, float]]] = {"accelerated": [], "not accelerated": []}
        failed = []
        for number in range(options.rounds):
            for how, times in bare.items():
                times.append(inside(package(project), work, accelerated=how == "accelerated"))
            for server in chosen:
                name = f"{server.name} ({server.group})"
                print(f"{kind}, round {number + 1}: {name}", flush=True)
                try:
                    found[name].append(measure(server, work, options.seconds))
                except (OSError, ValueError, subprocess.SubprocessError) as error:
                    failed.append(f"{name}, round {number + 1}: {error}")
                    print(failed[-1], flush=True)
                else:
                    print(json.dumps(found[name][-1]), flush=True)
    return {
        "bare_predict_ms": bare,
        "servers": found,
        "failed": failed,
        "ratios": ratios(found),
        "overhead_ms": overhead(found, bare),
    }


Rounds = Mapping[str, Sequence[Mapping[str, Any]]]
"""What was measured in each round, by server and group."""


def _of(found: Rounds, group: str) -> Rounds:
    return {name: rounds for name, rounds in found.items() if rounds and name.endswith(f"({group})")}


def ratios(found: Rounds) -> dict[str, Any]:
    """Ours to the best peer of each group, by median over rounds, and the least and the most over rounds."""
    table: dict[str, Any] = {}
    for name, ours in _of(found, "ours").items():
        for group in ("defaults", "batching"):
            for load in [key for key in ours[0] if "connections" in key]:
                for what, best in (("per_second", max), ("p50_ms", min)):
                    peers = {
                        peer: statistics.median(r[load][what] for r in rounds)
                        for peer, rounds in _of(found, group).items()
                    }
                    if not peers:
                        continue
                    peer = best(peers, key=lambda n: peers[n])
                    each = [o[load][what] / p[load][what] for o, p in zip(ours, found[peer], strict=False)]
                    table[f"{name}: {group}: {load}: {what}"] = {
                        "best peer": peer,
                        "ratio": statistics.median(o[load][what] for o in ours) / peers[peer],
                        "from": min(each),
                        "to": max(each),
                    }
    return table


def overhead(found: Rounds, bare: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """What HTTP adds to the bare predict at one connection, in ms and as a multiple of the echo's."""
    load = "1 rows, 1 connections"
    floor = {
        n: statistics.median(r[load]["p50_ms"] for r in rounds) for n, rounds in _of(found, "floor").items()
    }
    table: dict[str, Any] = dict(floor)
    for name, ours in _of(found, "ours").items():
        times = bare["not accelerated" if "not accelerated" in name else "accelerated"]
        added = [o[load]["p50_ms"] - b["1 rows"] for o, b in zip(ours, times, strict=False)]
        table[name] = {"ms": statistics.median(added), "from": min(added), "to": max(added)}
        table[name] |= {f"of {floor_name}": statistics.median(added) / ms for floor_name, ms in floor.items()}
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
