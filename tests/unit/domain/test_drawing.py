import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.drawing import LETTERS, PLAIN, UNKNOWN_LETTER, Ink, bundles, lanes, legend, mermaid
from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import shipped_machines

KINDS = ("hyd_pressure", "hyd_return", "signal")


def machine(parts: int, edges) -> Machine:
    return Machine.model_validate(
        {
            "id": "m",
            "components": [{"id": f"c{number}", "type": "pump"} for number in range(parts)],
            "connections": [{"source": f"c{a}", "target": f"c{b}", "type": kind} for a, b, kind in edges],
        }
    )


EDGES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(KINDS)).filter(lambda edge: edge[0] != edge[1]),
    max_size=25, unique=True,
)  # fmt: skip


@given(EDGES)
def test_every_connection_is_drawn_and_no_other(edges):
    drawn = set()
    for bundle in bundles(machine(6, edges)):
        for other in bundle.others:
            if bundle.way in ("out", "both"):
                drawn.add((bundle.hub, other, bundle.type))
            if bundle.way in ("in", "both"):
                drawn.add((other, bundle.hub, bundle.type))
    assert drawn == {(f"c{a}", f"c{b}", kind) for a, b, kind in edges}


@given(EDGES)
def test_a_row_has_a_mark_for_each_bundle_of_its_component_and_rows_are_of_one_length(edges):
    ink = Ink()
    described = machine(6, edges)
    rows = lanes(described, ink)
    assert len({sum(len(mark.text) for mark in row) for row in rows}) == 1
    for component, row in zip(described.component_ids, rows, strict=True):
        drawn = [m.text for m in row if m.connection and m.text not in (ink.down, ink.crossing)]
        touching = [b.mark(component, ink) for b in bundles(described) if component in b.members]
        assert sorted(drawn) == sorted(touching)


@given(EDGES)
def test_bundles_that_share_a_column_have_a_free_row_between_them(edges):
    ink = Ink()
    rows = lanes(machine(6, edges), ink)
    for column in zip(*rows, strict=True):
        for above, below in itertools.pairwise(column):
            if above.connection and below.connection:
                assert above.connection == below.connection


def test_a_pump_that_feeds_two_consumers_is_one_bundle():
    (bundle,) = bundles(machine(3, [(0, 1, "hyd_pressure"), (0, 2, "hyd_pressure")]))
    assert (bundle.hub, bundle.others, bundle.way) == ("c0", ("c1", "c2"), "out")


def test_a_line_that_flows_both_ways_is_drawn_once():
    described = machine(2, [(0, 1, "hyd_pressure"), (1, 0, "hyd_pressure")])
    assert [bundle.way for bundle in bundles(described)] == ["both"]
    assert "<==>|hyd_pressure|" in mermaid(described)
    assert mermaid(described).count("hyd_pressure") == 1


def test_the_drawing_of_a_line():
    rows = ["".join(mark.text for mark in row) for row in lanes(machine(3, [(0, 2, "signal")]))]
    assert rows == ["c0 ─I", "c1  │", "c2 ─◄"]


def test_the_plain_drawing_is_ascii():
    described = machine(4, [(0, 3, "signal"), (1, 2, "hyd_return"), (2, 1, "hyd_return"), (1, 3, "hyd_pressure")])
    texts = [mark.text for row in [*lanes(described, PLAIN), legend(described, PLAIN)] for mark in row]
    assert "".join(texts).isascii()


def test_every_connection_type_of_the_catalogue_has_a_letter_of_its_own():
    assert set(LETTERS) == set(catalogue().connection_type_ids)
    assert len(set(LETTERS.values())) == len(LETTERS)
    assert UNKNOWN_LETTER not in LETTERS.values()


@pytest.mark.parametrize("shipped", shipped_machines(), ids=lambda shipped: shipped.id)
def test_a_shipped_machine_fits_a_terminal_and_its_flow_chart_names_every_component(shipped):
    assert max(sum(len(mark.text) for mark in row) for row in lanes(shipped)) <= 120
    chart = mermaid(shipped)
    assert all(re.search(rf"^    {component}\[", chart, re.MULTILINE) for component in shipped.component_ids)
