"""`nb2prod serve` and `python -m nb2prod.serving` as processes, started and ended by tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVING = ("-m", "nb2prod.serving")
CLI = ("-m", "nb2prod", "serve", "--local")


@dataclass(frozen=True)
class Served:
    """A process that serves, and where. `grpc` is "" if it has no such port."""

    process: subprocess.Popen[str]
    url: str
    line: str
    grpc: str

    def end(self) -> tuple[int, str]:
        """Its exit code after SIGTERM, and its standard error."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def start(*arguments: str | Path, how: tuple[str, ...] = SERVING, **environ: str) -> subprocess.Popen[str]:
    """Serving, with these arguments and variables; in the folder that NB2PROD_PROJECT names, if any."""
    return subprocess.Popen(
        [sys.executable, *how, *map(str, arguments)],
        env={**os.environ, **environ},
        cwd=environ.get("NB2PROD_PROJECT"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(*arguments: str | Path, how: tuple[str, ...] = SERVING, **environ: str) -> Iterator[Served]:
    """A process that serves at a free port, ended at the end."""
    ports = () if "AIP_HTTP_PORT" in environ or "SM_MODEL_DIR" in environ else ("--port", "0")
    process = start(*arguments, *ports, how=how, **environ)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+?:\d+", line)
        assert found, f"{line}{process.communicate(timeout=60)}"
        grpc = re.search(r"gRPC at (\S+)", line)
        yield Served(process, found[0].replace("0.0.0.0", "127.0.0.1"), line, grpc[1] if grpc else "")
    finally:
        process.kill()
        process.communicate()


def failed(*arguments: str | Path, how: tuple[str, ...] = SERVING, **environ: str) -> tuple[int, str]:
    """The exit code and standard error of one that cannot serve."""
    process = start(*arguments, how=how, **environ)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors
