"""What `ray start` leaves out of our local clusters. Ray calls it by name: RAY_START_HOOK."""

from __future__ import annotations

from typing import Any


def trim(params: Any, head: bool) -> None:
    """No Ray Client server and no autoscaler: a cluster of one machine needs neither, and each costs
    seconds of start and 100 MB."""
    params.ray_client_server_port = None
    params.no_monitor = True
