"""The magics in a real kernel, in a notebook's own folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from jupyter_client.manager import KernelManager, start_new_kernel

from nb2prod.shells import magics
from tests.made import TINY, notebook


def execute(folder: Path, notebook_file: Path | None, *cells: str) -> list[str]:
    """What each cell shows in a fresh kernel: its text output, its plain result or its error."""
    environment = {**os.environ, "NB2PROD_PROJECT": str(folder)}
    environment.pop("JPY_SESSION_NAME", None)
    if notebook_file is not None:
        environment["JPY_SESSION_NAME"] = str(notebook_file)
    manager: KernelManager
    manager, client = start_new_kernel(env=environment, cwd=str(folder))
    shown: list[str] = []
    try:
        for cell in cells:
            parts: list[str] = []

            def keep(message: dict, parts: list[str] = parts) -> None:  # type: ignore[type-arg]
                content = message["content"]
                if message["msg_type"] == "stream":
                    parts.append(content["text"])
                elif message["msg_type"] == "execute_result":
                    parts.append(content["data"]["text/plain"])
                    parts.append(repr(sorted(content["data"])))
                elif message["msg_type"] == "error":
                    parts.append(content["ename"] + ": " + content["evalue"])

            client.execute_interactive(cell, output_hook=keep, timeout=300)
            shown.append("\n".join(parts))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return shown


def test_validate_and_status_in_a_kernel(tmp_path: Path) -> None:
    shown = ("%load_ext nb2prod", "%validate", "%status", "%nb2prod explain factor")
    path = notebook(tmp_path, *TINY, *(("", line) for line in shown))
    _, validated, status, explained, bad = execute(tmp_path, path, *shown, "%nb2prod fly")
    assert "made: proven" in validated
    assert "✓ validate" in validated
    assert "'application/json', 'text/plain'" in validated
    assert "No endpoints." in status
    assert "`factor` in made.ipynb: state" in explained
    assert bad.startswith("UsageError")
    assert "deploy" in bad


def test_errors_are_one_line_and_show_what_the_command_line_shows(tmp_path: Path) -> None:
    cells = (*TINY[:2], ("model", "request['a'] * missing"), ("skip", "%validate"))
    path = notebook(tmp_path, *cells)
    _, shown = execute(tmp_path, path, "%load_ext nb2prod", "%validate")
    assert "NB201 cell 3, line 1: `missing` is read here" in shown
    assert "UsageError: %validate failed (exit code 1): see above" in shown


def test_which_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = notebook(tmp_path, *TINY)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with pytest.raises(UsageError, match="--notebook"):
        magics.notebook_path({})
    assert magics.notebook_path({"__vsc_ipynb_file__": str(path)}) == path
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert magics.notebook_path({}) == path
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "renamed.ipynb"))
    with pytest.raises(UsageError, match="--notebook"):
        magics.notebook_path({})


def test_unsaved_edits_are_refused(tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY, ("skip", "%deploy"))
    magics.refuse_unsaved(path, "%deploy")
    with pytest.raises(UsageError, match="save the notebook first"):
        magics.refuse_unsaved(path, "%deploy --force")
