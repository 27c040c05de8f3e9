"""The errors of nb2prod. One tree, drawn here:

    Nb2prodError                 code, message, hint; where known cell id, cell number and line
    ├── NotebookError      (1)   the notebook must change; carries every Diagnostic found
    │   ├── UnreadableNotebook   not a notebook, damaged, or of another language
    │   ├── RunError             a cell failed in the clean run; carries its source and traceback
    │   ├── StateError           fitted state cannot be serialised
    │   └── ParityError          the package answers otherwise than the notebook; carries the Report
    ├── RequestError       (1)   the request must change; carries every problem found
    ├── UsageError         (2)   the command was used wrongly
    └── SetupError         (3)   the environment failed
        ├── RegistryError        MLflow: unreachable, or its disk is full
        ├── ClusterError         Ray: unreachable, a port is taken
        └── DeployError          a release would not load; what served before still serves

The number is the exit code of the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from nb2prod.domain import Diagnostic

if TYPE_CHECKING:
    from nb2prod.domain import Report


class Nb2prodError(Exception):
    """What went wrong, and what to do. `code` is stable: NB and three digits."""

    exit_code: ClassVar[int] = 3
    default_code: ClassVar[str] = "NB900"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        cell: str | None = None,
        number: int | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.cell = cell
        self.number = number
        self.line = line

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The error as diagnostics: one, unless a subclass carries more."""
        return (Diagnostic(self.code, "error", self.message, self.cell, self.number, self.line, self.hint),)

    def to_json(self) -> dict[str, Any]:
        """The error as plain JSON data."""
        from nb2prod.domain import to_json

        return {"error": self.code, "message": self.message, "diagnostics": to_json(self.diagnostics)}


class NotebookError(Nb2prodError):
    """The notebook must change. Holds all that was found, not only the first."""

    exit_code = 1
    default_code = "NB100"

    def __init__(
        self, message: str, *, findings: Sequence[Diagnostic] = (), code: str | None = None, **where: Any
    ) -> None:
        first = next((f for f in findings if f.severity == "error"), None)
        if first is not None:
            where = {
                "cell": first.cell, "number": first.number, "line": first.line, "hint": first.hint, **where
            }  # fmt: skip
        super().__init__(message, code=code or (first.code if first else None), **where)
        self._findings = tuple(findings)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All findings, errors and warnings alike."""
        return self._findings or super().diagnostics

    @classmethod
    def of(cls, findings: Sequence[Diagnostic]) -> NotebookError:
        """One error for all findings; there must be at least one of severity error."""
        errors = [f for f in findings if f.severity == "error"]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return cls(errors[0].message + more, findings=findings)


class UnreadableNotebook(NotebookError):
    """The file is not a notebook that nb2prod can read."""


class RunError(NotebookError):
    """A cell failed in the clean run."""

    default_code = "NB300"

    def __init__(self, message: str, *, source: str = "", traceback: str = "", **where: Any) -> None:
        super().__init__(message, **where)
        self.source = source
        self.traceback = traceback

    def to_json(self) -> dict[str, Any]:
        """The error with the cell's source and traceback."""
        return {**super().to_json(), "source": self.source, "traceback": self.traceback}


class StateError(NotebookError):
    """A value that serving needs cannot be serialised."""

    default_code = "NB310"


class ParityError(NotebookError):
    """The extracted package does not answer what the notebook answered."""

    default_code = "NB320"

    def __init__(self, message: str, *, report: Report | None = None, **where: Any) -> None:
        super().__init__(message, **where)
        self.report = report

    def to_json(self) -> dict[str, Any]:
        """The error with the report, first differing rows included."""
        from nb2prod.domain import to_json

        return {**super().to_json(), "report": to_json(self.report)}


class RequestError(Nb2prodError):
    """A request was refused by the endpoint. `problems` is the endpoint's own list."""

    exit_code = 1
    default_code = "NB600"

    def __init__(self, message: str, *, problems: Sequence[Any] = (), status: int = 0, **where: Any) -> None:
        super().__init__(message, **where)
        self.problems = tuple(problems)
        self.status = status

    def to_json(self) -> dict[str, Any]:
        """The error with the endpoint's problems."""
        return {**super().to_json(), "status": self.status, "problems": list(self.problems)}


class UsageError(Nb2prodError):
    """The command was used wrongly."""

    exit_code = 2
    default_code = "NB002"


class SetupError(Nb2prodError):
    """The environment failed: not the notebook, not the request."""


class RegistryError(SetupError):
    """MLflow could not be reached or could not store."""

    default_code = "NB400"


class ClusterError(SetupError):
    """The Ray cluster could not be started or reached."""

    default_code = "NB500"


class DeployError(SetupError):
    """A release could not be brought into service. What served before is untouched."""

    default_code = "NB510"
