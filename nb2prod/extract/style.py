"""Our own lines as `ruff format` and its import sorting leave them: width 88, sorted, wrapped.

The notebook's lines are none of ours: they stay as they are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH = 88


@dataclass(frozen=True, slots=True)
class Import:
    """`from module import name as alias`, or `import name as alias` where `module` is empty.

    `unseen` where the code needs the name only in a text (`query("a > @limit")`).
    """

    module: str
    name: str
    alias: str = ""
    unseen: bool = False

    @property
    def binds(self) -> str:
        """The name that it binds."""
        return self.alias or (self.name if self.module else self.name.partition(".")[0])

    @property
    def what(self) -> str:
        """`name as alias`, shortened where the alias says nothing."""
        return f"{self.name} as {self.alias}" if self.alias not in ("", self.name) else self.name


def import_lines(imports: Iterable[Import]) -> list[str]:
    """Import statements in sections: future, the standard library, other packages, this package."""
    wanted: dict[tuple[str, str], Import] = {}
    for item in imports:
        key = item.module, item.what
        wanted[key] = item if key not in wanted or wanted[key].unseen else wanted[key]
    sections = ([i for i in wanted.values() if _section(i) == number] for number in range(4))
    lines: list[str] = []
    for section in filter(None, sections):
        lines += [""] if lines else []
        lines += _straight([i for i in section if not i.module])
        lines += _from([i for i in section if i.module])
    return lines


def _section(item: Import) -> int:
    root = (item.module or item.name).partition(".")[0]
    if root in ("", "__future__"):
        return 3 if root == "" else 0
    return 1 if root in sys.stdlib_module_names else 2


def _straight(imports: list[Import]) -> list[str]:
    ordered = sorted(imports, key=lambda i: (_name_key(i.name), _name_key(i.alias)))
    return [f"import {item.what}" for item in ordered]


def _from(imports: list[Import]) -> list[str]:
    """One statement for each module, and one for each name that is renamed, as isort has it."""
    groups: dict[tuple[str, str], list[Import]] = {}
    for item in imports:
        renamed = item.what if item.what != item.name else ""
        groups.setdefault((item.module, renamed), []).append(item)
    ordered = [sorted(group, key=_member_key) for group in groups.values()]
    ordered.sort(key=lambda group: (_name_key(group[0].module), _member_key(group[0])))
    return [line for group in ordered for line in _from_lines(group)]


def _from_lines(group: list[Import]) -> list[str]:
    head = f"from {group[0].module} import "
    line = head + ", ".join(item.what for item in group)
    if len(group) == 1 and group[0].unseen:
        return [line + _UNSEEN]
    if len(line) <= WIDTH and not any(item.unseen for item in group):
        return [line]
    return [f"{head}(", *(f"    {i.what},{_UNSEEN if i.unseen else ''}" for i in group), ")"]


_UNSEEN = "  # noqa: F401"


def _member_key(item: Import) -> tuple[object, ...]:
    """Constants, then classes, then the rest, each in natural order."""
    name = item.name
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[:1].isupper() else 2
    return kind, _name_key(name), _name_key(item.alias)


def _name_key(name: str) -> tuple[object, ...]:
    """Letters without case, numbers in a name by their value; ties by case."""
    return _natural(name.lower()), _natural(name), name


def _natural(name: str) -> list[tuple[int, int]]:
    parts = re.findall(r"\d+|\D", name)
    return [(ord("0"), int(part)) if part.isdigit() else (ord(part), 0) for part in parts]


# --- statements of our own -----------------------------------------------------------------------


def signature(
    name: str, parameters: Sequence[str], returns: str | None, *, asynchronous: bool = False
) -> list[str]:
    """The line or lines of a `def`."""
    head = f"{'async ' if asynchronous else ''}def {name}("
    end = f") -> {returns}:" if returns else "):"
    lone = len(parameters) == 1  # a lone parameter gets its trailing comma at once
    return bracketed(head, parameters, end, one_line=not lone)


def bracketed(
    head: str, items: Sequence[str], tail: str, indent: str = "", *, one_line: bool = True
) -> list[str]:
    """`head items tail` on one line, or the items on a line between, or each on its own."""
    inner = ", ".join(items)
    whole = f"{indent}{head}{inner}{tail}"
    if len(whole) <= WIDTH or not items:
        return [whole]
    if one_line and len(indent) + 4 + len(inner) <= WIDTH:
        return [f"{indent}{head}", f"{indent}    {inner}", f"{indent}{tail}"]
    return [f"{indent}{head}", *_each(items, indent), f"{indent}{tail}"]


def returned(names: Sequence[str], indent: str) -> list[str]:
    """`return a, b`, in brackets where that is too long."""
    line = f"{indent}return {', '.join(names)}"
    if len(line) <= WIDTH or len(names) == 1:
        return [line]
    return [f"{indent}return (", *_each(names, indent), f"{indent})"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call to write, perhaps within another: `around(function(arguments))`."""

    function: str
    arguments: Sequence[str]
    around: str = ""

    def lines(self, head: str, indent: str) -> list[str]:
        """The call after `head`, which is all that stands before it in its statement."""
        if not self.around:
            return bracketed(f"{head}{self.function}(", self.arguments, ")", indent)
        line = f"{indent}{head}{self.around}({self.function}({', '.join(self.arguments)}))"
        if len(line) <= WIDTH:
            return [line]
        inner = bracketed(f"{self.function}(", self.arguments, ")", f"{indent}    ")
        return [f"{indent}{head}{self.around}(", *inner, f"{indent})"]


def assigned(targets: Sequence[str], call: Call, indent: str) -> list[str]:
    """`a, b = call(arguments)`, the targets in brackets where all of it is too long."""
    lines = call.lines(f"{', '.join(targets)} = ", indent)
    if len(lines) == 1 or len(targets) == 1:
        return lines
    return [f"{indent}(", *_each(targets, indent), *call.lines(") = ", indent)]


def _each(items: Sequence[str], indent: str = "") -> list[str]:
    return [f"{indent}    {item}," for item in items]
