"""Generated packages in processes of their own: always the same bytes, and nothing happens at import."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nb2prod.extract import extract
from nb2prod.notebook import read
from tests.made import notebook
from tests.test_extract import AGREE, EXAMPLE, Cells
from tests.test_extract_style import FORMATTED
from tests.test_golden import HERE, NOTEBOOKS

DIGESTS = """
import json, sys
from pathlib import Path
from nb2prod.domain import Contract, Evidence, SeenValue
from nb2prod.extract import extract
from nb2prod.notebook import read
found = {}
for path in map(Path, sys.argv[2:]):
    book = read(path)
    values = Path(sys.argv[1], path.stem, "whole", "values.json")
    seen = [SeenValue(**v) for v in json.loads(values.read_text())] if values.exists() else []
    evidence = Evidence(Contract("record", ("request",)), (), values=tuple(seen))
    found[path.stem] = [extract(book).digest, extract(book, evidence).digest]
print(json.dumps(found))
"""


def digests(folder: Path, seed: str, paths: list[Path]) -> dict[str, list[str]]:
    """The digest of each notebook's package, draft and whole, from a process with another hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-c", DIGESTS, str(HERE / "golden"), *map(str, paths)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_same_notebook_same_bytes_in_any_process_and_folder(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other" / "deeper"
    one.mkdir()
    made = [*NOTEBOOKS]
    for i, (cells, _) in enumerate(AGREE.values()):
        made.append(notebook(one, *cells, name=f"case{i}"))
    other.mkdir(parents=True)
    moved = [Path(shutil.copy(path, other)) for path in made]
    first = digests(tmp_path, "1", made)
    assert len(first) == len(AGREE) + len(NOTEBOOKS)
    assert digests(other, "2", moved) == first
    assert digests(tmp_path, "random", made[::-1]) == first


# --- imports -------------------------------------------------------------------------------------

IMPORT_ALL = """
import importlib, os, sys, types
events = []
LOUD = ("socket.", "subprocess.", "os.system", "os.mkdir", "os.rename", "os.remove", "os.exec", "shutil.",
        "urllib.", "tempfile.", "builtins.input")

def watch(event, arguments):
    if event == "open" and (set(str(arguments[1])) & set("wax+") or arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        events.append((event, arguments))
    if event.startswith(LOUD):
        events.append((event, arguments))

class State(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 1

sys.path.insert(0, sys.argv[1])
import asyncio, functools, json  # what a standard module does at its first import is none of ours
for name in sys.argv[2:]:
    importlib.import_module(f"{name}.runtime")
before = dict(os.environ), sorted(os.listdir(sys.argv[1]))
sys.addaudithook(watch)
for name in sys.argv[2:]:
    sys.modules[f"{name}.state"] = State(f"{name}.state")
    importlib.import_module(f"{name}.pipeline")
assert (dict(os.environ), sorted(os.listdir(sys.argv[1]))) == before
assert not events, events
"""

NOISY: Cells = (
    ("", "import os\nK = 1; print('at work')\nos.environ['NOISY'] = '1'"),
    ("", "def f(x):\n    return x + K + k\nprint('defined')\nopen('written', 'w').write('x')"),
    ("", "import socket\ntry:\n    socket.create_connection(('127.0.0.1', 9))\nexcept OSError:\n    pass"),
    ("", "k = max([2, 5])\nos.makedirs('made', exist_ok=True)\n!true"),
    EXAMPLE,
    ("preprocess", "import logging\nlogging.warning('here')\nprint('asked')\nx = f(request['a'])\nprint(x)"),
    ("model", "LIMIT = 3\nx > LIMIT"),
)  # fmt: skip


def test_importing_a_package_does_nothing_else(tmp_path: Path) -> None:
    names = []
    for i, cells in enumerate([NOISY, *(cells for cells, _ in AGREE.values()), *FORMATTED.values()]):
        path = notebook(tmp_path, *cells, name=f"package{i}")
        (tmp_path / "packages" / path.stem).mkdir(parents=True)
        for file, text in extract(read(path)).files.items():
            (tmp_path / "packages" / path.stem / file).write_text(text, "utf-8")
        names.append(path.stem)
    command = [sys.executable, "-I", "-B", "-c", IMPORT_ALL, str(tmp_path / "packages"), *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("source", ["print('loud')", "open('written', 'w')", "__import__('socket').socket()"])
def test_what_happens_at_import_would_be_noticed(source: str, tmp_path: Path) -> None:
    path = notebook(tmp_path, EXAMPLE, ("model", "request['a']"), name="loud")
    (tmp_path / "packages" / "loud").mkdir(parents=True)
    for file, text in extract(read(path)).files.items():
        text = f"{text}\n{source}\n" if file == "model.py" else text
        (tmp_path / "packages" / "loud" / file).write_text(text, "utf-8")
    command = [sys.executable, "-I", "-B", "-c", IMPORT_ALL, str(tmp_path / "packages"), "loud"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) != (0, "")
