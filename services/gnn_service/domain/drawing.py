"""A machine's graph as a drawing: lanes of text for a terminal, Mermaid for a page.

In the lanes each component has a row and each bundle of connections a column: a letter where it starts, an arrow where
it ends. Rows and columns alone carry everything; colours may repeat it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gnn_service.domain.machine import Machine

LETTERS = {
    "hyd_pressure": "P",
    "hyd_return": "R",
    "hyd_suction": "S",
    "hyd_drain": "D",
    "mech_shaft": "M",
    "mech_structure": "F",
    "electrical_power": "E",
    "thermal": "T",
    "coolant": "C",
    "pneumatic": "A",
    "lubricant": "L",
    "material": "W",
    "signal": "I",
}
"""What a connection type is drawn with: M as in moment, F as in force, A as in air, W as in workpiece, I as in
information."""

UNKNOWN_LETTER = "?"
ARROWS = {
    "hyd_pressure": "==>",
    "hyd_suction": "-->",
    "hyd_return": "-->",
    "hyd_drain": "-.->",
    "signal": "-.->",
    "thermal": "-.->",
}


@dataclass(frozen=True, slots=True)
class Ink:
    """The characters that lanes are drawn with."""

    across: str = "─"
    down: str = "│"
    crossing: str = "┼"
    end: str = "◄"
    both: str = "◆"


PLAIN = Ink("-", "|", "+", "<", "=")
"""For terminals that know ASCII alone."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Some characters of a row, and the connection type that they belong to ('' for none)."""

    text: str
    connection: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Connections of one type that share a component: from ``hub`` to the others, to it, or both ways."""

    type: str
    hub: str
    others: tuple[str, ...]
    way: str

    @property
    def members(self) -> tuple[str, ...]:
        """Every component that it touches."""
        return (self.hub, *self.others)

    def mark(self, component: str, ink: Ink) -> str:
        """What is drawn where it meets one of its components."""
        letter = LETTERS.get(self.type, UNKNOWN_LETTER)
        if self.way == "both":
            return letter if component == self.hub else ink.both
        return letter if (component == self.hub) == (self.way == "out") else ink.end


def bundles(machine: Machine) -> tuple[Bundle, ...]:
    """The connections of a machine, gathered into as few bundles as a greedy search finds; each connection once."""
    edges = {(line.source, line.target, line.type): None for line in machine.connections}
    left = list(edges)
    found: list[Bundle] = []
    two_way = [(a, b, kind) for a, b, kind in left if (b, a, kind) in edges and a != b]
    one_way = [edge for edge in left if edge not in set(two_way)]
    for ways, group in ((("both",), two_way), (("out", "in"), one_way)):
        rest = group
        while rest:
            stars = [_star(rest, edge, way) for edge in rest for way in ways]
            best = max(stars, key=lambda star: len(star.others))
            found.append(best)
            taken = {_key(best.hub, other, best.type, best.way) for other in best.others}
            rest = [(a, b, kind) for a, b, kind in rest if not taken & _keys(a, b, kind, best.way)]
    return tuple(found)


def lanes(machine: Machine, ink: Ink | None = None) -> list[list[Mark]]:
    """One row of marks for each component, in the order of the description."""
    ink = ink or Ink()
    place = {component: row for row, component in enumerate(machine.component_ids)}
    columns = _packed(bundles(machine), place)
    width = max((len(component) for component in place), default=0)
    rows = []
    for component, row in place.items():
        cells = [_cell(column, component, row, place) for column in columns]
        last = max((index for index, (bundle, meets) in enumerate(cells) if bundle and meets), default=-1)
        marks = [Mark(component.ljust(width) + " ")]
        for index, (bundle, meets) in enumerate(cells):
            reached = index <= last
            marks.append(Mark(ink.across if reached else " "))
            if bundle is None:
                marks.append(Mark(ink.across if reached else " "))
            elif meets:
                marks.append(Mark(bundle.mark(component, ink), bundle.type))
            else:
                marks.append(Mark(ink.crossing if reached else ink.down, bundle.type))
        rows.append(marks)
    return rows


def legend(machine: Machine, ink: Ink | None = None) -> list[Mark]:
    """What the letters of the drawing mean, of the types that the machine has."""
    ink = ink or Ink()
    used = {line.type: None for line in machine.connections}
    known = [Mark(f"{LETTERS.get(kind, UNKNOWN_LETTER)} {kind}", kind) for kind in used]
    return [*known, Mark(f"{ink.end} ends here"), Mark(f"{ink.both} both ways")]


def mermaid(machine: Machine) -> str:
    """The graph as a Mermaid flow chart (https://mermaid.js.org), circuits of oil thick, signals and heat dotted."""
    lines = ["flowchart LR"]
    lines += [f'    {part.id}["{_quoted(part.name or part.id)}"]' for part in machine.components]
    pairs: dict[tuple[str, str, str], None] = {}
    for line in machine.connections:
        if (line.target, line.source, line.type) not in pairs:
            pairs[line.source, line.target, line.type] = None
    directed = {(line.source, line.target, line.type) for line in machine.connections}
    for source, target, kind in pairs:
        arrow = ARROWS.get(kind, "-->")
        if (target, source, kind) in directed and source != target:
            arrow = "<" + arrow
        lines.append(f"    {source} {arrow}|{kind}| {target}")
    return "\n".join(lines) + "\n"


def _star(edges: Iterable[tuple[str, str, str]], seed: tuple[str, str, str], way: str) -> Bundle:
    source, target, kind = seed
    if way == "in":
        others = [a for a, b, k in edges if b == target and k == kind]
        return Bundle(kind, target, tuple(dict.fromkeys(others)), way)
    others = [b for a, b, k in edges if a == source and k == kind]
    return Bundle(kind, source, tuple(dict.fromkeys(others)), way)


def _key(hub: str, other: str, kind: str, way: str) -> tuple[str, str, str]:
    return (other, hub, kind) if way == "in" else (hub, other, kind)


def _keys(source: str, target: str, kind: str, way: str) -> set[tuple[str, str, str]]:
    return {(source, target, kind), (target, source, kind)} if way == "both" else {(source, target, kind)}


def _packed(found: Iterable[Bundle], place: dict[str, int]) -> list[list[Bundle]]:
    """Bundles by column, the short ones first; bundles that share a column leave a row free between them."""
    columns: list[list[Bundle]] = []
    known = [b for b in found if all(member in place for member in b.members)]
    for bundle in sorted(known, key=lambda b: (_reach(b, place)[1] - _reach(b, place)[0], _reach(b, place)[0])):
        low, high = _reach(bundle, place)
        for column in columns:
            if all(high + 1 < _reach(other, place)[0] or low - 1 > _reach(other, place)[1] for other in column):
                column.append(bundle)
                break
        else:
            columns.append([bundle])
    return columns


def _reach(bundle: Bundle, place: dict[str, int]) -> tuple[int, int]:
    rows = [place[member] for member in bundle.members]
    return min(rows), max(rows)


def _cell(column: Iterable[Bundle], component: str, row: int, place: dict[str, int]) -> tuple[Bundle | None, bool]:
    for bundle in column:
        low, high = _reach(bundle, place)
        if low <= row <= high:
            return bundle, component in bundle.members
    return None, False


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;")
