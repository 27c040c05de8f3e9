"""What is installed here: which distribution a module or a file belongs to, and where it came from."""

from __future__ import annotations

import functools
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LOCAL = "is a local version"
_SITES = frozenset({"site-packages", "dist-packages"})


def canonical(name: str) -> str:
    """A distribution's name as all spellings of it compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Distribution:
    """An installed distribution. `root` is the folder that its files are named from."""

    name: str
    version: str
    root: Path
    meta: metadata.Distribution

    @functools.cached_property
    def record(self) -> str:
        """The list of its files: each between a line break and a comma. Empty if it came without one."""
        text = self.meta.read_text("RECORD")
        return f"\n{text}" if text else ""

    @functools.cached_property
    def tops(self) -> frozenset[str]:
        """The top-level modules that it brings."""
        if listed := (self.meta.read_text("top_level.txt") or "").split():
            return frozenset(listed)
        return frozenset(path.partition("/")[0].partition(".")[0] for path in self._modules())

    def _modules(self) -> Iterator[str]:
        for line in self.record.split("\n"):
            path = line.partition(",")[0]
            if path.endswith((".py", ".so", ".pyd")) and not path.startswith(".."):
                yield path

    def holds(self, top: str, file: Path) -> bool:
        """Whether a file lies where the top-level module of a name would be."""
        if not file.is_relative_to(self.root):
            return False
        return file.relative_to(self.root).parts[0].partition(".")[0] == top

    def claims(self, file: Path) -> bool:
        """Whether a file is on its list."""
        return (
            file.is_relative_to(self.root) and f"\n{file.relative_to(self.root).as_posix()}," in self.record
        )

    def has_part(self, module: str) -> bool:
        """Whether a module, or a part of it, is on its list."""
        path = module.replace(".", "/")
        return f"\n{path}/" in self.record or f"\n{path}." in self.record

    @functools.cached_property
    def declared(self) -> frozenset[str]:
        """Canonical names of what it needs; what only its extras need is left out."""
        parts = [text.partition(";") for text in self.meta.requires or ()]
        found = (_NAME.match(name) for name, _, marker in parts if "extra" not in marker)
        return frozenset(canonical(match[0]) for match in found if match)

    @functools.cached_property
    def folder(self) -> Path | None:
        """The source folder of an editable install."""
        if not self._direct.get("dir_info", {}).get("editable"):
            return None
        return Path(os.path.realpath(unquote(urlsplit(self._direct["url"]).path)))

    @functools.cached_property
    def _direct(self) -> dict[str, Any]:
        """How it was installed, if not by name from a registry (PEP 610)."""
        if (self.meta.read_text("INSTALLER") or "").strip() == "conda":
            return {}  # it names the folder where conda built it
        data: dict[str, Any] = json.loads(self.meta.read_text("direct_url.json") or "{}")
        return data

    @property
    def origin(self) -> str | None:
        """Where it came from, if `name==version` does not say so; None for a plain release."""
        if self.folder is not None:
            return f"is installed from the folder {self.folder}, as editable"
        if vcs := self._direct.get("vcs_info"):
            return f"is installed from {vcs['vcs']}, at {vcs['commit_id'][:12]}"
        if "url" in self._direct:
            return "is installed from a file or folder"
        if not self.record and not _SITES & set(self.root.parts):
            return f"lies in the folder {self.root}, and is not installed"
        return LOCAL if "+" in self.version else None


class Installed:
    """The distributions that this process could import from. All names are canonical."""

    def __init__(self) -> None:
        self._all: dict[str, Distribution] = {}
        self._hidden: list[tuple[str, Distribution]] = []
        self._named: dict[str, set[str]] = defaultdict(set)
        for meta in metadata.distributions():
            if name := _name(meta):
                found = Distribution(name, meta.version, _real(Path(str(meta.locate_file("")))), meta)
                # the first on the path is the one that counts, unless what is loaded came with another
                if self._all.setdefault(canonical(name), found) is not found:
                    self._hidden.append((canonical(name), found))
        for key, found in self._all.items():
            for top in found.tops:
                self._named[top].add(key)
        self._editable = {key: found.folder for key, found in self._all.items() if found.folder is not None}

    def __getitem__(self, name: str) -> Distribution:
        return self._all[name]

    def owners(self, module: str, file: Path) -> frozenset[str]:
        """The distribution that a loaded module came with: none of a file that none claims, several of
        the empty beginning of a package that they share."""
        top = module.partition(".")[0]
        file = _real(file)
        named = self._named.get(top, set())
        if len(named) == 1 and self._all[next(iter(named))].holds(top, file):
            return frozenset(named)
        around = (folder for folder in self._editable.values() if _is_source(file, folder))
        nearest = max(around, key=lambda folder: len(folder.parts), default=None)
        if nearest is not None:
            return frozenset(key for key, folder in self._editable.items() if folder == nearest)
        if found := frozenset(key for key, found in self._all.items() if found.claims(file)):
            return found
        return frozenset(self._uncovered(file))

    def _uncovered(self, file: Path) -> Iterator[str]:
        """Ray, once it is loaded, puts its own copy of psutil first on the path."""
        for key, found in self._hidden:
            if found.claims(file):
                self._all[key] = found
                yield key

    def named(self, module: str) -> frozenset[str]:
        """The distributions that a module by this name, which was not loaded, would come with."""
        top = module.partition(".")[0]
        found = self._named.get(top, set())
        for name in prefixes(module):
            if len(found) > 1 and (parts := {key for key in found if self._all[key].has_part(name)}):
                return frozenset(parts)
        return frozenset(found or {key for key, folder in self._editable.items() if _lies_in(folder, top)})


def _name(meta: metadata.Distribution) -> str | None:
    # a folder that an interrupted installer left behind has no metadata
    try:
        return str(meta.metadata["Name"] or "") or None
    except (TypeError, OSError, ValueError):
        return None


def _real(path: Path) -> Path:
    """With real folders; the file itself may be a link into an installer's cache."""
    return _real_folder(path.parent) / path.name


@functools.cache
def _real_folder(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _is_source(file: Path, folder: Path) -> bool:
    """Whether a file is one of a project's own: its virtual environment often lies in its folder too."""
    return file.is_relative_to(folder) and not _SITES & set(file.relative_to(folder).parts)


def prefixes(module: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _lies_in(folder: Path, top: str) -> bool:
    return any((base / top).is_dir() or (base / f"{top}.py").is_file() for base in (folder, folder / "src"))
