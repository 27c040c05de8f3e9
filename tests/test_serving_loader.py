"""Packages imported as releases: side by side, let go, refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nb2prod.serving.loader import load, unload, warm
from tests.packages import MODEL, write_package

ROW = {"x": 1.5, "n": 1, "colour": "red"}


def imported(module: str) -> list[str]:
    return [name for name in sys.modules if name.startswith(module)]


def test_versions_live_side_by_side(tmp_path: Path) -> None:
    first = load(write_package(tmp_path / "one", factor=2.0), "doubler", 1)
    second = load(write_package(tmp_path / "two", factor=3.0), "doubler", 2)
    again = load(first.path, "doubler", 1)
    assert first.predictor.predict([ROW]) == [4.0]
    assert second.predictor.predict([ROW]) == [5.5]
    assert again.predictor.predict([ROW]) == [4.0]
    assert len({first.module, second.module, again.module}) == 3


def test_a_name_that_is_no_identifier(tmp_path: Path) -> None:
    release = load(write_package(tmp_path / "my model"), "my-model 2", 1)
    assert release.predictor.predict([ROW]) == [4.0]


def test_warm_predicts_the_example(tmp_path: Path) -> None:
    warm(load(write_package(tmp_path / "good"), "doubler", 1))
    broken = load(write_package(tmp_path / "bad", model="def model(pairs):\n    return gone\n"), "doubler", 2)
    with pytest.raises(NameError, match="gone"):
        warm(broken)
    assert broken.runtime.notebook_lines(ValueError()) == []


def test_unload_lets_go_of_one_version_alone(tmp_path: Path) -> None:
    first = load(write_package(tmp_path / "one"), "doubler", 1)
    second = load(write_package(tmp_path / "two", factor=3.0), "doubler", 2)
    unload(first)
    assert not imported(first.module)
    assert vars(first.runtime) == {}
    assert second.predictor.predict([ROW]) == [5.5]


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        ("__init__.py", FileNotFoundError, "holds no package"),
        ("factor.json", Exception, "factor.json"),
        ("contract.json", RuntimeError, "^contract.json: .*No such file"),
    ],
)
def test_a_package_that_lacks_a_file(tmp_path: Path, spoil: str, error: type[Exception], match: str) -> None:
    (write_package(tmp_path / "p") / spoil).unlink()
    before = imported("nb2prod_release_")
    with pytest.raises(error, match=match):
        load(tmp_path / "p", "doubler", 1)
    assert imported("nb2prod_release_") == before


def test_state_that_is_not_the_proven_one(tmp_path: Path) -> None:
    (write_package(tmp_path / "p") / "factor.json").write_text("9.0")
    with pytest.raises(RuntimeError, match="SHA-256 differs"):
        load(tmp_path / "p", "doubler", 1)


def test_code_that_exits_at_import_leaves_nothing(tmp_path: Path) -> None:
    write_package(tmp_path / "p", model="import sys\nsys.exit(3)\n" + MODEL)
    before = imported("nb2prod_release_")
    with pytest.raises(SystemExit):
        load(tmp_path / "p", "doubler", 1)
    assert imported("nb2prod_release_") == before


def test_importing_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, nb2prod.serving.app; "
        "print({'ray', 'pandas', 'numpy', 'mlflow', 'swagger_ui_bundle', 'IPython'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
