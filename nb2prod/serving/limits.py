"""What one request may cost, how many may wait, and how strict it is: settings of a release that serves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nb2prod.serving.http import Refused

HEADER = b"x-request-timeout-ms"

UNSEEN = ("count", "refuse")

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on requests.

    A body has at most `max_body` bytes and `max_rows` instances, and comes within `body_s` seconds. While
    `max_waiting` requests wait for the model, no other is taken. After `timeout_s` seconds a request is given
    up, sooner if its header x-request-timeout-ms says so. Several requests go to the model together up to
    `batch_rows` rows; one request's rows are never split. `unseen`: see the package's Predictor.
    """

    max_body: int = 10 * 2**20
    max_rows: int = 10_000
    max_waiting: int = 1_000
    timeout_s: float = 60.0
    body_s: float = 30.0
    batch_rows: int = 1_000
    unseen: str = UNSEEN[0]

    @classmethod
    def among(cls, data: Mapping[str, Any]) -> Limits:
        """Those that a mapping has, among what else it may have; else the defaults."""
        return cls(**{name: data[name] for name in SETTINGS if name in data})

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


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a limit is, in words, and what it may be."""

    what: str
    expected: str
    fits: Callable[[Any], bool]


def is_whole(value: Any, low: int, high: float = math.inf) -> bool:
    """Whether a value is a whole number within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(what: str) -> Setting:
    return Setting(what, "a whole number, 1 or more", lambda v: is_whole(v, 1))


def _seconds(what: str) -> Setting:
    expected = f"a number of seconds, more than 0 and at most {DAY_S}"
    return Setting(what, expected, lambda v: is_number(v) and 0 < v <= DAY_S)


SETTINGS: Mapping[str, Setting] = {
    "max_body": _count("most bytes of a request's body"),
    "max_rows": _count("most instances of a request"),
    "max_waiting": _count("most requests that wait for the model; the next is told to come again"),
    "timeout_s": _seconds("seconds for an answer"),
    "body_s": _seconds(
        "seconds for a client to send a body; under plain uvicorn also a head, or to take an answer"
    ),
    "batch_rows": _count("most rows of several requests that the model is asked together"),
    "unseen": Setting(
        "values beyond those of the notebook's data pass and are counted, or are refused",
        " or ".join(map(repr, UNSEEN)),
        lambda v: v in UNSEEN,
    ),
}
"""By the names of Limits, which are those in [tool.nb2prod] too, and of options."""


def option_of(name: str) -> str:
    """The option that sets a limit on a command line."""
    return f"--{name.replace('_', '-')}"
