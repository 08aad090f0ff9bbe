"""Frames between NumPy and the wire, without one Python float.

`FrameBlock` is what readings are written and read in. `set_codecs` teaches a connection two array types in their
binary form: ``real[]`` as float32 and ``timestamptz[]`` as int64 microseconds since 1970 UTC. A parameter may be any
array or sequence of numbers (and datetimes with a zone, for times); a result keeps its number of dimensions, so that
``array_agg(vals)`` over N frames of S sensors arrives as one (N, S) matrix.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn_service.core.errors import InvalidInputError

__all__ = ["FrameBlock", "decode_reals", "decode_times", "encode_reals", "encode_times", "set_codecs"]

REAL, _REALS = 700, 1021  # type oids, pg_type.dat
_TIMESTAMPTZ, _TIMESTAMPTZS = 1184, 1185
EPOCH_US: Final = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01 UTC."""
_UNIX: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US, LATEST_US = 0, 7_258_118_400_000_000
"""Times that a frame may have, 1970 to 2200: what lies outside is a clock that is wrong, or another unit."""

_REAL_ITEM: Final = np.dtype([("length", ">i4"), ("value", ">f4")])
_TIME_ITEM: Final = np.dtype([("length", ">i4"), ("value", ">i8")])
_PACKED: Final = struct.Struct("<BiiiII")  # version, machine, layout, rate group, frames, sensors
_PACKED_VERSION: Final = 1
_TIME: Final = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class FrameBlock:
    """Frames of one rate group of one machine in one layout.

    Shapes: ``times`` (N,) int64 microseconds since 1970 UTC, strictly rising; ``values`` (N, S) float32 in the
    layout's order, NaN = missing. What the constructor is given is checked, not copied where it already fits.

    Raises:
        InvalidInputError: shapes that do not belong together, times that do not rise or lie outside 1970 to 2200.
    """

    machine_id: int
    rate_group: int
    layout_id: int
    times: NDArray[np.int64]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        times, values = np.asarray(self.times, np.int64), np.asarray(self.values, np.float32)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)
        if times.ndim != 1 or values.ndim != 2 or len(times) != len(values):
            raise InvalidInputError(f"{times.shape} times do not fit values of {values.shape}", where="frames")
        if len(times) and not (np.diff(times) > 0).all():
            raise InvalidInputError("times must rise from frame to frame", where="frames")
        if len(times) and not EARLIEST_US <= times[0] <= times[-1] < LATEST_US:
            raise InvalidInputError("times must be microseconds UTC between 1970 and 2200", where="frames")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def readings(self) -> int:
        """How many values are present."""
        return int(self.values.size - np.isnan(self.values).sum())

    def part(self, chosen: slice | NDArray[np.bool_]) -> "FrameBlock":
        """The chosen frames."""
        return FrameBlock(self.machine_id, self.rate_group, self.layout_id, self.times[chosen], self.values[chosen])

    def pack(self) -> bytes:
        """The block as bytes, little-endian, for a file; `unpack` reads them."""
        head = _PACKED.pack(
            _PACKED_VERSION, self.machine_id, self.layout_id, self.rate_group, len(self), self.values.shape[1]
        )
        return head + self.times.astype("<i8").tobytes() + self.values.astype("<f4").tobytes()

    @classmethod
    def unpack(cls, data: bytes | memoryview) -> "FrameBlock":
        """A block that `pack` wrote. InvalidInputError where these are not its bytes, whole."""
        if len(data) < _PACKED.size or data[0] != _PACKED_VERSION:
            raise InvalidInputError("these are no packed frames of this version", where="frames")
        _, machine_id, layout_id, rate_group, frames, sensors = _PACKED.unpack_from(data)
        if len(data) != _PACKED.size + 8 * frames + 4 * frames * sensors:
            raise InvalidInputError("packed frames are cut short or too long", where="frames")
        times = np.frombuffer(data, "<i8", frames, _PACKED.size).astype(np.int64)
        values = np.frombuffer(data, "<f4", frames * sensors, _PACKED.size + 8 * frames).astype(np.float32)
        return cls(machine_id, rate_group, layout_id, times, values.reshape(frames, sensors))

    @staticmethod
    def span_of_packed(data: bytes) -> tuple[int, int, int, int] | None:
        """Machine, rate group, first and last time of a packed block; None for one without frames.

        InvalidInputError where these are not the bytes of one.
        """
        if len(data) < _PACKED.size or data[0] != _PACKED_VERSION:
            raise InvalidInputError("these are no packed frames of this version", where="frames")
        _, machine_id, _, rate_group, frames, sensors = _PACKED.unpack_from(data)
        if len(data) != _PACKED.size + 8 * frames + 4 * frames * sensors:
            raise InvalidInputError("packed frames are cut short or too long", where="frames")
        if not frames:
            return None
        (first,) = _TIME.unpack_from(data, _PACKED.size)
        (last,) = _TIME.unpack_from(data, _PACKED.size + 8 * (frames - 1))
        return machine_id, rate_group, first, last


async def set_codecs(con: Any) -> None:
    """Teach an asyncpg connection the arrays of this module; call it once for every new connection.

    asyncpg's own `Connection.set_type_codec` takes scalar and composite types alone, so this asks one step below it;
    a test holds that step to the pinned version.
    """
    settings = con._protocol.get_settings()  # noqa: SLF001
    for oid, name, encode, decode in (
        (_REALS, "_float4", encode_reals, decode_reals),
        (_TIMESTAMPTZS, "_timestamptz", encode_times, decode_times),
    ):
        settings.add_python_codec(oid, name, "pg_catalog", [], "scalar", encode, decode, "binary")


def encode_reals(values: ArrayLike) -> bytes:
    """Binary form of ``real[]`` with the dimensions of the array given; NaN and infinities are kept bit by bit."""
    array = np.atleast_1d(np.asarray(values, np.float32))
    items = np.empty(array.size, _REAL_ITEM)
    items["length"] = 4
    items["value"] = array.ravel()
    return _head(array.shape, REAL) + items.tobytes()


def decode_reals(data: bytes) -> NDArray[np.float32]:
    """``real[]`` as float32, in its own dimensions. ValueError for a null element, whose place has no width."""
    shape, start = _shape(data)
    items = np.frombuffer(data, _REAL_ITEM, offset=start)
    return items["value"].astype(np.float32).reshape(shape)


def encode_times(times: ArrayLike | Sequence[datetime]) -> bytes:
    """Binary form of ``timestamptz[]``, from microseconds since 1970 UTC or from datetimes with a zone."""
    array = np.atleast_1d(np.asarray(times))
    if array.dtype == object:
        array = np.array([_microseconds(time) for time in array.ravel()], np.int64).reshape(array.shape)
    elif array.size == 0:
        array = array.astype(np.int64)
    elif array.dtype.kind not in "iu":
        raise ValueError(f"times are int64 microseconds or datetimes, not {array.dtype}")
    items = np.empty(array.size, _TIME_ITEM)
    items["length"] = 8
    items["value"] = array.ravel().astype(np.int64) - EPOCH_US
    return _head(array.shape, _TIMESTAMPTZ) + items.tobytes()


def decode_times(data: bytes) -> NDArray[np.int64]:
    """``timestamptz[]`` as int64 microseconds since 1970 UTC. ValueError for a null element."""
    shape, start = _shape(data)
    items = np.frombuffer(data, _TIME_ITEM, offset=start)
    return (items["value"].astype(np.int64) + EPOCH_US).reshape(shape)


def _microseconds(time: datetime) -> int:
    if time.tzinfo is None:
        raise ValueError("a time needs its zone")
    since = time - _UNIX
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _head(shape: tuple[int, ...], oid: int) -> bytes:
    """ndim, no nulls, element type, then length and lower bound of each dimension (PostgreSQL, array_send)."""
    if 0 in shape:
        return struct.pack(">iiI", 0, 0, oid)
    bounds = [part for length in shape for part in (length, 1)]
    return struct.pack(f">iiI{len(bounds)}i", len(shape), 0, oid, *bounds)


def _shape(data: bytes) -> tuple[tuple[int, ...], int]:
    """The dimensions of an array and where its elements begin."""
    dimensions, has_nulls, _ = struct.unpack_from(">iiI", data)
    if has_nulls:
        raise ValueError("an array with null elements has no fixed width; a missing value is 'NaN'")
    if dimensions == 0:
        return (0,), len(data)
    bounds = struct.unpack_from(f">{2 * dimensions}i", data, 12)
    return bounds[::2], 12 + 8 * dimensions
