"""The proof: packages right and wrong against one notebook's answers, in processes of their own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nb2prod.domain import CapturePlan, CleanRun, MappedLine, Notebook, Report, to_json
from nb2prod.errors import ParityError
from nb2prod.extract import extract
from nb2prod.shells import render
from nb2prod.validation import prove, write_package
from nb2prod.validation.seeds import differing
from tests import plans
from tests.plans import book, bundle_of, function, inline, plan, state

STATE = 'from .runtime import load_state\n\noffset = load_state("offset")\n'
PIPELINE = "from . import model\n\n\ndef run(values):\n    return model.predict(values)\n"
MODEL = "from .state import offset\n\n\ndef predict(values):\n    return [v / 3 + offset for v in values]\n"
LINES = (MappedLine("model.py", 5, "c3", 3, 1),)

CELLS = (
    ("", "offset = 0.5"),
    ("example", "values = [1.0, 2.0, 4.0]"),
    ("model", "[v / 3 + offset for v in values]"),
    ("reference", "past = [float(i) for i in range(60)]"),
    ("metrics", "{'rows': len(past)}"),
)
PLAN = plan(
    "values",
    inline("model", "values", "prediction", "c3"),
    moment="c3",
    example="c2",
    items=(state("offset", "c3"),),
    reference=("c4", "past"),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Notebook, CleanRun]:
    """One clean run for all packages of this file."""
    notebook = book(tmp_path_factory.mktemp("ran"), *CELLS, name="calendar")
    return notebook, plans.run(notebook, PLAN, parameters={})


def report_on(ran: tuple[Notebook, CleanRun], folder: Path, model: str = MODEL, rtol: float = 0.0) -> Report:
    """The report on a package whose `model.py` has this text."""
    notebook, run = ran
    modules = {"state": STATE, "pipeline": PIPELINE, "model": model}
    bundle = bundle_of(notebook, PLAN, run.evidence, modules, LINES)
    write_package(bundle, run.folder, folder / notebook.name)
    return prove(bundle, run, folder / notebook.name, rtol=rtol)


def failure_of(ran: tuple[Notebook, CleanRun], folder: Path, model: str) -> ParityError:
    with pytest.raises(ParityError) as caught:
        report_on(ran, folder, model)
    return caught.value


def changed(body: str, head: str = "") -> str:
    return f"{head}from .state import offset\n\n\ndef predict(values):\n{body}"


# --- packages that are right ---------------------------------------------------------------------


def test_a_package_that_answers_alike(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    report = report_on(ran, tmp_path)
    assert (report.name, report.passed, report.differences) == ("calendar", True, ())
    assert (report.rows_compared, report.reference_rows, report.tolerance) == (63, 60, 0.0)
    assert (report.batch_safe, report.batch_reason) == (True, "50 rows answered alike alone and together")
    assert report.metrics == {"rows": 60.0}
    assert [item.key for item in report.state] == ["offset"]
    assert report.pickled == ()
    assert {"load", "one", "batch", "batch_rows"} <= report.latency_ms.keys()
    assert report.latency_ms["batch_rows"] == 60
    assert {"clean run", "prove"} <= report.seconds.keys()
    assert Report.from_json(json.loads(json.dumps(to_json(report)))) == report


def test_a_difference_within_a_tolerance_that_was_asked_for(
    ran: tuple[Notebook, CleanRun], tmp_path: Path
) -> None:
    model = changed("    return [v / 3 * (1 + 1e-12) + offset for v in values]\n")
    assert failure_of(ran, tmp_path / "exact", model).code == "NB320"
    report = report_on(ran, tmp_path / "near", model, rtol=1e-9)
    assert (report.passed, report.tolerance) == (True, 1e-9)


def test_rows_that_depend_on_each_other_are_not_batched(tmp_path: Path) -> None:
    cells = (("example", "values = [1.0, 2.0, 4.0]"), ("model", "[v / max(values) for v in values]"))
    what = plan("values", inline("model", "values", "p", "c2"), moment="c2", example="c1")
    modules = {"pipeline": "def run(values):\n    return [v / max(values) for v in values]\n"}
    report = plans.proven(book(tmp_path, *cells), what, modules).report
    assert report.passed
    assert (report.batch_safe, report.batch_reason) == (False, "row 0 alone gives 1.0, beside row 1 0.5")
    (warning,) = report.diagnostics
    assert (warning.code, warning.severity, warning.cell) == ("NB336", "warning", "c2")
    assert "row 0 alone gives 1.0, beside row 1 0.5" in warning.message


def test_one_row_is_too_little_to_tell(tmp_path: Path) -> None:
    what = plan("values", inline("model", "values", "p", "c2"), moment="c2", example="c1")
    cells = (("example", "values = [1.0]"), ("model", "[v for v in values]"))
    report = plans.proven(
        book(tmp_path, *cells), what, {"pipeline": "def run(values):\n    return values\n"}
    ).report
    assert (report.batch_safe, report.rows_compared) == (False, 1)


def test_functions_in_state_and_answers_of_the_notebooks_own_class(tmp_path: Path) -> None:
    helpers = "def double(x):\n    return 2 * x\n\n\nclass Answer(dict):\n    pass\n"
    source = f"import functools\n{helpers}\nf = functools.partial(double)"
    score = "def score(row):\n    return Answer(y=f(row['x']))\n"
    cells = (
        ("", source),
        ("example", "row = {'x': 1}"),
        ("model", score),
    )
    what = plan(
        "row",
        function("model", "score", "row", "p", "c3"),
        moment="c3",
        example="c2",
        items=(state("f", "c3", "after"),),
        rehome={"double": "helpers", "Answer": "helpers", "score": "model"},
    )
    modules = {
        "helpers": helpers,
        "state": 'from .runtime import load_state\n\nf = load_state("f")\n',
        "model": f"from .helpers import Answer\nfrom .state import f\n\n\n{score}",
        "pipeline": "from . import model\n\n\ndef run(row):\n    return model.score(row)\n",
    }
    done = plans.proven(book(tmp_path, *cells), what, modules)
    assert done.run.evidence.rehomed == ("double",)
    assert [(item.codec, item.trusted) for item in done.report.state] == [("json", (".helpers:double",))]
    assert (done.report.batch_safe, done.report.batch_reason) == (None, "one call takes one record")


FIT = """
import fractions
import lightgbm as lgb, numpy as np, pandas as pd, xgboost as xgb
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
def squared(values):
    return values ** 2
train = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)), columns=["a", "b"])
target = (train["a"] > 0).astype(int)
medians = train.median()
steps = (FunctionTransformer(squared), StandardScaler(), LogisticRegression())
linear = make_pipeline(*steps).fit(train, target)
models = {
    "linear": linear,
    "xgb": xgb.XGBClassifier(n_estimators=3).fit(train, target),
    "lgb": lgb.train({"verbose": -1, "min_data_in_leaf": 5}, lgb.Dataset(train, target), 3),
    "weights": np.array([0.5, 0.25, 0.25]),
}
share = fractions.Fraction(1, 2)
"""
SCORE = """
rows = rows.fillna(medians)
scores = np.column_stack([
    models["linear"].predict_proba(rows)[:, 1],
    models["xgb"].predict_proba(rows)[:, 1],
    models["lgb"].predict(rows),
])
(scores @ models["weights"]) * float(share)
"""


def test_models_of_several_libraries_answer_alike_in_another_process(tmp_path: Path) -> None:
    cells = (("", FIT), ("example", "rows = train.head(9)"), ("model", SCORE), ("reference", "train"))
    notebook = book(tmp_path, *cells)
    draft = extract(notebook)
    run = plans.run(notebook, draft.plan)
    bundle = extract(notebook, run.evidence)
    write_package(bundle, run.folder, tmp_path / "package")
    report = prove(bundle, run, tmp_path / "package")
    assert (report.passed, report.rows_compared) == (True, 89)
    assert [d.code for d in report.diagnostics] == []
    found = {item.key: item for item in report.state}
    assert {key: item.codec for key, item in found.items()} == {
        "medians": "parquet",
        "models": "zip(lightgbm,npy,skops,xgboost)",
        "share": "pickle",
    }
    assert ".helpers:squared" in found["models"].trusted
    assert [item.key for item in report.pickled] == ["share"]
    direct = {item.name for item in report.requirements if not item.via}
    assert direct >= {"lightgbm", "pyarrow", "scikit-learn", "skops", "xgboost-cpu"}
    assert not {"pytest", "torch"} & {item.name for item in report.requirements}
    lines = list(render.report(report, reused=False))
    assert "  pickle      share (fractions.Fraction): fractions.Fraction has no safer form" in lines
    assert Report.from_json(json.loads(json.dumps(to_json(report)))) == report


# --- packages that are wrong ---------------------------------------------------------------------


def test_a_package_that_answers_otherwise(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    error = failure_of(ran, tmp_path, changed("    return [v / 3 + offset + (v > 30) for v in values]\n"))
    assert error.code == "NB320"
    assert error.message.splitlines()[0] == "29 of 63 rows are answered otherwise than by the notebook:"
    assert "reference, row 31: expected 10.833333333333334, got 11.833333333333334" in error.message
    assert error.report is not None
    assert not error.report.passed
    assert len(error.report.differences) == 5
    assert (error.cell, error.number) == ("c3", 3)
    first = error.report.differences[0]
    assert (first.case, first.row, first.got) == ("reference", 31, "11.833333333333334")


def test_rows_that_differ_by_rounding_are_batched_and_it_is_said(tmp_path: Path) -> None:
    cells = (
        ("example", "values = [0.1, 0.2, 0.3]"),
        ("model", "[sum(values) - sum(values) + v for v in values]"),
    )
    body = "    return [v * (1 + 1e-15 * (len(values) == 1)) for v in values]\n"
    what = plan("values", inline("model", "values", "p", "c2"), moment="c2", example="c1")
    report = plans.proven(book(tmp_path, *cells), what, {"pipeline": f"def run(values):\n{body}"}).report
    assert report.batch_safe is True
    assert report.batch_reason.startswith(
        "3 rows answered alike alone and together, but for rounding (row 0: "
    )
    assert report.diagnostics == ()


def test_a_package_that_gives_another_type(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    error = failure_of(ran, tmp_path, changed("    return tuple(v / 3 + offset for v in values)\n"))
    assert "list became tuple" in error.message


def test_a_package_that_fails(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    error = failure_of(ran, tmp_path, changed("    return [v / 0 for v in values]\n"))
    assert error.code == "NB322"
    assert (error.cell, error.number, error.line) == ("c3", 3, 1)
    assert error.message == (
        "the extracted package fails in model.py, line 5, asked for the example:"
        " ZeroDivisionError: float division by zero"
    )
    assert any("model.py" in note for note in error.__notes__)


def test_a_package_that_fails_outside_the_cells_lines(tmp_path: Path) -> None:
    what = plan("text", inline("model", "text", "p", "c2"), moment="c2", example="c1")
    modules = {"pipeline": "def run(text):\n    return {}[text]\n"}
    with pytest.raises(ParityError) as caught:
        plans.proven(book(tmp_path, ("example", "text = 'a'"), ("model", "text * 2")), what, modules)
    assert (caught.value.code, caught.value.cell, caught.value.hint) == ("NB322", "c2", None)


def test_a_package_that_needs_a_file_beside_the_notebook(
    ran: tuple[Notebook, CleanRun], tmp_path: Path
) -> None:
    error = failure_of(ran, tmp_path, changed("    return open('prices.csv').readlines()\n"))
    assert error.code == "NB322"
    assert error.hint is not None
    assert "Read the file in a cell of its own above" in error.hint


def test_a_package_that_needs_a_module_beside_the_notebook(
    ran: tuple[Notebook, CleanRun], tmp_path: Path
) -> None:
    notebook, _ = ran
    (notebook.path.parent / "my_utils.py").write_text("")
    error = failure_of(ran, tmp_path, f"import my_utils\n\n{MODEL}")
    assert error.code == "NB322"
    assert "fails in model.py, line 1, being loaded: ModuleNotFoundError" in error.message
    assert error.hint is not None
    assert "'my_utils' is not installed" in error.hint


def test_a_role_that_uses_what_json_does_not_carry(tmp_path: Path) -> None:
    cells = (
        ("example", "import pandas as pd\nx = pd.DataFrame({'a': [1, 2]}, index=[7, 8])"),
        ("model", "x.index.to_numpy() + 1"),
    )
    what = plan("x", inline("model", "x", "p", "c2"), moment="c2", example="c1")
    with pytest.raises(ParityError, match=r"expected np.int64\(8\), got np.int64\(1\)") as caught:
        plans.proven(
            book(tmp_path, *cells), what, {"pipeline": "def run(x):\n    return x.index.to_numpy() + 1\n"}
        )
    assert caught.value.hint is not None
    assert "index labels" in caught.value.hint


def test_a_package_whose_process_dies(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    error = failure_of(ran, tmp_path, f"import os, signal\n\nos.kill(os.getpid(), signal.SIGKILL)\n\n{MODEL}")
    assert (error.code, error.message) == ("NB322", "the process that loaded the package died (signal 9)")


def test_a_package_whose_state_moves_on(tmp_path: Path) -> None:
    cells = (
        ("", "import random\nrng = random.Random(0)"),
        ("example", "text = 'a'"),
        ("model", "rng.random()"),
    )
    what = plan(
        "text", inline("model", "text", "p", "c3"), moment="c3", example="c2", items=(state("rng", "c3"),)
    )
    modules = {
        "state": 'from .runtime import load_state\n\nrng = load_state("rng")\n',
        "pipeline": "from .state import rng\ndef run(text):\n    return rng.random()\n",
    }
    with pytest.raises(ParityError, match="differently each time") as caught:
        plans.proven(book(tmp_path, *cells), what, modules)
    assert (caught.value.code, caught.value.cell) == ("NB321", "c3")


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ("", "answering requests changes what later answers depend on"),
        ("rng.random(); ", "answering requests changes `rng` in the state"),
    ],
    ids=["a list of a module", "state of a library's class"],
)
def test_answers_that_drift(draws: str, message: str, tmp_path: Path) -> None:
    cells = (
        ("", "import random\nrng = random.Random(0)"),
        ("example", "text = 'a'"),
        ("model", "rng and text"),
    )
    items = (state("rng", "c3"),)
    what = plan("text", inline("model", "text", "p", "c3"), moment="c3", example="c2", items=items)
    run = f"def run(text):\n    {draws}calls.append(1)\n    return text if len(calls) < 9 else 'b'\n"
    modules = {
        "state": 'from .runtime import load_state\n\nrng = load_state("rng")\n',
        "pipeline": f"from .state import rng\ncalls = []\n{run}",
    }
    with pytest.raises(ParityError, match=message) as caught:
        plans.proven(book(tmp_path, *cells), what, modules)
    assert caught.value.code == "NB326"
    assert draws or caught.value.cell == "c3"
    assert "Work on a copy" in (caught.value.hint or "")


def test_a_package_that_lacks_a_variable_of_the_environment(
    ran: tuple[Notebook, CleanRun], tmp_path: Path
) -> None:
    error = failure_of(ran, tmp_path, changed("    return os.environ['CURRENCY']\n", head="import os\n"))
    assert error.code == "NB322"
    assert "`value = os.environ['CURRENCY']`" in (error.hint or "")
    other = failure_of(ran, tmp_path / "other", changed("    return {}['CURRENCY']\n"))
    assert other.hint is None


def test_the_part_of_the_state_that_has_changed_is_named(tmp_path: Path) -> None:
    cells = (
        ("", "class Model:\n    def __init__(self):\n        self.seen = {'last': [0, 1]}\nm = Model()"),
        ("example", "x = 3"),
        ("model", "m.seen['last'][1] = x\nx"),
    )
    what = plan(
        "x",
        inline("model", "x", "p", "c3"),
        moment="c3",
        example="c2",
        items=(state("m", "c3"),),
        rehome={"Model": "helpers"},
    )
    modules = {
        "helpers": "class Model:\n    pass\n",
        "state": 'from .runtime import load_state\n\nm = load_state("m")\n',
        "pipeline": "from .state import m\ndef run(x):\n    m.seen['last'][1] = x\n    return x\n",
    }
    with pytest.raises(ParityError, match=r"changes `m\.seen\['last'\]\[1\]` in the state") as caught:
        plans.proven(book(tmp_path, *cells), what, modules)
    assert caught.value.code == "NB326"


UNSTEADY = {
    "a set that is made": (
        "'-'.join({'some', 'words', text})",
        "the order of a set (`{'some', 'words', text}`)",
    ),
    "a set in state": ("'-'.join(known)", "the order of a set (`known`)"),
    "a hash": ("hash(text)", "`hash` of a text (`hash(text)`)"),
}


@pytest.mark.parametrize("name", UNSTEADY)
def test_answers_that_depend_on_how_a_process_hashes_texts(tmp_path: Path, name: str) -> None:
    answer, what = UNSTEADY[name]
    error = text_failure(tmp_path, answer)
    assert error.code == "NB339"
    assert what in error.message
    assert (error.cell, error.line) == (("c1", 1) if "known" in answer else ("c3", 1))


STEADY = {
    "a set that is only asked": "text in known and text not in {'x', 'y'}",
    "a set in order": "'-'.join(sorted(known))",
    "a checksum": "__import__('zlib').crc32(text.encode())",
}


@pytest.mark.parametrize("name", STEADY)
def test_answers_that_are_the_same_in_each_process(tmp_path: Path, name: str) -> None:
    assert text_report(tmp_path, STEADY[name]).passed


def test_seeds_that_order_texts_differently() -> None:
    one, other = differing(["alpha", "beta"])
    code = "print(list({'alpha', 'beta'}))"
    orders = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed)}, capture_output=True)
        for seed in (one, other)
    ]
    assert orders[0].stdout != orders[1].stdout


def text_report(folder: Path, answer: str) -> Report:
    """The report on a package whose one role answers a `text`, with the set `known` in its state."""
    cells = (("", "known = {'alpha', 'beta'}"), ("example", "text = 'abc'"), ("model", answer))
    what = plan(
        "text", inline("model", "text", "p", "c3"), moment="c3", example="c2", items=(state("known", "c3"),)
    )
    modules = {
        "state": 'from .runtime import load_state\n\nknown = load_state("known")\n',
        "pipeline": f"from .state import known\ndef run(text):\n    return {answer}\n",
    }
    lines = (MappedLine("pipeline.py", 3, "c3", 3, 1),)
    return plans.proven(book(folder, *cells), what, modules, lines=lines).report


def text_failure(folder: Path, answer: str) -> ParityError:
    with pytest.raises(ParityError) as caught:
        text_report(folder, answer)
    return caught.value


def test_the_proving_process_imports_nothing_of_ours(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    told = f"import sys\n\nopen({str(tmp_path / 'seen')!r}, 'w').write(' '.join(sys.modules))\n\n{MODEL}"
    assert report_on(ran, tmp_path, told).passed
    seen = (tmp_path / "seen").read_text().split()
    assert not [
        name for name in seen if name.partition(".")[0] in ("nb2prod", "papermill", "mlflow", "compare")
    ]


# --- packages on disk ----------------------------------------------------------------------------


def test_a_package_is_replaced_as_a_whole(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    notebook, run = ran
    bundle = bundle_of(notebook, PLAN, run.evidence, {"pipeline": PIPELINE, "old": ""})
    write_package(bundle, run.folder, tmp_path / "made")
    newer = bundle_of(notebook, PLAN, run.evidence, {"pipeline": PIPELINE})
    write_package(newer, run.folder, tmp_path / "made")
    assert not (tmp_path / "made" / "old.py").exists()
    assert (tmp_path / "made" / "state" / "offset.json").read_text() == "0.5"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_failed_write_leaves_the_old_package(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    notebook, run = ran
    bundle = bundle_of(notebook, PLAN, run.evidence, {"pipeline": PIPELINE})
    write_package(bundle, run.folder, tmp_path / "made")
    spoilt = dataclasses.replace(run.evidence.state[0], sha256="0" * 64)
    evidence = dataclasses.replace(run.evidence, state=(spoilt,))
    with pytest.raises(ValueError, match="not the state that was captured"):
        write_package(bundle_of(notebook, PLAN, evidence, {"pipeline": ""}), run.folder, tmp_path / "made")
    assert (tmp_path / "made" / "pipeline.py").read_text() == PIPELINE
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_draft_has_no_state(ran: tuple[Notebook, CleanRun], tmp_path: Path) -> None:
    notebook, run = ran
    bundle = dataclasses.replace(bundle_of(notebook, PLAN, run.evidence, {}), evidence=None)
    write_package(bundle, None, tmp_path / "made")
    assert not (tmp_path / "made" / "state").exists()


def test_the_room_loads_without_papermill() -> None:
    heavy = "papermill nbclient nbformat IPython jupyter_client numpy pandas mlflow"
    code = f"import sys, nb2prod.validation; print([m for m in {heavy.split()} if m in sys.modules])"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_plan_is_watched(ran: tuple[Notebook, CleanRun]) -> None:
    from nb2prod.validation.run import watched

    assert watched(ran[0], PLAN) == {"c2", "c3", "c4", "c5"}
    assert isinstance(PLAN, CapturePlan)
