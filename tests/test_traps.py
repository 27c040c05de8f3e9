"""tests/golden/traps: what each small notebook becomes, or how it is refused.

The expectations are derived by hand from what Python and the notebook do, never from what the engine
happens to give. Where the engine still differs the trap is in DIFFERS, with what it does now; an entry
has to go when the engine is mended, as an unexpected pass fails. To see one differ: --runxfail -k NAME.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nb2prod.domain import Diagnostic, Notebook
from nb2prod.errors import NotebookError
from nb2prod.extract import extract
from nb2prod.notebook import read
from nb2prod.validation import expand
from tests import harness
from tests.harness import Ran, Refused, package_answer, same_answers, whole
from tests.made import notebook
from tests.traps import FOLDER, SHOWN, Expected, Trap, fresh, own_answer, run, shell, trap

PAGES = sorted(FOLDER.glob("*.md"))

DIFFERS: dict[str, str] = {}
"""Traps that the engine does not pass, and why."""


def traps(*, extracted: bool, mend: bool = False) -> list[Any]:
    """The traps as parameters: those extracted or those refused; `mend` marks the known differences."""
    found = [trap(page) for page in PAGES]
    return [
        pytest.param(t, id=t.name, marks=_differs(t) if mend else [])
        for t in found
        if extracted == (t.answer is not None)
    ]


def _differs(found: Trap) -> list[pytest.MarkDecorator]:
    """Only what the engine does may differ: a test that breaks otherwise is broken."""
    kinds = (AssertionError, NotebookError, Refused, pytest.fail.Exception)
    return [pytest.mark.xfail(reason=DIFFERS[found.name], raises=kinds)] if found.name in DIFFERS else []


@pytest.fixture(scope="module")
def one_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with shell(tmp_path_factory.mktemp("ipython")) as made:
        yield made


@pytest.fixture
def ipython(one_shell: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A fresh namespace in an IPython; pip finds no index to ask."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return fresh(one_shell)


def assert_findings(found: list[Diagnostic], expected: list[Expected]) -> None:
    """Those findings and no others: one mistake makes one finding."""
    places = [(d.code, d.number, d.line) for d in found]
    assert places == [(e.code, e.number, e.line) for e in expected], found
    for diagnostic, wanted in zip(found, expected, strict=True):
        assert wanted.hint in (diagnostic.hint or "")


@pytest.mark.parametrize("found", traps(extracted=True))
def test_notebook_answers_as_the_trap_says(found: Trap, ipython: Any) -> None:
    assert repr(own_answer(ipython, found)) == found.answer


@pytest.mark.parametrize("found", traps(extracted=True, mend=True))
def test_extracted(found: Trap, ipython: Any, tmp_path: Path) -> None:
    """The modules byte for byte; and they answer as the notebook does, with the state of its run."""
    book = book_of(found, tmp_path)
    ran = ran_in(ipython, book)
    bundle = whole(book, ran)
    made = {name: text for name, text in bundle.files.items() if name in (*SHOWN, *found.modules)}
    assert made == found.modules
    assert_findings(list(bundle.diagnostics), found.noted)
    assert repr(ran.answer) == found.answer
    assert repr(package_answer(bundle, ran.stored, ran.request, tmp_path, ran.portraits)) == found.answer


def book_of(found: Trap, folder: Path) -> Notebook:
    """The trap as a notebook; what star imports bring is looked up, as for every clean run."""
    return expand(read(notebook(folder, *found.cells, name=found.name)))


def ran_in(ipython: Any, book: Notebook) -> Ran:
    return harness.run(book, extract(book).plan, ipython.user_ns, lambda cell: run(ipython, cell.source))


def proven(ipython: Any, book: Notebook, folder: Path) -> None:
    """The whole way of a notebook: extracted, run, and its package compared."""
    ran = ran_in(ipython, book)
    same_answers(whole(book, ran), ran, folder)


@pytest.mark.parametrize("found", traps(extracted=False, mend=True))
def test_refused(found: Trap, ipython: Any, tmp_path: Path) -> None:
    """By the text, by the evidence of the clean run, or by the proof."""
    book = book_of(found, tmp_path)
    with pytest.raises((NotebookError, Refused)) as caught:
        proven(ipython, book, tmp_path)
    if isinstance(caught.value, Refused):
        it = caught.value.finding
        found_ = [Diagnostic(it.code, "error", it.message, it.cell, it.number, it.line, it.hint)]
    else:
        found_ = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert_findings(found_, found.refused)


def test_each_difference_is_of_a_trap() -> None:
    assert set(DIFFERS) <= {page.stem for page in PAGES}


def test_expected_modules_pass_ruff(tmp_path: Path) -> None:
    for page in PAGES:
        (tmp_path / page.stem).mkdir()
        for name, text in trap(page).modules.items():
            (tmp_path / page.stem / name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F401,F811,F82,E9,I"]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "page",
    [
        "# Title\n\nWhy.\n\n```python model\n1\n```\n\n## Answer `1`\n",
        "# Title\n\nWhy.\nA second line.\n\n```python model\n1\n```\n\n## Answers `1`\n",
        "# Title\n\nWhy.\n\n```python model\n1\n```\n\n## Answers `1`\n",
        '# Title\n\nWhy.\n\n```python model\n1\n```\n\n## Refused: NB207, line 1\n\nThe hint: "end".\n',
    ],
    ids=["heading", "two lines", "no modules", "hint"],
)
def test_a_page_with_a_slip_is_not_passed_over(page: str, tmp_path: Path) -> None:
    path = tmp_path / "slip.md"
    path.write_text(page, "utf-8")
    with pytest.raises(ValueError, match="slip"):
        trap(path)
