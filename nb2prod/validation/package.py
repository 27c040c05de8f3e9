"""Writes a bundle and its captured state to disk, as one step."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from nb2prod.domain import Accelerated, Bundle, StateFile
from nb2prod.errors import UsageError


def write_package(bundle: Bundle, run_folder: Path | None, dest: Path) -> None:
    """Write a bundle's files, and the state that a clean run left in `run_folder`, to the folder `dest`.

    A reader of `dest` sees the old package or the new one, never a mixture. Without evidence there
    is no state to write: the package is a draft. Raises OSError; UsageError if `dest` holds anything but
    an older package; ValueError if a state file is not the one that the bundle's evidence names.
    """
    if dest.exists() and not (dest / "manifest.json").is_file():
        raise UsageError(
            f"{dest} exists and is no package of nb2prod",
            hint="Nothing was written. Choose another folder.",
        )
    dest.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{dest.name}-", dir=dest.parent))
    try:
        _fill(work / dest.name, bundle, run_folder)
        _replace(work / dest.name, dest, work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(folder: Path, bundle: Bundle, run_folder: Path | None) -> None:
    for name, text in bundle.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
    if bundle.evidence is not None and run_folder is not None:
        files: tuple[StateFile | Accelerated, ...] = (*bundle.evidence.state, *bundle.evidence.accelerated)
        for item in files:
            _copy_state(item, run_folder, folder)


def _copy_state(item: StateFile | Accelerated, run_folder: Path, folder: Path) -> None:
    data = (run_folder / item.file).read_bytes()
    if hashlib.sha256(data).hexdigest() != item.sha256:
        raise ValueError(f"{run_folder / item.file} is not the state that was captured")
    (folder / item.file).parent.mkdir(parents=True, exist_ok=True)
    (folder / item.file).write_bytes(data)


def _replace(new: Path, dest: Path, old: Path) -> None:
    if dest.exists():
        dest.rename(old)
    try:
        new.rename(dest)
    except OSError:
        if old.exists():
            old.rename(dest)
        raise
