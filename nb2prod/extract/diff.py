"""Two packages of one notebook compared: cells, state, contract, pins, metrics, code. Text in, noun out.

What a package knows of its notebook stands in its manifest (marks.py), so that a release compares with
another, or with the notebook as it is now, without either being run.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nb2prod.domain import (
    CellChange,
    CellMark,
    Comparison,
    Contract,
    FileChange,
    Report,
    Side,
    StateChange,
    sized,
)
from nb2prod.errors import UsageError
from nb2prod.extract.alike import Pair, moved, paired
from nb2prod.extract.compat import compared
from nb2prod.extract.extract import FIXED_FILES, PACKAGE_FORMAT

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _State:
    """A piece of state as a manifest tells it: `behind` maps ids of cells to digests of their code.

    What is not `expected` was found necessary by a clean run: a draft does not have it.
    """

    key: str
    cell: int
    expected: bool
    behind: Mapping[str, str]
    what: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class _Package:
    """A side, read."""

    cells: tuple[CellMark, ...]
    state: tuple[_State, ...]
    contract: Contract | None
    """None in a draft: the notebook was not run."""
    pins: Mapping[str, str]
    metrics: Mapping[str, float]
    code: Mapping[str, str]

    def number(self, cell_id: str) -> int:
        """A cell's place in its notebook."""
        return next(cell.number for cell in self.cells if cell.id == cell_id)


def compare(old: Side, new: Side) -> Comparison:
    """What changed from one side to the other; UsageError NB342 for a package that is too old for it."""
    before, after = _read(old), _read(new)
    pairs = paired(before.cells, after.cells)
    state = tuple(_state(before, after, pairs))
    return Comparison(
        old=old.label,
        new=new.label,
        cells=tuple(_cells(pairs, state)),
        state=state,
        contract=compared(before.contract, after.contract) if before.contract and after.contract else (),
        requirements=_both(before.pins, after.pins) if before.contract and after.contract else {},
        metrics=_both(before.metrics, after.metrics, all_=True),
        files=tuple(_files(before.code, after.code)),
        parameters=_both(old.report.parameters, new.report.parameters) if old.report and new.report else {},
        data_changed=_data_changed(old.report, new.report),
        notes=tuple(_note(side) for side, read in ((old, before), (new, after)) if read.contract is None),
    )


def _data_changed(old: Report | None, new: Report | None) -> bool | None:
    return old.data_digest != new.data_digest if old is not None and new is not None else None


def _note(side: Side) -> str:
    return (
        f"{side.label} has not been run as it is now: contract, pins and values of state are not compared,"
        " and its code lacks what the clean run adds. Run `nb2prod validate` to compare them."
    )


# --- reading -------------------------------------------------------------------------------------


def _read(side: Side) -> _Package:
    manifest = json.loads(side.files["manifest.json"])
    if manifest.get("format") != PACKAGE_FORMAT:
        raise UsageError(
            f"{side.label} was made by another version of nb2prod: it does not remember its cells",
            code="NB342",
            hint="Compare releases that this version has made.",
        )
    contract = json.loads(side.files["contract.json"])
    lines = side.files.get("requirements.txt", "").splitlines()
    pins = (line.partition("#")[0].strip().partition("==") for line in lines)
    return _Package(
        cells=tuple(_mark(item) for item in manifest["cells"]),
        state=tuple(_captured(item) for item in manifest["state"]),
        contract=Contract.from_json(contract) if contract["kind"] is not None else None,
        pins={name: version for name, _, version in pins if name},
        metrics=side.report.metrics if side.report is not None else {},
        code={path: text for path, text in side.files.items() if path.endswith(".py")},
    )


def _mark(item: Mapping[str, Any]) -> CellMark:
    return CellMark(**{**item, "tags": tuple(item["tags"]), "lines": tuple(item["lines"].split())})


def _captured(item: Mapping[str, Any]) -> _State:
    what = f"{item['type']}, {sized(item['bytes'])}, {item['codec']}" if "sha256" in item else ""
    return _State(item["key"], item["cell"], item["expected"], item["behind"], what, item.get("sha256"))


# --- state ---------------------------------------------------------------------------------------


def _state(before: _Package, after: _Package, pairs: Sequence[Pair]) -> Iterator[StateChange]:
    old, new = ({item.key: item for item in package.state} for package in (before, after))
    ids = {pair.old.id: pair.new.id for pair in pairs if pair.old is not None and pair.new is not None}
    for key, item in new.items():
        if key in old:
            yield _changed_state(old[key], item, ids, before, after)
        elif item.expected or before.contract is not None:
            yield StateChange(key, "added", item.cell, what=item.what)
    for key, item in old.items():
        if key not in new and (item.expected or after.contract is not None):
            yield StateChange(key, "removed", item.cell, what_before=item.what)


def _changed_state(
    old: _State, new: _State, ids: Mapping[str, str], before: _Package, after: _Package
) -> StateChange:
    behind = {ids.get(cell, f"-{cell}"): digest for cell, digest in old.behind.items()}
    other = [cell for cell in new.behind if behind.get(cell) != new.behind[cell]]
    gone = [cell.removeprefix("-") for cell in behind.keys() - new.behind.keys()]
    numbers = {after.number(cell) for cell in other}
    numbers |= {after.number(cell) if cell in new.behind else _place(cell, before, after) for cell in gone}
    same = old.sha256 is not None and old.sha256 == new.sha256
    if not same and (numbers or list(behind) != list(new.behind)):
        change = "stale"
    elif not same and old.sha256 is not None and new.sha256 is not None:
        change = "other value"
    else:
        change = "same"
    return StateChange(new.key, change, new.cell, tuple(sorted(numbers)), new.what, old.what)


def _place(cell: str, before: _Package, after: _Package) -> int:
    known = {mark.id for mark in after.cells}
    return after.number(cell) if cell in known else before.number(cell)


# --- cells ---------------------------------------------------------------------------------------


def _cells(pairs: Sequence[Pair], state: Sequence[StateChange]) -> Iterator[CellChange]:
    stale: dict[int, list[str]] = {}
    for item in state:
        if item.change in ("stale", "other value"):
            stale.setdefault(item.cell, []).append(item.key)
    elsewhere = moved(pairs)
    for pair in pairs:
        yield _cell(pair, stale, is_moved=pair in elsewhere)


def _cell(pair: Pair, stale: Mapping[int, list[str]], *, is_moved: bool) -> CellChange:
    old, new = pair.old, pair.new
    if old is None:
        assert new is not None
        return CellChange(new.id, ("added",), new.number, added=len(new.lines), tags=new.tags)
    if new is None:
        return CellChange(
            old.id, ("removed",), None, old.number, removed=len(old.lines), tags_before=old.tags
        )
    changes = ["edited"] if old.code != new.code else ["layout"] if old.digest != new.digest else []
    changes += ["moved"] if is_moved else []
    changes += ["retagged"] if set(old.tags) != set(new.tags) else []
    keys = tuple(stale.get(new.number, ())) if old.code == new.code else ()
    changes += ["stale"] if keys else []
    added, removed = _counts(old.lines, new.lines)
    return CellChange(
        new.id, tuple(changes), new.number, old.number, added, removed, new.tags, old.tags, keys
    )


def _counts(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    same = sum(block.size for block in blocks)
    return len(new) - same, len(old) - same


# --- pins, metrics, code -------------------------------------------------------------------------


def _both(
    old: Mapping[str, T], new: Mapping[str, T], *, all_: bool = False
) -> dict[str, tuple[T | None, T | None]]:
    """By name, the old and the new value: those that differ, or all."""
    names = sorted(old.keys() | new.keys()) if not all_ else list(dict.fromkeys([*old, *new]))
    both = {name: (old.get(name), new.get(name)) for name in names}
    return {name: pair for name, pair in both.items() if all_ or pair[0] != pair[1]}


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[FileChange]:
    for path in sorted(old.keys() | new.keys(), key=lambda p: (p in FIXED_FILES, p)):
        before, after = old.get(path, ""), new.get(path, "")
        if before != after:
            names = (f"a/{path}" if path in old else "/dev/null", f"b/{path}" if path in new else "/dev/null")
            diff = list(difflib.unified_diff(before.splitlines(True), after.splitlines(True), *names))
            yield FileChange(path, _begins("+", diff), _begins("-", diff), "".join(diff))


def _begins(mark: str, diff: Iterable[str]) -> int:
    return Counter(line[:1] for line in list(diff)[2:])[mark]
