"""From what answering requests imported to pinned requirements: which roles need each, and what for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nb2prod.domain import ROLES, Bundle, Diagnostic, Requirement, Role
from nb2prod.errors import ParityError
from nb2prod.validation.installed import LOCAL, Installed, canonical, prefixes
from nb2prod.validation.verdict import place_of, where

Loaded = Mapping[str, Mapping[str, Any]]
"""By module: its `file`, `by` which module it was imported first, and `at` which lines of the package."""


def required(bundle: Bundle, loaded: Loaded) -> tuple[tuple[Requirement, ...], tuple[Diagnostic, ...]]:
    """What a bundle needs installed, from the modules that were loaded as it answered; and warnings.

    In the order of `requirements.txt`: what the package asks for, what that needs, what that only
    makes use of. Raises ParityError NB327 for modules that no installed distribution claims; a warning
    NB328 tells of distributions that a registry would not give back.
    """
    here = Installed()
    owners = {name: here.owners(name, Path(seen["file"])) for name, seen in loaded.items()}
    _refuse_unclaimed(bundle, loaded, owners)
    graph = _graph(bundle, loaded, _settled(owners), here)
    found = graph.requirements([stage.role for stage in bundle.plan.stages], here)
    return found, tuple(_warnings(found, here))


def _settled(owners: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Where several distributions claim a file, those count that are needed anyway: all, if none is."""
    sure = frozenset[str]().union(*(names for names in owners.values() if len(names) == 1))
    return {module: names & sure or names for module, names in owners.items()}


@dataclass
class _Graph:
    """Distributions, and why they are there. `direct` tells which roles ask for one themselves."""

    direct: dict[str, set[Role]] = field(default_factory=lambda: defaultdict(set))
    declared: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    imported: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def requirements(self, stages: list[Role], here: Installed) -> tuple[Requirement, ...]:
        """All of them, sorted."""
        needed = self._needed()
        via = {name: self._via(name, needed) for name in self.imported.keys() | needed}
        roles = self._roles(via, stages)
        found = [
            Requirement(
                here[name].name,
                here[name].version,
                tuple(role for role in ROLES if role in roles[name]),
                () if name in self.direct else tuple(sorted(here[other].name for other in via[name])),
                bool(via[name]) and name not in needed,
            )
            for name in sorted(via)
        ]
        return tuple(sorted(found, key=lambda item: (bool(item.via), item.optional)))

    def _needed(self) -> set[str]:
        """What the package asks for, and all that declares itself to need."""
        found, todo = set(self.direct), list(self.direct)
        while todo:
            new = self.declared[todo.pop()] - found
            found |= new
            todo += new
        return found

    def _via(self, name: str, needed: set[str]) -> set[str]:
        declaring = {other for other, names in self.declared.items() if name in names}
        return declaring & needed if name in needed else declaring | self.imported[name]

    def _roles(self, via: Mapping[str, set[str]], stages: list[Role]) -> dict[str, set[Role]]:
        """By distribution: the roles that ask for it, or for what it is there for; all, if none is known."""
        roles = {name: set(self.direct.get(name, ())) for name in via}
        for name in via:
            if not roles[name] and not via[name]:
                roles[name] = set(stages)
        growing = True
        while growing:
            more = {name: roles[name].union(*(roles[other] for other in via[name])) for name in via}
            growing, roles = more != roles, more
        return roles


def _graph(bundle: Bundle, loaded: Loaded, owners: Mapping[str, frozenset[str]], here: Installed) -> _Graph:
    graph = _Graph()
    for role, module in _asked(bundle):
        for name in _distributions(module, owners, here):
            graph.direct[name].add(role)
    for module, seen in loaded.items():
        by = owners.get(seen["by"], frozenset())
        for name in owners[module]:
            graph.imported[name] |= by - {name}
            if seen["at"]:
                graph.direct[name] |= _roles_at(seen["at"], known=bool(graph.direct.get(name)))
    present = graph.imported.keys() | graph.direct.keys()
    for name in present:
        graph.declared[name] = set(here[name].declared & present)
    return graph


def _asked(bundle: Bundle) -> Iterator[tuple[Role, str]]:
    """Role by role, the modules that its code, its state and, for the first one, its requests need."""
    assert bundle.evidence is not None
    stored = {item.key: item.modules for item in bundle.evidence.state}
    for item in bundle.evidence.accelerated:
        stored[item.key] = (*stored[item.key], "onnxruntime")
    for role, needs in bundle.needs.items():
        yield from ((role, item.module) for item in needs.imports)
        yield from ((role, module) for key in needs.state for module in stored.get(key, ()))
    yield from ((bundle.plan.stages[0].role, module) for module in bundle.evidence.decoding)


def _distributions(module: str, owners: Mapping[str, frozenset[str]], here: Installed) -> frozenset[str]:
    """What a module comes with: what was loaded tells best, else what is installed under its name."""
    nearest = next((owners[name] for name in prefixes(module) if name in owners), None)
    if nearest is not None:
        return nearest
    parts = (names for name, names in owners.items() if name.startswith(f"{module}."))
    return frozenset[str]().union(*parts) or here.named(module)


def _roles_at(at: Iterable[tuple[str, int]], known: bool) -> set[Role]:
    """The role whose code imported something, by the lines of the package on the way there, innermost first.

    Helpers and state are loaded by whichever role comes first: of them, what is `known` tells better.
    """
    names = [Path(file).stem for file, _ in at]
    if names[0] not in ROLES and (names[0] != "helpers" or known):
        return set()
    nearest = next((name for name in names if name in ROLES), None)
    return {role for role in ROLES if role == nearest}


# --- findings ------------------------------------------------------------------------------------


def _refuse_unclaimed(bundle: Bundle, loaded: Loaded, owners: Mapping[str, frozenset[str]]) -> None:
    first: dict[str, str] = {}
    for module, names in owners.items():
        if not names:
            first.setdefault(module.partition(".")[0], module)
    if first:
        raise ParityError.of([_unclaimed(bundle, module, loaded[module]) for module in first.values()])


def _unclaimed(bundle: Bundle, module: str, seen: Mapping[str, Any]) -> Diagnostic:
    asked = "" if seen["at"] else f" (for {seen['by']})"
    return Diagnostic(
        "NB327",
        "error",
        f"serving imports {module!r}{asked} from {seen['file']}, which no installed package claims:"
        " it will be missing where the release is served",
        hint="Move its code into a cell, or make a package of it and install that: `pip install FOLDER`.",
        **where(place_of(bundle, seen["at"], module)),
    )


def _warnings(found: Iterable[Requirement], here: Installed) -> Iterator[Diagnostic]:
    for item in found:
        origin = here[canonical(item.name)].origin
        if origin is not None:
            message = f"{item.name} {origin}: a registry may not have {item.pin}, or another one"
            yield Diagnostic("NB328", "warning", message, hint=_HINT[origin == LOCAL].format(item.name))


_HINT = {
    True: "Whoever installs {0} needs the index that it came from: PIP_EXTRA_INDEX_URL, or UV_INDEX.",
    False: "Install a release of {0} from a registry that production reaches as well.",
}
