"""Where each box of a graph stands and how its arrows run: our own small layered layout, in pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nb2prod.shells.graph import Arrow, Box, Graph

CHARACTER = 6.7
"""Width of a character of code."""

LINE = 16
PAD = 10
TITLE = 20
GAP = 14
ROLE_GAP = 44
COLUMN_GAP = 64
MARGIN = 20
ARC = 60
"""Room left of the training, for the arcs between its boxes."""

LANE = 6
"""Height of a lane: the gap in a column through which the arrows of a box pass it."""

WIDEST = {"role": 56, "training": 36}
"""How many characters wide a box may be, by its kind."""

WIDE = 40


@dataclass(frozen=True, slots=True)
class Placed:
    """A box with its place; `title` and `rows` are its texts as they fit."""

    box: Box
    x: float
    y: float
    width: float
    height: float
    title: str
    rows: tuple[str, ...]

    @property
    def middle(self) -> float:
        """The height of its middle."""
        return self.y + self.height / 2

    def row(self, node: str) -> float:
        """The height of the first row that belongs to a node; of its middle if there is none."""
        for i, row in enumerate(self.box.rows):
            if row.node == node:
                return self.y + PAD + TITLE + LINE * i + LINE / 2
        return self.middle


@dataclass(frozen=True, slots=True)
class Drawing:
    """A placed graph: boxes, and for each arrow the path that it runs."""

    width: float
    height: float
    boxes: tuple[Placed, ...]
    arrows: tuple[tuple[Arrow, str], ...]


def drawing_of(graph: Graph) -> Drawing:
    """Columns from left to right, each box near those that it is tied to."""
    columns = {box.id: box.column for box in graph.boxes}
    boxes = [*graph.boxes, *_lanes(graph.arrows, columns)]
    widths = {c: max(_width(b) for b in boxes if b.column == c) for c in sorted({b.column for b in boxes})}
    lefts = _lefts(widths, arcs=any(box.kind == "training" for box in boxes))
    placed: dict[str, Placed] = {}
    # the roles and the training have an order of their own; what lies between finds its place beside them
    ends = [c for c in (max(widths, default=0), 0) if c in widths]
    for column in dict.fromkeys([*ends, *sorted(widths, reverse=True)]):
        own = [b for b in boxes if b.column == column]
        ordered = column in ends and any(b.kind in ("role", "training") for b in own)
        wanted = {} if ordered else _wanted(own, graph.arrows, placed, columns)
        _stack(own, wanted, lefts[column], widths[column], placed)
    bottom = max((p.y + p.height for p in placed.values()), default=0) + MARGIN
    right = max((p.x + p.width for p in placed.values()), default=0) + MARGIN
    arrows = tuple((arrow, _path(arrow, placed)) for arrow in graph.arrows)
    return Drawing(right, bottom, tuple(placed[b.id] for b in graph.boxes), arrows)


def _lanes(arrows: Iterable[Arrow], columns: Mapping[str, int]) -> list[Box]:
    """A lane in each column that arrows of a box pass, so that they run under no other box."""
    wanted = {
        (arrow.source, column)
        for arrow in arrows
        for column in range(columns[arrow.source] + 1, columns[arrow.target])
    }
    return [Box(_lane(source, c), "lane", "", (), (source,), c) for source, c in sorted(wanted)]


def _lane(source: str, column: int) -> str:
    return f"lane {column} {source}"


def _lefts(widths: Mapping[int, float], *, arcs: bool) -> dict[int, float]:
    lefts: dict[int, float] = {}
    x = MARGIN + (ARC if arcs else 0.0)
    for column, width in widths.items():
        lefts[column] = x
        x += width + COLUMN_GAP
    return lefts


def _fitting(text: str, box: Box) -> str:
    limit = WIDEST.get(box.kind, WIDE)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _width(box: Box) -> float:
    longest = max(len(_fitting(text, box)) for text in (box.title, *(row.text for row in box.rows)))
    return max(longest * CHARACTER, 90) + 2 * PAD


def _height(box: Box) -> float:
    if box.kind == "lane":
        return LANE
    return 2 * PAD + TITLE + LINE * len(box.rows) - (4 if not box.rows else 0)


def _wanted(
    boxes: Iterable[Box], arrows: Sequence[Arrow], placed: Mapping[str, Placed], columns: Mapping[str, int]
) -> dict[str, float]:
    """The height that each box would like its middle at: the mean of those that it is tied to."""
    found: dict[str, float] = {}
    for box in boxes:
        own = box.nodes[0] if box.kind == "lane" else box.id
        beyond = [a for a in arrows if a.source == own and columns[a.target] > box.column]
        ties = [placed[a.target].row(a.at) for a in beyond if a.target in placed]
        if box.kind != "lane":
            ties += [placed[a.source].middle for a in arrows if a.target == own and a.source in placed]
        if ties:
            found[box.id] = sum(ties) / len(ties)
    return found


def _stack(
    boxes: list[Box], wanted: Mapping[str, float], x: float, width: float, placed: dict[str, Placed]
) -> None:
    """Place boxes below each other, each as near to its wanted height as those above it leave."""
    room = ROLE_GAP if any(box.kind == "role" for box in boxes) else GAP
    y = float(MARGIN)
    for box in sorted(boxes, key=lambda b: wanted.get(b.id, 0.0)) if wanted else boxes:
        height = _height(box)
        y = max(y, wanted.get(box.id, 0.0) - height / 2)
        rows = tuple(_fitting(row.text, box) for row in box.rows)
        placed[box.id] = Placed(box, x, y, width, height, _fitting(box.title, box), rows)
        y += height + room


# --- arrows --------------------------------------------------------------------------------------


def _path(arrow: Arrow, placed: Mapping[str, Placed]) -> str:
    """The path of an arrow, as SVG writes it."""
    source, target = placed[arrow.source], placed[arrow.target]
    if source.x == target.x:
        return _within(source, target)
    x, y = source.x + source.width, source.middle
    if source.x > target.x:
        return f"M{source.x:.0f} {y:.0f} {_bend(source.x, y, target.x + target.width, target.row(arrow.at))}"
    path = f"M{x:.0f} {y:.0f}"
    for column in range(source.box.column + 1, target.box.column):
        lane = placed[_lane(arrow.source, column)]
        path += f" {_bend(x, y, lane.x, lane.middle)} H{lane.x + lane.width:.0f}"
        x, y = lane.x + lane.width, lane.middle
    return f"{path} {_bend(x, y, target.x, target.row(arrow.at))}"


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f"C{middle:.0f} {y:.0f} {middle:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}"


def _within(source: Placed, target: Placed) -> str:
    """Within a column: straight down to the next box, else an arc beside it."""
    if source.box.kind in ("role", "request") and 0 < target.y - source.y - source.height <= ROLE_GAP:
        x = source.x + min(source.width, target.width) / 2
        return f"M{x:.0f} {source.y + source.height:.0f} L{x:.0f} {target.y:.0f}"
    x, reach = source.x, min(ARC - 10.0, 14 + abs(target.middle - source.middle) / 8)
    beside = f"{x - reach:.0f}"
    return (
        f"M{x:.0f} {source.middle:.0f} C{beside} {source.middle:.0f}"
        f" {beside} {target.middle:.0f} {x:.0f} {target.middle:.0f}"
    )
