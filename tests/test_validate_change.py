"""Values that change where the text cannot show it: found by the evidence of the clean run and the proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from nb2prod.errors import NotebookError
from nb2prod.shells import api
from tests.made import notebook

EXAMPLE = ("example", "request = {'a': 3}")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NB2PROD_PROJECT", str(tmp_path))


def refusal(path: Path) -> NotebookError:
    with pytest.raises(NotebookError) as caught:
        api.validate(path)
    return caught.value


def test_a_literal_changed_under_another_name(tmp_path: Path) -> None:
    cells = (("", "weights = [1.0]"), ("", "alias = weights\nalias.append(5.0)"), EXAMPLE)
    error = refusal(notebook(tmp_path, *cells, ("model", "min(request['a'], len(weights) * 100)")))
    assert (error.code, error.number, error.line) == ("NB226", 1, 1)
    assert "[1.0, 5.0]" in error.message
    assert error.hint


def test_a_literal_changed_by_a_function(tmp_path: Path) -> None:
    cells = (("", "limits = {'a': 2}"), ("", "def widen(d):\n    d['a'] = 9\nwiden(limits)"), EXAMPLE)
    error = refusal(
        notebook(tmp_path, *cells, ("model", "def model(r):\n    return min(r['a'], limits['a'])"))
    )
    assert (error.code, error.number) == ("NB226", 1)


def test_state_that_answering_changes(tmp_path: Path) -> None:
    cells = (
        ("", "from collections import defaultdict\nseen = defaultdict(int)"),
        ("", "def note(counts, key):\n    counts[key] += 1"),
        EXAMPLE,
        ("model", "note(seen, request['a'])\nrequest['a'] * 2"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number, error.line) == ("NB326", 1, 2)
    assert "`seen`" in error.message


def test_an_object_of_the_notebook_that_remembers(tmp_path: Path) -> None:
    cells = (
        ("", "class Doubler:\n    def of(self, x):\n        self.last = x\n        return 2 * x"),
        ("", "doubler = Doubler()"),
        EXAMPLE,
        ("model", "doubler.of(request['a'])"),
    )
    error = refusal(notebook(tmp_path, *cells))
    assert (error.code, error.number) == ("NB326", 2)


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
