"""How MLflow is called: quietly, without waiting for minutes, its failures told as ours."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from nb2prod.errors import RegistryError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM_TEXTS = ("no space left", "disk is full", "quota exceeded", "file too large")

_VENDORS = {"mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "botocore", "boto3", "azure", "google"}
"""Whose errors are MLflow's: its own, its database's, its HTTP client's, its artifact stores'."""

_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # or MLflow copies a uv.lock that lies where we happen to run
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
}

IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""For the first call: is it MLflow that answers? A server that has just started takes its time."""

CONNECT_SECONDS = 5.0


@contextlib.contextmanager
def mlflow_calls(uri: str, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Around every call of MLflow. Raises RegistryError: NB400 not reached, NB401 no room left.

    A setting that the user has made in the environment stands.
    """
    wanted = {**_SETTINGS, **(settings or {})}
    with _environment({k: v for k, v in wanted.items() if k not in os.environ}):
        import mlflow  # noqa: F401  (it sets its loggers when it is imported: before we calm them)

        with _calm(), _told_as_ours(uri):
            yield


@contextlib.contextmanager
def _told_as_ours(uri: str) -> Iterator[None]:
    # MLflow lets through what its database, its HTTP client and its artifact stores raise
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:
        if not _is_theirs(error):
            raise
        raise failure(error, uri) from error


def knock(uri: str) -> None:
    """Raises OSError if no one listens where an HTTP address points to; a proxy's business is left to it."""
    address = urlsplit(uri)
    proxied = address.scheme in getproxies() and not proxy_bypass(address.hostname or "")
    if address.scheme in ("http", "https") and address.hostname and not proxied:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), CONNECT_SECONDS).close()


def failure(error: BaseException, uri: str) -> RegistryError:
    """What went wrong with MLflow or its disk, as our error."""
    if _is_no_room(error):
        return RegistryError(
            f"no room left to store the release: {_told(error)}",
            code="NB401",
            hint="Free some disk space and deploy again: nothing was registered.",
        )
    return RegistryError(
        f"MLflow at {uri} cannot be used: {_told(error)}",
        hint="Is MLFLOW_TRACKING_URI right, and is the server up? Without it, SQLite under .nb2prod is used.",
    )


def _is_theirs(error: BaseException) -> bool:
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(modules & _VENDORS)


def _is_no_room(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        # copytree gathers the errors of many files as texts, and SQLite's reach us as texts too
        if any(text in str(error).lower() for text in _NO_ROOM_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """No migration logs, no advice: what matters to the user comes back as errors."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
