"""The set-up files say one thing: pins, version and lock agree, and no file names a registry's address."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import nb2prod

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED_EXTRAS = ("demo", "dev")
SET_UP_FILES = ("requirements.lock", "Makefile", "environment.yml", "pyproject.toml", ".ci/run")
ADDRESS = re.compile(r"https?:|--(extra-)?index-url|--find-links|pypi\.|pythonhosted|anaconda\.")
OWN_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users)/")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, list[Requirement]]:
    """The lock's requirements by name; a name has several where the Python version decides."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            requirement = Requirement(line.removesuffix("\\").strip())
            found.setdefault(normalised(requirement.name), []).append(requirement)
    return found


def pins() -> list[Requirement]:
    texts = list(PROJECT["dependencies"])
    for extra in LOCKED_EXTRAS:
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def supported_pythons() -> SpecifierSet:
    return SpecifierSet(PROJECT["requires-python"])


def version_of(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_environment_yml_repeats_the_pins_of_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    entries = environment["dependencies"]
    (pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    assert sorted(pip) == sorted(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["demo"])
    assert "pip" in entries
    (python,) = (entry for entry in entries if isinstance(entry, str) and entry.startswith("python="))
    assert supported_pythons().contains(python.removeprefix("python="))


@pytest.mark.parametrize("pin", pins(), ids=str)
def test_the_lock_answers_every_pin(pin: Requirement) -> None:
    choices = locked().get(normalised(pin.name))
    assert choices, f"{pin.name} is not in requirements.lock; run: make lock"
    for choice in choices:
        assert pin.specifier.contains(version_of(choice)), f"{choice} is not {pin}; run: make lock"


@pytest.mark.parametrize("python", ["3.11.0", "3.11.9", "3.12.1", "3.13.0"])
def test_the_lock_gives_each_package_one_version(python: str) -> None:
    target = {**default_environment(), "python_version": python[:4], "python_full_version": python}
    target |= {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux"}
    for name, choices in locked().items():
        fit = [choice for choice in choices if choice.marker is None or choice.marker.evaluate(target)]
        assert len(fit) <= 1, f"{name}: {[str(choice) for choice in fit]} on Python {python}"


def test_the_lock_hashes_every_package() -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    assert blocks
    for block in blocks:
        assert "--hash=sha256:" in block, block.splitlines()[0]


@pytest.mark.parametrize("name", SET_UP_FILES)
def test_no_address_of_a_registry_and_no_path_of_one_machine(name: str) -> None:
    for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
        assert not ADDRESS.search(line), f"{name}:{number}: {line}"
        assert not OWN_PATH.search(line), f"{name}:{number}: {line}"


def test_one_version_everywhere() -> None:
    newest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest
    assert PROJECT["version"] == nb2prod.__version__ == newest[1]


def test_this_python_is_one_that_the_project_supports() -> None:
    assert supported_pythons().contains(".".join(map(str, sys.version_info[:3])))
