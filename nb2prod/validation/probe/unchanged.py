"""Whether values that text takes for unchanged are so: passed on, defined, or copied alone.

Runs inside the notebook's kernel. What it finds changed was changed under another name, by a
function or through a view: nothing that reading the notebook could have told for certain.
"""

from __future__ import annotations

import gc
import pickle
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from .faithful import difference
from .finding import Refused, refused
from .held import CODE, PLAIN, held, text
from .pickling import Homes, Pickled, Unstorable, pickled, restore
from .portrait import Place, attributes, portrait
from .remembered import stale

MAX_DEPTH = 20
"""Containers inside containers that are looked into."""

MAX_OBJECTS = 100_000
"""Objects looked at to find one that two values share."""

LEAVES = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    type,
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
)
Same = Callable[[Any, Any], bool]


class Unchanged:
    """The things to watch, as the plan's `watched` lists them; `same` compares two values, `place` says where
    code comes from.

    `portraits` shows what the package's definitions and constants were when serving code read them.
    """

    def __init__(self, items: Iterable[Mapping[str, Any]], same: Same, place: Place) -> None:
        self._items = list(items)
        self._same = same
        self._place = place
        self._passing: dict[str, Pickled] = {}
        self._reached: dict[str, Any] = {}
        self._suspects: dict[str, Refused] = {}
        self.portraits: list[dict[str, Any]] = []
        self._defined: dict[tuple[str, str, int], Mapping[str, Pickled | str]] = {}

    def before(self, cell: str, names: Mapping[str, Any], homes: Homes) -> None:
        """Just before a cell runs; Refused NB227 or NB229."""
        self._passing.clear()
        for item in self._of("passing", cell):
            if item["name"] in names:
                self._remember(item["name"], names[item["name"]], homes)
        known = (item["name"] for item in self._of("reached", cell))
        self._reached = {name: own_parts(names[name]) for name in known if name in names}
        self._paint(cell, "before", names)
        self._check_definitions(cell, "before", names)
        for item in self._of("alone", cell):
            _check_alone(item, names)

    def after(self, cell: str, names: Mapping[str, Any], homes: Homes) -> None:
        """Just after a cell has run; Refused NB204 or NB227."""
        for item in self._items:
            if item["kind"] == "definition" and item["bound_cell"] == cell and item["name"] in names:
                holds = held(names[item["name"]], item["others"]).items()
                self._defined.setdefault(_key(item), {where: _kept(value, homes) for where, value in holds})
        for item in self._of("passing", cell):
            self._check_passing(item, names)
        self._check_reached(names)
        self._paint(cell, "after", names)
        self._check_definitions(cell, "after", names)

    def _of(self, kind: str, cell: str) -> Iterator[Mapping[str, Any]]:
        return (item for item in self._items if item["kind"] == kind and item["cell"] == cell)

    def _remember(self, name: str, value: Any, homes: Homes) -> None:
        try:
            self._passing[name] = pickled(value, homes)
        except Unstorable:
            return  # what has no bytes cannot be compared; the answers still are

    def _check_passing(self, item: Mapping[str, Any], names: Mapping[str, Any]) -> None:
        stored = self._passing.get(item["name"])
        if stored is None or item["name"] not in names:
            return
        if self._is_as(stored, names[item["name"]]):
            return
        raise refused(
            "NB204",
            f"{item['name']!r} is changed by this cell, under another name or by a function, on its way to a"
            " role cell",
            "Tag this cell with the role it belongs to, or work on a copy here.",
        )

    def _check_reached(self, names: Mapping[str, Any]) -> None:
        for name, before in self._reached.items():
            if name in names and own_parts(names[name]) != before:
                raise refused(
                    "NB204",
                    f"{name!r} is changed by this cell, under another name or by a function, and the cell"
                    " reads what is computed from the example",
                    "Tag this cell with the role it belongs to, or work on a copy here.",
                )

    def _is_as(self, stored: Pickled, value: Any) -> bool:
        try:
            if pickled(value, stored.homes).data == stored.data:
                return True
        except Unstorable:
            return False
        return self._same(restore(stored), value)

    def _paint(self, cell: str, when: str, names: Mapping[str, Any]) -> None:
        """Keep what the definitions and constants of the package are by now, to compare it there."""
        for item in self._items:
            if item["kind"] not in ("definition", "constant") or (item["cell"], item["when"]) != (cell, when):
                continue
            if item["name"] in names:
                found = portrait(names[item["name"]], "__main__".__eq__, item["others"], self._place)
                self.portraits.append({**item, "portrait": found})

    def _check_definitions(self, cell: str, when: str, names: Mapping[str, Any]) -> None:
        for item in self._of("definition", cell):
            known = self._defined.get(_key(item))
            if item["when"] != when or known is None or item["name"] not in names:
                continue
            now = held(names[item["name"]], item["others"])
            same = {where for where in known.keys() & now.keys() if _is_still(known[where], now[where])}
            if old := _stale(item, names[item["name"]], self._same):
                self._refuse(item, old)
            if changed := sorted((known.keys() | now.keys()) - same):
                problem = refused(
                    "NB227",
                    f"{item['name']!r} has changed after its definition: {self._told(names, item, changed)}",
                    f"Make the change part of the definition of `{item['name']}`.",
                    cell=item["bound_cell"],
                    number=item["bound_number"],
                    line=item["bound_line"],
                )
                self._refuse(item, problem)

    def _refuse(self, item: Mapping[str, Any], problem: Refused) -> None:
        """Raise it, or keep it until it is known whether captured state refers to the definition."""
        if not item["embedded"]:
            raise problem
        self._suspects.setdefault(item["name"], problem)

    def _told(self, names: Mapping[str, Any], item: Mapping[str, Any], changed: list[str]) -> str:
        """What has changed of a definition; of another function only that it is one."""
        code = getattr(names[item["name"]], "__code__", None)
        if CODE not in changed or code is None:
            return ", ".join(changed)
        return f"{CODE} is now from {self._place(code)}"

    def check_inside(self, used: Collection[str]) -> None:
        """Refused NB219 or NB227 if the functions and classes that captured state refers to have changed."""
        for name, problem in self._suspects.items():
            if name in used:
                raise problem


def _stale(item: Mapping[str, Any], definition: Any, same: Same) -> Refused | None:
    """NB219: a cached function remembers answers that the package, which begins anew, would not give."""
    old = stale(definition, item["others"], same)
    if old is None:
        return None
    name = f"{item['name']}{old.path}"
    hint = "Move the change above its first call"
    hint += f", or write `{name}.cache_clear()` below it." if old.clears else "."
    return refused(
        "NB219",
        f"`{name}` remembers its answers: asked for ({old.call}) it still says {old.remembered}, and anew it"
        f" would be {old.now}: something that it reads has changed since, and the package remembers nothing",
        hint,
        cell=item["bound_cell"],
        number=item["bound_number"],
        line=item["bound_line"],
    )


def _key(item: Mapping[str, Any]) -> tuple[str, str, int]:
    return item["name"], item["bound_cell"], item["bound_line"]


def _kept(value: Any, homes: Homes) -> Pickled | str:
    """What to compare a value with later: its bytes, or which object it is if it has none."""
    try:
        return text(value) if isinstance(value, PLAIN) else pickled(value, homes)
    except Unstorable:
        return text(value)


def _is_still(kept: Pickled | str, value: Any) -> bool:
    if isinstance(kept, str):
        return kept == text(value)
    try:
        now = pickled(value, kept.homes).data
    except Unstorable:
        return False
    return now == kept.data or difference(restore(kept), value) is None


def _check_alone(item: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    for other in item["others"]:
        if item["name"] in names and other in names and shares(names[item["name"]], names[other]):
            raise refused(
                "NB229",
                f"the role code changes {item['name']!r} in place, and {other!r} is or holds the same object",
                f"Make it a copy before this cell: `{item['name']} = copy.deepcopy({item['name']})`.",
            )


def own_parts(value: Any, depth: int = 0) -> Any:
    """What data and the notebook's objects hold; objects of libraries, which may cache, by their type."""
    if isinstance(value, PLAIN) or depth > MAX_DEPTH:
        return repr(value)
    if isinstance(value, Mapping):
        return [(repr(key), own_parts(item, depth + 1)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque):
        return [own_parts(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset | bytearray):
        return sorted(map(repr, value))
    if type(value).__module__ == "__main__":
        return own_parts(dict(attributes(value)), depth + 1)
    if hasattr(type(value), "iloc") or type(value).__name__ == "ndarray":
        return pickle.dumps(value)
    return type(value).__qualname__


# --- shared objects ------------------------------------------------------------------------------


def shares(one: Any, other: Any) -> bool:
    """Whether some object that can be changed is part of both values."""
    return not _reached(one).isdisjoint(_reached(other))


def _reached(value: Any) -> set[int]:
    found: set[int] = set()
    todo = [value]
    while todo and len(found) < MAX_OBJECTS:
        item = todo.pop()
        if isinstance(item, LEAVES) or id(item) in found:
            continue
        root = _root(item)
        if not isinstance(item, tuple | frozenset):
            found.add(id(root))
        todo.extend(_inside(item))
    return found


def _root(item: Any) -> Any:
    """The array that a view looks at; other objects are their own root."""
    while type(item).__name__ == "ndarray" and getattr(item, "base", None) is not None:
        item = item.base
    return item


def _inside(item: Any) -> Sequence[Any]:
    if isinstance(item, MethodType):
        return [item.__self__]
    if hasattr(type(item), "columns") or hasattr(type(item), "iloc") or type(item).__name__ == "ndarray":
        return []  # pandas copies on write
    return gc.get_referents(item)
