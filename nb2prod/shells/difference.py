"""`nb2prod diff`: its help, and a comparison as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nb2prod.domain import CellChange, Comparison, FieldChange, StateChange

HELP = """Say what changed from A to B, and whether clients of A break with B.

\b
Each of A and B is one of
  my_model.ipynb         the notebook as it is now
  my_model               its champion
  my_model@3             a version, or my_model@ALIAS
  build/my_model         a package's folder

With a notebook alone, A is its champion. With a version alone, B is the champion. Nothing is run: for
the contract of a notebook, validate it first.

For each cell: the same, edited, added, removed, moved, retagged, or stale: its own code is the same, but
code that its state was computed from has changed, or the same code gave other state. For each field of
the contract: ✗ old clients break, ! they may break, · they do not.
"""

BREAKS = {"yes": "✗", "maybe": "!", "no": "·"}
VERDICTS = {"yes": "old clients break", "maybe": "old clients may break", "no": "old clients go on working"}
SHOWN_FILES = 12


def lines(found: Comparison, *, code: bool) -> Iterator[str]:
    """What changed, a section for each kind; what is the same is only counted."""
    yield f"{found.old} → {found.new}"
    yield from _cells(found)
    yield from _state(found)
    yield from _contract(found)
    yield from _inputs(found)
    yield from _pins(found)
    yield from _metrics(found)
    yield from _code(found, code)
    yield from (f"· {note}" for note in found.notes)


def _section(name: str, told: str) -> str:
    return f"  {name:<12} {told}"


# --- cells ---------------------------------------------------------------------------------------


def _cells(found: Comparison) -> Iterator[str]:
    changed = [cell for cell in found.cells if cell.changes]
    same = len(found.cells) - len(changed)
    kinds = [kind for cell in changed for kind in cell.changes]
    counts = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    yield _section("cells", ", ".join([*counts, f"{same} the same"]))
    state = {item.key: item.change for item in found.state}
    yield from (f"    {_cell(cell, state)}" for cell in changed)


def _cell(cell: CellChange, state: Mapping[str, str]) -> str:
    place = f"cell {cell.number}" if cell.number is not None else f"cell {cell.before} (then)"
    return f"{place:<15} " + "; ".join(_told(cell, change, state) for change in cell.changes)


def _told(cell: CellChange, change: str, state: Mapping[str, str]) -> str:
    if change in ("edited", "added", "removed"):
        return f"{change} {_counts(cell.added, cell.removed)}"
    if change == "layout":
        return "only comments or blanks"
    if change == "moved":
        return f"moved, was cell {cell.before}"
    if change == "retagged":
        return f"retagged: {_tags(cell.tags_before)} → {_tags(cell.tags)}"
    return "stale: " + ", ".join(
        f"what `{key}` is computed from has changed"
        if state[key] == "stale"
        else f"the same code gave another `{key}`"
        for key in cell.state
    )


def _counts(added: int, removed: int) -> str:
    parts = [f"+{added}"] if added else []
    return f"({' '.join([*parts, *([f'-{removed}'] if removed else [])]) or 'order of lines'})"


def _tags(tags: tuple[str, ...]) -> str:
    return ", ".join(sorted(tags)) or "no tag"


# --- state ---------------------------------------------------------------------------------------


def _state(found: Comparison) -> Iterator[str]:
    changed = [item for item in found.state if item.change != "same"]
    if found.state:
        yield _section("state", f"{len(changed)} changed, {len(found.state) - len(changed)} the same")
    yield from (f"    {item.key:<15} {_piece(item)}" for item in changed)


def _piece(item: StateChange) -> str:
    what = " → ".join(dict.fromkeys(text for text in (item.what_before, item.what) if text))
    told = {
        "stale": "stale: "
        + (_behind(item) if item.cells else "the order of what it was computed from changed"),
        "other value": "the same code gave another value: other data, or no seed",
        "added": f"added, from cell {item.cell}",
        "removed": f"removed, was from cell {item.cell}",
    }[item.change]
    return told + (f" ({what})" if what else "")


def _behind(item: StateChange) -> str:
    several = "s" if len(item.cells) > 1 else ""
    return f"computed from cell{several} {', '.join(map(str, item.cells))}, changed since"


# --- contract ------------------------------------------------------------------------------------


def _contract(found: Comparison) -> Iterator[str]:
    if found.contract:
        yield _section("contract", VERDICTS[found.breaks])
    elif not found.notes:
        yield _section("contract", "the same")
    yield from (f"  {BREAKS[change.breaks]} {_field(change)}" for change in found.contract)


def _field(change: FieldChange) -> str:
    where = f"{change.side} {change.path}".rstrip()
    return f"{where:<24} {change.change}: {change.reason}"


# --- the rest ------------------------------------------------------------------------------------


def _inputs(found: Comparison) -> Iterator[str]:
    for name, (old, new) in found.parameters.items():
        given = ["default" if value is None else repr(value) for value in (old, new)]
        yield _section("parameter", f"{name}: {given[0]} → {given[1]}")
    if found.data_changed:
        yield _section("data", "the reference rows are others")


def _pins(found: Comparison) -> Iterator[str]:
    if found.requirements:
        yield _section("requirements", f"{len(found.requirements)} changed")
    for name, (old, new) in found.requirements.items():
        yield f"    {name:<15} {old or 'not needed'} → {new or 'not needed'}"


def _metrics(found: Comparison) -> Iterator[str]:
    width = max((len(name) for name in found.metrics), default=0)
    if found.metrics:
        yield _section("metrics", f"{'old':>{width + 2}} {'new':>12}")
    for name, (old, new) in found.metrics.items():
        mark = "" if old == new or None in (old, new) else "  *"
        yield f"    {name:<{width}} {_number(old):>12} {_number(new):>12}{mark}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _code(found: Comparison, code: bool) -> Iterator[str]:
    if not found.files:
        return
    names = [f"{item.path} {_counts(item.added, item.removed)}" for item in found.files[:SHOWN_FILES]]
    more = ", …" if len(found.files) > SHOWN_FILES else ""
    yield _section("code", ", ".join(names) + more + ("" if code else "; --code shows it"))
    for item in found.files if code else ():
        yield ""
        yield from item.diff.rstrip("\n").split("\n")
