"""What the documents say holds: codes are explained, examples run, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

import nb2prod
from nb2prod.domain import TAGS
from nb2prod.extract import extract
from nb2prod.notebook import read
from nb2prod.project import Settings
from nb2prod.shells.cli import cli
from tests.made import notebook

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DIAGNOSTICS = (ROOT / "docs" / "diagnostics.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def used_codes() -> set[str]:
    """Every NBnnn that stands as a string in the source."""
    found = set()
    for path in (ROOT / "nb2prod").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^NB\d{3}$", node.value))
    return found


def test_every_code_is_explained_and_none_other() -> None:
    explained = re.findall(r"^\| (NB\d{3}) \|", DIAGNOSTICS, re.M)
    assert len(explained) == len(set(explained))
    assert set(explained) == used_codes()


def test_every_tag_and_setting_is_in_the_readme() -> None:
    for tag in TAGS:
        assert f"`{tag}`" in README
    table = README.split("[tool.nb2prod]")[1].split("```")[0]
    assert tomllib.loads(table) == {
        field: getattr(Settings(), field) for field in Settings.__dataclass_fields__
    }


def test_every_command_in_the_documents_exists() -> None:
    for page in PAGES:
        for verb in re.findall(r"^ {4}nb2prod (\w+)", page.read_text("utf-8"), re.M):
            assert verb in cli.commands, f"{page.name}: nb2prod {verb}"


def test_the_readmes_cells_extract(tmp_path: Path) -> None:
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "# tagged: example" in b)
    tagged = re.findall(r"# tagged: (\w+)\n(.*?)(?=\n# tagged|\Z)", block, re.S)
    before = (
        "import pandas as pd\nCOLUMNS = ['a']\nNUMERIC = ['a']\ntest = pd.DataFrame({'a': [1.0, None]})\n"
        "medians = test.median()\nmodel = medians\ndef add_features(df):\n    return df.copy()"
    )
    bundle = extract(read(notebook(tmp_path, ("", before), *tagged)))
    assert [stage.role for stage in bundle.plan.stages] == ["preprocess", "model", "postprocess"]
    assert [item.key for item in bundle.plan.state if item.expected] == ["medians", "model"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_exported_names_are_the_verbs() -> None:
    assert set(nb2prod.__all__) == set(cli.commands)
    for room in ("extract", "validation", "registry", "control", "serving"):
        importlib.import_module(f"nb2prod.{room}")  # a room must not hide the verb of its name
    for name in nb2prod.__all__:
        assert callable(getattr(nb2prod, name))
        assert getattr(nb2prod, name).__doc__
