"""Settings that only the notebook makes: seen in the clean run and the proof, under whatever name."""

from __future__ import annotations

import html.entities
import logging
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

import nb2prod
from nb2prod.errors import ParityError
from nb2prod.validation.probe.registries import changed_by
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


CHANGED = """
import html
import logging
import sys
import xml.etree.ElementTree as ET
from html.entities import html5

import scipy.special as sc
from dateutil import parser

sys.path.append("lib")
known = {}
known["deg_c;"] = 1
html5["deg_c;"] = "°C"
logging.addLevelName(25, "NOTICE")
ET.register_namespace("inv", "urn:inv")
parser.parserinfo.JUMP.append("den")
sc.seterr(all="raise")
"""

ASKED = """
texts = [html.unescape(request), ET.tostring(ET.fromstring(request), encoding="unicode")]
texts += [logging.getLevelName(20), str(parser.parse("2024-05-01", parserinfo=parser.parserinfo()))]
[*texts, float(sc.gammaln(3.0)), sys.maxsize]
"""


def test_containers_of_libraries_that_the_text_changes_are_compared(tmp_path: Path) -> None:
    example = ("example", 'request = "<a/>"')
    assert places(tmp_path, ("", CHANGED), example, ("model", ASKED)) == [
        (1, 13, "html.entities.html5"),
        (1, 14, "logging._levelToName"),
        (1, 15, "xml.etree.ElementTree._namespace_map"),
        (1, 16, "dateutil.parser._parser.parserinfo.JUMP"),
        (1, 17, "scipy.special.seterr"),
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("%%time\nhtml5['x;'] = 'x'", [("html.entities.html5", 2)]),
        ("def put():\n    entities.html5 |= {'x;': 'x'}", [("html.entities.html5", 2)]),
        ("del entities.html5['lt;']", [("html.entities.html5", 1)]),
        ("Loader.yaml_constructors.update(x=1)", [("yaml.loader.SafeLoader.yaml_constructors", 1)]),
        ("level(25, 'NOTICE')", []),
        ("addLevelName(25, 'NOTICE')", [("logging._levelToName", 1), ("logging._nameToLevel", 1)]),
        ("own['x'] = 1; own.update(y=2); unknown['x'] = html5['lt;']; sys.path.append('.')", []),
        ("entities.no.such.append(1); entities.name2codepoint.get('x')", []),
        ("html5['x'] = ", []),
    ],
)
def test_statements_that_change_containers_of_libraries(source: str, found: list[tuple[str, int]]) -> None:
    names = {
        "html5": html.entities.html5,
        "entities": html.entities,
        "Loader": yaml.SafeLoader,
        "level": logging.getLevelName,
        "addLevelName": logging.addLevelName,
        "own": {},
        "sys": sys,
    }
    assert sorted(changed_by(source, names, str)) == found


REGISTERS = """
import logging
import numbers

import yaml


class Money:
    def __init__(self, value):
        self.value = value


def pct(loader, node):
    return float(loader.construct_scalar(node)) / 100
"""


def test_a_package_registers_as_its_role_does(tmp_path: Path) -> None:
    role = """
    numbers.Real.register(Money)
    yaml.SafeLoader.add_constructor("!pct", pct)
    logging.addLevelName(5, "TRACE")
    isinstance(Money(1), numbers.Real) and yaml.safe_load(request)["a"]
    """
    example = ("example", 'request = "a: !pct 50"')
    below = ("", 'yaml.SafeLoader.add_constructor("!late", pct)')
    assert places(tmp_path, ("", REGISTERS), example, ("model", role), below) == []


@pytest.mark.parametrize(
    ("registers", "role", "what"),
    [
        (
            'yaml.SafeLoader.add_constructor("!pct", pct)',
            'yaml.safe_load(request)["a"]',
            "`yaml.loader.SafeLoader.yaml_constructors['!pct']` of a library holds the notebook's own",
        ),
        (
            "numbers.Real.register(Money)",
            "isinstance(Money(request), numbers.Real)",
            "`numbers.Real.register(Money)` of a library holds the notebook's own class `Money`",
        ),
    ],
    ids=["a dict of a class", "subclasses"],
)
def test_what_the_notebook_registers_with_libraries_alone(
    registers: str, role: str, what: str, tmp_path: Path
) -> None:
    cells = ("", REGISTERS), ("", registers), ("example", 'request = "a: 1"'), ("model", role)
    with pytest.raises(ParityError) as caught:
        nb2prod.validate(notebook(tmp_path, *cells))
    assert (caught.value.code, caught.value.number) == ("NB227", 1)
    assert what in caught.value.message
    assert "do it again in the role cell" in (caught.value.hint or "")


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
