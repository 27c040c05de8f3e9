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
from tests import harness
from tests.harness import Ran, Refused, package_answer, whole
from tests.made import notebook
from tests.traps import FOLDER, SHOWN, Expected, Trap, fresh, own_answer, run, shell, trap

PAGES = sorted(FOLDER.glob("*.md"))

DIFFERS: dict[str, str] = {
    # star imports are not expanded yet
    "star_import": "NB205",
    "star_import_hides_a_builtin": "the builtin `pow` answers: silently wrong",
    "star_import_hides_a_function": "the notebook's `floor` answers: silently wrong",
    # scopes and bindings
    "class_body_comprehension": "`scale` is taken for the class's: NameError in the package",
    "comprehension_over_its_own_name": "`x` is taken for the comprehension's: NameError in the package",
    "future_annotations": "NB203 for the annotation; the future import is lost",
    "global_bound_only_by_a_function": "NB201",
    "global_set_by_training": "state.py names the place holder, not the call",
    "loop_with_else": "NB203 against itself: else and break bind on every way",
    "match_statement": "NB203 against itself: `case _` makes it certain",
    "bound_only_in_a_loop": "NB203 against itself, though nothing else binds the name",
    "bound_only_if_nothing_fails": "NB203 against itself, though nothing else binds the name",
    # what is code, what is state
    "named_tuple_call": "captured as state, where a class of __main__ cannot be stored",
    "type_alias": "captured as state",
    "lambda_as_the_role": "NB215 and NB207",
    "augmented_alias_of_a_list": "the literal ['a'] is packed: only the clean run would notice (NB226)",
    "list_under_two_names": "the literal ['x'] is packed: only the clean run would notice (NB226)",
    "list_inside_a_dict": "the literal ['a'] is packed: only the clean run would notice (NB226)",
    "shuffled_in_training": "the unshuffled literal is packed: only the clean run would notice (NB226)",
    "helper_changes_a_literal": "the literal ['a'] is packed: only the clean run would notice (NB226)",
    # what the roles pass on
    "preprocess_changes_the_request": "preprocess is left out: KeyError in the package",
    "preprocess_changes_the_request_by_alias": "preprocess is left out: KeyError in the package",
    "preprocess_pops_from_the_request": "`request` is no result: it is changed behind the pipeline's back",
    "model_adds_to_what_preprocess_made": "the model role itself is left out: KeyError in the package",
    # changes that are not seen
    "alias_changed_between_roles": "not refused",
    "helper_changes_between_roles": "not refused",
    "default_list_remembers": "not refused",
    "augmented_alias_of_state": "not refused",
    "alias_of_state_changed": "not refused",
    "view_of_state_changed": "not refused",
    "helper_changes_its_argument": "not refused",
    "method_changes_state": "not refused",
    "shuffled_in_the_role": "not refused",
    "next_on_state": "not refused",
    "generator_in_state": "not refused",
    "library_patched": "not refused: AttributeError in the package",
    "globals_by_text": "not refused: KeyError in the package",
    "main_guard_in_the_role": "not refused: silently wrong",
    # magics and what only shows
    "pip_in_the_role": "NB201 for `get_ipython`",
    "shell_in_the_role": "NB201 for `get_ipython`; a code and hint of its own are due",
    "get_ipython_in_a_helper": "the hint does not speak of magics",
    "axes_in_the_role": "`fig, ax = plt.subplots()` and `ax.plot` go to production",
    "print_that_binds": "NB203: the print is dropped with what it binds",
    "own_method_named_describe": "the call is dropped: silently wrong",
    "plot_is_the_answer": "NB215: the plots are dropped with the answer",
    # one mistake, one finding, with its own cause
    "global_counter": "NB218 besides, with the advice `n.copy()`",
    "helper_reads_what_the_role_binds": "NB203 besides, with wrong advice",
    "only_a_print": "NB215 besides, and no line",
    "role_that_is_skipped": "NB130 besides, though a cell is tagged `model`",
    "roles_out_of_order": "NB215: nothing said of cell 3",
    "example_below_the_role": "NB215: nothing said of cell 2",
    "request_rebound_outside_the_roles": "NB215: nothing said of cell 2",
    "unbound_name": "the hint does not offer the name that is meant",
    "conditional_in_the_role": "NB210 against the role's own cell",
    "deleted_in_the_role": "NB210 against the role's own cell",
    "role_rebinds_what_it_reads": "NB210 against the role's own cell",
    # code that a reviewer would send back
    "annotation_as_text": "the import is left out: F821",
}


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
    kinds = (AssertionError, NotebookError, Refused, Exception)
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
    book = read(notebook(tmp_path, *found.cells, name=found.name))
    ran = ran_in(ipython, book)
    bundle = whole(book, ran)
    made = {name: text for name, text in bundle.files.items() if name in (*SHOWN, *found.modules)}
    assert made == found.modules
    assert_findings(list(bundle.diagnostics), found.noted)
    assert repr(ran.answer) == found.answer
    assert repr(package_answer(bundle, ran.state, ran.request, tmp_path)) == found.answer


def ran_in(ipython: Any, book: Notebook) -> Ran:
    return harness.run(book, extract(book).plan, ipython.user_ns, lambda cell: run(ipython, cell.source))


@pytest.mark.parametrize("found", traps(extracted=False, mend=True))
def test_refused(found: Trap, ipython: Any, tmp_path: Path) -> None:
    """By the text, or by the evidence of the clean run."""
    book = read(notebook(tmp_path, *found.cells, name=found.name))
    with pytest.raises((NotebookError, Refused)) as caught:
        whole(book, ran_in(ipython, book))
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
