"""What one request may cost, and how many may wait."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nb2prod.serving.http import Refused

HEADER = b"x-request-timeout-ms"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on requests.

    A body has at most `max_body` bytes and `max_rows` instances, and comes within `body_s` seconds. While
    `max_waiting` requests wait for the model, no other is taken. After `timeout_s` seconds a request is given
    up, sooner if its header x-request-timeout-ms says so.
    """

    max_body: int = 10 * 2**20
    max_rows: int = 10_000
    max_waiting: int = 1_000
    timeout_s: float = 60.0
    body_s: float = 30.0

    def seconds(self, header: str) -> float:
        """How long a request with this header may take; Refused 400 if it is no number of milliseconds."""
        if not header:
            return self.timeout_s
        try:
            asked = float(header) / 1000
        except ValueError:
            asked = math.nan
        if not 0 < asked < math.inf:
            raise Refused(400, f"{HEADER.decode()} is {header!r:.40}: expected milliseconds, more than 0")
        return min(asked, self.timeout_s)
