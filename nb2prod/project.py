"""A project on disk: its settings, its `.nb2prod` folder, and the rooms wired for it.

The only composition root. `[tool.nb2prod]` in pyproject.toml is read once, here; every setting has
a default, and a name that is none is refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nb2prod import flow
from nb2prod.domain import Bundle, Diagnostic, Endpoint, Evidence, Notebook, Release, Report, Side, to_json
from nb2prod.errors import UsageError
from nb2prod.flow import Rooms
from nb2prod.serving.limits import SETTINGS, Limits, is_number, is_whole

if TYPE_CHECKING:
    from nb2prod.control import ClusterInfo
    from nb2prod.registry import Registry

HOME = ".nb2prod"


@dataclass(frozen=True, slots=True)
class Settings(Limits):
    """[tool.nb2prod]. `host`, `port` and `grpc_port` (0: the one after `port`): where endpoints answer.

    `rtol`: relative tolerance of parity. `accelerate`: whether onnxruntime may answer for models, where that
    is proven to be the same. The limits are those of releases that are deployed or served from now on.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int = 0
    num_replicas: int = 1
    rtol: float = 0.0
    accelerate: bool = True

    @classmethod
    def of(cls, table: Any, file: Path) -> Settings:
        """The settings of a table; UsageError for a name or a value that does not fit."""
        if not isinstance(table, Mapping):
            raise UsageError(f"{file}: tool.nb2prod is {table!r}", hint="Write a table: [tool.nb2prod]")
        for name, value in table.items():
            if why := wrong(name, value):
                raise UsageError(f"{file}, [tool.nb2prod]: {why[0]}", hint=why[1])
        return cls(**table)

    @property
    def limits(self) -> Limits:
        """Those of them that bound requests."""
        return Limits.among(dataclasses.asdict(self))


_FITS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "host": ("a text", lambda v: isinstance(v, str)),
    "port": ("a whole number from 1 to 65535", lambda v: is_whole(v, 1, 65535)),
    "grpc_port": ("a whole number from 0 to 65535", lambda v: is_whole(v, 0, 65535)),
    "num_replicas": ("a whole number, 1 or more", lambda v: is_whole(v, 1)),
    "rtol": ("a number, 0 or more", lambda v: is_number(v) and v >= 0),
    "accelerate": ("true or false", lambda v: isinstance(v, bool)),
    **{name: (setting.expected, setting.fits) for name, setting in SETTINGS.items()},
}


def wrong(name: str, value: Any) -> tuple[str, str] | None:
    """What is wrong with a setting, and what to write instead; None if nothing is."""
    if name not in _FITS:
        close = difflib.get_close_matches(name, _FITS, 1)
        hint = f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(_FITS)}."
        return f"there is no setting `{name}`", hint
    expected, fits = _FITS[name]
    if fits(value):
        return None
    default = json.dumps(getattr(Settings(), name))
    return f"`{name}` is {value!r}", f"Expected {expected}; without it, it is {default}."


@dataclass(frozen=True)
class Project:
    """A folder with notebooks, its settings and its home (`.nb2prod`)."""

    root: Path
    settings: Settings

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project around a folder: the nearest with `.nb2prod`, [tool.nb2prod] or .git; else itself."""
        if override := os.environ.get("NB2PROD_PROJECT"):
            return cls.at(Path(override))
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (
                (folder / HOME).is_dir()
                or _table(folder / "pyproject.toml") is not None
                or (folder / ".git").exists()
            ):
                return cls.at(folder)
        return cls.at(start)

    @classmethod
    def at(cls, root: Path) -> Project:
        """The project in a folder."""
        file = root / "pyproject.toml"
        return cls(root.resolve(), Settings.of(_table(file) or {}, file))

    @property
    def home(self) -> Path:
        """Where everything that nb2prod keeps lies."""
        return self.root / HOME

    @property
    def work(self) -> Path:
        """Where proofs and packages lie."""
        return self.home / "work"

    def prepared_home(self) -> Path:
        """The home, made if need be; git is told to ignore it."""
        self.home.mkdir(parents=True, exist_ok=True)
        ignore = self.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", "utf-8")
        return self.home

    @functools.cached_property
    def registry(self) -> Registry:
        """MLflow: MLFLOW_TRACKING_URI if set, else SQLite in the home."""
        from nb2prod.registry import Registry

        home = self.prepared_home()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri:
            return Registry(uri, None, home / "releases")
        return Registry(f"sqlite:///{home / 'mlflow.db'}", home / "artifacts", home / "releases")

    # -- the cluster

    def up(
        self, *, host: str | None = None, port: int | None = None, grpc_port: int | None = None
    ) -> ClusterInfo:
        """The cluster, started if it does not run; every endpoint of the project restored."""
        from nb2prod import control

        home = self.prepared_home()
        info = control.up(
            home,
            host=host or self.settings.host,
            port=port or self.settings.port,
            grpc_port=grpc_port or self.settings.grpc_port,
        )
        control.restore(info, home)
        return info

    def serving(self, name: str) -> Endpoint | None:
        """The endpoint `name` if it answers now, within the limits that the settings say, else None."""
        from nb2prod import control

        info = control.find(self.home)
        if info is None:
            return None
        found = (s.endpoint for s in control.status(info, self.home) if s.state == "healthy")
        limits = self.settings.limits
        return next(
            (e for e in found if e.name == name and all(Limits.among(r.limits) == limits for r in e.routes)),
            None,
        )

    def deploy(self, release: Release, name: str) -> Endpoint:
        """The release behind the endpoint `name`; the cluster is started if need be."""
        from nb2prod import control

        home = self.prepared_home()
        place, limits = self.settings, to_json(self.settings.limits)
        info = control.find(home) or control.up(home, place.host, place.port, grpc_port=place.grpc_port)
        return control.deploy(release, info, home, name, place.num_replicas, limits=limits)

    # -- comparing

    def sides(self, a: str, b: str | None, name: str | None = None) -> tuple[Side, Side]:
        """What to compare, old and new. Without `b`: the champion with a notebook, or a release with it.

        `name` is that of the notebook's model, if not the file's. UsageError NB340 if there is no
        champion, NB341 if a side is nothing to compare.
        """
        if b is not None:
            return self.side(a, name), self.side(b, name)
        model = _read(a, name).name if _is_notebook(a) else a.partition("@")[0]
        if Path(a).is_dir() or a == model:
            hint = "Name the other side too: nb2prod diff A B."
            raise UsageError(f"there is nothing to compare {a} with", code="NB341", hint=hint)
        champion = self.registry.champion(model)
        if champion is None:
            hint = "Deploy it first, or say what to compare: nb2prod diff A B."
            raise UsageError(f"{model} has no champion to compare with", code="NB340", hint=hint)
        release = self._side_of(champion)
        return (release, self.side(a, name)) if _is_notebook(a) else (self.side(a), release)

    def side(self, what: str, name: str | None = None) -> Side:
        """One side: a notebook file, a package's folder, or a release: NAME (the champion), NAME@VERSION.

        UsageError: NB341 if it is none of these, NB402 for a release that does not exist.
        """
        if _is_notebook(what):
            rtol, accelerate = self.settings.rtol, self.settings.accelerate
            return flow.side(self.rooms(), _read(what, name), self.work, rtol=rtol, accelerate=accelerate)
        if (Path(what) / "manifest.json").is_file():
            return Side(what, _texts(Path(what)))
        model, _, version = what.partition("@")
        if not re.fullmatch(r"[\w.-]+", model) or Path(what).exists():
            hint = (
                "Name a notebook (my.ipynb), a release (NAME, NAME@3, NAME@champion) or a package's folder."
            )
            raise UsageError(f"{what} is nothing to compare", code="NB341", hint=hint)
        return self._side_of(self.registry.get(model, version or "champion"))

    def package(self, what: str) -> tuple[Path, Report | None]:
        """A package on disk and its report: a folder (it has no report), or a release as `side` takes it.

        UsageError: NB341 if it is neither, NB402 for a release that does not exist.
        """
        if (Path(what) / "manifest.json").is_file():
            return Path(what), None
        model, _, version = what.partition("@")
        if not re.fullmatch(r"[\w.-]+", model) or Path(what).exists():
            hint = "Name a release (NAME, NAME@3, NAME@champion) or a package's folder."
            raise UsageError(f"{what} is neither release nor package", code="NB341", hint=hint)
        release = self.registry.get(model, version or "champion")
        return release.path, self.registry.report(release)

    def _side_of(self, release: Release) -> Side:
        known = f" ({', '.join(release.aliases)})" if release.aliases else ""
        label = f"{release.model_name} version {release.version}{known}"
        return Side(label, _texts(release.path), self.registry.report(release))

    # -- serving without a cluster

    def limits(self, said: Mapping[str, Any]) -> Limits:
        """The settings' limits, but for those that are said; UsageError for one that does not fit."""
        for name, value in said.items():
            if why := wrong(name, value):
                raise UsageError(why[0], hint=why[1])
        return dataclasses.replace(self.settings.limits, **said)

    def served(self, what: str) -> tuple[Path, str, int]:
        """Package, name and version of what to serve: NAME, NAME@VERSION, NAME@ALIAS or a folder.

        A folder without a package stands back behind a release of its name. UsageError: NB511 if there is
        neither, NB402 for a release that does not exist.
        """
        from nb2prod.serving.local import CannotServe, name_of, package_in

        model, _, version = what.partition("@")
        is_name = re.fullmatch(r"[\w.-]+", model) is not None
        if Path(what).is_dir() or not is_name:
            try:
                folder = package_in(Path(what))
                return folder, name_of(folder), 1
            except CannotServe:
                if not is_name or not self.registry.versions(model):
                    raise
        release = self.registry.get(model, version or "champion")
        return release.path, release.model_name, release.version

    # -- the line

    def rooms(self) -> Rooms:
        """The rooms for this project. Heavy ones are imported when they are first entered."""
        return Rooms(
            expand=_late("validation", "expand"),
            check=_check,
            extract=_extract,
            clean_run=_late("validation", "clean_run"),
            write_package=_late("validation", "write_package"),
            prove=_late("validation", "prove"),
            accelerate=_late("validation", "accelerate"),
            isolate=functools.partial(_late("validation", "isolate"), envs=self.home / "envs"),
            find_release=lambda name, content: self.registry.find(name, content),
            register=lambda *args, **kwargs: self.registry.register(*args, **kwargs),
            promote=lambda release: self.registry.promote(release),
            serving=self.serving,
            deploy=self.deploy,
        )


def _is_notebook(what: str) -> bool:
    return what.endswith(".ipynb")


def _read(path: str, name: str | None) -> Notebook:
    from nb2prod.notebook import read

    return read(Path(path), name)


def _texts(package: Path) -> dict[str, str]:
    """The code and the descriptions of a package on disk, by their paths in it."""
    files = (*package.glob("*.py"), *package.glob("*.json"), package / "requirements.txt")
    return {file.name: file.read_text("utf-8") for file in files}


def _table(file: Path) -> Any:
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except OSError:
        return None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}", hint="Correct the file.") from error
    return data.get("tool", {}).get("nb2prod")


def _check(notebook: Notebook) -> tuple[Diagnostic, ...]:
    from nb2prod.extract import check

    return check(notebook)


def _extract(notebook: Notebook, evidence: Evidence | None) -> Bundle:
    from nb2prod.extract import extract

    return extract(notebook, evidence)


def _late(room: str, name: str) -> Any:
    """A function of a room that is imported only when it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        import importlib

        return getattr(importlib.import_module(f"nb2prod.{room}"), name)(*args, **kwargs)

    return call
