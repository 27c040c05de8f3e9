"""Where modules import the state that they read, if state holds functions or classes of theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from nb2prod.extract.program import Statement
from nb2prod.extract.units import Slice, Target, Unit


def reads_itself(slice_: Slice, homes: Mapping[Unit, str], parts: Iterable[Unit]) -> bool:
    """Whether modules that reading the state imports, for the `parts` that it holds, read state too."""
    todo, found = [*parts], dict[Unit, None]()
    while todo:
        unit = todo.pop()
        if unit not in found and unit in homes:
            found[unit] = None
            # a module is run as a whole
            todo += [*slice_.next_units(unit), *(other for other in homes if homes[other] == homes[unit])]
    return any(target.kind == "state" for unit in found for target in unit.needs.values())


def state_places(
    slice_: Slice, units: Sequence[Unit], body: Unit | None, parts: Collection[Unit]
) -> dict[str, Statement | None]:
    """Above which statement of a module each key of the state is imported, None for the end of the module;
    what is not named is imported at the top, as nothing that state may hold stands above its first reader.
    """
    held = [i for i, unit in enumerate(units) if unit in parts]
    if not held:
        return {}
    everyone = [*units, *([body] if body is not None else [])]
    first: dict[str, int] = {}
    for i, unit in enumerate(units):
        for key in _read_when_made(slice_, unit):
            first.setdefault(key, i)
    keys = dict.fromkeys(t.key for unit in everyone for t in unit.needs.values() if t.kind == "state")
    places = {key: units[first[key]].statement if key in first else None for key in keys}
    return {key: place for key, place in places.items() if place is None or held[0] < first[key]}


def _read_when_made(slice_: Slice, unit: Unit) -> Iterator[str]:
    """The keys of the state that a definition or constant may read as it is made: by itself, or by what it
    calls, of what the notebook has bound by then."""
    assert unit.statement is not None
    reads = [target for name, target in unit.needs.items() if name in unit.statement.names.reads]
    yield from (target.key for target in reads if target.kind == "state")
    todo = [
        slice_.units[s.index] for t in reads if t.kind in ("definition", "constant") for s in t.statements
    ]
    found = {unit: None}
    while todo:
        other = todo.pop()
        if other not in found:
            found[other] = None
            todo += slice_.next_units(other)
            yield from (t.key for t in other.needs.values() if t.kind == "state" and _is_above(t, unit))


def _is_above(target: Target, unit: Unit) -> bool:
    assert unit.statement is not None
    return min((s.index for s in target.statements), default=0) < unit.statement.index
