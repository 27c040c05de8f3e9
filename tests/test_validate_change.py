"""Values that change where the text cannot show it: found by the evidence of the clean run and the proof."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nb2prod.errors import NotebookError
from nb2prod.shells import api
from nb2prod.validation import touched
from nb2prod.validation.compare import same
from tests.made import notebook

_numbers = itertools.count()
EXAMPLE = ("example", "request = {'a': 3}")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NB2PROD_PROJECT", str(tmp_path))


def refusal(path: Path) -> NotebookError:
    with pytest.raises(NotebookError) as caught:
        api.validate(path)
    return caught.value


def test_a_literal_changed_under_another_name_is_captured(tmp_path: Path) -> None:
    cells = (("", "weights = [1.0]"), ("", "alias = weights\nalias.append(5.0)"), EXAMPLE)
    proven = api.validate(notebook(tmp_path, *cells, ("model", "min(request['a'], len(weights) * 100)")))
    assert [(item.type, item.codec) for item in proven.report.state] == [("list", "json")]
    assert "weights" not in proven.bundle.files.get("helpers.py", "")
    assert json.loads((proven.package / proven.report.state[0].file).read_text()) == [1.0, 5.0]


def test_a_literal_changed_by_a_function_is_captured(tmp_path: Path) -> None:
    cells = (
        ("", "limits = {'a': 2}"),
        ("", "def widen(d):\n    d.__setitem__('a', 9)\nwiden(limits)"),
        EXAMPLE,
    )
    proven = api.validate(
        notebook(tmp_path, *cells, ("model", "def model(r):\n    return min(r['a'], limits['a'])"))
    )
    assert [item.key for item in proven.report.state] == ["limits"]
    assert proven.bundle.evidence is not None
    assert proven.bundle.evidence.contract.response == (3,)


def test_a_literal_that_stays_is_written_out(tmp_path: Path) -> None:
    cells = (("", "weights = [1.0]"), ("", "alias = weights + [5.0]"), EXAMPLE)
    proven = api.validate(notebook(tmp_path, *cells, ("model", "request['a'] * len(weights)")))
    assert proven.report.state == ()
    assert "weights = [1.0]" in proven.bundle.files["model.py"]


def test_state_that_changes_between_two_roles_under_another_name(tmp_path: Path) -> None:
    cells = (
        ("", "k = list(range(2))\nother = k"),
        EXAMPLE,
        ("preprocess", "x = k[0] + request['a']"),
        ("", "other[0] = 5"),
        ("model", "x + k[0]"),
    )
    proven = api.validate(notebook(tmp_path, *cells))
    assert sorted(item.key for item in proven.report.state) == ["k", "k_before_5"]
    assert proven.bundle.evidence is not None
    assert proven.bundle.evidence.contract.response == (8,)


def test_state_that_stays_between_two_roles_is_captured_once(tmp_path: Path) -> None:
    cells = (
        ("", "k = list(range(2))"),
        EXAMPLE,
        ("preprocess", "x = k[0] + request['a']"),
        ("", "k[0] if k else None"),
        ("model", "x + k[0]"),
    )
    assert [item.key for item in api.validate(notebook(tmp_path, *cells)).report.state] == ["k"]


def test_a_value_changed_on_its_way_under_another_name(tmp_path: Path) -> None:
    cells = (
        EXAMPLE,
        ("preprocess", "x = [request['a']]"),
        ("", "getattr(x, '__set' + 'item__')(0, 7)"),
        ("model", "x[0] + 1"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number) == ("NB204", 3)
    assert "'x'" in error.message


def test_a_request_changed_before_a_role_reads_it(tmp_path: Path) -> None:
    cells = (
        EXAMPLE,
        ("", "getattr(request, '__set' + 'item__')('a', 7)"),
        ("model", "request['a'] + 1"),
    )
    assert (refusal(notebook(tmp_path, *cells)).code) == "NB204"


def test_a_class_changed_under_another_name(tmp_path: Path) -> None:
    cells = (
        ("", "class Scale:\n    by = 2\n    @classmethod\n    def of(cls, x):\n        return cls.by * x"),
        ("", "type.__setattr__(Scale, 'by', 5)"),
        EXAMPLE,
        ("model", "Scale.of(request['a'])"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number, error.line) == ("NB227", 1, 1)
    assert ".by" in error.message


def test_a_copy_that_is_not_alone(tmp_path: Path) -> None:
    cells = (
        ("", "seen = list(range(2))\nboth = {'s': seen}"),
        EXAMPLE,
        ("model", "seen.append(request['a'])\nlen(both['s'])"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number) == ("NB229", 3)
    assert "'both'" in error.message


def test_each_request_works_on_a_copy(tmp_path: Path) -> None:
    cells = (
        ("", "class Doubler:\n    def of(self, x):\n        self.last = x\n        return 2 * x"),
        ("", "doubler = Doubler()"),
        EXAMPLE,
        ("model", "doubler.of(request['a'])"),
    )
    proven = api.validate(notebook(tmp_path, *cells))
    assert "doubler = deepcopy(_doubler)" in proven.bundle.files["model.py"]
    found = [d for d in proven.bundle.diagnostics if d.code == "NB218"]
    assert [(d.severity, d.number, d.line) for d in found] == [("warning", 4, 1)]
    assert "may change `doubler` in place, by what it calls" in found[0].message


def test_state_that_answering_changes(tmp_path: Path) -> None:
    cells = (
        (
            "",
            "from collections import defaultdict\nfrom operator import methodcaller\nseen = defaultdict(int)",
        ),
        EXAMPLE,
        ("model", "request['a'] * 2 + methodcaller('__getitem__', request['a'])(seen)"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number, error.line) == ("NB326", 1, 3)
    assert "adds `seen[3]` to the state" in error.message
    assert error.hint is not None
    mended = (*cells[:2], ("model", "request['a'] * 2 + seen.get(request['a'], 0)"))
    assert "`.get(key, default)`" in error.hint
    assert api.validate(notebook(tmp_path, *mended)).report.passed


CACHES = """
from functools import cached_property
class Scorer:
    def __init__(self, weights): self.weights = weights
    @cached_property
    def total(self): return sum(self.weights.values())
    def share(self, name): return self.weights.get(name, 0) / self.total
scorers = [Scorer({"a": 1, "b": 3})]
"""


def test_a_cached_property_that_answering_fills_is_no_change(tmp_path: Path) -> None:
    example = ("example", "request = {'a': 'b'}")
    found = api.validate(
        notebook(tmp_path, ("", CACHES), example, ("model", "scorers[0].share(request['a'])"))
    )
    assert "NB326" not in {d.code for d in found.report.diagnostics}


STATE = """
from functools import cached_property
class Counter:
    made = 0
    def __init__(self): self.seen = [1]
    @cached_property
    def same(self): return sum(self.seen)
    @cached_property
    def other(self):
        Counter.made += 1
        return Counter.made
    @property
    def plain(self): return vars(self).setdefault("_plain", 3)
known = {"a": (Counter(),)}
"""
TABLES = """
import numpy as np
import pandas as pd
known = {
    "frame": pd.DataFrame({"n": [1, 2], "held": [["a"], ["b"]]}),
    "series": pd.Series([["a"], ["b"]]),
    "array": np.zeros(3),
}
"""


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (lambda it: (it["frame"]["n"].sum(), it["series"].iloc[0], it["frame"].loc[0]), None),
        (lambda it: it["frame"].insert(2, "new", 1), "['frame'].iloc[:, 2]"),
        (lambda it: it["frame"].iloc[1, 1].append("c"), "['frame'].iloc[:, 1][1][1]"),
        (lambda it: setattr(it["frame"], "index", [7, 8]), "['frame']"),
        (lambda it: it["series"].iloc[0].append("c"), "['series'][0][1]"),
        (lambda it: it["array"].__setitem__(1, 5.0), "['array']"),
    ],
    ids=["read", "a column", "a list in a frame", "labels", "a list in a series", "an array"],
)
def test_tables_and_arrays_are_looked_into(
    asked: Callable[[Any], Any], path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = package_with(TABLES, tmp_path, monkeypatch)
    before = touched.fingerprints(runtime, same)
    asked(runtime.state.known)
    found = touched.changed(before, touched.fingerprints(runtime, same))
    assert [(matters, where) for _, matters, where, *_ in found] == ([] if path is None else [(True, path)])


def package_with(state: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The runtime of a small package, imported."""
    package = folder / f"made_{next(_numbers)}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "state.py").write_text(state)
    manifest = "def manifest(): return {'state': [{'key': 'known'}]}"
    (package / "runtime.py").write_text(f"from . import state\n{manifest}")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module(f"{package.name}.runtime")


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (lambda it: it.same, None),
        (lambda it: (it.same, it.seen.append(1)), ".seen[1]"),
        (lambda it: (it.seen.append(1), it.same, it.seen.pop()), ".same"),
        (lambda it: it.other, ".other"),
        (lambda it: it.plain, "._plain"),
    ],
    ids=["the same anew", "moved on", "from before", "another anew", "no cached property"],
)
def test_what_cached_properties_keep_counts_unless_it_is_the_same_anew(
    asked: Callable[[Any], Any],
    parts: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = package_with(STATE, tmp_path, monkeypatch)
    (it,) = runtime.state.known["a"]
    before = touched.fingerprints(runtime, same)
    asked(it)
    held = dict(vars(it))
    found = touched.changed(before, touched.fingerprints(runtime, same))
    assert [path for _, _, path, *_ in found] == ([] if parts is None else [f"['a'][0]{parts}"])
    assert dict(vars(it)) == held


GROWING = (
    ("", "from collections import defaultdict\nseen = defaultdict(int, {9: 2})"),
    ("", "def score(x):\n    return seen[x]"),
    EXAMPLE,
    ("model", "score(request['a'])"),
)


def test_a_defaultdict_that_is_only_looked_up_may_grow(tmp_path: Path) -> None:
    (found,) = [d for d in api.validate(notebook(tmp_path, *GROWING)).report.diagnostics if d.code == "NB326"]
    assert (found.severity, found.number, found.line) == ("warning", 1, 2)
    assert "adds `seen[3]` to the state" in found.message
    assert "changes no answer" in found.message


def test_a_defaultdict_that_is_looked_through_may_not_grow(tmp_path: Path) -> None:
    through = ("", "def score(x):\n    return seen[x] + len(seen)")
    assert refusal(notebook(tmp_path, GROWING[0], through, *GROWING[2:])).code == "NB228"


def test_rows_in_another_order(tmp_path: Path) -> None:
    cells = (
        ("", "import pandas as pd"),
        ("example", "request = pd.DataFrame({'a': [1.0, 2.0, 3.0]})"),
        ("model", "request.assign(p=-request['a']).sort_values('p')"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number) == ("NB223", 3)
    assert "another order" in error.message


def test_an_example_cell_that_binds_more_than_the_request(tmp_path: Path) -> None:
    cells = (
        ("", "import pandas as pd"),
        ("example", "request = pd.DataFrame({'a': [1.0, 2.0, 3.0]})\nn = len(request)"),
        ("model", "request['a'] / n"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number) == ("NB220", 2)
    assert "n, request" in error.message


def test_numpys_numbers_in_a_record_stay_numpys(tmp_path: Path) -> None:
    cells = (
        ("", "import numpy as np"),
        ("example", "request = {'a': np.float32(0.1), 'b': np.int64(3)}"),
        ("model", "{'a': request['a'] * 2, 'b': request['b'] + 1}"),
    )
    assert api.validate(notebook(tmp_path, *cells)).report.passed


def test_a_role_that_awaits(tmp_path: Path) -> None:
    cells = (
        ("", "import asyncio\nasync def double(x):\n    await asyncio.sleep(0)\n    return 2 * x"),
        ("", "rates = [await double(i) for i in range(3)]"),
        ("example", "request = {'a': 3}"),
        ("reference", "seen = [{'a': 4}, {'a': 5}]"),
        ("preprocess", "x = await double(request['a'])"),
        ("model", "async def model(x):\n    return await double(x) + rates[2]"),
    )
    proven = api.validate(notebook(tmp_path, *cells))
    assert proven.report.rows_compared == 3
    assert proven.bundle.evidence is not None
    assert proven.bundle.evidence.contract.response == (16,)


def test_star_imports_are_looked_up(tmp_path: Path) -> None:
    cells = (
        ("", "from math import *\nfrom operator import *"),
        EXAMPLE,
        ("model", "pow(floor(request['a'] + 0.5), 2)"),
    )
    proven = api.validate(notebook(tmp_path, *cells))
    text = proven.bundle.files["model.py"]
    assert "from math import floor\nfrom operator import pow\n" in text
    assert proven.bundle.evidence is not None
    assert proven.bundle.evidence.contract.response == (9,)


def test_helpers_that_read_state_which_holds_helpers(tmp_path: Path) -> None:
    cells = (
        ("", "factor = max([2, 5])\ndef double(x):\n    return 2 * x\nrules = {'d': double}"),
        ("", "class M:\n    def go(self, x):\n        return rules['d'](x) * factor"),
        ("", "m = M()"),
        EXAMPLE,
        ("model", "m.go(request['a'])"),
    )
    proven = api.validate(notebook(tmp_path, *cells))
    assert proven.bundle.evidence is not None
    assert proven.bundle.evidence.contract.response == (30,)
    assert proven.bundle.files["helpers.py"].endswith("from .state import factor, rules  # noqa: E402\n")


def test_a_logger_may_remember(tmp_path: Path) -> None:
    cells = (
        ("", "import logging\nlog = logging.getLogger('x')"),
        ("", "def f(x):\n    log.debug('%s', x)\n    return x + 1"),
        ("", "f(1)"),
        EXAMPLE,
        ("model", "f(request['a'])"),
    )
    assert api.validate(notebook(tmp_path, *cells)).report.passed


def test_a_library_object_that_counts_inside_a_dict_is_a_warning(tmp_path: Path) -> None:
    cells = (
        ("", "import numpy as np\nfrom sklearn.neighbors import KNeighborsRegressor"),
        ("", "X = np.arange(200.0).reshape(-1, 1)\nmodels = {'k': KNeighborsRegressor().fit(X, X[:, 0])}"),
        ("example", "r = np.array([[3.5]])"),
        ("model", "models['k'].predict(r)"),
    )
    report = api.validate(notebook(tmp_path, *cells)).report
    (found,) = [d for d in report.diagnostics if d.code == "NB326"]
    assert found.severity == "warning"
    assert "inside `models`, but no answer: it seems to cache" in found.message


def test_a_name_bound_to_what_it_stood_for(tmp_path: Path) -> None:
    cells = (
        ("", "n = 8"),
        ("example", "h = 6"),
        ("model", "n = int(h)"),
        ("model", "n + 1"),
        ("reference", "reference = [7, 8, 9]\nreference[:2]\nprint(reference)"),
    )
    report = api.validate(notebook(tmp_path, *cells)).report
    assert report.rows_compared == 4
    assert not report.diagnostics


def test_a_reference_that_is_shown_below(tmp_path: Path) -> None:
    cells = (
        ("", "import pandas as pd"),
        ("example", "r = pd.DataFrame({'a': [1.0]})"),
        ("reference", "rows = pd.DataFrame({'a': [1.0, 2.0, 3.0, 4.0]})\nrows.head(2)"),
        ("model", "r['a'] * 2"),
    )
    assert api.validate(notebook(tmp_path, *cells)).report.reference_rows == 4


def test_a_closure_over_what_changes_under_another_name(tmp_path: Path) -> None:
    cells = (
        ("", "def make(d):\n    def get(x):\n        return d['k'] * x\n    return get"),
        ("", "table = {'k': max([2, 1])}\nget = make(table)"),
        ("", "other = table\nother['k'] = 5"),
        EXAMPLE,
        ("model", "get(request['a'])"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number, error.line) == ("NB227", 2, 2)
    assert "the d that it holds" in error.message


def test_a_member_of_an_enumeration_made_by_a_call_stays_one(tmp_path: Path) -> None:
    cells = (
        ("", "from enum import Enum\nColor = Enum('Color', ['RED', 'BLUE'])\nbest = max(Color, key=str)"),
        EXAMPLE,
        ("model", "(best is Color.RED) * request['a']"),
    )
    proven = api.validate(notebook(tmp_path, *cells))
    assert [item.key for item in proven.report.state] == ["best"]
    assert proven.report.passed


def test_a_row_that_fails_below_a_magic_that_hides_it(tmp_path: Path) -> None:
    cells = (
        ("reference", "rows = [{'a': 1}, {'a': 0}, {'a': 2}]\nrows"),
        ("example", "request = [{'a': 3}]"),
        ("model", "%%capture\n[6 / row['a'] for row in request]"),
    )
    proven = api.validate(notebook(tmp_path, *cells))
    assert [d.code for d in proven.report.diagnostics] == ["NB325"]
