"""An Explanation as a layered graph: which boxes it has, in which column, and what ties them.

From left to right: the training that state was computed from, the state, what helpers need, the helpers,
the roles with the request above them. An arrow leads from what is needed to who needs it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from nb2prod.domain import ExplainedEdge, ExplainedNode, Explanation

MADE = frozenset({"role", "state", "request"})
"""Kinds of nodes that are no statement of the notebook."""

MAX_TRAINING = 24
"""So many cells of training get a box each; of more, those between the makers of state share one."""

MAX_PERHAPS = 6
"""So many parts that are only perhaps in the package get a box each; more share one."""

MAX_LEVELS = 8
"""How many columns of helpers there are at the most."""

ROWS = {"role": 14, "helper": 6, "training": 4}
"""How many lines of code a box shows, by its kind; 1 if it is not named here."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of text in a box, and the node that it belongs to."""

    text: str
    node: str


@dataclass(frozen=True, slots=True)
class Box:
    """One box: `nodes` are the nodes that it stands for, `column` counts from the left."""

    id: str
    kind: str
    title: str
    rows: tuple[Row, ...]
    nodes: tuple[str, ...]
    column: int
    standing: str = "in"


@dataclass(frozen=True, slots=True)
class Arrow:
    """From the box of what is needed to the box of who needs it, there to the row of node `at`."""

    source: str
    target: str
    names: tuple[str, ...]
    at: str = ""
    perhaps: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes in the order in which they should stand in their columns, and arrows between them."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def graph_of(found: Explanation) -> Graph:
    """The graph of an explanation; it has no boxes for what neither serves nor made state."""
    nodes = {node.id: node for node in found.nodes}
    held = _held(found.edges, nodes)
    perhaps = _perhaps(found)
    levels = _levels(found, {**dict.fromkeys(held, 0), **dict.fromkeys(perhaps, 1)})
    deepest = max([*levels.values(), 1 if perhaps else 0])
    training = _training(found, nodes, {*levels, *held, *perhaps})
    state = [node for node in found.nodes if node.kind == "state"]
    first = 1 if training else 0
    columns = {"state": first, "role": first + bool(state) + deepest}
    boxes = [*training]
    boxes += [_box(node, columns["state"]) for node in state]
    if perhaps:
        title = f"perhaps in: {len(perhaps)} helpers and constants"
        boxes.append(Box("perhaps", "helper", title, (), perhaps, columns["role"] - 1, "perhaps"))
    for node_id, level in sorted(levels.items(), key=lambda item: _order(nodes[item[0]])):
        boxes.append(_box(nodes[node_id], columns["role"] - level))
    boxes += _roles(found, nodes, held, columns["role"])
    return Graph(tuple(boxes), tuple(_arrows(found, nodes, boxes)))


def _held(edges: Iterable[ExplainedEdge], nodes: Mapping[str, ExplainedNode]) -> dict[str, str]:
    """The role of each statement that is a role's own."""
    return {e.target: e.source for e in edges if e.kind == "holds" and e.target in nodes}


def _perhaps(found: Explanation) -> tuple[str, ...]:
    """The nodes that share a box because they are only perhaps in, if they are many."""
    nodes = [n.id for n in found.nodes if n.standing == "perhaps" and n.kind not in MADE]
    return tuple(nodes) if len(nodes) > MAX_PERHAPS else ()


def _levels(found: Explanation, fixed: Mapping[str, int]) -> dict[str, int]:
    """How many steps each helper, constant and import is away from a role, at the most.

    `fixed` are the levels of what is in other boxes.
    """
    readers: dict[str, list[str]] = defaultdict(list)
    for edge in found.edges:
        if edge.kind == "reads":
            readers[edge.target].append(edge.source)
    levels: dict[str, int] = {}

    def level(node: str, above: frozenset[str]) -> int:
        if node in fixed:
            return fixed[node]
        if node not in levels:
            others = [r for r in readers[node] if r not in above] if len(above) < MAX_LEVELS else []
            levels[node] = 1 + max((level(r, above | {node}) for r in others), default=0)
        return levels[node]

    for node in found.nodes:
        if node.standing != "out" and node.kind not in MADE and node.id not in fixed:
            level(node.id, frozenset())
    return levels


def _order(node: ExplainedNode) -> tuple[int, int]:
    return node.number or 0, node.line or 0


# --- boxes ---------------------------------------------------------------------------------------


def _box(node: ExplainedNode, column: int) -> Box:
    title = {
        "state": f"state {node.id.removeprefix('state:')}",
        "import": "import",
    }.get(node.kind, f"{node.kind} {', '.join(node.names)}")
    where = f"{title} · cell {node.number}"
    return Box(
        node.id, node.kind, where, _rows([node], ROWS.get(node.kind, 1)), (node.id,), column, node.standing
    )


def _rows(nodes: Iterable[ExplainedNode], limit: int) -> tuple[Row, ...]:
    rows = [Row(text, node.id) for node in nodes for text in node.code.split("\n")]
    if len(rows) <= limit:
        return tuple(rows)
    if limit == 1:
        return (Row(f"{rows[0].text} …", rows[0].node),)
    return (*rows[: limit - 1], Row(f"… {len(rows) - limit + 1} more lines", rows[limit - 1].node))


def _roles(
    found: Explanation, nodes: Mapping[str, ExplainedNode], held: Mapping[str, str], column: int
) -> Iterator[Box]:
    for node in found.nodes:
        if node.kind == "request":
            title = f"request: {', '.join(node.names)}"
            yield Box(node.id, "request", title, (), (node.id,), column)
    for node in found.nodes:
        if node.kind == "role":
            own = [nodes[n] for n, role in held.items() if role == node.id]
            cells = dict.fromkeys(n.number for n in own)
            where = f" · cell {', '.join(str(c) for c in cells)}" if own else ""
            title = f"{node.id.removeprefix('role:')}{where}"
            yield Box(
                node.id, "role", title, _rows(own, ROWS["role"]), (node.id, *(n.id for n in own)), column
            )


def _training(found: Explanation, nodes: Mapping[str, ExplainedNode], inside: set[str]) -> list[Box]:
    """Boxes for the lines that state was computed from, one a cell; imports and what serves too left out."""
    edges = [e for e in found.edges if e.kind in ("made by", "behind")]
    wanted = {e.target for e in edges if nodes[e.target].kind != "import"} - inside
    makers = {nodes[e.target].number for e in edges if e.kind == "made by"}
    chosen = sorted((nodes[n] for n in wanted), key=_order)
    cells = [list(group) for _, group in groupby(chosen, key=lambda node: node.number)]
    if len(cells) > MAX_TRAINING:
        folded = groupby(cells, key=lambda own: own[0].number if own[0].number in makers else None)
        cells = [[node for own in group for node in own] for _, group in folded]
    return [_training_box(own) for own in cells]


def _training_box(own: list[ExplainedNode]) -> Box:
    numbers = list(dict.fromkeys(node.number for node in own))
    count = f"{len(own)} line{'' if len(own) == 1 else 's'}"
    rows = _rows(own, ROWS["training"])
    title = f"training · cell {numbers[0]}"
    if len(numbers) > 1:
        title, rows = f"training · cells {numbers[0]} to {numbers[-1]}, {count}", ()
    return Box(f"training:{numbers[0]}", "training", title, rows, tuple(n.id for n in own), 0, "out")


# --- arrows --------------------------------------------------------------------------------------


def _arrows(found: Explanation, nodes: Mapping[str, ExplainedNode], boxes: list[Box]) -> Iterator[Arrow]:
    """One arrow for each pair of boxes and row; "behind" shows between boxes of training only."""
    home = {node: box.id for box in boxes for node in box.nodes}
    kinds = {box.id: box.kind for box in boxes}
    rows = {row.node for box in boxes for row in box.rows}
    names: dict[tuple[str, str, str], dict[str, None]] = {}
    for edge in found.edges:
        source, target = home.get(edge.target), home.get(edge.source)
        if source is None or target is None or source == target or edge.kind == "holds":
            continue
        if edge.kind == "behind" and {kinds[source], kinds[target]} != {"training"}:
            continue
        at = edge.source if edge.source in rows else ""
        names.setdefault((source, target, at), {})[edge.name] = None
    perhaps = {box.id for box in boxes if box.standing == "perhaps"}
    for (source, target, at), found_names in names.items():
        yield Arrow(source, target, tuple(found_names), at, bool({source, target} & perhaps))
