"""`nb2prod diff` on real notebooks: run in a kernel, released in MLflow on SQLite, asked by command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nb2prod
from nb2prod.domain import Release, to_json
from nb2prod.errors import NotebookError, RegistryError, UsageError
from nb2prod.project import Project
from nb2prod.shells import difference
from tests.made import notebook
from tests.test_magics import execute

Cells = tuple[tuple[str, str], ...]

FIRST: Cells = (
    ("", "import random, statistics\nfactor = 2.0"),
    ("parameters", "share = 0.5"),
    ("", "data = [{'age': i, 'city': 'Berlin'} for i in range(20)]"),
    ("", "mean = statistics.mean(row['age'] for row in data) * share"),
    ("", "noise = random.random()"),
    ("example", "row = dict(data[3])"),
    ("reference", "data"),
    ("model", "{'score': (row['age'] - mean) * factor + noise * 0, 'city': row['city']}"),
    ("metrics", "{'mean': mean}"),
)

SECOND: Cells = (
    FIRST[0],
    ("parameters", "share = 0.25"),
    ("", "data = [{'age': i + 0.5, 'city': 'Berlin', 'vip': bool(i % 2)} for i in range(20)]"),
    *FIRST[3:7],
    (
        "model",
        "# no city any more\n{'score': (row['age'] - mean) * factor + noise * 0 if row['vip'] else None}",
    ),
    FIRST[8],
)


@dataclass(frozen=True)
class Shop:
    """A project with two releases of one notebook; the first is the champion, the file is the second."""

    folder: Path
    first: Release
    second: Release

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """nb2prod in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "nb2prod", *arguments],
            cwd=self.folder,
            env={**os.environ, "NB2PROD_PROJECT": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def diff(self, *sides: str, **options: Any) -> dict[str, Any]:
        """The comparison as plain JSON data."""
        found = nb2prod.diff(*sides, **options)
        document: dict[str, Any] = json.loads(json.dumps({**to_json(found), "breaks": found.breaks}))
        return document


def release(folder: Path, *cells: tuple[str, str]) -> Release:
    """A notebook proven and registered, as `deploy` does before it serves."""
    made = nb2prod.validate(notebook(folder, *cells, name="shop"))
    return Project.find().registry.register(
        made.bundle,
        made.report,
        made.package,
        made.executed,
        content=made.content,
        notebook_path=folder / "shop.ipynb",
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NB2PROD_PROJECT", str(folder))
        patch.chdir(folder)
        first = Project.find().registry.promote(release(folder, *FIRST))
        return Shop(folder, first, release(folder, *SECOND))


@pytest.fixture
def here(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The project as the current folder of this process."""
    monkeypatch.setenv("NB2PROD_PROJECT", str(shop.folder))
    monkeypatch.chdir(shop.folder)
    return shop


# --- two releases --------------------------------------------------------------------------------


def test_two_releases(here: Shop) -> None:
    found = here.diff("shop@1", "shop@2")
    assert (found["old"], found["new"]) == ("shop version 1 (champion)", "shop version 2")
    assert {c["number"]: c["changes"] for c in found["cells"] if c["changes"]} == {
        2: ["edited"],
        3: ["edited"],
        4: ["stale"],
        5: ["stale"],
        8: ["edited"],
    }
    state = {s["key"]: (s["change"], s["cells"]) for s in found["state"]}
    assert state == {"mean": ("stale", [2, 3]), "noise": ("other value", [])}
    verdicts = {(c["side"], c["path"], c["change"]): c["breaks"] for c in found["contract"]}
    assert verdicts == {
        ("request", "age", "integer → number"): "no",
        ("request", "age", "seen 0 to 19 → 0.5 to 19.5"): "no",
        ("request", "vip", "added: boolean"): "yes",
        ("response", "score", "never null → may be null"): "maybe",
        ("response", "score", "seen -9.5 to 28.5 → -2.0 to 34.0"): "no",
        ("response", "city", "removed"): "yes",
    }
    assert found["breaks"] == "yes"
    assert found["metrics"] == {"mean": [4.75, 2.5]}
    assert (found["requirements"], found["parameters"], found["data_changed"]) == ({}, {}, True)
    assert [f["path"] for f in found["files"]] == ["model.py"]
    assert found["notes"] == []


def test_the_other_way_round(here: Shop) -> None:
    found = here.diff("shop@2", "shop@champion")
    verdicts = {(c["side"], c["path"]): c["breaks"] for c in found["contract"] if "seen" not in c["change"]}
    assert verdicts == {
        ("request", "age"): "yes",
        ("request", "vip"): "yes",
        ("response", "score"): "no",
        ("response", "city"): "no",
    }


def test_a_release_alone_is_compared_with_the_champion(here: Shop) -> None:
    found = here.diff("shop@2")
    assert (found["old"], found["new"]) == ("shop version 2", "shop version 1 (champion)")
    same = here.diff("shop@1", "shop")
    assert [c for c in same["cells"] if c["changes"]] == same["contract"] == same["files"] == []
    assert {s["change"] for s in same["state"]} == {"same"}


def test_packages_on_disk(here: Shop) -> None:
    one, other = str(here.first.path), str(here.second.path)
    found = here.diff(one, other)
    assert (found["old"], found["new"], found["breaks"], found["metrics"]) == (one, other, "yes", {})


def test_the_document(here: Shop) -> None:
    result = here.run("diff", "shop@1", "shop@2", "--json")
    assert (result.returncode, json.loads(result.stdout)) == (0, here.diff("shop@1", "shop@2"))


# --- with a notebook -----------------------------------------------------------------------------


def test_a_notebook_that_is_validated_as_it_is(here: Shop) -> None:
    found = here.diff("shop.ipynb")
    assert (found["old"], found["new"]) == ("shop version 1 (champion)", "shop.ipynb (validated)")
    assert (found["breaks"], found["notes"]) == ("yes", [])
    assert found["metrics"] == {"mean": [4.75, 2.5]}


def test_a_notebook_that_was_never_run(here: Shop, tmp_path: Path) -> None:
    path = notebook(tmp_path, *SECOND[:8], ("metrics", "{'mean': mean, 'n': len(data)}"), name="shop")
    found = here.diff("shop@2", str(path))
    assert {c["number"]: c["changes"] for c in found["cells"] if c["changes"]} == {9: ["edited"]}
    assert {s["key"]: s["change"] for s in found["state"]} == {"mean": "same", "noise": "same"}
    assert (found["contract"], found["breaks"]) == ([], "no")
    assert "nb2prod validate" in found["notes"][0]


def test_a_notebook_of_another_name(here: Shop, tmp_path: Path) -> None:
    path = notebook(tmp_path, *FIRST, name="renamed")
    result = here.run("diff", str(path))
    assert result.returncode == 2
    assert "NB340 renamed has no champion to compare with" in result.stderr
    assert here.diff(str(path), name="shop")["old"] == "shop version 1 (champion)"


def test_a_notebook_that_cannot_be_extracted(here: Shop, tmp_path: Path) -> None:
    path = notebook(tmp_path, *FIRST[:7], ("model", "row['age'] * missing"), name="shop")
    with pytest.raises(NotebookError) as caught:
        nb2prod.diff(path)
    assert caught.value.code == "NB201"


# --- what people see -----------------------------------------------------------------------------


def test_the_text(shop: Shop) -> None:
    text = shop.run("diff", "shop@1", "shop@2").stdout
    for line in (
        "shop version 1 (champion) → shop version 2",
        "  cells        3 edited, 2 stale, 4 the same",
        "    cell 4          stale: what `mean` is computed from has changed",
        "    cell 5          stale: the same code gave another `noise`",
        "    mean            stale: computed from cells 2, 3, changed since"
        " (float, 4 B, json → float, 3 B, json)",
        "  contract     old clients break",
        "  ✗ request vip              added: boolean: it is required, and old clients do not send it",
        "  ! response score           never null → may be null: clients may not expect null",
        "  · request age              integer → number: integers are numbers",
        "  data         the reference rows are others",
        "    mean         4.75          2.5  *",
        "  code         model.py (+2 -1); --code shows it",
    ):
        assert f"{line}\n" in text, text


def test_the_code(shop: Shop) -> None:
    result = shop.run("diff", "shop@1", "shop@2", "--code")
    assert result.returncode == 0
    assert "--- a/model.py\n+++ b/model.py\n@@ " in result.stdout
    assert "-    return {'score'" in result.stdout
    assert "--code shows" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("shop@1", "shop@2", "--exit-code"), 1),
        (("shop@1", "shop@2"), 0),
        (("shop@1", "shop@1", "--exit-code"), 0),
    ],
)
def test_the_exit_code(arguments: tuple[str, ...], code: int, shop: Shop) -> None:
    assert shop.run("diff", *arguments).returncode == code


def test_nothing_changed(here: Shop) -> None:
    told = list(difference.lines(nb2prod.diff("shop@1", "shop@1"), code=True))
    assert told == [
        "shop version 1 (champion) → shop version 1 (champion)",
        "  cells        9 the same",
        "  state        0 changed, 2 the same",
        "  contract     the same",
        "  metrics         old          new",
        "    mean         4.75         4.75",
    ]


def test_in_a_notebook(shop: Shop) -> None:
    path = shop.folder / "shop.ipynb"
    _, alone, version, both = execute(
        shop.folder,
        path,
        "%load_ext nb2prod",
        f"%nb2prod diff --notebook {path}",
        f"%nb2prod diff shop@2 --notebook {path}",
        "%nb2prod diff shop@2 shop@1",
    )
    assert "shop version 1 (champion) → shop.ipynb (validated)" in alone
    assert "'application/json', 'text/plain'" in alone
    assert "shop version 2 → shop.ipynb (validated)" in version
    assert "shop version 2 → shop version 1 (champion)" in both


# --- what cannot be compared ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "code", "hint"),
    [
        (("shop",), "NB341", "nb2prod diff A B"),
        (("shop@7", "shop"), "NB402", "1, 2, champion"),
        (("nobody@1", "shop"), "NB402", "none"),
        (("nobody@1",), "NB340", "Deploy it first"),
        (("no/such", "shop"), "NB341", "NAME@3"),
        (("", "shop"), "NB341", "NAME@3"),
        ((".", "shop"), "NB341", "NAME@3"),
        ((".",), "NB341", "nb2prod diff A B"),
    ],
)
def test_what_is_nothing_to_compare(sides: tuple[str, ...], code: str, hint: str, here: Shop) -> None:
    with pytest.raises(UsageError) as caught:
        nb2prod.diff(*sides)
    assert caught.value.code == code
    assert hint in (caught.value.hint or "")


def test_a_notebook_that_is_not_there(here: Shop) -> None:
    with pytest.raises(NotebookError) as caught:
        nb2prod.diff("shop@1", "none.ipynb")
    assert caught.value.code == "NB101"


def test_a_registry_that_is_not_there(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(RegistryError) as caught:
        nb2prod.diff("shop@1", "shop@2")
    assert caught.value.code == "NB400"
