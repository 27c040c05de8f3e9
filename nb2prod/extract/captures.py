"""The state that the clean run must capture: one item for each value at each moment.

Where text cannot tell whether a value has changed meanwhile, both are asked for, and the evidence
of the clean run says which one serving code gets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from nb2prod.domain import Cell, StateItem
from nb2prod.extract.program import Program, Statement


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of the clean run: just before or just after a cell."""

    when: Literal["before", "after"]
    cell: Cell

    def position(self, program: Program) -> int:
        """How many statements have run by then."""
        return program.start(self.cell) if self.when == "before" else program.end(self.cell)


class Captures:
    """State items by key. `kept`: the keys that the clean run has kept; None before it."""

    def __init__(self, program: Program, kept: frozenset[str] | None) -> None:
        self.items: dict[str, StateItem] = {}
        self._program = program
        self._kept = kept or frozenset()
        self._places: dict[str, tuple[tuple[Statement, ...], int]] = {}

    def value(self, name: str, point: Point, bindings: tuple[Statement, ...]) -> str:
        """The key of a value of `name` at a moment; an earlier key if nothing can have changed since."""
        position = point.position(self._program)
        for key, (known, captured) in self._places.items():
            item = self.items[key]
            if item.name != name or known != bindings or item.literal is not None or item.same_as is not None:
                continue
            low, high = sorted([captured, position])
            if low == high:
                return key
            if not any(self._program.events(name, low, high)):
                return self.again(key, point)
        return self._add(self._free(name), name, point, bindings)

    def again(self, key: str, point: Point) -> str:
        """The key of a value at another moment: the same, unless the clean run has seen it change."""
        item = self.items[key]
        bindings, _ = self._places[key]
        other = f"{item.name}_{point.when}_{point.cell.number}"
        while other in self.items and self.items[other].same_as != key:
            other += "_"
        if other not in self.items:
            self._add(other, item.name, point, bindings)
            self.items[other] = replace(self.items[other], same_as=key)
        return other if other in self._kept else key

    def read_by(self, key: str, number: int, line: int) -> None:
        """Which line of serving code reads an item: the first one counts."""
        if self.items[key].read_number is None:
            self.items[key] = replace(self.items[key], read_number=number, read_line=line)

    def literal(self, name: str, point: Point, binding: Statement) -> str | None:
        """The key of a constant that is none, as the clean run has shown; None while it is what it says."""
        place = ((binding,), point.position(self._program))
        known = (k for k, i in self.items.items() if i.name == name and i.literal == binding.texts[name])
        key = next((k for k in known if self._places[k] == place), None)
        if key is None:
            key = self._add(self._free(name), name, point, (binding,))
            self.items[key] = replace(self.items[key], literal=binding.texts[name])
        return key if key in self._kept else None

    def make_optional(self, required: Iterable[str]) -> None:
        """All items but these are wanted only if other state refers to functions that read them."""
        keep = set(required)
        for key in self.items.keys() - keep:
            self.items[key] = replace(self.items[key], optional=True)

    def _free(self, name: str) -> str:
        key, number = name, 1
        while key in self.items:
            number += 1
            key = f"{name}_{number}"
        return key

    def _add(self, key: str, name: str, point: Point, bindings: tuple[Statement, ...]) -> str:
        last = bindings[-1]
        place = (last.cell.id, last.cell.number, last.node.lineno)
        self.items[key] = StateItem(key, name, point.cell.id, point.when, *place)
        self._places[key] = (bindings, point.position(self._program))
        return key
