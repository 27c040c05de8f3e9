"""The endpoint's own OpenAPI document, held against the endpoint by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nb2prod.domain import Field
from nb2prod.serving.app import application
from nb2prod.serving.host import Host
from nb2prod.serving.loader import load
from nb2prod.serving.protocols import ROUTES
from tests.packages import CONTRACT, write_package
from tests.processes import serving
from tests.test_serving_app import AS_IS, ask

# the usual model divides by zero at n = 13
MODEL = "def model(pairs):\n    return [None if x is None else x + n for x, n in pairs]\n"

RULES = "/(invocations|.*:predict|.*/infer)$"
"""Paths whose bodies have rules that JSON Schema cannot say: columns of one length, values for a shape."""


FRAME = """
def model(frame):
    return [None if pd.isna(x) else x + n for x, n in zip(frame["x"], frame["n"])]
"""


def categories(name: str, python: str, *texts: str, nullable: bool = False) -> Field:
    return Field(name, "category", python, nullable=nullable, categories=texts)


KINDS = replace(
    CONTRACT,
    kind="frame",
    fields=(
        CONTRACT.fields[0],
        replace(CONTRACT.fields[1], python="int32"),
        categories("text", "category", "a", "b", nullable=True),
        categories("digits", "category[str, ordered]", "1", "x"),
        categories("count", "category[int64]", "1", "2", nullable=True),
        categories("flag", "category[bool]", "True"),
    ),
    example=({"x": 0.1, "n": 1, "text": "a", "digits": 1, "count": 2, "flag": True},),
    response=(1.1,),
)


@pytest.fixture(scope="module", params=["records", "frame"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    frame = {"contract": KINDS, "preprocess": AS_IS, "model": f"import pandas as pd\n{FRAME}"}
    how = frame if request.param == "frame" else {"model": MODEL}
    package = write_package(tmp_path_factory.mktemp("openapi") / "p", **how)
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
