"""Which cell of one notebook is which of another: by id, else by code, else by how alike they are."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nb2prod.domain import CellMark

ALIKE = 0.5
"""Share of lines in common (twice the common ones of all lines of both) that makes two cells one."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A cell then and now; None where there is none."""

    old: CellMark | None
    new: CellMark | None


def paired(old: Sequence[CellMark], new: Sequence[CellMark]) -> tuple[Pair, ...]:
    """All cells of both, in the new order; a removed cell comes after the one that it came after."""
    found: dict[str, CellMark] = {}
    left, right = list(old), list(new)
    for key in (lambda c: c.id, lambda c: c.digest, lambda c: c.code):
        _match(left, right, key, found)
    _match_alike(left, right, found)
    pairs = [Pair(found.get(cell.id), cell) for cell in new]
    for cell in left:
        pairs.insert(_after(cell, old, pairs), Pair(cell, None))
    return tuple(pairs)


def _match(
    left: list[CellMark],
    right: list[CellMark],
    key: Callable[[CellMark], str],
    found: dict[str, CellMark],
) -> None:
    """Pair cells that have the same key, the first with the first."""
    waiting: dict[str, list[CellMark]] = {}
    for cell in left:
        waiting.setdefault(key(cell), []).append(cell)
    for cell in list(right):
        if same := waiting.get(key(cell)):
            _pair(same.pop(0), cell, left, right, found)


def _match_alike(left: list[CellMark], right: list[CellMark], found: dict[str, CellMark]) -> None:
    """Pair what is most alike first."""
    scored = [
        (_likeness(one, other), -abs(one.number - other.number), one, other)
        for one in left
        for other in right
    ]
    for score, _, one, other in sorted(scored, key=lambda item: item[:2], reverse=True):
        if score >= ALIKE and one in left and other in right:
            _pair(one, other, left, right, found)


def _pair(
    one: CellMark, other: CellMark, left: list[CellMark], right: list[CellMark], found: dict[str, CellMark]
) -> None:
    found[other.id] = one
    left.remove(one)
    right.remove(other)


def _likeness(one: CellMark, other: CellMark) -> float:
    common = sum((Counter(one.lines) & Counter(other.lines)).values())
    total = len(one.lines) + len(other.lines)
    return 2 * common / total if total else 0.0


def _after(cell: CellMark, old: Sequence[CellMark], pairs: Sequence[Pair]) -> int:
    """Where a removed cell is shown: after the nearest earlier one that is shown already."""
    places = {pair.old.id: i for i, pair in enumerate(pairs) if pair.old is not None}
    earlier = [places[other.id] for other in old if other.number < cell.number and other.id in places]
    return earlier[-1] + 1 if earlier else 0


def moved(pairs: Sequence[Pair]) -> frozenset[Pair]:
    """The fewest cells whose moving explains the new order."""
    both = [pair for pair in pairs if pair.old is not None and pair.new is not None]
    numbers = [pair.old.number for pair in both if pair.old is not None]
    return frozenset(both) - {both[i] for i in _longest_rising(numbers)}


def _longest_rising(numbers: Sequence[int]) -> list[int]:
    """Positions of a longest rising subsequence."""
    ends: list[int] = []
    places: list[int] = []
    before: list[int | None] = []
    for i, number in enumerate(numbers):
        at = bisect.bisect_left(ends, number)
        ends[at : at + 1] = [number]
        places[at : at + 1] = [i]
        before.append(places[at - 1] if at else None)
    chain: list[int] = []
    place = places[-1] if places else None
    while place is not None:
        chain.append(place)
        place = before[place]
    return chain[::-1]
