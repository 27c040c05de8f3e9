"""Looks at what nb2prod needs of the machine, importing none of the heavy packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from nb2prod.project import Project

PACKAGES = ("papermill", "mlflow", "ray", "ipykernel", "pandas", "scikit-learn")
MIN_FREE_GIB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `ok` is None where it only informs."""

    name: str
    ok: bool | None
    detail: str
    hint: str = ""


def examine(project: Project) -> tuple[Finding, ...]:
    """All findings for a project, in the order in which they matter."""
    return (
        _python(),
        *_packages(),
        _kernel(),
        _disk(project),
        _registry(),
        _cluster(project),
        *_ports(project),
    )


def _python() -> Finding:
    fits = sys.version_info >= (3, 11)
    return Finding("Python", fits, platform.python_version(), "" if fits else "Install Python 3.11 or newer.")


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                name, False, "not installed", "Install nb2prod with its dependencies: pip install nb2prod"
            )


def _kernel() -> Finding:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Finding(
            "kernel python3", False, "not found", f"Run: {sys.executable} -m ipykernel install --sys-prefix"
        )
    return Finding("kernel python3", True, " ".join(spec.argv[:1]))


def _disk(project: Project) -> Finding:
    free = shutil.disk_usage(project.root).free / 2**30
    fits = free >= MIN_FREE_GIB
    return Finding("disk", fits, f"{free:.1f} GiB free at {project.root}", "" if fits else "Free some space.")


def _registry() -> Finding:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return Finding("registry", None, f"MLflow at {uri}" if uri else "MLflow on SQLite, in .nb2prod")


def _cluster(project: Project) -> Finding:
    from nb2prod import control

    if address := os.environ.get("RAY_ADDRESS"):
        return Finding("cluster", None, f"RAY_ADDRESS is {address}")
    info = control.find(project.home)
    return Finding("cluster", None, f"runs: {info.url}" if info else "not running (`nb2prod up` starts it)")


def _ports(project: Project) -> Iterator[Finding]:
    from nb2prod import control
    from nb2prod.control.cluster import beside

    place, info = project.settings, control.find(project.home)
    if info is not None:
        yield from (
            Finding(f"port {p}", None, "in use by this cluster") for p in (info.port, info.grpc_port) if p
        )
        return
    yield _port(place.host, "port", place.port)
    yield _port(place.host, "grpc_port", place.grpc_port or beside(place.port))


def _port(host: str, setting: str, port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = f"Free it, or set another: `{setting} = {port + 1}` under [tool.nb2prod] in pyproject.toml"
            return Finding(f"port {port}", False, f"{error.strerror}", hint)
    return Finding(f"port {port}", True, "free")
