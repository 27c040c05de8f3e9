"""How the driver of a cluster is asked: one JSON request, one JSON answer.

The resident agent of a local cluster is asked over its Unix socket. Where there is none (RAY_ADDRESS,
or the agent died), a driver is started for the one request.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nb2prod.control.environment import python, reachable
from nb2prod.errors import ClusterError, DeployError, Nb2prodError, UsageError

ERRORS: dict[str, type[Nb2prodError]] = {
    kind.__name__: kind for kind in (ClusterError, DeployError, UsageError)
}


def answers(path: Path) -> bool:
    """Whether an agent listens on a socket."""
    try:
        return bool(_ask(path, {"verb": "ping"}, 5.0)["result"])
    except (OSError, ValueError):
        return False


def resident(path: Path, verb: str, request: Mapping[str, Any], limit_s: float) -> Any:
    """The agent's answer to a request. Raises the error that it answers with; OSError if none listens."""
    return _result(_ask(path, {"verb": verb, **request}, limit_s), verb)


def once(verb: str, request: Mapping[str, Any], limit_s: float) -> Any:
    """The answer of a driver started for this request. Raises the error that it answers with."""
    command = [*python("nb2prod.control.agent"), "--once", json.dumps({"verb": verb, **request})]
    settings = os.environ | reachable()
    try:
        ran = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"the cluster at {request.get('address')} did not answer within {limit_s:.0f} s",
            hint="Look at its Ray dashboard, or unset RAY_ADDRESS to use a local cluster.",
        ) from error
    # Ray writes what it likes to stdout; the answer is the last line
    lines = ran.stdout.splitlines()
    try:
        return _result(json.loads(lines[-1]), verb)
    except (IndexError, ValueError) as error:
        last = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
        raise ClusterError(f"the driver of the cluster failed: {last}", hint="Try again.") from error


def _ask(path: Path, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(limit_s)
        client.connect(str(path))
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile("rb") as reader:
            line = reader.readline()
    if not line:
        raise ConnectionResetError("the agent ended before it answered")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _result(answer: Mapping[str, Any], verb: str) -> Any:
    if "error" not in answer:
        return answer["result"]
    error = answer["error"]
    kind = ERRORS.get(error["kind"], ClusterError)
    raise kind(error["message"], code=error["code"], hint=error["hint"])


def as_answer(error: Nb2prodError) -> dict[str, Any]:
    """An error as the answer that `_result` raises it from."""
    told = {"kind": type(error).__name__, "message": error.message, "code": error.code, "hint": error.hint}
    return {"error": told}
