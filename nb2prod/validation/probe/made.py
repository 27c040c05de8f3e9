"""Which settings the notebook's cells have made, and what they were as its roles ran. Runs in the kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .places import at
from .registries import changed_by
from .settings import registry, settings

_ROLES = frozenset({"preprocess", "model", "postprocess"})


class Made:
    """Looks at the settings after each cell: `cells` are those of the notebook, which `shell` runs.

    Besides at containers of libraries that a cell's text changes.
    """

    def __init__(self, cells: Mapping[str, Mapping[str, Any]], shell: Any) -> None:
        self._cells = cells
        self._shell = shell
        self._registries: dict[str, dict[str, Any]] = {}
        self._first = self._last = settings()
        self._by: dict[str, str | None] = {}
        self._held: dict[str, set[str]] = {}

    def after(self, result: Any) -> None:
        """Called by IPython after each cell, in the context in which cells run."""
        now, source = settings(), result.info.raw_cell
        changed = {key for key in now.keys() | self._last.keys() if now.get(key) != self._last.get(key)}
        cell = next((name for name, info in self._cells.items() if info["source"] == source), None)
        self._by |= dict.fromkeys(changed, cell)
        self._last = now
        # what a role cell changes, its package changes
        if cell is not None and _ROLES.isdisjoint(self._cells[cell]["tags"]):
            for path, line in changed_by(source, self._shell.user_ns, self._shell.transform_cell):
                self._registries[path] = at(self._cells, cell, line)

    def hold(self) -> None:
        """A role's code is about to run, or has run: what holds now is what it has met."""
        registries = {path: found for path in self._registries if (found := registry(path)) is not None}
        for key, value in {**self._last, **registries}.items():
            self._held.setdefault(key, set()).add(value)

    def found(self) -> dict[str, dict[str, Any]]:
        """The settings that cells may have made: the values that roles have met, and the place."""
        changed = {key: values for key, values in self._held.items() if values != {self._first.get(key)}}
        return {key: {"values": sorted(values), **self._place(key)} for key, values in changed.items()}

    def _place(self, key: str) -> dict[str, Any]:
        if key in self._registries:
            return {**self._registries[key], "by name": True}
        cell = self._by.get(key)
        if cell is None:
            return {"cell": None, "number": None, "line": None}
        return at(self._cells, cell, _line(self._cells[cell]["source"], key))


def _line(source: str, key: str) -> int | None:
    """The first line that names a setting by the last part of its name."""
    word = re.findall(r"\w+", key)[-1]
    lines = (i for i, line in enumerate(source.splitlines(), 1) if re.search(rf"\b{word}\b", line))
    return next(lines, None)
