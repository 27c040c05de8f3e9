"""Captures fitted state just before or after the cell that reads it. Runs inside the notebook's kernel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .finding import Refused, refused
from .pickling import EXTENSION, Homes, Stored, Unstorable, path_to, restore, store, type_name
from .places import article, described

_HINT = {
    "value": "Write a function that makes it, inside a role cell or a helper cell: serving code calls that.",
    "redefined": "Make the value after the last definition, or give the two definitions different names.",
    "homeless": "Define it in a cell of its own that is not tagged `skip`, or import it from a module.",
}
_CODE = {"value": "NB310", "redefined": "NB311", "homeless": "NB312"}


class StateCapture:
    """The state items of a plan, and what has been captured of them, by key. `same` compares two values."""

    def __init__(
        self, items: list[Mapping[str, Any]], folder: Path, same: Callable[[Any, Any], bool]
    ) -> None:
        self._items = items
        self._same = same
        self._folder = folder
        self.stored: dict[str, Stored] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def capture(self, cell: str, when: str, names: Mapping[str, Any], rehome: Mapping[str, str]) -> None:
        """Store what is due now; Refused NB310, NB311 or NB312 if it cannot be stored."""
        due = [item for item in self._items if item["cell"] == cell and item["when"] == when]
        homes = Homes.now(names, rehome) if due else None
        for item in due:
            if homes is not None and item["name"] in names:
                self._store(item, names[item["name"]], homes)

    def _store(self, item: Mapping[str, Any], value: Any, homes: Homes) -> None:
        if item["literal"] is not None and repr(value) == item["literal"]:
            return
        try:
            stored = store(value, homes)
        except Unstorable as problem:
            if item["optional"]:
                return
            raise _refused(item, value, problem) from problem
        if item["same_as"] is not None and self._is_as(item["same_as"], stored, value):
            return
        self.stored[item["key"]] = stored
        self._path(item["key"], stored).write_bytes(stored.data)

    def _is_as(self, key: str, stored: Stored, value: Any) -> bool:
        """Whether a value is still the one that was captured under a key."""
        earlier = self.stored.get(key)
        if earlier is None:
            return False
        return earlier.data == stored.data or self._same(restore(earlier), value)

    def _path(self, key: str, stored: Stored) -> Path:
        return self._folder / f"{key}.{EXTENSION[stored.codec]}"

    def kept(self) -> dict[str, Stored]:
        """What the package needs; Refused NB313 if a part of that was never bound.

        Optional items are kept only if other state refers to functions of the notebook, which may read them.
        """
        optional = {item["key"] for item in self._items if item["optional"]}
        for item in self._items:
            conditional = item["optional"] or item["literal"] is not None or item["same_as"] is not None
            if item["key"] not in self.stored and not conditional:
                raise _never_bound(item)
        needed = {key: stored for key, stored in self.stored.items() if key not in optional}
        return self.stored if any(stored.used for stored in needed.values()) else needed

    def restored(self, modules: set[str]) -> dict[str, Any]:
        """New copies of what is kept; the modules that it refers to are added to `modules`."""
        items = {item["key"]: item for item in self._items}
        return {key: _read_back(items[key], stored, modules) for key, stored in self.kept().items()}

    def files(self) -> list[dict[str, Any]]:
        """The kept items as entries of a manifest; the files of the others are removed."""
        kept = self.kept()
        for key in self.stored.keys() - kept.keys():
            self._path(key, self.stored[key]).unlink()
        return [_entry(key, stored) for key, stored in kept.items()]


def _read_back(item: Mapping[str, Any], stored: Stored, modules: set[str]) -> Any:
    # unpickling runs the user's __setstate__, which may raise anything
    try:
        return restore(stored, modules)
    except Exception as error:
        message = f"{item['name']!r} was stored, but cannot be read back: {described(error)}"
        raise refused("NB310", message, _HINT["value"], **_bound(item)) from error


def _entry(key: str, stored: Stored) -> dict[str, Any]:
    return {
        "key": key,
        "file": f"state/{key}.{EXTENSION[stored.codec]}",
        "codec": stored.codec,
        "type": stored.type,
        "bytes": len(stored.data),
        "sha256": hashlib.sha256(stored.data).hexdigest(),
    }


def _bound(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"cell": item["bound_cell"], "number": item["bound_number"], "line": item["bound_line"]}


def _refused(item: Mapping[str, Any], value: Any, problem: Unstorable) -> Refused:
    part = _part(item["name"], value, problem.part)
    whole = article(type_name(value))
    if problem.kind == "redefined":
        message = f"{item['name']!r} ({whole}) holds an older definition: {part} has been defined anew since"
    elif problem.kind == "homeless":
        message = f"{item['name']!r} ({whole}) refers to {part}, which is no part of the package"
    else:
        message = f"{item['name']!r} ({whole}) cannot be stored: {part} has no stored form"
    hint = _HINT[problem.kind]
    if getattr(problem.part, "__name__", "") == "<lambda>":
        hint = "Give the lambda a name: write it as a `def` in a cell of its own."
    return refused(_CODE[problem.kind], message, hint, **_bound(item))


def _part(name: str, value: Any, part: Any) -> str:
    kind = "class" if isinstance(part, type) else type_name(part)
    label = f"the {kind} {part.__qualname__!r}" if hasattr(part, "__qualname__") else f"the {kind}"
    path = None if part is value else path_to(value, part)
    return f"{label} in {name}{path}" if path else label


def _never_bound(item: Mapping[str, Any]) -> Refused:
    return refused(
        "NB313",
        f"serving code reads {item['name']!r}, which the clean run never bound",
        "It is bound only on a path that the clean run did not take: bind it on every path.",
        **_bound(item),
    )
