"""The endpoint's own OpenAPI document, held against the endpoint by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.loader import load
from nb2prod.serving.protocols import ROUTES
from tests.packages import write_package
from tests.processes import serving
from tests.test_serving_app import ask

# the usual model divides by zero at n = 13
MODEL = "def model(pairs):\n    return [None if x is None else x + n for x, n in pairs]\n"

RULES = "/(invocations|.*:predict|.*/infer)$"
"""Paths whose bodies have rules that JSON Schema cannot say: columns of one length, values for a shape."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    package = write_package(tmp_path_factory.mktemp("openapi") / "p", model=MODEL)
    with serving(package, "--name", "doubler", "--version", "3") as served:
        yield served.url


@pytest.mark.parametrize(
    "choice",
    [
        ("--exclude-path-regex", RULES),
        ("--include-path-regex", RULES, "--exclude-checks", "positive_data_acceptance"),
    ],
    ids=["all that is valid is taken", "all that is taken is valid"],
)
def test_it_answers_as_it_says(url: str, choice: tuple[str, ...], tmp_path: Path) -> None:
    """No 5xx, and no status, kind or form of an answer that the document does not tell."""
    command = ["run", f"{url}/openapi.json", "--max-examples", "30", "--seed", "1", "--no-color", *choice]
    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr


def test_every_route_is_described(tmp_path: Path) -> None:
    app = application(Host(load(write_package(tmp_path / "p"), "doubler", 3)))
    described = ask(app, "GET", "/openapi.json").json()["paths"]
    known = {(path, method.upper()) for path, item in described.items() for method in item}
    documents = {"/openapi.json", "/docs", "/docs/openapi.json", "/docs/{asset}"}
    assert {(route.path, route.method) for route in ROUTES if route.path not in documents} == known
