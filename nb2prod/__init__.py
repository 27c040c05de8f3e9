"""nb2prod: from a tagged notebook to a live, proven prediction, without a rewrite.

    import nb2prod
    nb2prod.deploy("flight_delays.ipynb").curl

The verbs are those of the command line; each returns a noun of `nb2prod.domain`. In a notebook,
`%load_ext nb2prod` gives %deploy, %validate and %status.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nb2prod._version import __version__ as __version__

if TYPE_CHECKING:
    from nb2prod.shells.api import (
        build,
        check,
        dashboard,
        deploy,
        diff,
        doctor,
        down,
        explain,
        export,
        logs,
        new,
        predict,
        serve,
        status,
        up,
        validate,
    )

__all__ = [
    "build",
    "check",
    "dashboard",
    "deploy",
    "diff",
    "doctor",
    "down",
    "explain",
    "export",
    "logs",
    "new",
    "predict",
    "serve",
    "status",
    "up",
    "validate",
]


def __getattr__(name: str) -> Any:
    """The verbs, imported when first asked for."""
    if name in __all__:
        return getattr(importlib.import_module("nb2prod.shells.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext nb2prod`."""
    importlib.import_module("nb2prod.shells.magics").load_ipython_extension(shell)
