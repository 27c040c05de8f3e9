"""The control plane: the only room that drives a Ray cluster. Importing it imports no Ray.

    up, find, down       the cluster of a project
    deploy, restore      its endpoints
    status, logs, dashboard_url, dashboard_token

`cluster` and `endpoints` say what is to be done; `driver` does it with Ray, in a process of its own
(`agent`), which `link` asks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nb2prod.control.cluster import ClusterInfo as ClusterInfo
    from nb2prod.control.cluster import down as down
    from nb2prod.control.cluster import find as find
    from nb2prod.control.cluster import up as up
    from nb2prod.control.endpoints import dashboard_token as dashboard_token
    from nb2prod.control.endpoints import dashboard_url as dashboard_url
    from nb2prod.control.endpoints import deploy as deploy
    from nb2prod.control.endpoints import restore as restore
    from nb2prod.control.endpoints import status as status
    from nb2prod.control.logfiles import logs as logs

_WHERE = {
    "ClusterInfo": "cluster",
    "dashboard_token": "endpoints",
    "dashboard_url": "endpoints",
    "deploy": "endpoints",
    "down": "cluster",
    "find": "cluster",
    "logs": "logfiles",
    "restore": "endpoints",
    "status": "endpoints",
    "up": "cluster",
}

__all__ = [
    "ClusterInfo",
    "dashboard_token",
    "dashboard_url",
    "deploy",
    "down",
    "find",
    "logs",
    "restore",
    "status",
    "up",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
