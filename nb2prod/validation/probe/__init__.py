"""The probe: looks at a notebook from inside its kernel while it runs.

Loaded by file path under the name `_nb2prod_probe`, so that the kernel needs no nb2prod; standard
library only, and numpy or pandas where the user's own values are theirs. The client calls `before`
and `after` around the cells that matter, between the notebook's own executions; nothing is put
into the user's namespace, history or output. Results go to files in the run's folder.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .finding import Refused
from .session import Session

_session: Session | None = None


def start(job: str) -> str:
    """Begin to watch, as the job file says."""
    global _session
    from IPython import get_ipython

    data = json.loads(Path(job).read_text("utf-8"))
    _session = Session(get_ipython(), data)
    return "ok"


def before(cell: str) -> str:
    """Just before a cell runs. Answers "ok", or "refused" with `finding.json` written."""
    return _guarded(lambda session: session.before(cell))


def after(cell: str) -> str:
    """Just after a cell has run."""
    return _guarded(lambda session: session.after(cell))


def finish() -> str:
    """After the last cell: write `observed.json`."""
    return _guarded(lambda session: session.finish())


def failed(cell: str) -> str:
    """The line of a cell at which its last execution failed, or an empty text."""
    assert _session is not None
    line = _session.failed_line(cell)
    return "" if line is None else str(line)


def keep(value: Any, outer: bool) -> Any:
    """Called by the notebook's own cells, for the value of their last expression."""
    assert _session is not None
    return _session.last.keep(value, outer)


def _guarded(step: Callable[[Session], None]) -> str:
    assert _session is not None
    try:
        step(_session)
    except Refused as refused:
        _session.write("finding.json", refused.finding.to_json())
        return "refused"
    # a mistake of ours must not look like one of the user's: the client reports it as internal
    except Exception:
        _session.write("crash.json", {"traceback": traceback.format_exc()})
        return "crashed"
    return "ok"
