"""What installs packages into an environment: uv where it is, else pip; with the user's own settings."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from nb2prod.errors import SetupError

_ELSEWHERE = frozenset(
    {"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "UV_TARGET", "UV_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON"}
    | {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON"}
)
"""Settings that would install to, or take as installed from, another place than the one that we name."""

_UV_SETTINGS = frozenset(
    {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"}
    | {"UV_CONFIG_FILE"}
)
_AS_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
"""pip's settings by the variable that tells uv the same; uv itself reads none of pip's."""

_UNREACHABLE = re.compile(
    r"failed to fetch|error sending request|connection (refused|error|broken)|timed out|max retries"
    r"|name resolution|name or service not known|unreachable|certificate|network (was|is) disabled",
    re.IGNORECASE,
)
_UNSOLVABLE = re.compile(r"ResolutionImpossible|because these package versions")
_SECRET = re.compile(r"(?<=://)[^/\s@]+@")
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Installer:
    """A tool and its version; its command up to the name of the file; the environment that it runs in."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]

    def install(self, requirements: Path) -> None:
        """Install a requirements file. Raises SetupError NB332 if that is impossible, NB333 if the registry
        does not answer."""
        with subprocess.Popen(
            [*self.command, str(requirements)],
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # pip has a process of its own behind it
                raise
        if process.returncode:
            raise _failure(self.name, output)


def installer(python: Path) -> Installer:
    """What installs into an interpreter's environment; SetupError NB334 if there is neither uv nor pip."""
    if (found := with_uv(python) or with_pip(python)) is not None:
        return found
    raise SetupError(
        "an empty environment cannot be filled: neither uv nor pip is here",
        code="NB334",
        hint="Install one of them: `python -m ensurepip` brings pip.",
    )


def with_uv(python: Path) -> Installer | None:
    """uv, on the path or as a package; None if it is not here."""
    uv = shutil.which("uv")
    if uv is None and importlib.util.find_spec("uv") is None:
        return None
    command = [uv] if uv is not None else [sys.executable, "-m", "uv"]
    name = " ".join(_output([*command, "--version"]).split()[:2])
    command += ["pip", "install", "--python", str(python), "--no-progress", "--color", "never"]
    environment = _environment()
    return Installer(name, [*command, "--requirement"], {**environment, **_for_uv(environment)})


def with_pip(python: Path) -> Installer | None:
    """The pip that is here, which installs into other environments too; None if it is not here."""
    if importlib.util.find_spec("pip") is None:
        return None
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-input"]
    command += ["--disable-pip-version-check", "--no-color", "--progress-bar", "off", "--requirement"]
    return Installer(f"pip {metadata.version('pip')}", command, _environment())


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}


def _for_uv(environment: Mapping[str, str]) -> dict[str, str]:
    """Where pip is set up and uv is not, what pip was told, told to uv."""
    if _UV_SETTINGS & environment.keys() or any(file.is_file() for file in _uv_files(environment)):
        return {}
    told = {_AS_UV[key]: value for key, value in _pip_settings().items() if key in _AS_UV}
    if "UV_FIND_LINKS" in told:
        told["UV_FIND_LINKS"] = ",".join(told["UV_FIND_LINKS"].split())
    if "UV_INDEX" in told:  # pip takes the best of all indexes
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: " ".join(value.split()) for name, value in told.items() if name not in environment}


def _uv_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    own = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return own / "uv" / "uv.toml", Path("/etc/uv/uv.toml")


def _pip_settings() -> dict[str, str]:
    """What pip's files and variables say, the nearer ones last."""
    if importlib.util.find_spec("pip") is None:
        return {}
    lines = _output([sys.executable, "-m", "pip", "config", "list"]).split("\n")
    found: dict[str, str] = {}
    for level in ("global.", "install.", ":env:."):
        for line in lines:
            key, equals, value = line.partition("=")
            if equals and key.startswith(level):
                found[key.removeprefix(level)] = str(ast.literal_eval(value))
    return found


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def _failure(name: str, output: str) -> SetupError:
    lines = [line.rstrip() for line in _SECRET.sub("", output).split("\n") if line.strip()]
    told = "\n".join(f"  {line}" for line in lines[-_SHOWN:])
    if _UNREACHABLE.search(output) and not _UNSOLVABLE.search(output):
        return SetupError(
            f"the package registry does not answer ({name}):\n{told}",
            code="NB333",
            hint="Is the network up, and the index right (PIP_INDEX_URL, PIP_CONFIG_FILE, UV_DEFAULT_INDEX)?",
        )
    return SetupError(
        f"requirements.txt cannot be installed ({name}):\n{told}",
        code="NB332",
        hint="If versions contradict each other, `pip check` names them: install here versions that agree.",
    )
