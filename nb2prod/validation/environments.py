"""Empty virtual environments that hold what a requirements.txt says; kept, and used again for the same one.

One lies in a folder named by the digest of its requirements. It is made beside and renamed when whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nb2prod.domain import digest
from nb2prod.errors import SetupError
from nb2prod.validation.installers import installer

_MADE = "made.json"


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment. `packages` counts the distributions in it; `seconds` is 0 if it was there already."""

    folder: Path
    installer: str
    packages: int
    megabytes: float
    seconds: float = 0.0

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"


def prepared(requirements: str, home: Path, tell: Callable[[str], None] = lambda what: None) -> Environment:
    """The environment with the text of a requirements file installed, and nothing else, under `home`.

    Whoever asks for the same at the same time waits for the first. `tell` hears what is done.
    Raises SetupError NB332 (cannot be installed), NB333 (no registry) or NB334 (no environment).
    """
    pins = sorted(pin for line in requirements.split("\n") if (pin := line.partition("#")[0].strip()))
    home.mkdir(parents=True, exist_ok=True)
    folder = home / digest(*pins, *_interpreter())[:16]
    with _alone(home / f".{folder.name}.lock"):
        return _there(folder) or _made(folder, pins, requirements, tell)


def _interpreter() -> tuple[str, ...]:
    return os.path.realpath(sys.executable), platform.python_version(), sysconfig.get_platform()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process or thread at a time; the system lets go of the lock when its holder ends."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _there(folder: Path) -> Environment | None:
    """A whole environment whose interpreter still exists."""
    made = folder / _MADE
    if not made.is_file() or not (folder / "bin" / "python").exists():
        return None
    return Environment(folder, **json.loads(made.read_text("utf-8")))


def _made(folder: Path, pins: list[str], requirements: str, tell: Callable[[str], None]) -> Environment:
    scratch = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    started = time.perf_counter()
    try:
        tell("an empty environment")
        _create(scratch)
        (scratch / "requirements.txt").write_text(requirements, "utf-8")
        by = _fill(scratch, pins, tell)
        count, size = _count(scratch), _megabytes(scratch)
        facts = {"installer": by, "packages": count, "megabytes": size}
        (scratch / _MADE).write_text(json.dumps(facts), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Environment(folder, by, count, size, time.perf_counter() - started)


def _create(folder: Path) -> None:
    try:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise SetupError(
            f"no virtual environment can be made with {sys.executable}: {error}",
            code="NB334",
            hint="Does `python -m venv --without-pip FOLDER` work, and is there room on the disk?",
        ) from error


def _fill(folder: Path, pins: list[str], tell: Callable[[str], None]) -> str:
    if not pins:
        return "nothing to install"
    tool = installer(folder / "bin" / "python")
    tell(f"{len(pins)} requirement{'s' if len(pins) > 1 else ''} ({tool.name})")
    tool.install(folder / "requirements.txt")
    return tool.name


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("lib/python*/site-packages/*.dist-info"))


def _megabytes(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)
