"""The reader: every kind of file that people hand over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nb2prod.errors import UnreadableNotebook
from nb2prod.notebook import read
from nb2prod.notebook.magics import plain_code
from tests.made import TINY, notebook


def refusal(path: Path, name: str | None = None) -> UnreadableNotebook:
    with pytest.raises(UnreadableNotebook) as caught:
        read(path, name)
    assert caught.value.hint, "an error without advice"
    assert caught.value.exit_code == 1
    return caught.value


def write(path: Path, data: object) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return path


def test_reads_cells_tags_and_sources(tmp_path: Path) -> None:
    book = read(notebook(tmp_path, *TINY))
    assert book.name == "made"
    assert [c.id for c in book.code] == ["c1", "c2", "c3"]
    assert book.tagged("model")[0].number == 3
    assert book.tagged("model")[0].source == "request['a'] * factor"


def test_digest_ignores_outputs_but_not_code_or_tags(tmp_path: Path) -> None:
    path = notebook(tmp_path, *TINY)
    before = read(path).digest
    data = json.loads(path.read_text())
    data["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "hello"}]
    data["cells"][0]["execution_count"] = 7
    data["cells"].insert(0, {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": "# Title"})
    assert read(write(path, data)).digest == before
    data["cells"][1]["metadata"] = {"tags": ["parameters"]}
    assert read(write(path, data)).digest != before


def test_no_such_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.ipynb").code == "NB101"


def test_a_folder_is_no_notebook(tmp_path: Path) -> None:
    assert refusal(tmp_path, "name").code == "NB101"


@pytest.mark.parametrize(
    "content", ["", "print('hi')", "[1, 2]", "{}", '{"nbformat": "four"}', "\x00\x01", '{"nbformat": 4}']
)
def test_not_a_notebook(tmp_path: Path, content: str) -> None:
    error = refusal(write(tmp_path / "x.ipynb", content))
    assert error.code == "NB102"
    assert "x.ipynb is not a notebook" in error.message


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    path.write_bytes(bytes(range(256)))
    assert refusal(path).code == "NB102"


def test_r_kernel(tmp_path: Path) -> None:
    metadata = {
        "kernelspec": {"name": "ir", "display_name": "R", "language": "R"},
        "language_info": {"name": "R"},
    }
    error = refusal(notebook(tmp_path, ("model", "x <- 1"), metadata=metadata))
    assert error.code == "NB103"
    assert "written in R" in error.message
    assert "'ir'" in error.message


@pytest.mark.parametrize("cells", [[], [{"cell_type": "markdown", "metadata": {}, "source": "hello"}]])
def test_empty_notebook(tmp_path: Path, cells: list[object]) -> None:
    data = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    error = refusal(write(tmp_path / "x.ipynb", data))
    assert error.code == "NB104"
    assert "nb2prod new" in (error.hint or "")


@pytest.mark.parametrize(
    ("stem", "better"),
    [
        ("my-notebook (1)", "my_notebook_1"),
        ("2024 sales", "nb_2024_sales"),
        ("class", "nb_class"),
        ("größe", "gr_e"),
    ],
)
def test_name_that_is_no_identifier(tmp_path: Path, stem: str, better: str) -> None:
    path = notebook(tmp_path, *TINY, name=stem)
    error = refusal(path)
    assert error.code == "NB105"
    assert f"--name {better}" in (error.hint or "")
    assert read(path, better).name == better


def test_newer_format(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "x.ipynb", {"nbformat": 5, "cells": []})).code == "NB106"


def test_format_3_is_upgraded_in_memory_only(tmp_path: Path) -> None:
    old = {
        "metadata": {"name": ""},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 1, "metadata": {}, "source": ["Old"]},
                    {
                        "cell_type": "code",
                        "collapsed": False,
                        "input": ["x = 1\n", "x"],
                        "language": "python",
                        "metadata": {"tags": ["model"]},
                        "outputs": [],
                    },
                ]
            }
        ],
    }
    path = write(tmp_path / "old.ipynb", old)
    text = path.read_bytes()
    book = read(path)
    assert book.tagged("model")[0].source == "x = 1\nx"
    assert book.nbformat == "3.0"
    assert path.read_bytes() == text
    assert [c.id for c in read(path).cells] == [c.id for c in book.cells], "ids must not change between reads"


def test_damaged_format_3(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "x.ipynb", {"nbformat": 3, "worksheets": 7})).code == "NB102"


def test_no_kernelspec_is_python(tmp_path: Path) -> None:
    book = read(notebook(tmp_path, *TINY, metadata={}))
    assert (book.language, book.kernel) == ("python", None)


def test_duplicate_and_missing_ids_become_unique(tmp_path: Path) -> None:
    path = notebook(tmp_path, ("", "a = 1"), ("", "a = 1"), ("", "a = 1"))
    data = json.loads(path.read_text())
    for cell in data["cells"]:
        cell["id"] = "same"
    assert [c.id for c in read(write(path, data)).cells] == ["same", "same-2", "same-3"]
    for cell in data["cells"]:
        del cell["id"]
    assert len({c.id for c in read(write(path, data)).cells}) == 3


@pytest.mark.parametrize(
    ("source", "code", "magic"),
    [
        ("a = 1\nb = 2", "a = 1\nb = 2", None),
        ("x = f(3 \n % y)", "x = f(3 \n % y)", None),
        ("%%time\na = 1", "\na = 1", None),
        ("%%bash\nls", "", "bash"),
        ("%time a = 1", "a = 1", None),
        ("a = %time f(1)", "a = f(1)", None),
        ("%matplotlib inline\na = 1", "get_ipython().run_line_magic('matplotlib', 'inline')\na = 1", None),
        ("!ls\na = 1", "get_ipython().system('ls')\na = 1", None),
        ("def broken(:", "def broken(:", None),
    ],
)
def test_magics_become_plain_python_line_for_line(source: str, code: str, magic: str | None) -> None:
    plain = plain_code(source)
    assert (plain.code, plain.magic) == (code, magic)
