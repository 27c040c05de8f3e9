"""Names of imported modules to pinned requirements, from what is installed here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import metadata


def pins(modules: Iterable[str]) -> tuple[str, ...]:
    """`dist==version` for the distributions that the modules come from, sorted.

    `modules` are import names, dotted or not. The standard library needs no pin; neither do modules
    that no installed distribution claims (a file beside the notebook).
    """
    tops = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    if not tops:
        return ()
    owners = metadata.packages_distributions()
    names = {_canonical(name): name for top in tops for name in owners.get(top, ())}
    return tuple(f"{names[key]}=={metadata.version(names[key])}" for key in sorted(names))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
