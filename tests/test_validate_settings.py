"""Settings that only the notebook makes: seen in the clean run and the proof, under whatever name."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

import nb2prod
from nb2prod.errors import ParityError
from tests.made import notebook

MADE = """
import codecs
import csv
import logging
import mimetypes
import sys
from decimal import *

import numpy as np
import pandas as pd

context = getcontext()
context.prec = 4
opts = pd.options
opts.display.precision = 2
f = np.seterr
f(divide="raise")
register = csv.register_dialect
register("excel", delimiter=";")
log = logging.getLogger("mine")
log.setLevel(15)
sys.setrecursionlimit(30000)
mimetypes.add_type("x/mine", ".mine")
frame = pd.DataFrame({"a": [1.0, 2.0]})
medians = frame.median()
codecs.register_error("star", lambda error: ("*", error.end))
"""

ROLE = """
rows = [f"{request.fillna(medians).loc[i]}" for i in request.index]
parts = next(csv.reader(["ab"], "excel")) + [mimetypes.guess_type("a.txt")[0]]
[[row, *parts, log.isEnabledFor(40)] for row in rows]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NB2PROD_PROJECT", str(tmp_path / "project"))


def places(folder: Path, *cells: tuple[str, str]) -> list[tuple[int | None, int | None, str]]:
    """Where NB238 is said of a notebook, by the text and by the proof, and of what."""
    proven = nb2prod.validate(
        notebook(folder, *((tag, textwrap.dedent(code).strip()) for tag, code in cells))
    )
    found = proven.report.diagnostics
    return sorted((d.number, d.line, d.message.split("`")[1]) for d in found if d.code == "NB238")


def test_settings_are_seen_under_every_name(tmp_path: Path) -> None:
    example = ("example", "request = frame.head(1)")
    assert places(tmp_path, ("", MADE), example, ("model", ROLE)) == [
        (1, 12, "decimal.getcontext().prec"),
        (1, 14, "pandas.options.display.precision"),
        (1, 15, "numpy.seterr"),
        (1, 18, "csv.register_dialect('excel')"),
        (1, 20, "logging.getLogger('mine').setLevel"),
        (1, 21, "sys.setrecursionlimit"),
        (1, 22, "mimetypes.add_type"),
        (1, 25, "codecs.register_error"),
    ]


def test_what_no_answer_depends_on_is_not_told(tmp_path: Path) -> None:
    """Options for texts where no value becomes one, levels of logs, what role cells set themselves."""
    made = """
    import decimal
    import logging
    import os
    import warnings
    import numpy as np
    import pandas as pd
    warnings.filterwarnings("ignore")
    logging.basicConfig(level=logging.INFO)
    log = logging.getLogger("mine")
    pd.set_option("display.max_columns", None)
    np.set_printoptions(suppress=True)
    np.seterr(all="ignore")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    kinds = ["m", "y"]
    """
    role = """
    log.info("asked")
    decimal.getcontext().prec = 7
    out = request.copy()
    for kind in kinds:
        out[f"k_{kind}"] = (out["kind"] == kind) * 1.0
    out["third"] = [float(decimal.Decimal(1) / 3)] * len(out)
    out.drop(columns="kind")
    """
    later = """
    decimal.getcontext().prec = 3
    pd.options.display.precision = 1
    """
    example = ("example", 'request = pd.DataFrame({"kind": ["m", "y"]})')
    assert places(tmp_path, ("", made), example, ("model", role), ("", later)) == []


@pytest.mark.parametrize(
    ("made", "example", "role", "cause"),
    [
        (
            'import os\nenv = os.environ\nenv["MODE"] = "fast"',
            "request = 3",
            '[os.environ.get("MODE", "slow"), request]',
            "cell 1, line 3: `os.environ['MODE']` is set here",
        ),
        (
            "class Node:\n    pass\n\nnodes = [Node(), Node()]\nbest = nodes[1]",
            "request = 1",
            "nodes[request] is best",
            "are one object in the notebook and two in the package",
        ),
    ],
    ids=["a setting", "identity"],
)
def test_a_failed_proof_names_the_cause(
    made: str, example: str, role: str, cause: str, tmp_path: Path
) -> None:
    with pytest.raises(ParityError) as caught:
        nb2prod.validate(notebook(tmp_path, ("", made), ("example", example), ("model", role)))
    assert caught.value.code == "NB320"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Likely the cause: ")
    assert cause in caught.value.hint
