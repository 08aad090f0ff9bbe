"""Pieces as records of the spool: what is packed is unpacked, and what is no piece is said to be none."""

from datetime import UTC, datetime

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.diagnoses import Given, Origin
from gnn_service.db.events import Events, Operation
from gnn_service.db.spool import SpoolRecord
from gnn_service.domain.diagnosis import DataQuality, Diagnosis, State
from gnn_service.monitoring.pieces import KINDS, Doing, Writer, pack, size_of, span_of, span_of_record, unpack
from tests.support.flaky_store import START_US, FlakyStore, block


def diagnosis(end=30):
    return Diagnosis(
        machine="rig", start=datetime.fromtimestamp(0, UTC), end=datetime.fromtimestamp(end, UTC), health=0.5,
        state=State.WARNING, components=(), data_quality=DataQuality(coverage=1.0, samples=60), commissioned=False,
        bundle="b1",
    )  # fmt: skip


PIECES = [
    block([1, 2], 3.0),
    Events(4, 5, np.array([START_US, START_US + 1]), np.array([1.5, -2.0])),
    Doing(4, Operation(np.array([START_US, START_US + 9]), cycle=[3, None], operating_state=["busy", None])),
    Doing(4, Operation(np.array([START_US]), phase=["press"])),
    Given(4, diagnosis(), Origin.REQUEST, "r-1"),
]


def same(one, other):
    if isinstance(one, Given):
        return one == other
    if isinstance(one, Doing):
        columns = ("cycle", "phase", "operating_state")
        return one.operation.times.tolist() == other.operation.times.tolist() and all(
            getattr(one.operation, name) == getattr(other.operation, name) for name in columns
        )
    return one.times.tolist() == other.times.tolist() and np.array_equal(one.values, other.values, equal_nan=True)


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: type(piece).__name__)
def test_what_is_packed_is_unpacked(piece):
    kind, payload = pack(piece)
    assert kind in KINDS
    found = unpack(SpoolRecord(1, kind, payload, 0))
    assert type(found) is type(piece)
    assert found.machine_id == piece.machine_id
    assert same(piece, found)
    assert span_of(found) == span_of(piece) == span_of_record(SpoolRecord(1, kind, payload, 0))
    assert size_of(found) > 0


@pytest.mark.parametrize("kind", [*KINDS, "other/1"])
@pytest.mark.parametrize("payload", [b"", b"{}", b"junk", b"\0" * 15, b"\0" * 23, b'{"machine_id": 1}', b"[1]"])
def test_what_is_no_piece_is_an_error_with_a_name(kind, payload):
    for read in (unpack, span_of_record):
        with pytest.raises(InvalidInputError):
            read(SpoolRecord(1, kind, payload, 0))


def test_every_kind_of_piece_of_a_machine_has_a_lane_of_its_own():
    spans = {span_of(piece)[:2] for piece in [*PIECES, block([1], 1.0, machine=4), block([1], 1.0, machine=4, group=0)]}
    spans.add(span_of(Events(4, 0, np.array([START_US]), np.array([1.0])))[:2])
    assert len([key for key in spans if key[0] == 4]) == 6


def test_a_block_without_frames_lies_nowhere():
    empty = block([], 1.0)
    assert span_of(empty) is None
    assert span_of_record(SpoolRecord(1, *pack(empty), 0)) is None


async def test_pieces_go_to_the_repositories_that_they_belong_to():
    store = FlakyStore()
    counts = await Writer(store, store.events, store.diagnoses).store(PIECES)
    assert [count.stored for count in counts] == [2, 2, 0, 0, 0]
    assert store.values() == {1: 3.0, 2: 3.0}
    assert len(store.events.values) == 2
    assert store.events.cycles[4, START_US + 9] is None
    assert [given.request_id for given in store.diagnoses.given.values()] == ["r-1"]
