"""What is written to the database and may wait in the spool: frames, single values, operation, diagnoses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import orjson

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.diagnoses import DIAGNOSES_MAX, Given, Origin
from gnn_service.db.events import Events, Operation
from gnn_service.db.frame_writing import Stored
from gnn_service.db.frames import FrameBlock
from gnn_service.db.repository import microseconds
from gnn_service.db.spool import Entry, SpoolRecord
from gnn_service.domain.diagnosis import Diagnosis

FRAMES: Final = "frames/1"
EVENTS: Final = "events/1"
DOING: Final = "operation/1"
DIAGNOSIS: Final = "diagnosis/1"
KINDS: Final = (FRAMES, EVENTS, DOING, DIAGNOSIS)
"""Kinds of the spool's records. A change of what they hold gets a new number, and the old one is still read."""
_DOING_LANE: Final = -1
_DIAGNOSIS_LANE: Final = -2
_EVENTS_LANE: Final = -3
_DIAGNOSIS_SIZE: Final = 4000


@dataclass(frozen=True, slots=True)
class Doing:
    """What one machine does from some times on."""

    machine_id: int
    operation: Operation


Piece: TypeAlias = FrameBlock | Events | Doing | Given
"""What is written as one."""


class Span(NamedTuple):
    """Pieces of one machine and lane whose times overlap must be written in the order in which they came."""

    machine_id: int
    lane: int
    low_us: int
    high_us: int


class FrameStore(Protocol):
    """What is needed of `db.readings.ReadingRepository`."""

    async def store(self, blocks: Sequence[FrameBlock]) -> Sequence[Stored]: ...  # noqa: D102 - see there


class EventStore(Protocol):
    """What is needed of `db.events.EventRepository`."""

    async def store(self, events: Events) -> Stored: ...  # noqa: D102 - see there

    async def store_operation(self, machine_id: int, operation: Operation) -> int: ...  # noqa: D102


class DiagnosisStore(Protocol):
    """What is needed of `db.diagnoses.DiagnosisRepository`."""

    async def store(self, given: Sequence[Given]) -> Stored: ...  # noqa: D102 - see there


@dataclass(frozen=True, slots=True)
class Writer:
    """The repositories that pieces go to. Writing the same pieces again changes nothing."""

    frames: FrameStore
    events: EventStore
    diagnoses: DiagnosisStore

    async def store(self, pieces: Sequence[Piece]) -> list[Stored]:
        """Write pieces whose spans do not overlap, in any order; what became of the frames and values of each.

        Raises what the repositories raise; then some pieces may have been written.
        """
        found = [Stored()] * len(pieces)
        blocks = [(place, piece) for place, piece in enumerate(pieces) if isinstance(piece, FrameBlock)]
        if blocks:
            counts = await self.frames.store([block for _, block in blocks])
            for (place, _), count in zip(blocks, counts, strict=True):
                found[place] = count
        for place, piece in enumerate(pieces):
            if isinstance(piece, Events):
                found[place] = await self.events.store(piece)
            elif isinstance(piece, Doing):
                await self.events.store_operation(piece.machine_id, piece.operation)
        given = [piece for piece in pieces if isinstance(piece, Given)]
        for start in range(0, len(given), DIAGNOSES_MAX):
            await self.diagnoses.store(given[start : start + DIAGNOSES_MAX])
        return found


def span_of(piece: Piece) -> Span | None:
    """Where a piece lies; None for an empty one."""
    if isinstance(piece, Given):
        end = microseconds(piece.diagnosis.end)
        return Span(piece.machine_id, _DIAGNOSIS_LANE, end, end)
    times = piece.operation.times if isinstance(piece, Doing) else piece.times
    if not len(times):
        return None
    if isinstance(piece, FrameBlock):
        lane = piece.rate_group
    else:
        lane = _DOING_LANE if isinstance(piece, Doing) else _EVENTS_LANE - piece.sensor_id
    return Span(piece.machine_id, lane, int(times[0]), int(times[-1]))


def span_of_record(record: SpoolRecord) -> Span | None:
    """Where the piece of a record lies; of frames without unpacking them.

    Raises:
        InvalidInputError: the record holds no piece.
    """
    if record.kind == FRAMES:
        return Span(*found) if (found := FrameBlock.span_of_packed(record.payload)) is not None else None
    return span_of(unpack(record))


def size_of(piece: Piece) -> int:
    """Roughly how many values it takes as much room as."""
    if isinstance(piece, FrameBlock):
        return piece.values.size
    if isinstance(piece, Given):
        return _DIAGNOSIS_SIZE
    return 10 * len(piece.operation.times) if isinstance(piece, Doing) else 4 * len(piece.times)


def pack(piece: Piece) -> Entry:
    """A piece as the kind and payload of a record."""
    if isinstance(piece, FrameBlock):
        return FRAMES, piece.pack()
    if isinstance(piece, Events):
        head = np.array([piece.machine_id, piece.sensor_id], "<i8")
        return EVENTS, head.tobytes() + piece.times.astype("<i8").tobytes() + piece.values.astype("<f8").tobytes()
    if isinstance(piece, Doing):
        said = piece.operation
        columns = {"cycle": said.cycle, "phase": said.phase, "operating_state": said.operating_state}
        given = {name: _plain(column) for name, column in columns.items() if column is not None}
        return DOING, orjson.dumps({"machine_id": piece.machine_id, "times": said.times.tolist(), **given})
    document = piece.diagnosis.model_dump_json().encode()
    named = {"machine_id": piece.machine_id, "origin": piece.origin.value, "request_id": piece.request_id}
    return DIAGNOSIS, orjson.dumps({**named, "diagnosis": orjson.Fragment(document)})


def _plain(column: Sequence[Any]) -> list[Any]:
    return [item.item() if isinstance(item, np.generic) else item for item in column]


def unpack(record: SpoolRecord) -> Piece:
    """The piece that a record holds.

    Raises:
        InvalidInputError: it holds none.
    """
    try:
        return _READERS[record.kind](record.payload)
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidInputError(f"record {record.sequence} holds no {record.kind}: {error}") from error


def _read_events(payload: bytes) -> Events:
    values, rest = divmod(len(payload) - 16, 16)
    if rest:
        raise ValueError("its length is wrong")
    machine_id, sensor_id = np.frombuffer(payload, "<i8", 2).tolist()
    times = np.frombuffer(payload, "<i8", values, 16).astype(np.int64)
    return Events(machine_id, sensor_id, times, np.frombuffer(payload, "<f8", values, 16 + 8 * values).astype(float))


def _read_doing(payload: bytes) -> Doing:
    known = orjson.loads(payload)
    columns = (known.get(name) for name in ("cycle", "phase", "operating_state"))
    return Doing(known["machine_id"], Operation(np.array(known["times"], np.int64), *columns))


def _read_diagnosis(payload: bytes) -> Given:
    known = orjson.loads(payload)
    diagnosis = Diagnosis.model_validate(known["diagnosis"])
    return Given(known["machine_id"], diagnosis, Origin(known["origin"]), known["request_id"])


_READERS: Final[dict[str, Callable[[bytes], Piece]]] = {
    FRAMES: FrameBlock.unpack,
    EVENTS: _read_events,
    DOING: _read_doing,
    DIAGNOSIS: _read_diagnosis,
}
