"""The driver of a cluster, in a process of its own: `python -m nb2prod.control.agent`.

    agent INFO HOME       stay, start Serve on the cluster INFO, and answer requests on its socket
    agent --once REQUEST  answer one request and end

Importing Ray and connecting takes seconds; the resident one has done it. It also keeps RAY_* settings
and Ray's single connection out of the user's kernel, which may drive a Ray of its own.
"""

from __future__ import annotations

import json
import logging
import os
import socketserver
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nb2prod.control import driver, link
from nb2prod.errors import ClusterError, Nb2prodError

QUIET_S = 3.0
"""How long nobody must have asked anything before the front application is started, in seconds."""

AGAIN = "Try again; `nb2prod doctor` looks at the machine."

logger = logging.getLogger("nb2prod.control")


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request: {"result": ...} or {"error": ...}."""
    try:
        return {"result": driver.VERBS[request["verb"]](request)}
    except Nb2prodError as error:
        return link.as_answer(error)
    except Exception as error:  # the process boundary: whatever Ray raises goes back as an answer
        logger.exception("%s failed", request["verb"])
        return link.as_answer(ClusterError(f"{type(error).__name__}: {error}", hint=AGAIN))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)
        super().__init__(path, _Handler)
        self.asked = threading.Event()
        self.busy = 0


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        line = self.rfile.readline()
        if line:
            self.server.busy += 1
            self.server.asked.set()
            try:
                self.wfile.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
            finally:
                self.server.busy -= 1


def stay(info: Mapping[str, Any], home: Path) -> None:
    """Start Serve on a new local cluster, bring its endpoints back, and answer until the end."""
    driver.connect(info["address"], wait=True)
    driver.start_serve(info["host"], info["port"], info["grpc_port"])
    driver.restore({"home": str(home)})
    path = os.path.join(info["folder"], "agent.sock")
    with _Server(path) as server:
        threading.Thread(target=_start_front, args=(server, home), daemon=True).start()
        server.serve_forever()


def _start_front(server: _Server, home: Path) -> None:
    # not at once: a first deploy needs the machine more
    while server.asked.wait(QUIET_S) or server.busy:
        server.asked.clear()
    answer({"verb": "front", "home": str(home)})


def main(args: list[str]) -> None:
    """Run one of the two forms."""
    # handles are called from plain threads, which throughput-optimised Serve allows only with this
    os.environ["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] = "1"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if args[0] == "--once":
        request = json.loads(args[1])
        print(json.dumps(_answer_once(request)))
    else:
        stay(json.loads(args[0]), Path(args[1]))


def _answer_once(request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        driver.connect(request["address"], wait=False)
    except Exception as error:  # the process boundary: whatever Ray raises goes back as an answer
        hint = "Look at that cluster, or unset RAY_ADDRESS to use a local one."
        return link.as_answer(ClusterError(f"cannot connect to {request['address']}: {error}", hint=hint))
    return answer(request)


if __name__ == "__main__":
    main(sys.argv[1:])
