"""The durable routing tables: <home>/endpoints/<name>.json, one Endpoint each, written atomically."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nb2prod.domain import Endpoint, to_json
from nb2prod.errors import SetupError, UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def folder(home: Path) -> Path:
    """Where the tables of a project lie."""
    return home / "endpoints"


def path(home: Path, name: str) -> Path:
    """The table of an endpoint; UsageError if the name cannot be one."""
    if not NAME.fullmatch(name):
        hint = "Use ASCII letters, digits, _ and -, a letter or digit first."
        raise UsageError(f"{name!r} is no name for an endpoint", hint=hint)
    return folder(home) / f"{name}.json"


def read(table: Path) -> Endpoint | None:
    """The endpoint of a table; None if there is no such table."""
    try:
        return Endpoint.from_json(json.loads(table.read_bytes()))
    except FileNotFoundError:
        return None


def read_all(home: Path) -> tuple[Endpoint, ...]:
    """Every endpoint of a project, by name."""
    found = (read(table) for table in sorted(folder(home).glob("*.json")))
    return tuple(endpoint for endpoint in found if endpoint is not None)


def write(table: Path, endpoint: Endpoint) -> None:
    """Write a table: a reader, or a machine that loses power, has the old one or the new one."""
    text = json.dumps(to_json(endpoint), indent=1, ensure_ascii=False) + "\n"
    scratch = table.with_suffix(f".{os.getpid()}.tmp")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(table)


def move(home: Path, base_url: str, grpc: str) -> None:
    """Note in every table where its endpoint answers now: the cluster may listen elsewhere than before."""
    for endpoint in read_all(home):
        moved = replace(endpoint, url=f"{base_url}/{endpoint.name}", grpc=grpc)
        if moved != endpoint:
            write(path(home, endpoint.name), moved)


@contextmanager
def lock(file: Path, limit_s: float, busy: SetupError) -> Iterator[None]:
    """Hold a lock file for one process or thread at a time; `busy` is raised after `limit_s` seconds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + limit_s
    with file.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise busy from None
                time.sleep(0.05)
        yield
