"""Explanations as people see them: text, the HTML page with its graph, the command line."""

from __future__ import annotations

import functools
import html.parser
import json
import re
import xml.dom.minidom
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

import nb2prod
from nb2prod.domain import Explanation
from nb2prod.extract import explain
from nb2prod.notebook import read
from nb2prod.shells import explained, explained_page, graph, layout
from tests.made import notebook
from tests.test_cli import run
from tests.test_explain import MADE, NAMES, NOTEBOOKS
from tests.test_extract import AGREE, EXAMPLE, REFUSED

SMALL = (
    ("", "import re\nK = 2\ndef double(x):\n    return K * x"),
    ("", "limit = max([2, 5])\nlimit"),
    EXAMPLE,
    ("model", "print(request)\ndouble(request['a']) + limit"),
)


def of(folder: Path, *cells: tuple[str, str], what: str | None = None) -> Explanation:
    return explain(read(notebook(folder, *cells)), what)


def text(found: Explanation) -> str:
    return "\n".join(explained.text(found))


# --- text -----------------------------------------------------------------------------------------


def test_the_whole_notebook_as_text(tmp_path: Path) -> None:
    assert (
        text(of(tmp_path, *SMALL))
        == """\
made.ipynb: 3 of 8 statements are in; state: limit

cell 1
  -    1  import re
         import out: nothing uses it
  +    2  K = 2
         constant in helpers.py: `K` is used by `double` (cell 1, line 4)
  +    3  def double(x):  (+1 line)
         in helpers.py: `double` is called by the model role (cell 4, line 2)

cell 2
  -    1  limit = max([2, 5])
         out: training; its result `limit` becomes state, read by the model role (cell 4, line 2)
  -    2  limit
         out: only shows something

cell 3, tagged example
  -    1  request = {'a': 3, 'b': 4}
         out: the example: `request` is what a request brings

cell 4, tagged model
  -    1  print(request)
         out: only shows something
  +    2  double(request['a']) + limit
         in model.py: the model role's own line; its value is the answer

state: values of the clean run, loaded in production
  + limit
         computed in cell 2, line 1: limit = max([2, 5])
         read by cell 4, line 2 (model.py)
         captured just before cell 4 of the clean run, where the model role reads it; not recomputed: that
         would take a line of training and its data into production

All about one name, with the training behind it: nb2prod explain made.ipynb NAME"""
    )


def test_a_name_as_text(tmp_path: Path) -> None:
    assert (
        text(of(tmp_path, *SMALL, what="K"))
        == """\
`K` in made.ipynb: constant

  the model role: constant, cell 1, line 4
         model.py → predict → helper double → constant K
         a literal, from cell 1, line 2

bound or changed in
  + cell 1, line 2: K = 2
         meant by the model role (constant)"""
    )
    shown = text(of(tmp_path, *SMALL, what="limit"))
    assert "model.py → predict → state limit" in shown
    assert "what that state was computed from, in order\n  cell 2\n  -    1  limit = max([2, 5])" in shown


def test_a_refusal_stands_below_its_line_with_its_fix(tmp_path: Path) -> None:
    shown = text(of(tmp_path, EXAMPLE, ("model", "x = 1\nrequest['a'] * missing + x")))
    assert shown.startswith("made.ipynb is refused: 1 error. What follows is what would be.")
    assert (
        """\
  +    2  request['a'] * missing + x
         would be in model.py: the model role's own line; its value is the answer
  ✗ NB201 line 2: `missing` is read here, but nothing binds it
         Bind `missing` in an earlier cell, or correct the name."""
        in shown
    )


def test_of_a_syntax_error_only_that_is_said(tmp_path: Path) -> None:
    assert (
        text(of(tmp_path, EXAMPLE, ("model", "x = (")))
        == """\
made.ipynb is refused: 1 error. Nothing else can be said before it is mended.
✗ NB120 cell 2, line 1: syntax error: '(' was never closed: x = (
    Correct the cell."""
    )


@pytest.mark.parametrize("case", REFUSED)
def test_every_refusal_is_shown_once(case: str, tmp_path: Path) -> None:
    found = of(tmp_path, *REFUSED[case][0])
    shown = text(found)
    for item in found.diagnostics:
        assert item.message in shown
        assert len(re.findall(rf"^ *[✗!·] {item.code}", shown, re.M)) == sum(
            d.code == item.code for d in found.diagnostics
        )


# --- the graph ------------------------------------------------------------------------------------


@functools.cache
def example(name: str) -> Explanation:
    return explain(read(NOTEBOOKS / f"{name}.ipynb"))


def large(folder: Path, cells: int = 400) -> Explanation:
    """A long notebook: features made over and over, models between, many functions."""
    made = [("", "import numpy as np\nK = 3\ndef base(x):\n    return x * K\nX = np.arange(5)")]
    for i in range(cells - 4):
        step = [
            f"def helper{i}(x):\n    return base(x) + {i}",
            f"X = X + {i}\nprint(X)",
            f"model{i} = X.mean()\nX.shape",
            f"Y{i} = X.copy()\nY{i}[0] = {i}",
        ][i % 4]
        made.append(("", step))
    made += [
        ("example", "request = X[:2]"),
        ("preprocess", "Z = helper0(request)"),
        ("model", "Z * model2 + model6"),
    ]
    return of(folder, *made)


def paths(drawing: layout.Drawing) -> Iterator[tuple[graph.Arrow, list[tuple[float, float]]]]:
    """Each arrow with points along its path."""
    for arrow, path in drawing.arrows:
        points: list[tuple[float, float]] = []
        for command, numbers in re.findall(r"([MCHL])([^MCHL]*)", path):
            at = [float(n) for n in numbers.split()]
            x, y = points[-1] if points else (0.0, 0.0)
            ends = list(zip(at[::2], at[1::2], strict=True)) if command != "H" else [(at[0], y)]
            if command == "M":
                points = ends
                continue
            (a, b), (c, d), (e, f) = ends if command == "C" else [(x, y), ends[0], ends[0]]
            for i in range(1, 21):
                t, s = i / 20, 1 - i / 20
                points.append(
                    (
                        s**3 * x + 3 * s * s * t * a + 3 * s * t * t * c + t**3 * e,
                        s**3 * y + 3 * s * s * t * b + 3 * s * t * t * d + t**3 * f,
                    )
                )
        yield arrow, points


@pytest.mark.parametrize("name", NAMES)
def test_every_part_has_its_box(name: str) -> None:
    found = example(name)
    drawn = {node for box in graph.graph_of(found).boxes for node in box.nodes}
    assert {node.id for node in found.nodes if node.standing != "out"} <= drawn
    behind = {e.target for e in found.edges if e.kind in ("made by", "behind")}
    assert {n.id for n in found.nodes if n.id in behind and n.kind != "import"} <= drawn
    assert not {n.id for n in found.nodes if n.reason in ("shows", "skipped", "unneeded")} & drawn


@pytest.mark.parametrize("name", NAMES)
def test_boxes_hold_their_text_and_nothing_overlaps(name: str) -> None:
    drawing = layout.drawing_of(graph.graph_of(example(name)))
    for i, one in enumerate(drawing.boxes):
        assert one.x >= 0
        assert one.x + one.width <= drawing.width
        assert one.y + one.height <= drawing.height
        assert max(len(t) for t in (one.title, *one.rows)) * layout.CHARACTER + 2 * layout.PAD <= one.width
        for other in drawing.boxes[i + 1 :]:
            apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
            apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
            assert apart_x or apart_y, (one.box.id, other.box.id)


@pytest.mark.parametrize("name", NAMES)
def test_no_arrow_runs_under_a_box(name: str) -> None:
    drawing = layout.drawing_of(graph.graph_of(example(name)))
    assert drawing.arrows
    for arrow, points in paths(drawing):
        for box in drawing.boxes:
            inside = [
                (x, y)
                for x, y in points
                if box.x + 1 < x < box.x + box.width - 1 and box.y + 1 < y < box.y + box.height - 1
            ]
            assert not inside, (arrow, box.box.id)


def test_arrows_lead_from_what_is_needed_to_the_line_that_needs_it() -> None:
    made = graph.graph_of(example("flight_delays"))
    columns = {box.id: box.column for box in made.boxes}
    arrows = {(a.source, a.target, a.at): a.names for a in made.arrows}
    assert arrows["21:1", "role:preprocess", "34:2"] == ("add_features",)
    assert arrows["state:encoder", "role:preprocess", "34:4"] == ("encoder",)
    assert arrows["role:preprocess", "role:model", ""] == ("X",)
    assert arrows["training:26", "state:encoder", "state:encoder"] == ("encoder",)
    for arrow in made.arrows:
        assert columns[arrow.source] <= columns[arrow.target]


def test_a_long_notebook_still_gives_a_graph_one_can_read(tmp_path: Path) -> None:
    found = large(tmp_path)
    assert found.ok
    made = graph.graph_of(found)
    assert len(made.boxes) < 40
    training = [box for box in made.boxes if box.kind == "training"]
    assert sum(len(box.nodes) for box in training) > 1
    page = explained_page.page(found)
    assert well_formed(page) == {node.id: node.code for node in found.nodes}


def test_many_parts_that_are_only_perhaps_in_share_a_box(tmp_path: Path) -> None:
    helpers = "\n".join(f"def f{i}(x):\n    return x + {i}" for i in range(10))
    pipe = ", ".join(f"f{i}" for i in range(10))
    cells = (("", helpers), ("", f"pipe = [{pipe}]"), EXAMPLE, ("model", "pipe[0](request['a'])"))
    made = graph.graph_of(of(tmp_path, *cells))
    (box,) = [box for box in made.boxes if box.standing == "perhaps"]
    assert box.title == "perhaps in: 10 helpers and constants"
    assert len(box.nodes) == 10


# --- the page -------------------------------------------------------------------------------------


class Balanced(html.parser.HTMLParser):
    """Notes every tag that is closed twice, wrongly or not at all."""

    VOID = ("meta", "br", "input", "rect", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag == "path":
            return
        assert self.open
        assert self.open.pop() == tag


def well_formed(page: str) -> dict[str, str]:
    """The page parses as HTML and as XML, its links lead somewhere on it; the code of each entry, by node."""
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert not parser.open
    document = xml.dom.minidom.parseString(page)
    elements = [e for e in document.getElementsByTagName("*") if isinstance(e, xml.dom.minidom.Element)]
    ids = [e.getAttribute("id") for e in elements if e.hasAttribute("id")]
    assert len(ids) == len(set(ids))
    for element in elements:
        if element.hasAttribute("href"):
            assert element.getAttribute("href")[:1] == "#", "the page must need no network"
            assert element.getAttribute("href")[1:] in ids
        assert not element.hasAttribute("src")
        assert set(element.getAttribute("data-nodes").split()) <= set(ids)
    found = {}
    for article in document.getElementsByTagName("article"):
        code = article.getElementsByTagName("pre")
        found[article.getAttribute("id")] = "".join(c.data for p in code for c in p.childNodes)
    return {_node(i, found): code for i, code in found.items()}


def _node(anchor: str, found: dict[str, str]) -> str:
    """The node that an entry is for: n-26-5 is 26:5, n-1-1-7 is 1:1.7."""
    kind, _, rest = anchor.removeprefix("n-").partition("-")
    return f"{kind}:{rest.replace('-', '.')}" if rest else kind


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_every_node_and_needs_no_network(name: str) -> None:
    found = example(name)
    page = explained_page.page(found)
    assert well_formed(page) == {node.id: node.code for node in found.nodes}
    assert re.findall(r"https?://[^\"]*", page) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("case", ["two statements on a line", "strings over several lines keep their text"])
def test_code_comes_out_as_it_was(case: str, tmp_path: Path) -> None:
    cells = (("", "text = '<b>&amp;\"' + chr(0x1F600)\nif 1 < 2 and 3 > 2: pass"), *AGREE[case][0])
    found = of(tmp_path, *cells)
    assert well_formed(explained_page.page(found)) == {node.id: node.code for node in found.nodes}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_notebook_has_a_page_too(case: str, tmp_path: Path) -> None:
    found = of(tmp_path, *REFUSED[case][0])
    page = explained_page.page(found)
    assert set(well_formed(page)) == {node.id for node in found.nodes}
    for item in found.diagnostics:
        assert page.count(f"<strong>{item.code}</strong>") == sum(
            d.code == item.code for d in found.diagnostics
        )


def test_a_name_has_a_page() -> None:
    page = explained_page.page(explain(read(NOTEBOOKS / "loan_default.ipynb"), "cutoff"))
    well_formed(page)
    assert "postprocess.py → postprocess → helper decide → state cutoff" in page
    assert 'href="#n-20-5"' in page


def test_boxes_are_links_with_labels_and_code_without_javascript() -> None:
    document = xml.dom.minidom.parseString(explained_page.page(example("flight_delays")))
    boxes = [a for a in document.getElementsByTagName("a") if "box" in a.getAttribute("class").split()]
    labels = {a.getAttribute("aria-label"): a for a in boxes}
    assert {
        "state encoder · cell 26 (in)",
        "helper add_features · cell 21 (in)",
        "preprocess · cell 34 (in)",
    } <= set(labels)
    title = labels["helper add_features · cell 21 (in)"].getElementsByTagName("title")[0].firstChild
    assert isinstance(title, xml.dom.minidom.Text)
    assert "def add_features(df):" in title.data
    assert all(a.getAttribute("href") for a in boxes)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: str) -> None:
    style = resources.files("nb2prod.shells").joinpath("explained.html").read_text("utf-8")
    light, dark = style.split("prefers-color-scheme: dark")
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light if theme == "light" else dark))
    for ground in ("page", "code", "role", "helper", "state", "training", "request"):
        assert contrast(colours["text"], colours[ground]) >= 7
    for word in ("muted", "in", "out", "perhaps", "error", "hot"):
        for ground in ("page", "code"):
            assert contrast(colours[word], colours[ground]) >= 4.5, (word, ground)
    assert contrast(colours["line"], colours["page"]) >= 3


# --- the command line and Python ------------------------------------------------------------------


def test_explain_on_the_command_line(tmp_path: Path) -> None:
    notebook(tmp_path, *SMALL)
    result = run("explain", "made.ipynb", "limit", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "`limit` in made.ipynb: state" in result.stdout
    result = run("explain", "made.ipynb", "--json", cwd=tmp_path)
    data = json.loads(result.stdout)
    assert data["ok"] is True
    assert {n["id"]: n["standing"] for n in data["nodes"] if n["kind"] not in MADE}["1:2"] == "in"
    result = run("explain", "made.ipynb", "limt", cwd=tmp_path)
    assert result.returncode == 2
    assert "Did you mean `limit`?" in result.stderr


def test_explain_exits_as_check_does(tmp_path: Path) -> None:
    notebook(tmp_path, EXAMPLE, ("model", "request['a'] * k"))
    assert run("check", "made.ipynb", cwd=tmp_path).returncode == 1
    result = run("explain", "made.ipynb", cwd=tmp_path)
    assert result.returncode == 1
    assert "✗ NB201 line 1: `k` is read here" in result.stdout
    as_json = run("explain", "made.ipynb", "--json", cwd=tmp_path)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["diagnostics"][0]["hint"]


def test_explain_writes_the_page(tmp_path: Path) -> None:
    notebook(tmp_path, *SMALL)
    result = run("explain", "made.ipynb", "--html", "graph.html", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "Wrote graph.html. Open it in a browser.\n")
    assert "state:limit" in (tmp_path / "graph.html").read_text("utf-8")
    result = run("explain", "made.ipynb", "--html", "no/such/folder.html", cwd=tmp_path)
    assert result.returncode == 3
    assert "no/such/folder.html" in result.stderr


def test_explain_in_python(tmp_path: Path) -> None:
    path = notebook(tmp_path, *SMALL)
    assert nb2prod.explain(path).ok
    about = nb2prod.explain(path, "limit").about
    assert about is not None
    assert about.uses[0].kind == "state"
    assert [cell.number for cell in nb2prod.explain(path, 2).cells] == [2]


def test_what_the_readme_shows_is_what_is_shown() -> None:
    readme = (NOTEBOOKS.parent / "README.md").read_text("utf-8")
    block = next(b for b in re.findall(r"```text\n(.*?)```", readme, re.S) if b.startswith("cell 26"))
    shown = text(example("flight_delays"))
    for line in block.strip("\n").split("\n"):
        assert f"\n{line}\n" in shown
