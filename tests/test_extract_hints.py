"""Type hints and docstrings: what the clean run saw, and the code does what it did without them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas
import pytest
import scipy.sparse

from nb2prod.domain import Bundle, Contract, Evidence, Role, SeenValue
from nb2prod.extract import extract
from nb2prod.extract.hints import docstring, shapes_of
from nb2prod.notebook import read
from tests.harness import package_answer, run
from tests.made import notebook
from tests.test_extract import EXAMPLE, Cells
from tests.test_extract_style import ruff


def seen(
    role: Role, side: typing.Literal["takes", "gives"], name: str, type_: str, shape: str = ""
) -> SeenValue:
    return SeenValue(role, side, name, type_, shape)


def whole(folder: Path, cells: Cells, values: Iterable[SeenValue]) -> Bundle:
    """The bundle of a notebook, with evidence of nothing but these values."""
    return extract(
        read(notebook(folder, *cells)), Evidence(Contract("record", ("request",)), (), values=tuple(values))
    )


USED = (pandas, scipy.sparse)
"""Imported before any module is told that a type checker is at work: theirs are not made for that."""


def module_of(folder: Path, bundle: Bundle, name: str = "model") -> Any:
    """A module of the package, imported as a type checker sees it."""
    package = folder / f"package_{abs(hash(folder))}"
    package.mkdir()
    for file, text in bundle.files.items():
        (package / file).write_text(text, "utf-8")
    (package / "state.py").write_text("def __getattr__(name):\n    return 1\n")
    sys.path.insert(0, str(folder))
    typing.TYPE_CHECKING = True
    try:
        return importlib.import_module(f"{package.name}.{name}")
    finally:
        typing.TYPE_CHECKING = False
        sys.path.remove(str(folder))


# --- one annotation ------------------------------------------------------------------------------

FUTURE = "from __future__ import annotations\n\nfrom typing import TYPE_CHECKING\n\n"

HINTS: dict[str, tuple[str, str, str, str]] = {
    "a builtin": ("", "dict[str, float]", "dict[str, float]", ""),
    "anything": ("", "dict[str, typing:Any]", "dict[str, Any]", "from typing import Any\n"),
    "a module of the standard library": ("", "datetime:date", "dt.date", "import datetime as dt\n"),
    "abstract classes": (
        "",
        "collections.abc:Iterator[typing:Any]",
        "Iterator[Any]",
        "from collections.abc import Iterator\nfrom typing import Any\n",
    ),
    "a usual alias": (
        "", "pandas:DataFrame", "pd.DataFrame", f"{FUTURE}if TYPE_CHECKING:\n    import pandas as pd\n",
    ),
    "any other module": (
        "",
        "scipy.sparse:csr_matrix | None",
        "csr_matrix | None",
        f"{FUTURE}if TYPE_CHECKING:\n    from scipy.sparse import csr_matrix\n",
    ),
    "two modules": (
        "",
        "dict[datetime:date, list[pandas:Series]]",
        "dict[dt.date, list[pd.Series]]",
        "from __future__ import annotations\n\nimport datetime as dt\nfrom typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    import pandas as pd\n",
    ),
    "a module that the code imports": (
        "import pandas as panda\nuse = panda",
        "pandas:DataFrame",
        "panda.DataFrame",
        "import pandas as panda\n",
    ),
    "a class that the code imports": (
        "from pandas import DataFrame as Frame\nuse = Frame",
        "pandas:DataFrame",
        "Frame",
        "from pandas import DataFrame as Frame\n",
    ),
    "a submodule that the code imports": (
        "import scipy.sparse\nuse = scipy.sparse",
        "scipy.sparse:csr_matrix",
        "scipy.sparse.csr_matrix",
        "import scipy.sparse\n",
    ),
    "a submodule by its alias": (
        "from scipy import sparse as sp\nuse = sp",
        "scipy.sparse:csr_matrix",
        "sp.csr_matrix",
        "from scipy import sparse as sp\n",
    ),
    "a module imported without its submodule": (
        "import scipy\nuse = scipy",
        "scipy.sparse:csr_matrix",
        "csr_matrix",
        f"{FUTURE}import scipy\n\nif TYPE_CHECKING:\n    from scipy.sparse import csr_matrix\n",
    ),
    "the usual alias is taken": (
        "import json as pd\nuse = pd",
        "pandas:DataFrame",
        "DataFrame",
        "from __future__ import annotations\n\nimport json as pd\nfrom typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    from pandas import DataFrame\n",
    ),
    "a class of the same name": (
        "from json import JSONDecoder as csr_matrix\nuse = csr_matrix",
        "scipy.sparse:csr_matrix",
        "",
        "from json import JSONDecoder as csr_matrix\n",
    ),
    "a builtin's name is taken": (
        "from json import loads as list\nuse = list", "list[int]", "", "from json import loads as list\n",
    ),
    "Any is taken": (
        "from json import loads as Any\nuse = Any", "list[typing:Any]", "", "from json import loads as Any\n",
    ),
    "a class that is not in the package": ("", "__main__:Gone", "Any", "from typing import Any\n"),
    "code with annotations of its own": (
        "def f(x: int):\n    return x\nuse = f",
        "pandas:DataFrame | None",
        '"pd.DataFrame | None"',
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import pandas as pd\n",
    ),
    "a name that the future import would bind": (
        "from json import loads as annotations\nuse = annotations",
        "pandas:DataFrame",
        '"pd.DataFrame"',
        "from json import loads as annotations\nfrom typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    import pandas as pd\n",
    ),
    "TYPE_CHECKING is taken": (
        "from json import loads as TYPE_CHECKING\nuse = TYPE_CHECKING",
        "pandas:DataFrame",
        "",
        "from json import loads as TYPE_CHECKING\n",
    ),
    "TYPE_CHECKING is imported": (
        "from typing import TYPE_CHECKING\nuse = TYPE_CHECKING",
        "pandas:DataFrame",
        "pd.DataFrame",
        f"{FUTURE}if TYPE_CHECKING:\n    import pandas as pd\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HINTS)
def test_an_annotation_and_what_it_imports(case: str, tmp_path: Path) -> None:
    source, type_, hint, imports = HINTS[case]
    setup, _, use = source.rpartition("\nuse = ")
    inside = f"{setup}\n\n\n" if setup.startswith("def") else ""
    cells = (("", setup), EXAMPLE, ("model", f"{inside}request, {use}" if use else "request"))
    takes = seen("model", "takes", "request", type_)
    bundle = whole(tmp_path, cells, [takes, seen("model", "gives", "scores", type_)])
    text = bundle.files["model.py"]
    expected = f"def predict(request: {hint}) -> {hint}:\n" if hint else "def predict(request):\n"
    assert f"\n{expected}" in text
    header = text.partition('"""\n\n')[2].partition("\n\n\n")[0]
    assert header == imports.rstrip("\n") or not imports
    annotations = typing.get_type_hints(module_of(tmp_path, bundle).predict)
    assert set(annotations) == ({"request", "return"} if hint else set())
    for path in tmp_path.glob("package_*"):
        assert ruff("check", "--extend-select", "I", path / "model.py", path / "pipeline.py") == ""
        assert ruff("format", "--check", path / "model.py", path / "pipeline.py") == ""


# --- the notebook's own classes ------------------------------------------------------------------

CLASSES: Cells = (
    ("", "class Box:\n    class Lid:\n        pass"),
    EXAMPLE,
    ("preprocess", "box = Box()"),
    ("model", "request['a'], box"),
)


def test_a_class_of_the_notebook_comes_from_its_new_home(tmp_path: Path) -> None:
    cells = (CLASSES[0], EXAMPLE, ("preprocess", "box = Box()\nr = request"), ("model", "r['a'], box"))
    bundle = whole(
        tmp_path,
        cells,
        [
            seen("preprocess", "gives", "box", "__main__:Box"),
            seen("preprocess", "gives", "r", "dict[str, int]"),
            seen("model", "takes", "box", "list[__main__:Box.Lid]"),
            seen("model", "gives", "scores", "tuple[int, __main__:Box]"),
        ],
    )
    model = bundle.files["model.py"]
    assert "if TYPE_CHECKING:\n    from .helpers import Box\n\n\n" in model
    assert "def predict(box: list[Box.Lid], r) -> tuple[int, Box]:" in model
    assert "def preprocess(request) -> tuple[Box, dict[str, int]]:" in bundle.files["preprocess.py"]
    assert "if TYPE_CHECKING" not in bundle.files["preprocess.py"]
    assert "def run(request) -> tuple[int, Box]:" in bundle.files["pipeline.py"]
    module = module_of(tmp_path, bundle)
    assert typing.get_type_hints(module.predict)["box"] == list[module.Box.Lid]


def test_a_class_that_a_role_cell_shares_with_another_role(tmp_path: Path) -> None:
    cells = (
        ("preprocess", "class Box:\n    pass\ndef preprocess(r):\n    return Box()"),
        EXAMPLE,
        ("model", "answer = preprocess(request)\nanswer"),
    )
    bundle = whole(tmp_path, cells, [seen("model", "gives", "scores", "__main__:Box")])
    assert typing.get_type_hints(module_of(tmp_path, bundle).predict)["return"].__name__ == "Box"


# --- nothing else changes ------------------------------------------------------------------------


def test_the_notebooks_own_functions_keep_their_signatures(tmp_path: Path) -> None:
    cells = (("model", "def model(request):\n    '''Mine.'''\n    return request['a']"), EXAMPLE)
    values = [seen("model", "takes", "request", "dict[str, int]"), seen("model", "gives", "scores", "int")]
    bundle = whole(tmp_path, cells, values)
    assert "def model(request):\n    '''Mine.'''\n" in bundle.files["model.py"]
    assert "def run(request: dict[str, int]) -> int:" in bundle.files["pipeline.py"]


def test_code_that_reads_its_own_annotations(tmp_path: Path) -> None:
    cells = (
        ("", "import dataclasses\n@dataclasses.dataclass\nclass Box:\n    x: int = 1"),
        EXAMPLE,
        (
            "model",
            "def f(x: int) -> str:\n    return 'a'\n(f.__annotations__, Box.__annotations__, request)",
        ),
    )
    values = [
        seen("model", "takes", "request", "pandas:DataFrame"),
        seen("model", "gives", "scores", "numpy:ndarray"),
    ]
    book = read(notebook(tmp_path, *cells))
    bundle = whole(tmp_path, cells, values)
    ran = run(book, bundle.plan)
    assert package_answer(bundle, ran.stored, ran.request, tmp_path) == ran.answer
    assert ran.answer[0] == {"x": int, "return": str}


def test_hints_need_nothing_installed(tmp_path: Path) -> None:
    values = [
        seen("model", "takes", "request", "pandas:DataFrame"),
        seen("model", "gives", "scores", "torch:Tensor"),
    ]
    bundle = whole(tmp_path, (EXAMPLE, ("model", "request['a']")), values)
    assert bundle.imports == ()
    package = tmp_path / "package"
    package.mkdir()
    for file, text in bundle.files.items():
        (package / file).write_text(text, "utf-8")
    code = "import sys; sys.path.append(sys.argv[1])\nfrom package.pipeline import run\nprint(run({'a': 1}))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_evidence_comes_back_from_json() -> None:
    evidence = Evidence(Contract("text", ("t",)), (), values=(seen("model", "takes", "t", "str"),))
    from nb2prod.domain import to_json

    assert Evidence.from_json(json.loads(json.dumps(to_json(evidence)))) == evidence


# --- docstrings ----------------------------------------------------------------------------------


def test_a_docstring_has_the_shapes(tmp_path: Path) -> None:
    values = [
        seen("model", "takes", "request", "pandas:DataFrame", "DataFrame, rows x 2 columns (a, b)"),
        seen("model", "gives", "scores", "numpy:ndarray", "ndarray of float64, one for each row"),
    ]
    text = whole(tmp_path, (EXAMPLE, ("model", "request['a']")), values).files["model.py"]
    assert '''
    """From `request` to the answer: cell 2 of made.ipynb.

    request: DataFrame, rows x 2 columns (a, b)
    the answer: ndarray of float64, one for each row
    """
''' in text  # fmt: skip


def test_a_name_that_comes_out_changed_is_there_twice() -> None:
    before, after = seen("model", "takes", "x", "int", "one"), seen("model", "gives", "x", "int", "two")
    other = seen("model", "gives", "y", "int", "three")
    assert shapes_of([before, None], [("x", after), ("y", other)]) == [
        ("x before", "one"),
        ("x after", "two"),
        ("y", "three"),
    ]
    assert shapes_of([before], [("x", seen("model", "gives", "x", "int", "one"))]) == [("x", "one")]


def test_a_long_summary_is_wrapped_as_ruff_has_it(tmp_path: Path) -> None:
    for length in range(60, 120):
        lines = docstring(("word " * 30)[:length].strip() + ".")
        assert all(len(line) <= 88 for line in lines) or len(lines) == 1
        (tmp_path / f"case{length}.py").write_text("\n".join(["def f():", *lines, "    return 1", ""]))
    assert ruff("format", "--diff", tmp_path) == ""
    assert docstring("Short.") == ['    """Short."""']
