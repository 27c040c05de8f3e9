"""An Explanation as one HTML page: the graph as inline SVG and every line below it. It needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources
from string import Template

from nb2prod.domain import Diagnostic, ExplainedCell, ExplainedName, ExplainedNode, Explanation
from nb2prod.shells.graph import MADE, Arrow, graph_of
from nb2prod.shells.layout import LINE, PAD, TITLE, Placed, drawing_of


def page(found: Explanation) -> str:
    """The page, well-formed as XML too."""
    template = Template(resources.files("nb2prod.shells").joinpath("explained.html").read_text("utf-8"))
    what = f": {found.what}" if found.what is not None else ""
    return template.substitute(
        title=escape(f"{found.file}{what}"),
        summary=escape(_summary(found)),
        findings="\n".join(_finding(d) for d in found.diagnostics if d.cell is None),
        about="\n".join(_about(found.about)) if found.about is not None else "",
        graph="\n".join(_svg(found)),
        listing="\n".join(_listing(found)),
    )


def _summary(found: Explanation) -> str:
    if found.ok:
        return "What of this notebook is in the package, what stays out of it, and why."
    if found.nodes:
        return "The notebook is refused. This is what would be in its package and what would stay out."
    return "The notebook is refused, and nothing more can be said before that is mended."


def anchor(node_id: str) -> str:
    """The id of a node's entry on the page."""
    return "n-" + node_id.replace(":", "-").replace(".", "-")


def _quoted(text: str) -> str:
    """Words with `names` in backticks, as HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


# --- the graph -----------------------------------------------------------------------------------


def _svg(found: Explanation) -> Iterator[str]:
    drawing = drawing_of(graph_of(found))
    size = f'width="{drawing.width:.0f}" height="{drawing.height:.0f}"'
    box = f'viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}"'
    told = 'role="group" aria-label="What serving needs"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} {told}>'
    yield (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
        ' markerUnits="userSpaceOnUse" orient="auto">'
        '<path class="head" d="M0 0 L8 4 L0 8 z" /></marker></defs>'
    )
    yield from (_arrow(arrow, path) for arrow, path in drawing.arrows)
    codes = {node.id: node.code for node in found.nodes}
    for placed in drawing.boxes:
        yield from _box(placed, codes)
    yield "</svg>"


def _arrow(arrow: Arrow, path: str) -> str:
    kind = "arrow perhaps" if arrow.perhaps else "arrow"
    ends = f'data-source="{escape(arrow.source)}" data-target="{escape(arrow.target)}"'
    names = escape(", ".join(arrow.names))
    return f'<path class="{kind}" {ends} d="{path}" marker-end="url(#head)"><title>{names}</title></path>'


def _box(placed: Placed, codes: dict[str, str]) -> Iterator[str]:
    box = placed.box
    nodes = " ".join(anchor(node) for node in box.nodes)
    kind = f"box {box.kind}{' perhaps' if box.standing == 'perhaps' else ''}"
    label = escape(f"{box.title} ({box.standing})")
    code = escape("\n".join(codes[node] for node in box.nodes if codes[node]))
    yield (
        f'<a class="{kind}" href="#{anchor(box.nodes[0])}" data-box="{escape(box.id)}" data-nodes="{nodes}"'
        f' aria-label="{label}"><title>{escape(box.title)}\n{code}</title>'
    )
    yield (
        f'<rect x="{placed.x:.0f}" y="{placed.y:.0f}" width="{placed.width:.0f}"'
        f' height="{placed.height:.0f}" rx="5" />'
    )
    x, y = placed.x + PAD, placed.y + PAD + 11
    yield f'<text class="title" x="{x:.0f}" y="{y:.0f}">{escape(placed.title)}</text>'
    for i, text in enumerate(placed.rows):
        row = placed.y + PAD + TITLE + LINE * i + 11
        yield f'<text x="{x:.0f}" y="{row:.0f}" xml:space="preserve">{escape(text)}</text>'
    yield "</a>"


# --- line by line --------------------------------------------------------------------------------


def _listing(found: Explanation) -> Iterator[str]:
    for cell in found.cells:
        yield from _cell(found, cell)
    made = [node for node in found.nodes if node.kind in MADE]
    if made:
        yield "<h3>Request, roles and state</h3>"
        yield from (_entry(node) for node in made)
    shown = {cell.id for cell in found.cells}
    beyond = [node for node in found.nodes if node.kind not in MADE and node.cell not in shown]
    if beyond:
        yield "<h3>Lines of other cells that these are tied to</h3>"
        yield from (_entry(node) for node in beyond)


def _cell(found: Explanation, cell: ExplainedCell) -> Iterator[str]:
    nodes = [n for n in found.nodes if n.cell == cell.id and n.kind not in MADE]
    told = [d for d in found.diagnostics if d.cell == cell.id]
    if not nodes and not told and found.what is None:
        return
    notes = [", ".join(cell.tags), cell.note if not nodes else ""]
    small = escape(" · ".join(note for note in notes if note))
    yield f"<h3>cell {cell.number} <small>{small}</small></h3>"
    yield from (_entry(node) for node in nodes)
    yield from (_finding(d) for d in told)


def _entry(node: ExplainedNode) -> str:
    code = f"<pre>{escape(node.code)}</pre>" if node.code else ""
    head = f"<strong>{escape(node.id.replace(':', ' '))}</strong>" if node.kind in MADE else ""
    inside = f"{head}{code}<p>{_quoted(node.why)}</p>"
    return f'<article id="{anchor(node.id)}" class="{node.standing}">{inside}</article>'


def _finding(item: Diagnostic) -> str:
    place = f" {item.where}" if item.where else ""
    hint = f"<span>{_quoted(item.hint)}</span>" if item.hint else ""
    return (
        f'<p class="finding {item.severity}"><strong>{item.code}</strong>{escape(place)}:'
        f" {_quoted(item.message)}{hint}</p>"
    )


def _about(about: ExplainedName) -> Iterator[str]:
    yield f"<section><h2>{_quoted(f'`{about.name}`')}</h2>"
    if about.note:
        yield f"<p>{_quoted(about.note)}</p>"
    if about.uses:
        yield "<ul>"
    for use in about.uses:
        where = f"cell {use.number}, line {use.line}"
        chain = escape(" → ".join(use.chain))
        yield f"<li>the {use.role} role: {use.kind}, {where}<br />{chain}<br />{_quoted(use.why)}</li>"
    if about.uses:
        yield "</ul>"
    yield from _bindings(about)
    yield "</section>"


def _bindings(about: ExplainedName) -> Iterable[str]:
    if not about.bindings:
        return
    yield "<h3>Bound or changed in</h3><ul>"
    for item in about.bindings:
        link = f'<a href="#{anchor(item.node)}">cell {item.number}, line {item.line}</a>'
        yield f"<li>{link}: {_quoted(item.why)}</li>"
    yield "</ul>"
