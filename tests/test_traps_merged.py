"""The traps with their untagged cells joined: what the clean run watches between cells then shows nothing.

Each is refused, or answers as the notebook does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from nb2prod.errors import NotebookError
from tests.harness import Refused, StateChanged, package_answer, same_answers, whole
from tests.test_traps import PAGES, book_of, ran_in
from tests.traps import Trap, fresh, shell, trap


def joined(found: Trap) -> Trap:
    """The trap with neighbouring untagged cells in one; not those that a magic or a `__future__` begins."""
    cells: list[tuple[str, str]] = []
    for alone, run in groupby(found.cells, _stands_alone):
        group = list(run)
        cells += group if alone else [("", "\n\n".join(source for _, source in group))]
    return replace(found, cells=tuple(cells))


def _stands_alone(cell: tuple[str, str]) -> bool:
    tags, source = cell
    return bool(tags) or source.startswith("%%") or "from __future__" in source


def merged() -> list[Any]:
    found = [trap(page) for page in PAGES]
    return [pytest.param(joined(t), id=t.name) for t in found if joined(t) != t]


@pytest.fixture(scope="module")
def one_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with shell(tmp_path_factory.mktemp("ipython")) as made:
        yield made


@pytest.mark.parametrize("found", merged())
def test_joined_cells_are_refused_or_answer_alike(
    found: Trap, one_shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    book = book_of(found, tmp_path)
    try:
        ran = ran_in(fresh(one_shell), book)
        bundle = whole(book, ran)
        answer = repr(package_answer(bundle, ran.stored, ran.request, tmp_path, ran.portraits))
        same_answers(bundle, ran, tmp_path)
    except (NotebookError, Refused, StateChanged):
        return
    assert answer == (found.answer or repr(ran.answer))
