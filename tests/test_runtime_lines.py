"""Tracebacks of a generated package in the notebook's own terms: cell and line of what failed.

One notebook, run in a real kernel, fails in as many ways as it is asked to; its package, state and all,
is loaded as a replica does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nb2prod.domain import Bundle, CleanRun
from nb2prod.errors import ParityError
from nb2prod.extract import extract
from nb2prod.notebook import read
from nb2prod.serving.loader import LoadedRelease, load, told, trace_of, unload
from nb2prod.validation import clean_run, prove, write_package
from tests.made import notebook
from tests.packages import write_package as write_small

CELLS = (
    (
        "",
        "import asyncio\nimport functools\nimport json\n\nimport numpy as np\n\ntable = np.array([1.0, 2.0])",
    ),
    (
        "",
        """# each of these fails when it is asked to
def helper(how):
    if how == "helper":
        raise KeyError(how)  # <- helper
    return how


def loud(function):
    @functools.wraps(function)
    def call(how):
        if how == "decorator":
            raise ValueError(how)  # <- decorator
        return function(how)

    return call


@loud
def decorated(how):
    return how


def generated(how):
    yield how
    yield 1 / (how != "generator")  # <- generator


async def waited(how):
    await asyncio.sleep(0)
    return [how].index("coroutine" if how != "coroutine" else None)  # <- coroutine


def chained(how):
    try:
        helper("helper" if how in ("cause", "context", "hidden") else how)
    except KeyError as error:
        if how == "cause":
            raise RuntimeError("from") from error  # <- cause
        if how == "hidden":
            raise RuntimeError("no more") from None  # <- hidden
        raise RuntimeError("while")  # <- context


def grouped(how):
    failures = []
    for part in ("one", "two"):
        try:
            helper("helper" if how == "group" else how)
        except KeyError as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup("both", failures)  # <- group


def endless(how):
    return endless(how) if how == "recursion" else how  # <- recursion""",
    ),
    (
        "",
        '''class Scaler:
    """Inside the state, so that its code is found again by name."""

    def __init__(self, by):
        self.by = by

    def scale(self, how):
        if how == "method":
            raise ZeroDivisionError(self.by)  # <- method
        return self.by


steps = {"scaler": Scaler(2)}''',
    ),
    ("example", 'how = "fine"'),
    ("preprocess", 'prepared = how.strip()\nassert how != "inline", how  # <- inline'),
    (
        "model",
        """found = [helper(prepared)]
found += [decorated(prepared), list(generated(prepared))]
found += [1 / (prepared != "comprehension") for _ in "ab"]  # <- comprehension
check = lambda text: text.index("e" if text != "lambda" else "z")  # <- lambda
found.append(check("lambda" if prepared == "lambda" else "fine"))
chained(prepared)
grouped(prepared)
endless(prepared)
found.append(
    json.loads(
        "{" if prepared == "library" else "{}"
    )
)
found.append(
    (
        1,
        1 / (prepared != "lines"),  # <- lines
    )
)
if prepared == "coroutine":
    asyncio.run(waited(prepared))
; found.append(table[5 if prepared == "index" else 0])  # <- index""".replace("\n; ", "\n0; "),
    ),
    ("postprocess", "(found, steps['scaler'].scale(how))"),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, CleanRun]:
    """The package of the notebook, and the run that it was made with."""
    folder = tmp_path_factory.mktemp("lines")
    book = read(notebook(folder, *CELLS, name="failing"))
    run = clean_run(book, extract(book).plan, folder=folder / "run", parameters={})
    return extract(book, run.evidence), run


@pytest.fixture(scope="module")
def folder(ran: tuple[Bundle, CleanRun], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package was written."""
    bundle, run = ran
    folder = tmp_path_factory.mktemp("lines")
    write_package(bundle, run.folder, folder / "failing")
    return folder


@pytest.fixture(scope="module")
def release(folder: Path) -> Iterator[LoadedRelease]:
    found = load(folder / "failing", "failing", 1)
    yield found
    unload(found)


def place(how: str) -> str:
    """Where the comment `# <- how` stands, as the log names it."""
    for number, (_, source) in enumerate(CELLS, 1):
        for line, text in enumerate(source.split("\n"), 1):
            if text.endswith(f"# <- {how}"):
                return f"failing.ipynb, cell {number}, line {line} "
    raise AssertionError(how)


def lines_for(release: LoadedRelease, how: str) -> list[str]:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  what it raises is the notebook's
        release.predictor.predict([how])
    lines: list[str] = release.runtime.notebook_lines(caught.value)
    return lines


@pytest.mark.parametrize(
    "how",
    [
        "inline",
        "helper",
        "decorator",
        "generator",
        "coroutine",
        "method",
        "comprehension",
        "lambda",
        "lines",
        "index",
        "recursion",
    ],
)
def test_the_failing_line_is_the_last_one_named(release: LoadedRelease, how: str) -> None:
    lines = lines_for(release, how)
    assert lines[-1].startswith(place(how))
    assert re.fullmatch(r"failing\.ipynb, cell \d+, line \d+ \(\w+\.py:\d+\): \S.*", lines[-1])


def test_all_frames_are_named_outermost_first(release: LoadedRelease) -> None:
    assert lines_for(release, "helper") == [
        "failing.ipynb, cell 6, line 1 (model.py:13): found = [helper(prepared)]",
        "failing.ipynb, cell 2, line 4 (helpers.py:11): raise KeyError(how)  # <- helper",
    ]


def test_an_error_of_a_library_is_placed_at_the_call(release: LoadedRelease) -> None:
    (line,) = lines_for(release, "library")
    # in a statement over several lines, the one that Python names
    assert re.match(r"failing\.ipynb, cell 6, line 10 ", line)
    assert "json.loads(" in line


def test_what_led_to_an_error_is_named(release: LoadedRelease) -> None:
    for how in ("cause", "context"):
        lines = lines_for(release, how)
        assert lines[1].startswith(place(how))
        assert lines[-1].startswith(f"KeyError: {place('helper')}")
    assert lines_for(release, "hidden")[-1].startswith(place("hidden"))


def test_the_members_of_a_group_are_named(release: LoadedRelease) -> None:
    lines = lines_for(release, "group")
    assert lines[1].startswith(place("group"))
    assert lines[-1].startswith(f"KeyError: {place('helper')}")


def test_errors_that_lead_to_each_other_end(release: LoadedRelease) -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__context__ = other, one
    assert release.runtime.notebook_lines(one) == []


class Odd(Exception):
    """An error that raises when it is looked at."""

    exceptions = ("no", "errors")

    def __getattribute__(self, name: str) -> object:
        raise KeyError(name)

    def __str__(self) -> str:
        raise ValueError


def test_errors_that_cannot_be_looked_at(release: LoadedRelease) -> None:
    assert release.runtime.notebook_lines(Odd()) == []
    group = ExceptionGroup("", [Odd(), ValueError()])
    assert release.runtime.notebook_lines(group) == []
    assert trace_of(Odd()).endswith("Odd: what it says cannot be told: ValueError")
    assert told(Odd()) == ("Odd: what it says cannot be told: ValueError", [])

    class Listed(Exception):
        exceptions = ("no", "errors")

    assert release.runtime.notebook_lines(Listed()) == []


def test_a_package_reached_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    found = load(tmp_path / "link" / "failing", "failing", 2)
    assert lines_for(found, "helper")[-1].startswith(place("helper"))
    unload(found)


def test_a_file_of_the_same_name_elsewhere_is_none_of_ours(release: LoadedRelease, tmp_path: Path) -> None:
    other = tmp_path / "helpers.py"
    other.write_text("\n" * 10 + "raise KeyError\n")
    with pytest.raises(KeyError) as caught:
        exec(compile(other.read_text(), other, "exec"))
    assert caught.traceback[-1].lineno == 10
    assert release.runtime.notebook_lines(caught.value) == []


def test_the_proof_names_the_modules_line_and_the_notebooks(
    ran: tuple[Bundle, CleanRun], tmp_path: Path
) -> None:
    bundle, run = ran
    # a package that fails where the notebook did not
    helpers = bundle.files["helpers.py"].replace('== "helper"', '== "fine"')
    spoilt = replace(bundle, files={**bundle.files, "helpers.py": helpers})
    write_package(spoilt, run.folder, tmp_path / "failing")
    with pytest.raises(ParityError) as caught:
        prove(spoilt, run, tmp_path / "failing")
    assert (caught.value.code, caught.value.number, caught.value.line) == ("NB322", 2, 4)
    assert "fails in helpers.py, line 11, asked for the example: KeyError" in caught.value.message


# --- loading -------------------------------------------------------------------------------------

LOADED = '''"""The role `model` of doubler.ipynb: cell 3."""

from .state import factor



scale = {}["missing"]


def model(pairs):
    return pairs
'''


def test_a_package_that_fails_as_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as caught:
        load(write_small(tmp_path / "small", model=LOADED), "small", 1)
    assert caught.value.__notes__ == [
        "notebook: doubler.ipynb, cell 3, line 2 (model.py:7): scale = {}['missing']".replace("'", '"')
    ]


def test_a_package_without_a_manifest_raises_what_it_raised(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "small", model=LOADED)
    (folder / "manifest.json").unlink()
    with pytest.raises(Exception, match=r"^manifest\.json: .*No such file") as caught:
        load(folder, "small", 1)
    assert type(caught.value).__name__ == "DamagedState"
