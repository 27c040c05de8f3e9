"""Our own lines of generated code: `ruff format` and ruff's import sorting have nothing to change in them."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nb2prod.extract import extract, package
from nb2prod.extract.extract import FIXED_FILES
from nb2prod.extract.style import Call, Import, assigned, bracketed, import_lines, returned, signature
from nb2prod.notebook import read
from tests.made import notebook
from tests.test_extract import AGREE, EXAMPLE, Cells

LETTERS = "abcxyzABC_019"


def ruff(*arguments: str | Path) -> str:
    """What ruff finds with its default settings; empty if nothing."""
    command = [sys.executable, "-m", "ruff", *map(str, arguments), "--isolated", "--no-cache"]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout + result.stderr if result.returncode else ""


def name(chance: random.Random, longest: int = 30) -> str:
    return chance.choice("abxyABX_") + "".join(chance.choices(LETTERS, k=chance.randint(1, longest)))


def some_import(chance: random.Random) -> Import:
    modules = [
        "",
        "os",
        "os.path",
        "numpy",
        "scipy.sparse",
        ".helpers",
        ".state",
        "pandas",
        "a2",
        "a10",
        "_b",
    ]
    module = chance.choice(modules)
    alias = name(chance, 6) if chance.random() < 0.3 else ""
    if not module:
        bare = chance.choice(["re", "json", "numpy", "pandas", "sklearn.svm", "_b", "B", "a2", "a10"])
        return Import("", bare, alias or ("" if "." not in bare else name(chance, 6)))
    return Import(module, name(chance), alias, unseen=not alias and chance.random() < 0.1)


def test_imports_are_sorted_and_wrapped_as_ruff_does(tmp_path: Path) -> None:
    chance = random.Random(7)
    for i in range(300):
        found = [some_import(chance) for _ in range(chance.randint(1, 14))]
        imports = list({item.binds: item for item in found}.values())
        used = [item.binds for item in imports if not item.unseen]
        lines = [*import_lines(imports), "", *(f"print({item})" for item in used)]
        (tmp_path / f"case{i}.py").write_text("\n".join(lines) + "\n")
    # names that differ in nothing but case are no fault here, nor are modules that look like constants
    assert ruff("check", "--select", "I,F401,RUF100", tmp_path) == ""
    assert ruff("format", "--check", tmp_path) == ""


def test_an_import_that_a_text_needs_too_is_one_import() -> None:
    both = [Import(".state", "k", unseen=True), Import(".state", "k")]
    assert import_lines(both) == import_lines(both[::-1]) == ["from .state import k"]


def some_statement(chance: random.Random) -> list[str]:
    """One statement of our own, its names long or short."""
    names = [name(chance, chance.choice([3, 12, 30])) for _ in range(chance.randint(1, 6))]
    names = list(dict.fromkeys(names))
    kinds: list[Callable[[], list[str]]] = [
        lambda: [*signature(names[0], [f"{n}: pd.DataFrame" for n in names[1:]], None), "    pass", "", ""],
        lambda: [*signature(names[0], names[1:], "tuple[np.ndarray, list[str]]"), "    pass", "", ""],
        lambda: bracketed(f"{names[0]} = f(", names, ")"),
        lambda: ["if True:", *assigned(names[:3], Call("preprocess.preprocess", names), "    ")],
        lambda: ["if True:", *assigned(names[:3], Call("model.predict", names, "wait"), "    ")],
        lambda: ["def f():", *Call("model.predict", names, "wait").lines("return ", "    "), "", ""],
        lambda: ["def f():", *returned(names, "    "), "", ""],
    ]
    return chance.choice(kinds)()


def test_statements_are_wrapped_as_ruff_does(tmp_path: Path) -> None:
    chance = random.Random(7)
    for i in range(300):
        lines = "\n".join(some_statement(chance)).rstrip("\n")
        (tmp_path / f"case{i}.py").write_text(lines + "\n")
    assert ruff("format", "--check", tmp_path) == ""


# --- whole packages ------------------------------------------------------------------------------


def write_code(folder: Path, path: Path) -> None:
    """The generated modules of a notebook, without the fixed ones."""
    folder.mkdir()
    for file, text in extract(read(path)).files.items():
        if file.endswith(".py") and file not in FIXED_FILES:
            (folder / file).write_text(text, "utf-8")


OWN_FAULTS = {
    "a lambda's parameter is no live-in": "PLC3002",
    "loops and with": "PERF102",
    "state bound to itself, then changed": "PLW0127",
}
"""What ruff says about the cells' own code."""


def test_generated_code_passes_ruff(tmp_path: Path) -> None:
    for i, (case, (cells, _)) in enumerate(AGREE.items()):
        if case not in OWN_FAULTS:
            write_code(tmp_path / f"case{i}", notebook(tmp_path, *cells))
    (tmp_path / "made.ipynb").unlink()
    assert ruff("check", "--extend-select", "I", tmp_path) == ""


def test_the_fixed_files_pass_ruff_too() -> None:
    assert ruff("check", "--extend-select", "I", Path(package.__file__).parent) == ""


LONG = "a_rather_long_name_for_what_is_computed"
FORMATTED: dict[str, Cells] = {
    "inline roles, state, helpers": (
        ("", "import math\n\nimport numpy as np\nfrom os import path, sep\n\nscale = np.float64(2.0)"),
        ("", 'LIMIT = 5\n# names\nNAMES = ["a", "b"]'),
        ("", "# rounds down\ndef floor(x):\n    return math.floor(x) + len(NAMES)\n\n\nclass C:\n    k = 1"),
        ("example", 'request = {"a": 3, "b": 4}'),
        ("preprocess", 'x = floor(request["a"]) * scale\n\n# a path\nplace = path.join("x", sep)'),
        (
            "model",
            '# the answer\nif x > LIMIT:\n    x = LIMIT - 1\n\n\ndef twice(y):\n    return 2 * y\n\n\n'
            "print(x)\n{place: twice(x) + C.k}\n# end",
        ),
    ),
    "roles as functions": (
        (
            "preprocess",
            "# Role: prepare\nimport json\n\nSIZE = 3\n\nDEPTH = 4\n\n\n# --- helpers ---\n\n\n"
            "def dump(r):\n    return json.dumps(r) * SIZE\n    # so far\n\n\n# the entry\n"
            "def preprocess(r):\n    return dump(r) * DEPTH\n\n\n# def older(r):\n#     return r",
        ),
        ("", "k = max([2, 5])"),
        ("model", "def model(x):\n    return len(x) * k"),
        ("example", 'request = {"a": 3}'),
    ),
    "several cells and long names": (
        ("", f"{LONG}_1 = max([1, 2])\n{LONG}_2 = max([2, 3])"),
        ("", f"def {LONG}_3(x):\n    return x\n\n\nshort = lambda x: x"),
        ("example", 'request = {"a": 3}'),
        ("preprocess", f"{LONG} = {LONG}_3(\n    request\n)\n{LONG}_4 = short(request)"),
        ("preprocess", f'{LONG}_5 = (\n    request["a"] + {LONG}_1\n)'),
        (
            "model",
            f"(\n    {LONG},\n    {LONG}_4,\n    {LONG}_5,\n    {LONG}_2,\n    {LONG}_1,\n)",
        ),
    ),
    "state that the cell binds anew, a function at its start": (
        ("", "k = max([2, 5])"),
        ("example", 'request = {"a": 3}'),
        ("model", 'def f(x):\n    return x + 1\n\n\nk = f(k)\ny = k + request["a"]'),
    ),
    "a function at the cell's end": (
        ("example", 'request = {"a": 3}'),
        ("preprocess", 'x = request["a"]\n\n\ndef f(y):\n    return y + x'),
        ("model", "x"),
    ),
    "a helper of one role that is another's entry": (
        ("preprocess", "def preprocess(r):\n    return helper(r)"),
        ("", "def helper(r):\n    return model(r)"),
        ("model", "def model(r):\n    return r"),
        ("example", 'request = {"a": 3}'),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMATTED)
def test_a_formatted_notebook_gives_a_formatted_package(case: str, tmp_path: Path) -> None:
    path = notebook(tmp_path, *FORMATTED[case])
    assert ruff("format", "--check", path) == "", "the notebook itself is not formatted"
    write_code(tmp_path / "package", path)
    assert ruff("format", "--diff", tmp_path / "package") == ""
    own = ["--ignore", "E731,F841"] if "lambda" in str(FORMATTED[case]) else []
    assert ruff("check", "--extend-select", "I", *own, tmp_path / "package") == ""


def test_a_file_name_that_would_end_a_docstring(tmp_path: Path) -> None:
    path = notebook(tmp_path, EXAMPLE, ("model", 'request["a"]'), name='a "b" \\N c')
    files = extract(read(path, name="made")).files
    assert files["model.py"].startswith('"""The role `model` of a ?b? ?N c.ipynb: cell 2."""\n')
    for file, text in files.items():
        if file.endswith(".py"):
            compile(text, file, "exec")
