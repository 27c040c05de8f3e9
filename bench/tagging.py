"""Tags put on real notebooks by chance, so that the whole of extraction runs on code as people write it.

Most taggings follow the data: the example is made of a name that the model's cell reads. Some are wild.
Nothing that is tagged so need make sense: what is asked is that extraction answers or refuses, always.
"""

from __future__ import annotations

import ast
import functools
import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from nb2prod.domain import Bundle, Cell, Notebook

ASKS = re.compile(r"\.(?:predict|predict_proba|transform|decision_function|generate|forward|encode)\((\w+)")


@dataclass
class Tagging:
    """Tags by cell id, and an example cell to put before one of the cells."""

    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    example: tuple[str, Cell] | None = None


def tagged(book: Notebook, seed: int) -> Notebook | None:
    """The notebook with roles and an example; None where nothing can be tagged.

    Cells that don't parse, and those ruled by a magic, are tagged `skip`, so that extraction gets past them.
    """
    chance = random.Random(f"{book.digest}{seed}")
    plain = [
        cell for cell in book.code if _tree(cell.code) is not None and cell.code.strip() and not cell.magic
    ]
    if not plain:
        return None
    tagging = _wild(plain, chance) if chance.random() < 0.1 else _by_data(plain, chance)
    for cell in book.code:
        if _tree(cell.code) is None or cell.magic:
            tagging.tags[cell.id] = ("skip",)
    cells: list[Cell] = []
    for cell in book.cells:
        if tagging.example and tagging.example[0] == cell.id:
            cells.append(tagging.example[1])
        cells.append(replace(cell, tags=tagging.tags.get(cell.id, ()) if cell.kind == "code" else ()))
    return replace(book, cells=tuple(replace(c, number=i) for i, c in enumerate(cells, 1)))


def _wild(plain: list[Cell], chance: random.Random) -> Tagging:
    """Any tags anywhere."""
    found = Tagging()
    roles = (
        "model",
        "example",
        "preprocess",
        "postprocess",
        "reference",
        "metrics",
        "check",
        "parameters",
        "skip",
    )
    for role in roles[: chance.randint(2, len(roles))]:
        found.tags.setdefault(chance.choice(plain).id, (role,))
    return found


def _by_data(plain: list[Cell], chance: random.Random) -> Tagging:
    """A cell that reads values of the cells above it is the model; the example replaces one of them."""
    choices = [i for i in range(len(plain)) if _candidates(plain, i)]
    if not choices:
        return _wild(plain, chance)
    asking = [i for i in choices if ASKS.search(plain[i].code)]
    at = chance.choice(asking[-3:]) if asking and chance.random() < 0.7 else chance.choice(choices)
    found = Tagging({plain[at].id: ("model",)})
    after = plain[at + 1 : at + 2]
    if after and _bound(plain[at]) & _read(after[0]) and chance.random() < 0.4:
        found.tags[after[0].id] = ("postprocess",)
    name = _request(plain, at, chance)
    binders = [i for i in range(at) if name in _bound(plain[i])]
    if chance.random() < 0.15:
        found.tags[plain[binders[-1]].id] = ("example",)
    elif chance.random() < 0.3 and _candidates(plain, binders[-1]):
        found.tags[plain[binders[-1]].id] = ("preprocess",)
        found.example = (plain[binders[-1]].id, _example(_request(plain, binders[-1], chance), chance))
    else:
        found.example = (plain[at].id, _example(name, chance))
    return found


def _example(name: str, chance: random.Random) -> Cell:
    code = chance.choice([f"{name} = {name}[:3]", f"{name} = {name}.head(3)", f"{name} = {{'a': 1}}"])
    return Cell(0, "an-example", "code", code, ("example",), code)


def _request(plain: list[Cell], at: int, chance: random.Random) -> str:
    names = _candidates(plain, at)
    asked = ASKS.search(plain[at].code)
    return asked[1] if asked and asked[1] in names and chance.random() < 0.8 else chance.choice(names)


def _candidates(plain: list[Cell], at: int) -> list[str]:
    """What a cell reads and a cell above it has assigned."""
    above = set().union(*(_bound_anywhere(cell.code) for cell in plain[:at]))
    return sorted(_read(plain[at]) & above)


def _read(cell: Cell) -> frozenset[str]:
    """The names that a cell reads before it binds them, as far as their places tell."""
    seen: dict[str, bool] = {}
    for name, binds in _places(cell.code):
        seen.setdefault(name, binds)
    return frozenset(name for name, binds in seen.items() if not binds)


def _bound(cell: Cell) -> frozenset[str]:
    return _bound_anywhere(cell.code)


def _bound_anywhere(code: str) -> frozenset[str]:
    return frozenset(name for name, binds in _places(code) if binds)


@functools.lru_cache(maxsize=4096)
def _places(code: str) -> tuple[tuple[str, bool], ...]:
    """Each name and whether it is bound there, in the order in which they stand; `x = f(x)` reads first."""
    tree = _tree(code)
    found = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Del):
            binds = isinstance(node.ctx, ast.Store)
            found.append((node.lineno, binds, node.col_offset, node.id))
    return tuple((name, binds) for _, binds, _, name in sorted(found))


def _tree(code: str) -> ast.Module | None:
    try:
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(code, "<cell>", "exec", flags)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    assert isinstance(tree, ast.Module)
    return tree


def keep(bundle: Bundle, folder: Path) -> None:
    """Write a package's files, for other tools to look at."""
    for path, text in bundle.files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
