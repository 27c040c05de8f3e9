"""Made distributions, as an installer would leave them in a folder of packages."""

from __future__ import annotations

from pathlib import Path


def install(
    site: Path, name: str, *files: str, version: str = "1.0", requires: str = "", **meta: str
) -> None:
    """A distribution with empty files and its metadata; `meta` are further files of that."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}\n")
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).touch()
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, f"{info.name}/METADATA")))
    for file, text in meta.items():
        (info / {"direct_url": "direct_url.json"}.get(file, file)).write_text(text)
