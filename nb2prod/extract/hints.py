"""What the clean run saw, for a reader: type hints, the imports that they need, and docstrings with shapes.

A hint never changes what the code does: what only hints need is imported under `if TYPE_CHECKING:`,
and a type that cannot be named where it is wanted is left out.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nb2prod.domain import Role, SeenValue, Stage
from nb2prod.extract.style import WIDTH, Import, import_lines
from nb2prod.extract.text import INDENT

ANY = "typing:Any"

_USUAL = {"datetime": "dt", "numpy": "np", "pandas": "pd", "polars": "pl", "pyarrow": "pa"}
"""Modules that people know by an alias."""

_WORD = re.compile(r"[\w.]+:[\w.]+|\w+")


@dataclass(frozen=True, slots=True)
class Seen:
    """The values that the clean run saw the roles take and give."""

    values: Mapping[tuple[Role, str, str], SeenValue]

    @classmethod
    def of(cls, values: Iterable[SeenValue]) -> Seen:
        """From the evidence; empty for a draft."""
        return cls({(value.role, value.side, value.name): value for value in values})

    def takes(self, stage: Stage, name: str) -> SeenValue | None:
        """What a stage was given under one of its input names."""
        return self.values.get((stage.role, "takes", name))

    def gives(self, stage: Stage) -> list[SeenValue]:
        """What a stage gave, in the order of its outputs; empty if anything of it was not seen."""
        found = [self.values.get((stage.role, "gives", name)) for name in stage.outputs]
        return [value for value in found if value is not None] if None not in found else []

    def returns(self, stage: Stage) -> str | None:
        """The type of all that a stage gives."""
        types = [value.type for value in self.gives(stage)]
        return f"tuple[{', '.join(types)}]" if len(types) > 1 else next(iter(types), None)


class _Unnamed(Exception):
    """A type has no name that could be written in this module."""


@dataclass(slots=True)
class Hints:
    """The annotations of one module. `imports` and `taken` are what its code imports and binds at its top.

    `homes` maps the notebook's classes to the modules that hold them. Where `fixed`, the notebook's own
    code here has annotations, which `from __future__ import annotations` would turn into texts.
    """

    module: str
    imports: set[Import]
    taken: set[str] = field(default_factory=set)
    homes: Mapping[str, str] = field(default_factory=dict)
    fixed: bool = False
    _only: set[Import] = field(default_factory=set)

    def parameter(self, name: str, seen: SeenValue | None) -> str:
        """A parameter with its annotation, if it has one."""
        hint = self.of(seen.type) if seen is not None else None
        return f"{name}: {hint}" if hint else name

    def of(self, type_: str | None) -> str | None:
        """A type as an annotation in this module; None if it has no name here.

        Names in `type_` are builtins, or `module:name`.
        """
        if type_ is None:
            return None
        before, only = set(self.imports), set(self._only)
        try:
            text = _WORD.sub(lambda match: self._named(match[0]), type_)
        except _Unnamed:
            self.imports, self._only = before, only
            return None
        lazy = {item.binds for item in self._only} & set(re.findall(r"\w+", text))
        return f'"{text}"' if lazy and self._quotes else text

    def header(self) -> list[str]:
        """The module's imports."""
        imports = set(self.imports)
        if not self._only:
            return import_lines(imports)
        imports |= {Import("typing", "TYPE_CHECKING")}
        imports |= set() if self._quotes else {Import("__future__", "annotations")}
        only = [INDENT + line if line else "" for line in import_lines(self._only)]
        return [*import_lines(imports), "", "if TYPE_CHECKING:", *only]

    @property
    def _quotes(self) -> bool:
        if Import("__future__", "annotations") in self.imports:
            return False
        return self.fixed or "annotations" in self._bound

    @property
    def _bound(self) -> set[str]:
        return self.taken | {item.binds for item in self.imports | self._only}

    def _named(self, word: str) -> str:
        module, _, name = word.partition(":")
        if not name:
            if word in self._bound:
                raise _Unnamed
            return word
        if module == "__main__":
            return self._own(name)
        return self._known(module, name) or self._imported(module, name)

    def _own(self, name: str) -> str:
        """A class of the notebook, at its new home."""
        home = self.homes.get(name.partition(".")[0])
        if home is None:
            return self._named(ANY)
        if home == self.module:
            return name
        return self._known(f".{home}", name) or self._imported(f".{home}", name)

    def _known(self, module: str, name: str) -> str | None:
        """A class by the imports that the module has anyway."""
        root, _, rest = name.partition(".")
        for item in sorted(self.imports | self._only, key=lambda i: (i.module, i.what)):
            if (item.module, item.name) == (module, root):
                return f"{item.binds}.{rest}" if rest else item.binds
        for item in sorted(self.imports | self._only, key=lambda i: (i.module, i.what)):
            if not item.module and item.name == module:
                return f"{item.alias or item.name}.{name}"
            if item.module and f"{item.module}.{item.name}" == module:
                return f"{item.binds}.{name}"
        return None

    def _imported(self, module: str, name: str) -> str:
        """A class by an import of our own, which only hints need."""
        alias = _USUAL.get(module)
        if alias is not None and alias not in self._bound:
            self._need(Import("", module, alias))
            return f"{alias}.{name}"
        self._need(Import(module, name.partition(".")[0]))
        return name

    def _need(self, item: Import) -> None:
        if item in self.imports | self._only:
            return
        light = (item.module or item.name).partition(".")[0] in sys.stdlib_module_names
        checking = Import("typing", "TYPE_CHECKING")
        if item.binds in self._bound or (
            not light and "TYPE_CHECKING" in self._bound and checking not in self.imports
        ):
            raise _Unnamed
        (self.imports if light else self._only).add(item)


def has_annotations(nodes: Iterable[ast.AST]) -> bool:
    """True if any code of the notebook is annotated, so that it may look at its annotations."""
    return any(
        isinstance(node, ast.AnnAssign)
        or (isinstance(node, ast.arg) and node.annotation is not None)
        or (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None)
        for top in nodes
        for node in ast.walk(top)
    )


# --- docstrings ----------------------------------------------------------------------------------


def docstring(summary: str, shapes: Sequence[tuple[str, str]] = (), indent: str = INDENT) -> list[str]:
    """A docstring: its summary, then `name: shape` for each value of which more than its type is known."""
    width = WIDTH - len(indent)
    details = [f"{name}: {shape}" for name, shape in shapes if shape]
    lines = textwrap.wrap(f'"""{summary}', width, break_long_words=False, break_on_hyphens=False)
    if len(lines) == 1 and not details:
        return [f'{indent}{lines[0]}"""']
    lines += [*([""] if details else []), *details, '"""']
    return [indent + line if line else "" for line in lines]


def shapes_of(
    takes: Sequence[SeenValue | None], gives: Sequence[tuple[str, SeenValue]]
) -> list[tuple[str, str]]:
    """Names and shapes for a docstring, what is taken first; twice a name that comes out changed."""
    given = {value.name: value for name, value in gives if name == value.name}
    lines = []
    for value in (value for value in takes if value is not None):
        after = given.pop(value.name, None)
        changed = after is not None and after.shape != value.shape
        lines.append((f"{value.name} before" if changed else value.name, value.shape))
        if after is not None and changed:
            lines.append((f"{value.name} after", after.shape))
    return lines + [(name, value.shape) for name, value in gives if name != value.name or value.name in given]


def listed(names: Sequence[str]) -> str:
    """`a`, `b` and `c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def cells(numbers: Iterable[int]) -> str:
    """`cell 7`, or `cells 7 and 9`."""
    texts = [str(number) for number in numbers]
    return f"cell{'s' if len(texts) > 1 else ''} {listed(texts)}"


def safe(text: str) -> str:
    """A text that may stand in a docstring."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text)
