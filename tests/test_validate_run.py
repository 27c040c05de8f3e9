"""The clean run: what is executed, where, and how failures are told. Real kernels, each some seconds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import psutil
import pytest

from nb2prod.domain import CapturePlan, Notebook
from nb2prod.errors import NotebookError, RunError, UsageError
from tests import plans
from tests.plans import book, inline, plan

UPPER: tuple[tuple[str, str], ...] = (("example", "text = 'abc'"), ("model", "text.upper()"))
"""The smallest notebook that can be deployed; more cells may follow it."""


def upper(shift: int = 0) -> CapturePlan:
    """The plan of UPPER, when `shift` cells stand before it."""
    example, model = f"c{shift + 1}", f"c{shift + 2}"
    return plan("text", inline("model", "text", "prediction", model), moment=model, example=example)


def failing(folder: Path, source: str, tags: str = "") -> RunError:
    """The error of a notebook in which one more cell, the third, fails."""
    with pytest.raises(RunError) as caught:
        plans.run(book(folder, *UPPER, (tags, source)), upper())
    return caught.value


def executed(notebook: Notebook) -> list[dict[str, object]]:
    return json.loads((notebook.path.parent / "run" / "executed.ipynb").read_text("utf-8"))["cells"]


def text_of(cell: dict[str, object]) -> str:
    outputs = cell["outputs"]
    assert isinstance(outputs, list)
    return "".join("".join(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in outputs)


# --- what runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Notebook, list[tuple[int, int, str]]]:
    """One run that shows what the notebook can see of us, and the progress told."""
    folder = tmp_path_factory.mktemp("a folder {with} blanks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JPY_SESSION_NAME", "/somewhere/else.ipynb")
        told: list[tuple[int, int, str]] = []
        notebook = book(
            folder,
            ("", "import os, sys, random\nrandom.seed(7)\n'first'"),
            *UPPER,
            ("", "_, __, len(In), sorted(Out), random.random()"),
            ("", "print(os.getcwd(), os.environ.get('JPY_SESSION_NAME'), os.environ['NB2PROD_CLEAN_RUN'])"),
            ("", "print(sys.executable, sys.prefix)"),
            ("", "print([n for n in globals() if 'nb2prod' in n or 'probe' in n])"),
            ("skip", "raise RuntimeError('exploration')"),
            ("", "%matplotlib --list"),
        )
        plans.run(notebook, upper(1), progress=lambda *step: told.append(step))
    return notebook, told


def test_the_notebook_sees_nothing_of_the_probe(looked: tuple[Notebook, list[tuple[int, int, str]]]) -> None:
    cells = executed(looked[0])
    assert text_of(cells[3]) == "('ABC', 'first', 5, [1, 3], 0.32383276483316237)"
    assert text_of(cells[6]) == "[]\n"
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_it_runs_in_the_notebooks_folder_by_this_interpreter(
    looked: tuple[Notebook, list[tuple[int, int, str]]],
) -> None:
    notebook, _ = looked
    assert text_of(executed(notebook)[4]) == f"{notebook.path.parent} None 1\n"
    assert text_of(executed(notebook)[5]) == f"{sys.executable} {sys.prefix}\n"


def test_skipped_cells_are_left_out(looked: tuple[Notebook, list[tuple[int, int, str]]]) -> None:
    assert not any("exploration" in str(cell["source"]) for cell in executed(looked[0]))


def test_progress_names_each_cell(looked: tuple[Notebook, list[tuple[int, int, str]]]) -> None:
    told = looked[1]
    assert told[:3] == [(0, 8, "cell 1"), (1, 8, "cell 2 (example)"), (2, 8, "cell 3 (model)")]
    assert told[-1] == (8, 8, "done")


def test_it_runs_where_an_event_loop_runs(tmp_path: Path) -> None:
    async def inside() -> str:
        return plans.run(book(tmp_path, *UPPER), upper()).evidence.contract.response[0]

    assert asyncio.run(inside()) == "ABC"


def test_an_old_run_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "finding.json").write_text("old")
    plans.run(book(tmp_path, *UPPER), upper())
    assert not (tmp_path / "run" / "finding.json").exists()


# --- parameters ----------------------------------------------------------------------------------


def test_parameters_are_injected_after_their_cell(tmp_path: Path) -> None:
    notebook = book(
        tmp_path,
        ("parameters", "depth = 1\nname = 'a'"),
        *UPPER,
        ("check", "assert (depth, name) == (3, 'a')"),
    )
    done = plans.run(notebook, upper(1), parameters={"depth": 3})
    assert done.parameters == {"depth": 3}
    assert "injected-parameters" in str(executed(notebook)[1]["metadata"])


def test_parameters_without_a_cell_for_them(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="no cell is tagged `parameters`") as caught:
        plans.run(book(tmp_path, *UPPER), upper(), parameters={"depth": 3})
    assert caught.value.code == "NB112"
    assert caught.value.hint


def test_an_unknown_parameter(tmp_path: Path) -> None:
    notebook = book(tmp_path, ("parameters", "%matplotlib inline\ndepth, rate = 1, 0.5"), *UPPER)
    with pytest.raises(NotebookError, match=r"no parameter 'dpeth'.*depth, rate") as caught:
        plans.run(notebook, upper(1), parameters={"dpeth": 3})
    assert (caught.value.code, caught.value.cell, caught.value.number) == ("NB113", "c1", 1)


# --- kernels -------------------------------------------------------------------------------------


def test_a_kernel_that_is_not_installed_is_replaced(tmp_path: Path) -> None:
    done = plans.run(book(tmp_path, *UPPER, kernel="conda-env-gone"), upper())
    (warning,) = done.diagnostics
    assert (warning.code, warning.severity) == ("NB111", "warning")
    assert "conda-env-gone" in warning.message


def test_a_kernel_that_was_asked_for_must_be_installed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no kernel 'gone'") as caught:
        plans.run(book(tmp_path, *UPPER), upper(), kernel="gone")
    assert caught.value.code == "NB115"


def test_a_kernel_of_another_environment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    venv.create(other, with_pip=False, symlinks=True)
    (packages,) = other.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    spec = tmp_path / "jupyter" / "kernels" / "other"
    spec.mkdir(parents=True)
    argv = [str(other / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "other", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    (warning,) = plans.run(book(tmp_path, *UPPER, kernel="other"), upper()).diagnostics
    assert (warning.code, warning.severity) == ("NB116", "warning")
    assert str(other) in warning.message


# --- failures ------------------------------------------------------------------------------------


def test_a_failing_cell_is_shown(tmp_path: Path) -> None:
    source = "def half(x):\n    return x / 0\n\nhalf(1)"
    error = failing(tmp_path, source)
    assert (error.code, error.cell, error.number, error.line) == ("NB300", "c3", 3, 2)
    assert error.message == "cell 3 failed: ZeroDivisionError: division by zero"
    assert error.source == source
    assert "ZeroDivisionError" in error.traceback
    assert "\x1b" not in error.traceback
    assert (tmp_path / "run" / "executed.ipynb").exists()


def test_the_line_is_one_of_the_failing_cell(tmp_path: Path) -> None:
    cells = (*UPPER, ("", "def half(x):\n    y = x\n    return y / 0"), ("", "a = 1\nhalf(a)"))
    with pytest.raises(RunError) as caught:
        plans.run(book(tmp_path, *cells), upper())
    assert (caught.value.number, caught.value.line) == (4, 2)


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("x = 1\nprint 'x'", 2, "SyntaxError"),
        ("%%time\nx = 1\nint('a')", 3, "invalid literal"),
        ("import json\njson.loads('{')", 2, "JSONDecodeError"),
    ],
    ids=["syntax", "timed", "in a library"],
)
def test_the_line_of_a_failure(tmp_path: Path, source: str, line: int, text: str) -> None:
    error = failing(tmp_path, source)
    assert (error.code, error.number, error.line) == ("NB300", 3, line)
    assert text in error.message


def test_a_name_that_only_the_open_session_knew(tmp_path: Path) -> None:
    error = failing(tmp_path, "fitted.predict(text)")
    assert error.message == "cell 3 failed: NameError: name 'fitted' is not defined"
    assert error.hint is not None
    assert "by hand" in error.hint


def test_a_failed_check(tmp_path: Path) -> None:
    error = failing(tmp_path, "auc = 0.4\nassert auc > 0.5, f'too low: {auc}'", "check")
    assert (error.code, error.cell, error.line) == ("NB330", "c3", 2)
    assert error.message == "check failed in cell 3: AssertionError: too low: 0.4"


@pytest.mark.parametrize("magic", ["%%capture", "%%capture out"])
def test_a_failure_that_a_magic_hides(magic: str, tmp_path: Path) -> None:
    """IPython goes on after such a cell, as if it had done all that stands in it."""
    error = failing(tmp_path, f"{magic}\nx = 1\nint('a')")
    assert (error.code, error.number, error.line) == ("NB300", 3, 3)
    assert error.message.startswith("cell 3 failed: ValueError: invalid literal")
    assert "ValueError" in error.traceback
    assert error.hint is not None
    assert "remove `%%capture`" in error.hint


def test_a_check_whose_failure_a_magic_hides(tmp_path: Path) -> None:
    error = failing(tmp_path, "%%capture\nassert 1 > 2, 'too low'", "check")
    assert (error.code, error.line) == ("NB330", 2)
    assert error.message == "check failed in cell 3: AssertionError: too low"


def test_a_kernel_that_dies(tmp_path: Path) -> None:
    error = failing(tmp_path, "import os\nos._exit(3)")
    assert (error.code, error.number) == ("NB301", 3)
    assert error.source == "import os\nos._exit(3)"


def test_a_cell_that_takes_too_long(tmp_path: Path) -> None:
    notebook = book(tmp_path, *UPPER, ("", "import threading\nthreading.Event().wait()"))
    with pytest.raises(RunError, match="cell 3 ran longer than 1 s") as caught:
        plans.run(notebook, upper(), cell_timeout=1)
    assert caught.value.code == "NB302"


def test_an_interrupt_leaves_no_kernel_behind(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from tests.plans import book, run
        from tests.test_validate_run import UPPER, upper
        cells = (("", "import os\\nopen('pid', 'w').write(str(os.getpid()))"), *UPPER,
                 ("", "import threading\\nthreading.Event().wait()"))
        run(book(Path({str(tmp_path)!r}), *cells), upper(1), progress=lambda *step: print(*step, flush=True))
        """
    )
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", script]
    env = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, cwd=root, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert any(line.startswith("3 4 cell 4") for line in child.stdout)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


# --- metrics -------------------------------------------------------------------------------------


def test_metrics_add_up(tmp_path: Path) -> None:
    cells = (
        *UPPER,
        ("metrics", "import numpy as np\n{'auc': np.float32(0.5), 'rows': np.int64(7)}"),
        ("", "x = 1"),
        ("metrics", "{'auc': 0.75, 'found': True};"),
    )
    assert plans.run(book(tmp_path, *cells), upper()).metrics == {"auc": 0.75, "rows": 7.0, "found": 1.0}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("auc = 0.5", "ends in no expression"),
        ("[0.5]", "ends in a value of type list"),
        ("{'auc': '0.5'}", "metric 'auc' is no number but a str"),
    ],
)
def test_metrics_that_are_no_numbers(tmp_path: Path, source: str, text: str) -> None:
    error = failing(tmp_path, source, "metrics")
    assert (error.code, error.cell, error.number) == ("NB331", "c3", 3)
    assert text in error.message
