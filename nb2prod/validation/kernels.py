"""Which kernel runs the notebook."""

from __future__ import annotations

from typing import Any

from nb2prod.domain import Diagnostic, Notebook
from nb2prod.errors import UsageError

OWN = "python3"
"""The name under which this very interpreter's environment runs, whatever a kernelspec of that name says."""


def choose(notebook: Notebook, asked: str | None) -> tuple[str, tuple[Diagnostic, ...]]:
    """The kernel's name, with a warning (NB111) if it is not the one that the notebook names.

    Raises UsageError NB115 if a kernel was asked for that is not installed.
    """
    name = asked or notebook.kernel or OWN
    if name == OWN or _installed(name):
        return name, ()
    if asked:
        raise UsageError(f"no kernel {asked!r} is installed", code="NB115", hint=f"Installed: {_names()}.")
    message = f"the notebook's kernel {name!r} is not installed: {OWN} runs it instead"
    return OWN, (Diagnostic("NB111", "warning", message, hint=f"Installed: {_names()}."),)


def _installed(name: str) -> bool:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        KernelSpecManager().get_kernel_spec(name)
    except (NoSuchKernel, OSError, ValueError):
        return False
    return True


def _names() -> str:
    from jupyter_client.kernelspec import KernelSpecManager

    return ", ".join(sorted({OWN, *KernelSpecManager().find_kernel_specs()}))


def manager(name: str) -> Any:
    """A kernel manager for a kernel; `python3` is always this interpreter."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    found = AsyncKernelManager(kernel_name=name)
    if name == OWN:
        found._kernel_spec = KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
    return found
