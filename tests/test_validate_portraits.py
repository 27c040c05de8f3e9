"""Definitions and constants of the package against those of the notebook when serving code read them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import pytest

import nb2prod
from nb2prod.errors import NotebookError, ParityError
from nb2prod.extract import extract
from nb2prod.validation import prove, write_package
from nb2prod.validation.probe.held import held
from nb2prod.validation.probe.portrait import behind, first_difference, portrait
from tests import plans
from tests.made import notebook
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


RATE = "def rate(x):\n    return min(x, 4) * 2\n"
DEFINED_ANEW = {
    "by a text": ("run = exec\nrun('def rate(x):\\n    return x * 2')", "a text that is run as code"),
    "by a file": (
        "import runpy\nopen('over.py', 'w').write('def rate(x):\\n    return x * 2')\n"
        "globals().update(rate=runpy.run_path('over.py')['rate'])",
        "over.py, line 1",
    ),
    "by a cell": (
        "%%capture\ndef make():\n    def rate(x):\n        return x * 2\n    return rate\n"
        "g = globals()\ng['rate'] = make()",
        "cell 2, line 3",
    ),
}


@pytest.mark.parametrize("how", DEFINED_ANEW)
def test_a_refusal_says_where_the_code_of_a_function_is_from(tmp_path: Path, how: str) -> None:
    source, place = DEFINED_ANEW[how]
    notebook = book(tmp_path, ("", RATE), ("", source), ("example", "x = 3"), ("model", "rate(x)"))
    with pytest.raises(NotebookError) as caught:
        plans.run(notebook, extract(notebook).plan)
    assert (caught.value.code, caught.value.number, caught.value.line) == ("NB227", 1, 1)
    assert caught.value.message == f"'rate' has changed after its definition: its code is now from {place}"


KEPT = """
import functools
import logging
import sys
from pathlib import Path
import numpy as np
import scipy.sparse as sp
from scipy import stats
class Config:
    spread = stats.norm(0, 1)
    ROOT = Path.cwd()
    table = sp.csr_matrix([[1, 0], [0, 2]])
    steps = np.arange(5000.0)
    @functools.cached_property
    def double(self): return 2
    @functools.singledispatchmethod
    def of(self, x): return x
Config.table.has_sorted_indices
first = Config().double
logger = logging.getLogger(__name__)
def rate(x, steps=Config.steps, to=sys.stdout):
    logger.debug("asked for %s, at %s", x, Config.spread.cdf(x))
    return float(steps[x] * Config.table[0, 0]) + Config().of(1)
"""


def test_what_a_library_keeps_and_where_a_process_runs_is_no_change(tmp_path: Path) -> None:
    proved(tmp_path, KEPT, "x = 3", "rate(x)")


IN_LIBRARIES = {
    "a function of a module": (
        "import string\ndef put(to, name, f): setattr(to, name, f)\n"
        "put(string, 'capwords', lambda s: s[:1].upper() + s[1:])",
        "x = 'ab'",
        "string.capwords(x)",
        ("`string.capwords` of a library is the notebook's own function `<lambda>`", 3),
    ),
    "a builtin": (
        "import builtins\nb = builtins\nb.round = lambda x: int(x + 0.5)",
        "x = 3.2",
        "round(x)",
        ("`builtins.round` of a library is the notebook's own function `<lambda>`", 3),
    ),
    "a method": (
        "import pandas as pd\nfor kind in [pd.Series.str]:\n    kind.strip = lambda self: self.lower()",
        "x = pd.DataFrame({'t': ['ab']})",
        "x['t'].str.strip().tolist()",
        ("`pandas.core.strings.accessor.StringMethods.strip` of a library is the notebook's own", 3),
    ),
    "a new method": (
        "import pandas as pd\ndef scaled(s):\n    return (s - 2) / 4\npd.Series.scaled = scaled",
        "x = pd.DataFrame({'t': [1.0]})",
        "x['t'].scaled()",
        ("`pandas.Series.scaled` of a library is the notebook's own function `scaled`", 2),
    ),
}


@pytest.mark.parametrize("what", IN_LIBRARIES)
def test_a_function_of_the_notebook_in_a_library_is_refused(tmp_path: Path, what: str) -> None:
    source, example, model, (message, line) = IN_LIBRARIES[what]
    with pytest.raises(ParityError) as caught:
        proved(tmp_path, source, example, model)
    assert (caught.value.code, caught.value.number, caught.value.line) == ("NB227", 1, line)
    assert caught.value.message.startswith(message)
    assert "a subclass of your own" in str(caught.value.hint)


SHOWING = """
import sys, threading, warnings
import pandas as pd
def quiet(*a, **k): pass
warnings.warn = quiet
sys.excepthook = quiet
class Odd:
    __module__ = property(lambda self: "odd")
sys.odd = Odd
for kind in [pd.DataFrame]:
    kind.peek = lambda self: self.head(2)
@pd.api.extensions.register_series_accessor("twice_or_more")
class Times:
    def __init__(self, s): self.s = s
    def times(self, n): return self.s * n
class Waiting(threading.Thread):
    def run(self): threading.Event().wait()
Waiting(daemon=True).start()
def scaled(x):
    assert threading.active_count()
    return float(pd.Series([x]).twice_or_more.times(2)[0])
"""


def test_what_only_shows_and_what_is_registered_may_stand_in_libraries(tmp_path: Path) -> None:
    proved(tmp_path, SHOWING, "x = 3", "scaled(x)")


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


OWN_ERROR = """
class RuleError(ValueError): pass
def check(v):
    if v < 0: raise RuleError("negative")
    return v
"""
SAFE = """
def safe(v):
    try: return [check(v)]
    except Exception as e: return [f"{type(e).__module__}.{type(e).__name__}"]
"""


def test_the_module_of_a_class_is_another_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by no compared request it is a warning; shown by an answer it is a difference, and named."""
    monkeypatch.setenv("NB2PROD_PROJECT", str(tmp_path / "project"))
    cells = ("", f"{OWN_ERROR}{SAFE}"), ("example", "x = 1"), ("model", "safe(x)")
    report = nb2prod.validate(notebook(tmp_path, *cells)).report
    (found,) = [d for d in report.diagnostics if d.code == "NB351"]
    assert (found.severity, found.number, found.line) == ("warning", 1, 9)
    assert "`type(e).__module__` is `__main__`" in found.message
    with pytest.raises(ParityError) as caught:
        nb2prod.validate(
            notebook(tmp_path, ("", OWN_ERROR), ("example", "x = 1"), ("model", "str(RuleError) * x"))
        )
    assert caught.value.code == "NB320"
    assert "Show a class by `__qualname__`" in (caught.value.hint or "")
    mended = ("", OWN_ERROR), ("example", "x = 1"), ("model", "RuleError.__qualname__ * x")
    report = nb2prod.validate(notebook(tmp_path, *mended)).report
    assert "NB351" not in {d.code for d in report.diagnostics}


def test_what_has_parts_differs_from_what_has_none_by_a_part() -> None:
    class Empty:
        pass

    class Empty2(Empty):
        registry: ClassVar = {"a": 1}

    Empty2.__qualname__ = Empty.__qualname__
    both = [portrait(it, lambda name: True) for it in (Empty2, Empty)]
    assert first_difference(*both) == (".registry", "a dict", "nothing")
    assert first_difference(*both[::-1]) == (".registry", "nothing", "a dict")


def test_a_portrait_ends() -> None:
    class Node:
        def __init__(self) -> None:
            self.other = self
            self.all = [self, {"me": self}]

    found = portrait(Node(), "tests.test_validate_portraits".__eq__)
    assert found[".other"] == "itself"
    assert first_difference(found, portrait(Node(), "tests.test_validate_portraits".__eq__)) is None
    assert portrait(list(range(30_000)), "x".__eq__) is None


WRAPPED = """
import wrapt
class Bare:
    @property
    def __class__(self): raise RuntimeError("bound to nothing")
@wrapt.decorator
def nonneg(wrapped, instance, args, kwargs): return max(0.0, wrapped(*args, **kwargs))
@nonneg
def score(x, of={"k": 2.0}): return x * of["k"]
bare = Bare()
"""


def test_what_a_proxy_stands_for_is_looked_at(tmp_path: Path) -> None:
    proved(tmp_path, WRAPPED, "x = 3.0", "score(x)")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(WRAPPED, space)
    before = {
        name: (portrait(space[name], "__main__".__eq__), held(space[name])) for name in ("score", "nonneg")
    }
    space["score"].__wrapped__.__defaults__[0]["k"] = 3.0
    assert portrait(space["score"], "__main__".__eq__) != before["score"][0]
    assert portrait(space["nonneg"], "__main__".__eq__) == before["nonneg"][0]
    space["score"].__wrapped__.__defaults__ = (5.0,)
    assert held(space["score"]) != before["score"][1]
    assert behind(space["bare"]) == {}
