"""From imports to requirements: which are pinned, why, for which role. Distributions made for the test."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nb2prod.domain import (
    Bundle,
    Contract,
    Evidence,
    Imported,
    MappedLine,
    Needs,
    Requirement,
    Role,
    StateFile,
)
from nb2prod.errors import ParityError
from nb2prod.shells import api
from nb2prod.validation.requirements import required
from tests.made import notebook
from tests.plans import book, bundle_of, inline, plan
from tests.sites import install

PLAN = plan(
    "x",
    inline("preprocess", "x", "y", "c2"),
    inline("model", "y", "p", "c3"),
    moment="c3",
    example="c1",
)
LINES = (MappedLine("model.py", 5, "c3", 3, 2), MappedLine("helpers.py", 9, "c4", 4, 7))


def bundle(
    folder: Path, needs: dict[Role, Needs] | None = None, decoding: str = "", **state: tuple[str, ...]
) -> Bundle:
    """A bundle of two roles; `state` is by key the modules that reading it imports."""
    files = tuple(StateFile(key, "", "pickle", "", 1, "", modules) for key, modules in state.items())
    evidence = Evidence(Contract("value", ("x",)), files, decoding=tuple(decoding.split()))
    made = bundle_of(book(folder, ("example", "x = 1")), PLAN, evidence, {"pipeline": ""}, LINES)
    return dataclasses.replace(made, needs=needs or {})


def imports(*names: str) -> tuple[Imported, ...]:
    return tuple(Imported(name, "c9", 9, 1) for name in names)


def loaded(site: Path, **modules: str | tuple[str, int]) -> dict[str, dict[str, Any]]:
    """By module: who imported it first, another module or a line of the package."""
    found = {}
    for name, by in modules.items():
        at = [by] if isinstance(by, tuple) else []
        found[name] = {"file": str(site / name / "__init__.py"), "by": "" if at else by, "at": at}
    return found


def requires(*names: str) -> str:
    return "\n".join(f"Requires-Dist: {name}" for name in names)


def shown(found: tuple[Requirement, ...]) -> list[str]:
    return [
        f"{item.name} {' '.join(item.roles)} {' '.join(item.via)}{'?' if item.optional else ''}"
        for item in found
    ]


def test_what_code_imports_what_that_needs_and_what_that_uses(site: Path, tmp_path: Path) -> None:
    install(site, "Learn", "learn/__init__.py", requires=requires("jobs>=1", "numbers"))
    install(site, "frames", "frames/__init__.py", requires=requires("numbers", "learn; extra == 'all'"))
    for name in ("jobs", "numbers", "arrows", "deep-arrows", "unused"):
        install(site, name, f"{name.replace('-', '_')}/__init__.py")
    needs: dict[Role, Needs] = {
        "preprocess": Needs(imports("frames.core")),
        "model": Needs(imports("learn.tree")),
    }
    seen = loaded(
        site,
        frames=("preprocess.py", 3),
        numbers="frames",
        arrows="frames",
        deep_arrows="arrows",
        learn=("model.py", 3),
        jobs="learn",
    )
    found, warnings = required(bundle(tmp_path, needs), seen)
    assert shown(found) == [
        "frames preprocess ",
        "Learn model ",
        "jobs model Learn",
        "numbers preprocess model Learn frames",
        "arrows preprocess frames?",
        "deep-arrows preprocess arrows?",
    ]
    assert warnings == ()


def test_state_counts_for_the_roles_that_read_it_and_requests_for_the_first(
    site: Path, tmp_path: Path
) -> None:
    for name in ("learn", "numbers", "frames"):
        install(site, name, f"{name}/__init__.py")
    needs: dict[Role, Needs] = {
        "preprocess": Needs(state=("scaler",)),
        "model": Needs(state=("model", "gone")),
    }
    made = bundle(tmp_path, needs, "frames", scaler=("numbers",), model=("learn", "numbers"))
    seen = loaded(site, frames=("runtime.py", 7), numbers=("runtime.py", 9), learn=("runtime.py", 9))
    assert shown(required(made, seen)[0]) == [
        "frames preprocess ",
        "learn model ",
        "numbers preprocess model ",
    ]


def test_what_the_text_cannot_show_counts_where_it_was_imported(site: Path, tmp_path: Path) -> None:
    for name in ("dynamic", "helped", "somewhere", "startled"):
        install(site, name, f"{name}/__init__.py")
    seen = loaded(site, dynamic=("model.py", 5), somewhere=("codecs.py", 5), startled="json")
    seen["helped"] = {
        "file": str(site / "helped" / "__init__.py"),
        "by": "",
        "at": [("helpers.py", 9), ("model.py", 5)],
    }
    needs: dict[Role, Needs] = {"preprocess": Needs(), "model": Needs()}
    assert shown(required(bundle(tmp_path, needs), seen)[0]) == [
        "dynamic model ",
        "helped model ",
        "somewhere preprocess model ",
        "startled preprocess model ",
    ]


def test_an_import_that_was_never_reached_is_pinned_if_it_is_installed(site: Path, tmp_path: Path) -> None:
    install(site, "rare", "rare/__init__.py")
    needs: dict[Role, Needs] = {"model": Needs(imports("rare.part", "not_installed_at_all", "json.decoder"))}
    assert shown(required(bundle(tmp_path, needs), {})[0]) == ["rare model "]


def test_shared_packages_and_files(site: Path, tmp_path: Path) -> None:
    """Two distributions may claim a file, as mlflow and mlflow-skinny do: one needed anyway counts."""
    install(site, "thick", "flow/__init__.py", "flow/more/__init__.py", requires=requires("thin"))
    install(site, "thin", "flow/__init__.py")
    install(site, "cloud-a", "cloud/a/__init__.py")
    install(site, "cloud-b", "cloud/b/__init__.py")
    seen = loaded(site, flow=("model.py", 5))
    seen["flow.more"] = {"file": str(site / "flow/more/__init__.py"), "by": "flow", "at": []}
    seen["cloud.a"] = {"file": str(site / "cloud/a/__init__.py"), "by": "", "at": [("codecs.py", 1)]}
    needs: dict[Role, Needs] = {"preprocess": Needs(state=("s",)), "model": Needs(imports("flow"))}
    found = shown(required(bundle(tmp_path, needs, s=("cloud",)), seen)[0])
    assert found == ["cloud-a preprocess ", "thick model "]
    del seen["flow.more"]
    assert shown(required(bundle(tmp_path, needs), seen)[0])[-2:] == ["thick model ", "thin model "]


def test_a_file_of_no_distribution_is_refused(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    seen = loaded(site)
    seen["mine"] = {"file": str(tmp_path / "mine.py"), "by": "made.model", "at": [("model.py", 5)]}
    with pytest.raises(ParityError) as caught:
        required(bundle(tmp_path), seen)
    error = caught.value
    assert (error.code, error.cell, error.number, error.line) == ("NB327", "c3", 3, 2)
    assert f"serving imports 'mine' from {tmp_path / 'mine.py'}, which no installed package" in error.message
    assert error.hint is not None
    assert "pip install" in error.hint
    seen["mine"]["at"] = [("model.py", 1)]
    needs: dict[Role, Needs] = {"model": Needs(imports("mine.part"))}
    with pytest.raises(ParityError) as caught:
        required(bundle(tmp_path, needs), seen)
    assert (caught.value.cell, caught.value.number, caught.value.line) == ("c9", 9, 1)


def test_what_a_registry_would_not_give_back_is_told(site: Path, tmp_path: Path) -> None:
    url = json.dumps({"url": "file:///x", "dir_info": {"editable": True}})
    install(site, "mine", "mine/__init__.py", direct_url=url)
    install(site, "torch-like", "torch_like/__init__.py", version="2.0+cpu")
    seen = loaded(site, mine=("model.py", 5), torch_like=("model.py", 5))
    found, (first, second) = required(bundle(tmp_path), seen)
    assert [item.pin for item in found] == ["mine==1.0", "torch-like==2.0+cpu"]
    assert (first.code, first.severity) == ("NB328", "warning")
    assert "mine is installed from the folder" in first.message
    assert "torch-like is a local version" in second.message
    assert second.hint is not None
    assert "PIP_EXTRA_INDEX_URL" in second.hint


# --- as the proving process really sees it -------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NB2PROD_PROJECT", str(tmp_path))
    return tmp_path


def test_imports_that_only_some_reference_row_reaches(project: Path) -> None:
    """Neither the text nor the example shows them: the module's name is put together when it is needed."""
    cells = (
        ("", "import importlib, numpy as np\nweights = np.array([1.0, 2.0])"),
        ("", "def parse(text):\n    return importlib.import_module('ya' + 'ml').safe_load(text)"),
        ("example", "request = {'a': 3, 'text': '5'}"),
        ("preprocess", "n = request['a'] if request['a'] < 9 else parse(request['text'])"),
        ("model", "float(weights.sum()) * n"),
        ("reference", "past = [{'a': n, 'text': '7'} for n in range(8, 11)]"),
    )
    made = api.validate(notebook(project, *cells))
    by_role = {
        role: [pin.partition("==")[0] for pin in pins]
        for role, pins in made.bundle.requirements_by_role.items()
    }
    assert by_role["preprocess"] == ["PyYAML"]
    assert by_role["model"][0] == "numpy"
    assert "PyYAML" not in by_role["model"]
    text = (made.package / "requirements.txt").read_text()
    assert text.startswith("# imported by this package\nnumpy==")
    assert "  # preprocess\n" in text
    manifest = json.loads((made.package / "manifest.json").read_text())
    assert manifest["requirements"] == {
        role: list(pins) for role, pins in made.bundle.requirements_by_role.items()
    }
    assert made.report.bundle_digest == made.bundle.digest
    again = api.validate(project / "made.ipynb")
    assert (again.reused, again.bundle) == (True, made.bundle)


def test_a_module_on_the_python_path_belongs_to_no_package(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "lib").mkdir()
    (project / "lib" / "company_rules.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.setenv("PYTHONPATH", str(project / "lib"))
    cells = (
        ("", "import math\nfrom company_rules import double"),
        ("example", "x = 3"),
        ("model", "double(x)"),
    )
    with pytest.raises(ParityError) as caught:
        api.validate(notebook(project, *cells))
    assert (caught.value.code, caught.value.number, caught.value.line) == ("NB327", 1, 2)


def test_a_module_beside_the_notebook_is_missing(project: Path) -> None:
    (project / "company_rules.py").write_text("def double(x):\n    return 2 * x\n")
    cells = (("", "from company_rules import double"), ("example", "x = 3"), ("model", "double(x)"))
    with pytest.raises(ParityError) as caught:
        api.validate(notebook(project, *cells))
    assert (caught.value.code, caught.value.number, caught.value.line) == ("NB322", 1, 1)
    assert caught.value.hint is not None
    assert "'company_rules' is not installed" in caught.value.hint
