"""Definitions and constants of the package against those of the notebook when serving code read them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from nb2prod.errors import ParityError
from nb2prod.extract import extract
from nb2prod.validation import prove, write_package
from nb2prod.validation.probe.portrait import first_difference, portrait
from tests import plans
from tests.plans import book


def proved(folder: Path, source: str, example: str, model: str) -> None:
    notebook = book(folder, ("", dedent(source)), ("example", example), ("model", model))
    run = plans.run(notebook, extract(notebook).plan)
    bundle = extract(notebook, run.evidence)
    write_package(bundle, run.folder, folder / "package")
    prove(bundle, run, folder / "package")


FEATURES = """
NUMBERS = ["age"]
FEATURES = ["plan"] + NUMBERS
wanted = NUMBERS
wanted.append("spend")
"""
SCORERS = """
class Linear:
    weight = 1.0
    def score(self, x): return x * self.weight
class Flat:
    def score(self, x): return 1.0
SCORERS = {"linear": Linear, "flat": Flat}
for name, weight in {"linear": 2.5}.items():
    SCORERS[name].weight = weight
"""
DEFAULT = """
def give(x, of={"k": 1}): return x * of["k"]
known = give.__defaults__[0]
known["k"] = 4
"""
BORG = """
class Borg:
    _shared = {"rate": 1.0}
    def __init__(self): self.__dict__ = self._shared
first = Borg()
first.rate = 2.0
"""

UNLIKE = {
    "a constant made of another": (
        (FEATURES, "r = {'plan': 1, 'age': 2, 'spend': 0}", "sum(r[c] for c in FEATURES)"),
        (1, 3),
        "`FEATURES[2]` is nothing in the notebook, but 'spend' in the package",
        "`FEATURES = copy.copy(FEATURES)`",
    ),
    "a class in a dict": (
        (SCORERS, "r = {'s': 'flat', 'x': 2.0}", "SCORERS[r['s']]().score(r['x'])"),
        (1, 2),
        "`Linear.weight` is 2.5 in the notebook, but 1.0 in the package",
        "part of the definition of `Linear`",
    ),
    "a default": (
        (DEFAULT, "x = 0", "give(x)"),
        (1, 2),
        "`give`: defaults[0]['k'] is 4 in the notebook, but 1 in the package",
        "part of the definition of `give`",
    ),
    "what all objects share": (
        (BORG, "x = 0.0", "x * Borg().rate if x else 0.0"),
        (1, 2),
        "`Borg._shared['rate']` is 2.0 in the notebook, but 1.0 in the package",
        "part of the definition of `Borg`",
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_changed_under_another_name_in_one_cell_is_refused(tmp_path: Path, name: str) -> None:
    cells, place, message, hint = UNLIKE[name]
    with pytest.raises(ParityError) as caught:
        proved(tmp_path, *cells)
    assert (caught.value.code, caught.value.number, caught.value.line) == ("NB227", *place)
    assert caught.value.message.startswith(message)
    assert hint in str(caught.value.hint)


def test_the_hint_for_a_constant_holds(tmp_path: Path) -> None:
    mended = f"{FEATURES}import copy\nFEATURES = copy.copy(FEATURES)\n"
    proved(tmp_path, mended, "r = {'plan': 1, 'age': 2, 'spend': 9}", "sum(r[c] for c in FEATURES)")


def test_constants_that_are_bound_anew_later(tmp_path: Path) -> None:
    source = """
    LOW = 3
    first = LOW
    LOW = 0
    HIGH = 7
    """
    notebook = book(
        tmp_path,
        ("", dedent(source)),
        ("", "second = HIGH\nHIGH = 0"),
        ("example", "x = 1"),
        ("model", "def score(x):\n    return [x, first, second]"),
    )
    run = plans.run(notebook, extract(notebook).plan)
    bundle = extract(notebook, run.evidence)
    write_package(bundle, run.folder, tmp_path / "package")
    assert prove(bundle, run, tmp_path / "package").passed


def test_a_portrait_ends() -> None:
    class Node:
        def __init__(self) -> None:
            self.other = self
            self.all = [self, {"me": self}]

    found = portrait(Node(), "tests.test_validate_portraits".__eq__)
    assert found[".other"] == "itself"
    assert first_difference(found, portrait(Node(), "tests.test_validate_portraits".__eq__)) is None
    assert portrait(list(range(30_000)), "x".__eq__) is None
