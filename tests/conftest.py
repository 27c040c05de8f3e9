"""Fixtures that more than one test file needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from nb2prod import control
from nb2prod.control import ClusterInfo
from nb2prod.control.processes import free_ports

T = TypeVar("T")

PATIENCE_S = 90.0
"""How long anything is waited for, in seconds: long, for a slow machine; nothing asserts a duration."""


def eventually(check: Callable[[], T]) -> T:
    """The first true value of `check`; AssertionError if there is none for PATIENCE_S seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := check()):
        assert time.monotonic() < deadline, f"never true: {check}"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Cluster:
    """A local cluster and the home that it belongs to."""

    info: ClusterInfo
    home: Path


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Ray cluster, once for all tests, its endpoints at a free port."""
    home = tmp_path_factory.mktemp("project") / ".nb2prod"
    try:
        port, grpc_port = free_ports(2)
        yield Cluster(control.up(home, port=port, grpc_port=grpc_port), home)
    finally:
        control.down(home)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like one that packages are installed to, first on the path."""
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return folder
