"""Whether answers depend on how a process hashes texts: Python seeds that anew each time it starts.

The order of a set of texts, and `hash(text)`, are other ones in each replica. A proof in one process can
pass by chance, so a package that may depend on it answers in two more, of seeds that differ.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nb2prod.domain import Bundle, StateFile, StateItem
from nb2prod.validation import compare
from nb2prod.validation.verdict import Place, place_of

SEEDS = range(1, 9)
"""Seeds of which the two are taken that order the texts of a package most differently."""

MAX_TEXTS = 60

ROUNDING = 1e-9
"""Relative difference that comes from the order of additions."""

MAX_BYTES = 10_000_000
"""Of a piece of state that is looked into."""

_MAKERS = frozenset({"set", "frozenset", "hash"})
_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference"})
_HINTS = {
    "set": "Use a list or `sorted(...)` wherever the order of the set counts, in the cells that train, too.",
    "hash": "Use `zlib.crc32(text.encode())`: it gives the same number everywhere.",
}


@dataclass(frozen=True, slots=True)
class Suspect:
    """What may differ from process to process: the order of a "set", or a "hash"."""

    kind: str
    what: str
    place: Place | None

    def __str__(self) -> str:
        return f"{'`hash` of a text' if self.kind == 'hash' else 'the order of a set'} ({self.what})"

    @property
    def hint(self) -> str:
        """How to do without."""
        return _HINTS[self.kind]


@dataclass(frozen=True, slots=True)
class Unsteady:
    """Answers that differ from process to process."""

    message: str
    hint: str
    place: Place | None


def suspects(bundle: Bundle, folder: Path) -> list[Suspect]:
    """The places in the notebook's code, and the pieces of state, that make or hold what may differ."""
    found = [
        Suspect(kind, f"`{ast.unparse(node)}`"[:60], place_of(bundle, [(name, node.lineno)]))
        for name, tree in _codes(bundle).items()
        for kind, node in _in_code(tree)
    ]
    items = {item.key: item for item in bundle.plan.state}
    state = bundle.evidence.state if bundle.evidence is not None else ()
    return found + [_held(items[file.key]) for file in state if _holds_set(file, folder)]


def _codes(bundle: Bundle) -> dict[str, ast.Module]:
    """The modules that hold code of the notebook."""
    names = dict.fromkeys(line.file for line in bundle.source_map)
    return {name: ast.parse(bundle.files[name]) for name in names if name in bundle.files}


def _held(item: StateItem) -> Suspect:
    return Suspect("set", f"`{item.name}`", Place(item.bound_cell, item.bound_number, item.bound_line))


def _in_code(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Sets that are made, but for those that are only asked what is in them; and calls of `hash`."""
    asked = {id(side) for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in _asked(node)}
    for node in ast.walk(tree):
        if id(node) in asked:
            continue
        if isinstance(node, ast.Set | ast.SetComp):
            yield "set", node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS:
            yield "hash" if node.func.id == "hash" else "set", node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _METHODS:
                yield "set", node
        elif isinstance(node, ast.BinOp) and any(map(_is_keys, (node.left, node.right))):
            yield "set", node


def _asked(node: ast.Compare) -> Iterator[ast.expr]:
    pairs = zip(node.ops, node.comparators, strict=True)
    return (side for op, side in pairs if isinstance(op, ast.In | ast.NotIn))


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "keys"


def _holds_set(file: StateFile, folder: Path) -> bool:
    if file.codec == "pickle" and file.bytes <= MAX_BYTES:
        data = (folder / file.file).read_bytes()
        # the opcodes EMPTY_SET and FROZENSET; by chance other bytes, which cost two processes
        return b"\x8f" in data or b"\x91" in data
    tree = _tree(file, folder)
    return b'"$set"' in tree or b'"$frozenset"' in tree


def _tree(file: StateFile, folder: Path) -> bytes:
    """The part of a piece of state that is JSON."""
    if file.bytes > MAX_BYTES:
        return b"null"
    path = folder / file.file
    if file.codec == "json":
        return path.read_bytes()
    if not file.codec.startswith("zip"):
        return b"null"
    with zipfile.ZipFile(path) as archive:
        return archive.read("tree.json")


def seeds_hint(found: list[Suspect]) -> str | None:
    """What to say of answers that differ from the notebook's, if hashes may be the cause."""
    if not found:
        return None
    return f"Perhaps because of {likely(found)}, which differs by process. {likely(found).hint}"


# --- two more processes --------------------------------------------------------------------------


def unsteady(
    bundle: Bundle, folder: Path, found: list[Suspect], ask: Callable[[int], dict[str, Any]]
) -> Unsteady | None:
    """What differs between the answers of two processes whose seeds differ; None if nothing does."""
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(ask, differing(_texts(bundle, folder)))
    if compare.same(_outcome(one), _outcome(other), ROUNDING):
        return None
    first = next(compare.mismatches(_outcome(one), _outcome(other), ROUNDING))
    suspect = likely(found)
    return Unsteady(
        f"the answers depend on {suspect}, which is another one in each process: one answered"
        f" {first.expected}, another {first.got}",
        suspect.hint,
        suspect.place,
    )


def likely(found: list[Suspect]) -> Suspect:
    """The likeliest of all; there must be one."""
    return min(found, key=lambda item: item.kind != "hash")


def _outcome(result: dict[str, Any]) -> Any:
    return result["error"]["message"] if result["error"] is not None else result["answers"]


def _texts(bundle: Bundle, folder: Path) -> list[str]:
    """Texts that may be in sets: names of fields, categories, and what stands in code and state."""
    assert bundle.evidence is not None
    fields = bundle.evidence.contract.fields
    found = [text for field in fields for text in (field.name, *(field.categories or ()))]
    for tree in _codes(bundle).values():
        nodes = ast.walk(tree)
        found += [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    for file in bundle.evidence.state:
        found += itertools.islice(_texts_in(json.loads(_tree(file, folder))), MAX_TEXTS)
    return list(dict.fromkeys(found))[:MAX_TEXTS]


def _texts_in(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, list | dict):
        for part in [*tree, *tree.values()] if isinstance(tree, dict) else tree:
            yield from _texts_in(part)


def differing(texts: Iterable[str]) -> tuple[int, int]:
    """The two seeds by which small sets of these texts come in the most different orders."""
    slots = dict(zip(SEEDS, _slots(list(texts)), strict=True))
    return max(itertools.combinations(SEEDS, 2), key=lambda two: _reversed(slots[two[0]], slots[two[1]]))


def _reversed(one: list[int], other: list[int]) -> int:
    pairs = itertools.combinations(range(len(one)), 2)
    return sum((one[a] - one[b]) * (other[a] - other[b]) < 0 for a, b in pairs)


def _slots(texts: list[str]) -> Iterator[list[int]]:
    """Where each text stands in a small set, by each seed."""
    code = "import json, sys; print([hash(t) & 7 for t in json.load(sys.stdin)])"
    with ThreadPoolExecutor(4) as threads:
        done = threads.map(lambda seed: _run(code, json.dumps(texts), seed), SEEDS)
        yield from [json.loads(text) for text in done]


def _run(code: str, given: str, seed: int) -> str:
    env = {**os.environ, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, env=env, input=given, capture_output=True, text=True, check=True).stdout
