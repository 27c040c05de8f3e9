"""What the probe has to say about the user's notebook."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnostic as it leaves the kernel. `cell` is an id, `number` counts cells, `line` lines, from 1."""

    code: str
    message: str
    hint: str | None = None
    cell: str | None = None
    number: int | None = None
    line: int | None = None
    severity: str = "error"
    traceback: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON data."""
        return asdict(self)


class Refused(Exception):
    """The notebook must change; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def refused(code: str, message: str, hint: str | None = None, **where: Any) -> Refused:
    """A Refused with a finding of severity error."""
    return Refused(Finding(code, message, hint, **where))
