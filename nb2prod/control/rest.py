"""The dashboard of a cluster that RAY_ADDRESS names, asked over HTTP: connecting to it takes seconds."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nb2prod.control.cluster import ClusterInfo
from nb2prod.errors import ClusterError

TIMEOUT_S = 5.0

# a proxy that the environment names must not stand between this machine and itself
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def token(info: ClusterInfo) -> str | None:
    """The token that a cluster's dashboard asks for, where there is one: Ray's own rules, in its order."""
    if info.token:
        return Path(info.token).read_text("utf-8").strip()
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return value
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return file.read_text("utf-8").strip() if file.is_file() else None


def applications(info: ClusterInfo) -> dict[str, Any]:
    """Serve's applications by name: {"status", "message", "replicas" (how many run)}.

    Raises ClusterError if the dashboard does not answer.
    """
    request = urllib.request.Request(f"{info.dashboard}/api/serve/applications/")
    try:
        if (secret := token(info)) is not None:
            request.add_header("Authorization", f"Bearer {secret}")
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            found = json.load(answer).get("applications", {})
    except (OSError, ValueError) as error:
        raise ClusterError(f"the cluster's dashboard does not answer: {error}", hint="Try again.") from error
    return {name: _application(app) for name, app in found.items()}


def _application(app: Mapping[str, Any]) -> dict[str, Any]:
    replicas = [r for d in app["deployments"].values() for r in d["replicas"] if r["state"] == "RUNNING"]
    return {"status": app["status"], "message": app["message"], "replicas": len(replicas)}
