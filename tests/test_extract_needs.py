"""What each role needs from outside, and where the notebook asks for it. Expectations by hand."""

from __future__ import annotations

from pathlib import Path

from nb2prod.domain import Bundle, Contract, Evidence, StateFile
from nb2prod.extract import extract
from nb2prod.notebook import read
from tests.made import notebook

EXAMPLE = ("example", "request = {'a': 3}")


def extracted(folder: Path, *cells: tuple[str, str], evidence: Evidence | None = None) -> Bundle:
    return extract(read(notebook(folder, *cells)), evidence)


def modules(bundle: Bundle) -> dict[str, list[str]]:
    return {role: [item.module for item in needs.imports] for role, needs in bundle.needs.items()}


def test_a_role_needs_what_its_helpers_import(tmp_path: Path) -> None:
    cells = (
        ("", "import numpy as np, re\nimport pandas as pd\nfrom math import floor, ceil\nimport os.path"),
        ("", "LIMIT = 3\ndef inner(x):\n    return floor(x)\ndef helper(x):\n    return inner(np.abs(x))"),
        EXAMPLE,
        ("preprocess", "x = helper(request['a'])"),
        ("model", "y = [x, os.path.basename('a')]"),
        ("postprocess", "[y, LIMIT]"),
    )
    found = modules(extracted(tmp_path, *cells))
    assert found == {"preprocess": ["math.floor", "numpy"], "model": ["os.path"], "postprocess": []}


def test_imports_inside_functions_and_conditions_count_and_have_a_place(tmp_path: Path) -> None:
    cells = (
        ("", "def lazily(x):\n    from google.protobuf import any_pb2\n    return any_pb2, x"),
        EXAMPLE,
        ("model", "if request['a'] > 5:\n    import yaml\n    y = yaml\nelse:\n    y = lazily(1)\nstr(y)"),
    )
    (google, yaml) = extracted(tmp_path, *cells).needs["model"].imports
    assert (google.module, google.number, google.line) == ("google.protobuf.any_pb2", 1, 2)
    assert (yaml.module, yaml.cell, yaml.line) == ("yaml", "c3", 2)


def test_a_role_needs_its_state_and_the_functions_in_it(tmp_path: Path) -> None:
    cells = (
        (
            "",
            "import numpy as np\ndef embedded(x):\n    return np.abs(x)\n"
            "pipe = [embedded][:]\nk = max([1, 2])",
        ),
        EXAMPLE,
        ("preprocess", "x = pipe[0](request['a'])"),
        ("model", "x + k"),
    )
    state = tuple(StateFile(key, f"state/{key}.pkl", "pickle", "list", 1, "0") for key in ("pipe", "k"))
    evidence = Evidence(Contract("record", ("request",)), state, rehomed=("embedded",))
    bundle = extracted(tmp_path, *cells, evidence=evidence)
    assert {role: needs.state for role, needs in bundle.needs.items()} == {
        "preprocess": ("pipe",),
        "model": ("k",),
    }
    assert modules(bundle)["preprocess"] == ["numpy"]


def test_nothing_needs_nothing(tmp_path: Path) -> None:
    bundle = extracted(tmp_path, EXAMPLE, ("model", "request['a'] * 2"))
    assert (modules(bundle), bundle.files["requirements.txt"]) == ({"model": []}, "")
    assert bundle.requirements_by_role == {"model": ()}
