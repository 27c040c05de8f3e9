"""What changed from one notebook to another: cells matched and compared, state, pins, metrics, code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nb2prod.domain import (
    CellMark,
    Comparison,
    Contract,
    Evidence,
    Field,
    Report,
    Requirement,
    Side,
    StateFile,
    to_json,
)
from nb2prod.errors import UsageError
from nb2prod.extract import compare, extract
from nb2prod.extract.alike import moved, paired
from nb2prod.extract.marks import cell_marks
from nb2prod.notebook import read
from tests.made import notebook
from tests.test_flow import report

# --- which cell is which -------------------------------------------------------------------------


def marks(*cells: str) -> list[CellMark]:
    """Cells given as `id:lines`, each letter of `lines` a line; the code is the lines in lower case."""
    split = (cell.partition(":") for cell in cells)
    return [
        CellMark(name, i, (), digest=lines, code=lines.lower(), lines=tuple(lines))
        for i, (name, _, lines) in enumerate(split, 1)
    ]


def matched(old: Sequence[CellMark], new: Sequence[CellMark]) -> str:
    """`old>new` for each pair by number, in order; `-` where there is none, `^` where it moved."""
    pairs = paired(old, new)
    elsewhere = moved(pairs)
    numbers = ((p.old.number if p.old else "-", p.new.number if p.new else "-", p) for p in pairs)
    return " ".join(f"{one}>{other}{'^' if p in elsewhere else ''}" for one, other, p in numbers)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("p:ab q:cd", "p:ab q:cd", "1>1 2>2"),
        # the id decides, whatever the code
        ("p:ab q:cd", "p:xy q:ab", "1>1 2>2"),
        # without ids: the code, first with first
        ("p:ab q:cd", "r:cd s:ab", "2>1 1>2^"),
        ("p:ab q:ab", "r:ab s:ab", "1>1 2>2"),
        # only the layout differs
        ("p:ab", "q:AB", "1>1"),
        # neither: half of the lines at least
        ("p:abcd q:efgh", "r:abxd s:efxy", "1>1 2>2"),
        ("p:abcd", "r:axyz", "1>- ->1"),
        # the most alike goes first
        ("p:abcd q:abce", "r:abce2", "1>- 2>1"),
        ("p:abc", "r:xyz s:abc", "->1 1>2"),
        ("p:abc q:xyz", "p:abc", "1>1 2>-"),
        ("p:abc q:xyz", "q:xyz", "1>- 2>1"),
        ("a:1 b:2 c:3 d:4", "a:1 d:4 b:2 c:3", "1>1 4>2^ 2>3 3>4"),
        ("a:1 b:2 c:3 d:4", "b:2 c:3 d:4 a:1", "2>1 3>2 4>3 1>4^"),
        ("a:1 b:2", "b:2 a:1", "2>1 1>2^"),
        ("", "a:1", "->1"),
        ("a:1", "", "1>-"),
    ],
)
def test_which_cell_is_which(old: str, new: str, expected: str) -> None:
    found = matched(marks(*old.split()), marks(*new.split()))
    assert sorted(found.replace("^", "").split()) == sorted(expected.replace("^", "").split())
    assert found.count("^") == expected.count("^")


def test_a_removed_cell_is_shown_where_it_was() -> None:
    pairs = paired(marks("a:1", "b:2", "c:3", "d:4"), marks("x:9", "a:1", "d:4"))
    assert [(p.new or p.old).id for p in pairs] == ["x", "a", "b", "c", "d"]  # type: ignore[union-attr]


def test_marks_hold_no_source(tmp_path: Path) -> None:
    book = read(
        notebook(tmp_path, ("", "secret = 'password'  # why"), ("", "%%bash\nls secret"), ("skip", "def ("))
    )
    found = list(cell_marks(book))
    assert [len(mark.lines) for mark in found] == [1, 2, 1]
    text = json.dumps(to_json(found))
    assert not any(word in text for word in ("secret", "password", "bash", "def"))


# --- notebooks -----------------------------------------------------------------------------------

CELLS: tuple[tuple[str, str], ...] = (
    ("", "import math, statistics\nlow = min([1.0, 2.0])"),
    ("", "data = [low, 2.0, 3.0]"),
    ("", "middle = statistics.mean(data)"),
    ("", "spread = max(data) - min(data)\nprint(spread)"),
    ("example", "row = {'x': 1.0}"),
    ("preprocess", "x = row['x'] - middle"),
    ("model", "x / spread"),
)
"""`middle` is computed from cells 1 to 3, `spread` from 1, 2 and 4."""


def drafted(folder: Path, *cells: tuple[str, str], label: str = "new") -> Side:
    folder.mkdir(exist_ok=True)
    return Side(label, extract(read(notebook(folder, *cells))).files)


def released(
    folder: Path,
    *cells: tuple[str, str],
    contract: Contract | None = None,
    values: str = "1 2",
    pins: tuple[str, ...] = ("numpy==2.0",),
    metrics: dict[str, float] | None = None,
    label: str = "old",
) -> Side:
    """A package whose state has the digests `values`."""
    folder.mkdir(exist_ok=True)
    book = read(notebook(folder, *cells))
    contract = contract or Contract("record", ("row",), (Field("x", "number", "float"),))
    keys = [item.key for item in extract(book).plan.state]
    files = tuple(
        StateFile(key, f"state/{key}.json", "json", "float", 3, sha)
        for key, sha in zip(keys, values.split(), strict=True)
    )
    pairs = (pin.split("==") for pin in pins)
    requirements = tuple(Requirement(name, version, ("model",)) for name, version in pairs)
    bundle = extract(book, Evidence(contract, files, requirements=requirements))
    found: Report = report(bundle, metrics=metrics or {})
    return Side(label, bundle.files, found)


def edited(number: int, source: str, tags: str | None = None) -> tuple[tuple[str, str], ...]:
    """The cells with another source, or other tags, in one."""
    before = CELLS[number - 1]
    return (*CELLS[: number - 1], (before[0] if tags is None else tags, source), *CELLS[number:])


def shown(found: Comparison) -> list[str]:
    """What changed about the cells: `3 edited`."""
    return [f"{c.number or c.before} {' '.join(c.changes)}" for c in found.cells if c.changes]


def states(found: Comparison) -> dict[str, str]:
    return {s.key: " ".join([s.change, *map(str, s.cells)]) for s in found.state}


@pytest.mark.parametrize(
    ("cells", "changes", "state"),
    [
        (CELLS, [], {"middle": "same", "spread": "same"}),
        (
            edited(2, "data = [low, 2.0, 4.0]"),
            ["2 edited", "3 stale", "4 stale"],
            {"middle": "stale 2", "spread": "stale 2"},
        ),
        (
            edited(3, "middle = statistics.median(data)"),
            ["3 edited"],
            {"middle": "stale 3", "spread": "same"},
        ),
        # what is shown has no part in it
        (
            edited(4, "spread = max(data) - min(data)\nprint('spread', spread)"),
            ["4 edited"],
            {"middle": "same", "spread": "same"},
        ),
        (edited(2, "data = [low,\n  2.0, 3.0]  # all"), ["2 layout"], {"middle": "same", "spread": "same"}),
        # an import more in the cell of the imports
        (
            edited(1, "import math, os, statistics\nlow = min([1.0, 2.0])"),
            ["1 edited"],
            {"middle": "same", "spread": "same"},
        ),
        (
            edited(1, "import math, numpy as statistics\nlow = min([1.0, 2.0])"),
            ["1 edited", "3 stale"],
            {"middle": "stale 1", "spread": "same"},
        ),
        (edited(2, CELLS[1][1], "check"), ["2 retagged"], {"middle": "same", "spread": "same"}),
        (
            edited(2, "data = [low, 2.0, 3.0]\ndata.append(9.0)"),
            ["2 edited", "3 stale", "4 stale"],
            {"middle": "stale 2", "spread": "stale 2"},
        ),
        (
            edited(7, "x / 2"),
            ["7 edited"],
            {"middle": "same", "spread": "removed"},
        ),
    ],
)  # fmt: skip
def test_what_became_of_the_cells_and_their_state(
    cells: tuple[tuple[str, str], ...], changes: list[str], state: dict[str, str], tmp_path: Path
) -> None:
    found = compare(drafted(tmp_path / "a", *CELLS), drafted(tmp_path / "b", *cells))
    assert shown(found) == changes
    assert states(found) == state


def with_ids(side: Side, *ids: str) -> Side:
    """The side of a notebook whose cells have other ids."""
    text = side.files["manifest.json"]
    known = [cell["id"] for cell in json.loads(text)["cells"]]
    for old, new in zip(known, ids, strict=True):
        text = text.replace(f'"{old}"', f'"{new}"')
    return dataclasses.replace(side, files={**side.files, "manifest.json": text})


def test_a_cell_between_adds_what_state_is_computed_from(tmp_path: Path) -> None:
    cells = (*CELLS[:2], ("", "data.sort()"), *CELLS[2:])
    old = with_ids(drafted(tmp_path / "a", *CELLS), *"abcdefg")
    new = with_ids(drafted(tmp_path / "b", *cells), *"abxcdefg")
    found = compare(old, new)
    assert shown(found) == ["3 added", "4 stale", "5 stale"]
    assert states(found) == {"middle": "stale 3", "spread": "stale 3"}
    found = compare(new, old)
    assert shown(found) == ["3 removed", "3 stale", "4 stale"]
    assert states(found) == {"middle": "stale 3", "spread": "stale 3"}


def test_another_order_of_what_it_is_computed_from(tmp_path: Path) -> None:
    more = (*CELLS[:2], ("", "data.append(1.0)"), ("", "data.sort()"), *CELLS[2:])
    swapped = (*CELLS[:2], ("", "data.sort()"), ("", "data.append(1.0)"), *CELLS[2:])
    old = with_ids(drafted(tmp_path / "a", *more), *"abxycdefg")
    found = compare(old, with_ids(drafted(tmp_path / "b", *swapped), *"abyxcdefg"))
    assert [c.changes for c in found.cells if "moved" in c.changes] == [("moved",)]
    assert {s.key: (s.change, s.cells) for s in found.state} == {
        "middle": ("stale", ()),
        "spread": ("stale", ()),
    }


def test_cells_without_ids_are_found_by_their_code(tmp_path: Path) -> None:
    old = with_ids(drafted(tmp_path / "a", *CELLS), *"abcdefg")
    cells = edited(4, "spread = max(data) - min(data)\nprint('spread', spread)")
    new = with_ids(drafted(tmp_path / "b", *cells), *"ABCDEFG")
    assert shown(compare(old, new)) == ["4 edited"]
    assert states(compare(old, new)) == {"middle": "same", "spread": "same"}


def test_the_same_code_and_another_value(tmp_path: Path) -> None:
    old, new = released(tmp_path / "a", *CELLS), released(tmp_path / "b", *CELLS, values="1 3")
    found = compare(old, new)
    assert states(found) == {"middle": "same", "spread": "other value"}
    assert shown(found) == ["4 stale"]
    assert found.cells[3].state == ("spread",)
    spread = next(s for s in found.state if s.key == "spread")
    assert (spread.what_before, spread.what) == ("float, 3 B, json", "float, 3 B, json")


def test_other_code_and_the_same_value(tmp_path: Path) -> None:
    other = edited(3, "middle = sum(data) / 3")
    found = compare(released(tmp_path / "a", *CELLS), released(tmp_path / "b", *other))
    # the code behind it has changed, in cells 1 (an import less) and 3, but not the value
    assert states(found) == {"middle": "same 1 3", "spread": "same"}
    assert shown(found) == ["3 edited"]


def test_state_that_only_a_run_shows_to_be_needed(tmp_path: Path) -> None:
    """A literal that was changed under another name is captured; the draft still holds it as a literal."""
    cells = (
        ("", "limits = [1.0, 2.0]\nother = [limits]"),
        ("", "other[0].append(3.0)"),
        ("example", "row = {'x': 1.0}"),
        ("model", "row['x'] * len(limits)"),
    )
    folder = tmp_path / "a"
    folder.mkdir()
    book = read(notebook(folder, *cells))
    (item,) = extract(book).plan.state
    assert not item.expected
    contract = Contract("record", ("row",), (Field("x", "number", "float"),))
    found = (StateFile(item.key, "state/limits.json", "json", "list", 3, "1"),)
    side = Side("old", extract(book, Evidence(contract, found)).files)
    draft = drafted(tmp_path / "b", *cells)
    assert compare(side, draft).state == compare(draft, side).state == ()
    assert states(compare(side, side)) == {item.key: "same"}


def test_counts_of_lines(tmp_path: Path) -> None:
    cells = edited(4, "spread = max(data)\nspread -= min(data)\n\nprint(spread)")
    found = compare(drafted(tmp_path / "a", *CELLS), drafted(tmp_path / "b", *cells))
    assert (found.cells[3].added, found.cells[3].removed) == (2, 1)


# --- contract, pins, metrics, code ---------------------------------------------------------------


def test_releases_are_compared_in_all(tmp_path: Path) -> None:
    contract = Contract("record", ("row",), (Field("x", "integer", "int"), Field("y", "string", "str")))
    old = released(tmp_path / "a", *CELLS, pins=("a==1", "b==1"), metrics={"auc": 0.5, "n": 3.0})
    new = released(
        tmp_path / "b",
        *edited(7, "x / spread + 1"),
        contract=contract,
        pins=("a==2", "c==1"),
        metrics={"auc": 0.75, "f1": 1.0},
        label="new",
    )
    found = compare(old, new)
    assert (found.old, found.new, found.notes) == ("old", "new", ())
    assert [(c.path, c.breaks) for c in found.contract] == [("x", "yes"), ("y", "yes")]
    assert found.breaks == "yes"
    assert found.requirements == {"a": ("1", "2"), "b": ("1", None), "c": (None, "1")}
    assert found.metrics == {"auc": (0.5, 0.75), "n": (3.0, None), "f1": (None, 1.0)}
    (file,) = found.files
    assert (file.path, file.added, file.removed) == ("model.py", 1, 1)
    assert file.diff.startswith("--- a/model.py\n+++ b/model.py\n@@")
    assert "-    return x / spread\n+    return x / spread + 1\n" in file.diff


def test_parameters_and_data(tmp_path: Path) -> None:
    old, new = released(tmp_path / "a", *CELLS), released(tmp_path / "b", *CELLS)
    assert old.report is not None
    assert new.report is not None
    assert (compare(old, new).parameters, compare(old, new).data_changed) == ({}, False)
    other = dataclasses.replace(new.report, parameters={"k": 2}, data_digest="other")
    found = compare(old, dataclasses.replace(new, report=other))
    assert (found.parameters, found.data_changed) == ({"k": (None, 2)}, True)
    assert compare(old, dataclasses.replace(new, report=None)).data_changed is None


def test_files_that_come_and_go(tmp_path: Path) -> None:
    other = (*CELLS[:5], ("model", "row['x'] / spread"))
    found = compare(drafted(tmp_path / "a", *CELLS), drafted(tmp_path / "b", *other))
    diffs = {file.path: file.diff for file in found.files}
    assert list(diffs) == ["model.py", "pipeline.py", "preprocess.py", "state.py"]
    assert diffs["preprocess.py"].startswith("--- a/preprocess.py\n+++ /dev/null\n")


def test_a_notebook_that_was_not_run(tmp_path: Path) -> None:
    found = compare(released(tmp_path / "a", *CELLS), drafted(tmp_path / "b", *CELLS, label="made.ipynb"))
    assert (found.contract, found.requirements, found.breaks) == ((), {}, "no")
    (note,) = found.notes
    assert note.startswith("made.ipynb has not been run as it is now")
    assert "nb2prod validate" in note
    assert states(found) == {"middle": "same", "spread": "same"}


def test_a_package_of_another_format(tmp_path: Path) -> None:
    side = drafted(tmp_path, *CELLS)
    manifest: dict[str, Any] = {**json.loads(side.files["manifest.json"]), "format": 1}
    old = dataclasses.replace(
        side, files={**side.files, "manifest.json": json.dumps(manifest)}, label="made@1"
    )
    with pytest.raises(UsageError, match="made@1 was made by another version") as caught:
        compare(old, side)
    assert caught.value.code == "NB342"
    assert caught.value.hint
