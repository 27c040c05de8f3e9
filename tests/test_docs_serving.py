"""What docs/serving.md shows is what a real process answers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nb2prod.serving.limits import SETTINGS, Limits
from tests.packages import write_package
from tests.processes import Served, serving

PAGE = (Path(__file__).parent.parent / "docs" / "serving.md").read_text("utf-8")
ASKED: list[tuple[str, str]] = re.findall(r"```sh\n(.*?)```\n```json\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    package = write_package(tmp_path_factory.mktemp("docs") / "doubler")
    with serving(package, "--grpc-port", "0") as served:
        yield served


@pytest.fixture
def url(served: Served) -> str:
    return served.url


def without_id(answer: Any) -> Any:
    return {**answer, "request_id": "…"} if "request_id" in answer else answer


@pytest.mark.parametrize(("line", "shown"), ASKED, ids=[line.split()[1] for line, _ in ASKED])
def test_a_line_gets_the_answer_that_stands_below_it(url: str, line: str, shown: str) -> None:
    line = line.replace("localhost:8000", url).replace("curl ", "curl -sS ")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert without_id(json.loads(done.stdout)) == json.loads(shown)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.S), ids=["grpc", "arrow"])
def test_python_lines_give_what_stands_behind_them(served: Served, code: str) -> None:
    found: dict[str, Any] = {}
    exec(code.replace("http://localhost:8000", served.url).replace("localhost:8001", served.grpc), found)
    assert repr(found["predictions"]) == code.rstrip().rpartition("# ")[2]


def test_every_line_is_run() -> None:
    assert len(ASKED) == PAGE.count("```sh") >= 7


def test_the_limits_are_those_of_the_code() -> None:
    limits = Limits()
    for text, value in (
        ("| 10 MB |", limits.max_body == 10 * 2**20),
        ("| 30 s |", limits.body_s == 30),
        ("| 10,000 |", limits.max_rows == 10_000),
        ("| 60 s; less", limits.timeout_s == 60),
        ("| 1,000 | 503", limits.max_waiting == 1_000),
        ("| 1,000 | the next call", limits.batch_rows == 1_000),
    ):
        assert text in PAGE
        assert value
    assert {*re.findall(r"\| `(\w+)` \|\n", PAGE)} == {*SETTINGS}
