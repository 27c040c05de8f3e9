"""Small generated packages, written by hand: the fixed runtime with a tiny pipeline around it.

The usual one answers `x * factor + n` for a batch of records; `factor` is its fitted state. Asked
with n = 13, its model divides by zero.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nb2prod.extract.package
from nb2prod.domain import Contract, Field, Release, digest, to_json
from nb2prod.extract.extract import FIXED_FILES
from nb2prod.extract.schema import schema_of

FIXED = Path(nb2prod.extract.package.__file__).parent

CONTRACT = Contract(
    kind="records",
    request=("rows",),
    fields=(
        Field("x", "number", "float", nullable=True, minimum=0.0, maximum=9.0),
        Field("n", "integer", "int"),
        Field("colour", "category", "str", categories=("red", "green")),
    ),
    example=({"x": 0.1, "n": 1, "colour": "red"}, {"x": None, "n": 2, "colour": "green"}),
    response=(1.2, None),
)

PREPROCESS = '''"""The role `preprocess` of doubler.ipynb: cell 2."""


def preprocess(rows):
    return [(row["x"], row["n"]) for row in rows]
'''

MODEL = '''"""The role `model` of doubler.ipynb: cell 3."""

from .state import factor


def model(pairs):
    return [x * factor + n + 0 / (n - 13) for x, n in pairs]
'''

PIPELINE = '''"""The way of a request through doubler.ipynb."""

from . import model, preprocess


def run(rows):
    """The answer of the last role to one request."""
    return model.model(preprocess.preprocess(rows))
'''

STATE = '''"""Fitted state."""

from .runtime import load_state

factor = load_state("factor")
'''

SOURCE_MAP = [{"file": "model.py", "line": 7, "cell": "c3", "number": 3, "cell_line": 2}]
MANIFEST = {"notebook": {"file": "doubler.ipynb"}, "source_map": SOURCE_MAP}


def write_package(
    folder: Path,
    *,
    factor: float = 2.0,
    model: str = MODEL,
    preprocess: str = PREPROCESS,
    contract: Contract = CONTRACT,
    batch_safe: bool | None = True,
) -> Path:
    """A package in a new directory `folder`; `model` and `preprocess` are the text of those modules."""
    folder.mkdir(parents=True)
    for name in FIXED_FILES:
        shutil.copy(FIXED / name, folder / name)
    state = json.dumps(factor)
    files = {
        "__init__.py": '"""doubler: written by hand for a test."""\n',
        "preprocess.py": preprocess,
        "model.py": model,
        "pipeline.py": PIPELINE,
        "state.py": STATE,
        "factor.json": state,
        "contract.json": json.dumps(to_json(contract)),
        "schema.json": json.dumps(schema_of(contract, "doubler")),
        "manifest.json": json.dumps(
            {
                **MANIFEST,
                "state": [_entry("factor", state)],
                "batch_safe": batch_safe,
                "batch_reason": "it was written so",
                "acceleration": [{"key": "factor", "why": "it is a number"}],
            }
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def write_release(folder: Path, *, name: str = "doubler", version: int = 1, **how: Any) -> Release:
    """A release whose package `write_package` wrote under `folder`."""
    path = write_package(folder / f"{name}-{version}", **how)
    content = digest(str(path))
    return Release(name, version, content, bundle_digest=content, run_id="0" * 32, path=path)


def _entry(key: str, text: str) -> Mapping[str, Any]:
    data = text.encode()
    sha = hashlib.sha256(data).hexdigest()
    return {
        "key": key,
        "file": f"{key}.json",
        "codec": "json",
        "type": "float",
        "bytes": len(data),
        "sha256": sha,
    }
