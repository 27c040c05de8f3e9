"""Captures fitted state just before or after the cell that reads it. Runs inside the notebook's kernel."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .advice import advice, unreadable
from .faithful import difference
from .finding import Finding, Refused, refused
from .identity import Parts, parts_of, shared
from .lost import holds_own, lost
from .passing import passing
from .pickling import Homes, Pickled, Unstorable, path_to, pickled, restore, type_name
from .places import article, described
from .storing import Stored, store

_CODE = {"value": "NB310", "redefined": "NB311", "homeless": "NB312", "identity": "NB310"}


LARGE = 100_000_000
"""Bytes of one piece of state that are worth a warning."""


class StateCapture:
    """The state items of a plan, and what has been captured of them, by key.

    `codecs` is the package's module of that name; `same` compares two values; `attributes` are those that
    serving code reads.
    """

    def __init__(
        self,
        items: list[Mapping[str, Any]],
        folder: Path,
        codecs: ModuleType,
        same: Callable[[Any, Any], bool],
        attributes: Collection[str] = (),
    ) -> None:
        self._items = {item["key"]: item for item in items}
        self._folder = folder
        self._codecs = codecs
        self._same = same
        self._attributes = attributes
        self.stored: dict[str, Stored] = {}
        self._copies: dict[str, Pickled] = {}
        self._passing: dict[str, list[Finding]] = {}
        self._parts: dict[str, Parts] = {}
        self._started = dt.datetime.now(dt.UTC)
        folder.mkdir(parents=True, exist_ok=True)

    def capture(self, cell: str, when: str, names: Mapping[str, Any], rehome: Mapping[str, str]) -> None:
        """Store what is due now; Refused NB310, NB311 or NB312 if it cannot be stored."""
        due = [item for item in self._items.values() if item["cell"] == cell and item["when"] == when]
        homes = Homes.now(names, rehome) if due else None
        for item in due:
            if homes is not None and item["name"] in names:
                self._store(item, names, homes)

    def _store(self, item: Mapping[str, Any], names: Mapping[str, Any], homes: Homes) -> None:
        value = names[item["name"]]
        if item["literal"] is not None and repr(value) == item["literal"]:
            self._parts[item["key"]] = parts_of(value)
            return
        if item["same_as"] is not None and self._is_as(item["same_as"], value):
            return
        try:
            stored, data = store(value, homes, self._codecs)
        except Unstorable as problem:
            if item["optional"]:
                return
            raise no_form(item, value, problem, names) from problem
        self.stored[item["key"]] = stored
        self._parts[item["key"]] = parts_of(value)
        self._passing[item["key"]] = list(passing(item, value, self._started))
        self._path(item["key"]).write_bytes(data)
        if holds_own(value):
            self._note_lost(item, value)

    def _note_lost(self, item: Mapping[str, Any], value: Any) -> None:
        """What the stored value lacks; Refused NB316 if serving code reads it."""
        key = item["key"]
        try:
            back = self._copy(key)
        except Refused:
            if item["optional"]:
                return
            raise
        self._passing[key] += lost(item, value, back, self.stored[key].homes, self._attributes)
        if not item["optional"]:
            _stop_on_errors(self._passing[key])

    def _is_as(self, key: str, value: Any) -> bool:
        """Whether a value is still the one that was captured under a key."""
        if key not in self.stored:
            return False
        earlier = self._read(key)[0]
        return difference(earlier, value) is None or self._same(earlier, value)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.{self.stored[key].extension}"

    def kept(self) -> dict[str, Stored]:
        """What the package needs; Refused NB313 if a part of that was never bound.

        Optional items are kept only if other state refers to functions of the notebook, which may read them.
        """
        optional = {key for key, item in self._items.items() if item["optional"]}
        for key, item in self._items.items():
            conditional = item["optional"] or item["literal"] is not None or item["same_as"] is not None
            if key not in self.stored and not conditional:
                raise _never_bound(item)
        needed = {key: stored for key, stored in self.stored.items() if key not in optional}
        return self.stored if any(stored.used for stored in needed.values()) else needed

    @property
    def used(self) -> frozenset[str]:
        """The functions and classes of the notebook that what is stored so far refers to."""
        return frozenset(name for stored in self.stored.values() for name in stored.used)

    def restored(self) -> dict[str, Any]:
        """New copies of what is kept."""
        return {key: self._copy(key) for key in self.kept()}

    def _copy(self, key: str) -> Any:
        """A new copy; where reading the file is slow, by a pickle of what it first gave."""
        if "skops" not in self.stored[key].codec:
            return self._read(key)[0]
        if key not in self._copies:
            self._copies[key] = pickled(self._read(key)[0], self.stored[key].homes)
        return restore(self._copies[key])

    def _read(self, key: str) -> tuple[Any, frozenset[str]]:
        """A new copy, and the modules that reading it needs."""
        stored, data = self.stored[key], self._path(key).read_bytes()
        # reading runs the user's __setstate__, which may raise anything
        try:
            if stored.codec != "pickle":
                value = self._codecs.read(data, stored.codec, stored.trusted, stored.homes.find)
                return value, stored.modules
            unpickler = self._codecs.Unpickler(data, stored.homes.find)
            return unpickler.load(), frozenset(unpickler.modules)
        except Exception as error:
            item = self._items[key]
            message = f"{item['name']!r} was stored, but cannot be read back: {described(error)}"
            raise refused("NB310", message, unreadable(error), **_bound(item)) from error

    def files(self) -> list[dict[str, Any]]:
        """The kept items, each read back once, as entries of a manifest; the files of others are removed."""
        kept = self.kept()
        for key in self.stored.keys() - kept.keys():
            self._path(key).unlink()
        return [self._entry(key, stored) for key, stored in kept.items()]

    def _entry(self, key: str, stored: Stored) -> dict[str, Any]:
        return {
            "key": key,
            "file": f"state/{self._path(key).name}",
            "codec": stored.codec,
            "type": stored.type,
            "bytes": stored.size,
            "sha256": stored.sha256,
            "modules": sorted(self._read(key)[1] if stored.codec == "pickle" else stored.modules),
            "trusted": list(stored.trusted),
            "why": stored.why,
        }

    def findings(self, limit: int = LARGE) -> list[Finding]:
        """Of the kept items: NB314 for more than `limit` bytes, NB315 for an object in two, NB316 for what
        was lost (Refused if serving code reads it), NB338 for what holds only here.
        """
        kept = self.kept()
        written = {key for key, item in self._items.items() if item["literal"] is not None}
        parts = {key: part for key, part in self._parts.items() if key in kept or key in written}
        large = [_large(self._items[key], stored) for key, stored in kept.items() if stored.weight > limit]
        homes = [stored.homes for stored in kept.values()]
        twice = shared(self._items, parts, homes[-1]) if homes else ()
        found = [*large, *twice, *(finding for key in kept for finding in self._passing[key])]
        _stop_on_errors(found)
        return found


def _stop_on_errors(findings: list[Finding]) -> None:
    for finding in findings:
        if finding.severity == "error":
            raise Refused(finding)


def _large(item: Mapping[str, Any], stored: Stored) -> Finding:
    read = f", because serving code reads it in cell {item['read_number']}, line {item['read_line']}"
    what = f"{item['name']!r} ({article(stored.type.rpartition('.')[2])}) of {stored.weight / 1e6:,.0f} MB"
    return Finding(
        "NB314",
        f"{what} goes into the package" + (read if item["read_number"] is not None else ""),
        "Compute what serving needs of it before the role cell (a mean, a lookup table), and read only that.",
        severity="warning",
        **_bound(item),
    )


def _bound(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"cell": item["bound_cell"], "number": item["bound_number"], "line": item["bound_line"]}


def no_form(item: Mapping[str, Any], value: Any, problem: Unstorable, names: Mapping[str, Any]) -> Refused:
    """The refusal of a value of the notebook's `names` that cannot be stored."""
    part = _part(item["name"], value, problem.part)
    whole = article(type_name(value))
    if problem.kind == "redefined":
        message = f"{item['name']!r} ({whole}) holds an older definition: {part} has been defined anew since"
    elif problem.kind == "homeless":
        message = f"{item['name']!r} ({whole}) refers to {part}, which is no part of the package"
    elif problem.kind == "identity":
        message = (
            f"{item['name']!r} ({whole}) holds {part}, which is known by identity alone: it would become"
        )
        message += " another object than the one that other code compares it with"
    else:
        message = f"{item['name']!r} ({whole}) cannot be stored: {part} has no stored form"
    hint = advice(item["name"], value, problem, names)
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
