"""The types and shapes of what passes between the roles. Runs inside the notebook's kernel.

A type is an annotation whose names are builtins or `module:name`, found without importing anything. A
shape is told in terms of the request's rows, and only as far as requests of two sizes bear it out.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .replay import Plan

LOOKED_AT = (1000, 20, 5)
"""Items of a container that are looked at, by how deep it lies; deeper ones are not looked into."""

LONGEST = 60
"""Characters of an annotation; a longer one says less about what is inside."""

NAMES = 4
"""Columns or keys that a shape names."""

# --- types ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Type:
    """A type: its name and what it is made of. Of a union, the members; `tuple` ends in ELLIPSIS if open."""

    name: str
    args: tuple[Type, ...] = ()


ANY, NONE, NOTHING, ELLIPSIS = Type("typing:Any"), Type("None"), Type("nothing"), Type("...")
UNION = "|"
_SEQUENCES = (list, set, frozenset)
_PLAIN = (bool, int, float, complex, str, bytes, bytearray)
_PROTOCOLS = {
    "generator": "collections.abc:Iterator",
    "map": "collections.abc:Iterator",
    "filter": "collections.abc:Iterator",
    "zip": "collections.abc:Iterator",
    "function": "collections.abc:Callable",
}
_WITHOUT_ARGS = {"collections.abc:Iterator": (ANY,), "collections.abc:Callable": (ELLIPSIS, ANY)}


def type_of(value: Any, depth: int = 0) -> Type:
    """The type of a value; of builtin containers, what they hold."""
    kind = type(value)
    if value is None:
        return NONE
    if kind in _PLAIN:
        return Type(kind.__name__)
    if kind in (*_SEQUENCES, dict, tuple) and depth >= len(LOOKED_AT):
        return _open(kind.__name__)
    if kind in _SEQUENCES:
        return Type(kind.__name__, (_item(value, depth),))
    if kind is dict:
        return Type("dict", (_item(value, depth), _item(value.values(), depth)))
    if kind is tuple:
        return _tuple(value, depth)
    return _named(kind)


def _item(items: Iterable[Any], depth: int) -> Type:
    found = NOTHING
    for item in itertools.islice(items, LOOKED_AT[depth]):
        found = merged(found, type_of(item, depth + 1))
        if found == ANY:
            break
    return found


def _tuple(value: tuple[Any, ...], depth: int) -> Type:
    if 0 < len(value) <= 4:
        return Type("tuple", tuple(type_of(item, depth + 1) for item in value))
    return Type("tuple", (_item(value, depth), ELLIPSIS))


def _open(name: str) -> Type:
    """A container of which nothing more is known."""
    return Type(name, {"dict": (ANY, ANY), "tuple": (ANY, ELLIPSIS)}.get(name, (ANY,)))


def _named(kind: type) -> Type:
    """A class by the name that anyone can import it by, or by that of the nearest base which has one."""
    for base in kind.__mro__[:-1]:
        if base.__module__ == "builtins":
            name = _PROTOCOLS.get(base.__name__, base.__name__)
            if name in ("list", "set", "frozenset", "dict", "tuple"):
                return _open(name)
            if name in _WITHOUT_ARGS:
                return Type(name, _WITHOUT_ARGS[name])
            return Type(name) if name in vars(sys.modules["builtins"]) else ANY
        if public := _public(base):
            return Type(public)
    return ANY


def _public(kind: type) -> str | None:
    """`module:name` of the topmost module that has the class; None if it is private or local."""
    name, parts = kind.__qualname__, str(kind.__module__).split(".")
    if "<" in name or any(part.startswith("_") for part in name.split(".")):
        return None
    for end in range(1, len(parts) + 1):
        module = ".".join(parts[:end])
        if parts[end - 1].startswith("_") and module != "__main__":
            return None
        if _found(module, name) is kind:
            return f"{module}:{name}"
    return None


def _found(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        # not getattr: a module may import more when it is asked for a name
        found = getattr(found, "__dict__", {}).get(part)
    return found


def merged(one: Type, other: Type, *, most: int = 1) -> Type:
    """What holds of values of both types: a union of at most `most` types and None, else Any."""
    found: list[Type] = []
    for member in (*_members(one), *_members(other)):
        for i, known in enumerate(found):
            if (joined := _joined(known, member)) is not None:
                found[i] = joined
                break
        else:
            found.append(member)
    types = [t for t in found if t != NONE]
    if ANY in types or len(types) > most:
        return ANY
    members = types + ([NONE] if NONE in found else [])
    return Type(UNION, tuple(members)) if len(members) > 1 else members[0] if members else NOTHING


def _members(kind: Type) -> tuple[Type, ...]:
    return kind.args if kind.name == UNION else () if kind == NOTHING else (kind,)


def _joined(one: Type, other: Type) -> Type | None:
    """One type for both, if there is one that says as much."""
    if one == other:
        return one
    if {one.name, other.name} == {"int", "float"}:
        return Type("float")
    if one.name != other.name or not one.args:
        return None
    if one.name == "tuple" and (ELLIPSIS in (*one.args, *other.args) or len(one.args) != len(other.args)):
        item = NOTHING
        for arg in (*one.args, *other.args):
            item = item if arg == ELLIPSIS else merged(item, arg)
        return Type("tuple", (item, ELLIPSIS))
    return Type(one.name, tuple(merged(a, b) for a, b in zip(one.args, other.args, strict=True)))


def written(kind: Type) -> str:
    """A type as an annotation, with less about its inside where that is long."""
    texts = [_text(kind, depth) for depth in (9, 2, 1, 0)]
    return next((text for text in texts if len(text) <= LONGEST), texts[-1])


def _text(kind: Type, depth: int) -> str:
    if kind.name == UNION:
        return " | ".join(_text(member, depth) for member in kind.args)
    if kind in (NOTHING, ANY):
        return ANY.name
    if not kind.args:
        return kind.name
    args = kind.args if depth else _open(kind.name).args if kind.name not in _WITHOUT_ARGS else kind.args
    return f"{kind.name}[{', '.join(_text(arg, depth - 1) for arg in args)}]"


# --- shapes --------------------------------------------------------------------------------------

_ARRAYS = frozenset(
    ("numpy", "pandas", "scipy", "torch", "polars", "pyarrow", "tensorflow", "jax", "jaxlib", "geopandas")
)
"""Top-level modules whose values have a shape."""


@dataclass(frozen=True, slots=True)
class Look:
    """A value as it was seen when the request had `rows` rows (None where it is one record or text)."""

    type: Type
    rows: int | None
    noun: str
    dtype: str = ""
    sizes: tuple[int, ...] | None = None
    names: tuple[str, ...] = ()


def look_at(value: Any, rows: int | None) -> Look:
    """A value while it is as it is; the role code may change it."""
    kind, noun = type_of(value), type(value).__name__
    if type(value) is dict:
        return Look(kind, rows, noun, names=_keys([value]))
    if type(value) is list:
        return Look(kind, rows, noun, sizes=(len(value),), names=_keys(value))
    if any(base.__module__.partition(".")[0] in _ARRAYS for base in type(value).__mro__):
        return Look(kind, rows, noun, _dtype(value), _sizes(value), _columns(value))
    return Look(kind, rows, noun)


def _keys(records: Sequence[Any]) -> tuple[str, ...]:
    """The keys that all records have alike, if they are texts."""
    first = next(iter(records), None)
    if type(first) is not dict or not all(type(key) is str for key in first):
        return ()
    same = all(type(r) is dict and list(r) == list(first) for r in records[: LOOKED_AT[0]])
    return tuple(first) if same else ()


def _sizes(value: Any) -> tuple[int, ...] | None:
    sizes = getattr(value, "shape", None)
    plain = isinstance(sizes, tuple | list) and all(isinstance(n, int) for n in sizes)
    return tuple(int(n) for n in sizes) if plain and sizes is not None else None


def _dtype(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    # how long the longest text is says nothing
    texts = {"U": "str", "S": "bytes", "V": ""}
    name = texts.get(getattr(dtype, "kind", ""), str(dtype) if dtype is not None else "")
    return name.removeprefix("torch.") if len(name) <= 20 and name.isprintable() else ""


def _columns(value: Any) -> tuple[str, ...]:
    names = value.column_names if hasattr(value, "column_names") else getattr(value, "columns", ())
    return tuple(names) if all(type(name) is str for name in names) else ()


def in_words(looks: Sequence[Look]) -> str:
    """What is the same in all looks at a value, beyond its type; empty if nothing is."""
    first, same = looks[0], {look.noun for look in looks}
    if len(same) > 1:
        return ""
    dtype = first.dtype if len({look.dtype for look in looks}) == 1 else ""
    names = first.names if len({look.names for look in looks}) == 1 else ()
    certain = len({look.rows for look in looks}) > 1 or (first.rows is None and len(looks) > 1)
    sizes = _tokens(looks) if certain else None
    if first.noun in ("dict", "list"):
        return _of_builtins(first.noun, names if certain else (), sizes)
    if names and first.sizes is not None and len(first.sizes) == 2:
        return _of_table(first, names, sizes)
    return _of_array(f"{first.noun} of {dtype}" if dtype else first.noun, sizes)


def _tokens(looks: Sequence[Look]) -> tuple[str, ...] | None:
    """Each dimension: `rows` if it is the request's, a number if it is always that, else `any`."""
    known = [look.sizes for look in looks if look.sizes is not None]
    if len(known) < len(looks) or len({len(sizes) for sizes in known}) != 1:
        return None
    rows = [look.rows for look in looks]
    tokens = []
    for axis in zip(*known, strict=True):
        alike = "any" if len(set(axis)) > 1 else str(axis[0])
        tokens.append("rows" if list(axis) == rows else alike)
    return tuple(tokens)


def _of_builtins(noun: str, names: tuple[str, ...], sizes: tuple[str, ...] | None) -> str:
    keys = f" ({_listed(names)})" if _listed(names) else ""
    each = ", one for each row" if sizes == ("rows",) else ""
    if noun == "dict":
        return f"dict{keys}" if keys else ""
    return f"list of dicts{keys}{each}" if keys else f"list{each}" if each else ""


def _of_table(look: Look, names: tuple[str, ...], sizes: tuple[str, ...] | None) -> str:
    rows = (
        {"rows": "rows x ", "any": "", "1": "1 row x "}.get(sizes[0], f"{sizes[0]} rows x ") if sizes else ""
    )
    count = f"{rows}{len(names)} column{'s' if len(names) > 1 else ''}"
    shown = _listed(names)
    return f"{look.noun}, {count} ({shown})" if shown else f"{look.noun}, {count}"


def _of_array(noun: str, sizes: tuple[str, ...] | None) -> str:
    if sizes is None or sizes == ():
        return ""
    if len(sizes) > 1:
        return f"{noun}, {' x '.join(sizes)}"
    ends = {"rows": ", one for each row", "any": ""}
    end = ends.get(sizes[0], f", {sizes[0]} value{'' if sizes[0] == '1' else 's'}")
    return f"{noun}{end}" if end or " " in noun else ""


def _listed(names: tuple[str, ...]) -> str:
    """The first names, as far as they can stand in a line of text."""
    shown: list[str] = []
    for name in names[:NAMES]:
        odd = not name.isprintable() or set(name) & set('"\\`') or not name.strip()
        if odd or len(", ".join([*shown, name])) > 40:
            break
        shown.append(name)
    return ", ".join([*shown, *(["..."] if len(shown) < len(names) else [])]) if shown else ""


# --- watching the roles --------------------------------------------------------------------------

Place = tuple[str, str, str]
"""A role, "takes" or "gives", and the name."""

MORE = 5
"""Rows of the reference that may be asked for besides the example."""


class Watch:
    """Looks at what each role takes and gives while `ask` asks them."""

    def __init__(self) -> None:
        self._looks: dict[Place, list[Look]] = {}
        self._now: list[tuple[Place, Look]] | None = None
        self._rows: int | None = None

    def taken(self, stage: Plan, values: Mapping[str, Any]) -> None:
        """Just before a role runs."""
        self._see(stage, "takes", {name: values[name] for name in stage["inputs"]})

    def given(self, stage: Plan, values: Mapping[str, Any]) -> None:
        """Just after it, by the names of its outputs."""
        self._see(stage, "gives", values)

    def _see(self, stage: Plan, side: str, values: Mapping[str, Any]) -> None:
        if self._now is not None:
            for name, value in values.items():
                self._now.append(((stage["role"], side, name), look_at(value, self._rows)))

    def ask(self, ask: Callable[[Sequence[Any]], Any], instances: Sequence[Any], rows: int | None) -> bool:
        """Ask for the instances and look on; False, and nothing seen, if that fails."""
        self._now, self._rows = [], rows
        # the user's own code and the user's own values, which may raise anything
        try:
            ask(instances)
            found = self._now
        except Exception:
            return False
        finally:
            self._now = None
        for place, look in found:
            self._looks.setdefault(place, []).append(look)
        return True

    def values(self) -> list[dict[str, str]]:
        """What has been seen, as the evidence has it."""
        return [
            {"role": role, "side": side, "name": name, "type": _type_text(looks), "shape": in_words(looks)}
            for (role, side, name), looks in self._looks.items()
        ]


def _type_text(looks: Sequence[Look]) -> str:
    kind = NOTHING
    for look in looks:
        kind = merged(kind, look.type, most=2)
    return written(kind)


def watch_roles(
    watch: Watch,
    ask: Callable[[Sequence[Any]], Any],
    example: Sequence[Any],
    more: Sequence[Any],
    *,
    batch: bool,
) -> None:
    """Ask for the example, and then for few rows: what depends on their number differs then.

    `more` are instances of the reference. Which are asked for never depends on the time that it takes.
    """
    if not watch.ask(ask, example, len(example) if batch else None):
        return
    if batch:
        few = second_batch(example, more)
        watch.ask(ask, few, len(few))
    else:
        for instance in more:
            watch.ask(ask, [instance], None)


def second_batch(example: Sequence[Any], more: Sequence[Any]) -> list[Any]:
    """A few instances, of another number than the example has, and not one alone."""
    count = 3 if len(example) == 2 else 2
    return list(itertools.islice(itertools.cycle([*example, *more]), count))
