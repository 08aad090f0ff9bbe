"""How records stand in a file of the spool: pure functions over bytes.

A segment is a header and records one after another. Every record begins with a marker and carries two checksums
(CRC-32 of ISO 3309, `zlib.crc32`), one over its fixed part and one over the rest, so that reading can begin again
behind a damaged stretch. Checksums start from the segment's salt, a random number in its file name: bytes left over
from another file, and payloads made to look like records, do not pass.
"""

import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gnn_service.core.errors import ConfigurationError, InvalidInputError

FORMAT_VERSION: Final = 1
PAYLOAD_MAX: Final = 2**28
"""Bytes in a payload, at most."""
KIND_MAX: Final = 255
MARKER: Final = b"\xf1GS\x01"

_MAGIC: Final = b"GNNSPOOL"
_HEADER: Final = struct.Struct("<8sHHI")  # magic, version, nothing, checksum
_CHECKS: Final = struct.Struct("<4sI")  # marker, checksum of the fixed part
_FIXED: Final = struct.Struct("<IIBQq")  # checksum of kind and payload, payload bytes, kind bytes, sequence, time
HEADER_BYTES: Final = _HEADER.size
RECORD_BYTES: Final = _CHECKS.size + _FIXED.size
"""Bytes of a record beside its kind and payload."""


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """One record. ``time_us``: when it was written, microseconds since 1970 UTC by the wall clock."""

    sequence: int
    kind: str
    payload: bytes
    time_us: int

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return RECORD_BYTES + len(self.kind.encode()) + len(self.payload)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes from ``start`` to ``end`` of what was scanned: a record, or damage where ``record`` is None.

    ``cut``: damage that reaches the end and looks like a write that was cut short, not like bytes that changed.
    """

    start: int
    end: int
    record: SpoolRecord | None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What the name of a segment says: the sequence number that it begins with, and its salt."""

    first: int
    salt: int

    @classmethod
    def new(cls, first: int) -> "SegmentName":
        """A name for a segment that begins with this sequence number."""
        return cls(first, secrets.randbits(32))

    @classmethod
    def parse(cls, name: str) -> "SegmentName | None":
        """The name read, None where it is not that of a segment."""
        stem, dot, ending = name.partition(".")
        first, dash, salt = stem.partition("-")
        if not (dot and dash and ending == "spool" and len(first) == 20 and len(salt) == 8):
            return None
        try:
            return cls(int(first), int(salt, 16))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.first:020d}-{self.salt:08x}.spool"


def check_record(kind: str, payload: bytes) -> None:
    """InvalidInputError for a kind or payload that a record cannot hold."""
    if not 1 <= len(kind.encode()) <= KIND_MAX:
        raise InvalidInputError(f"a record's kind has 1 to {KIND_MAX} bytes", where="kind")
    if len(payload) > PAYLOAD_MAX:
        raise InvalidInputError(f"{len(payload)} bytes are too many for a record; at most {PAYLOAD_MAX}")


def encode_header(salt: int) -> bytes:
    """The first bytes of a segment."""
    head = _HEADER.pack(_MAGIC, FORMAT_VERSION, 0, 0)[:-4]
    return head + zlib.crc32(head, salt).to_bytes(4, "little")


def header_is_whole(data: bytes, salt: int, *, where: str = "") -> bool:
    """Whether a segment's header is undamaged.

    Raises:
        ConfigurationError: it is, and of a newer version than this program reads.
    """
    if len(data) < HEADER_BYTES:
        return False
    magic, version, _, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC or checksum != zlib.crc32(data[: HEADER_BYTES - 4], salt):
        return False
    if version > FORMAT_VERSION:
        raise ConfigurationError(
            f"the spool has format {version}, this version reads up to {FORMAT_VERSION}; "
            "start the newer version once more and let it drain",
            where=where,
        )
    return True


def encode_record(record: SpoolRecord, salt: int) -> bytes:
    """A record as it stands on disk; what `check_record` lets through."""
    kind = record.kind.encode()
    body = zlib.crc32(record.payload, zlib.crc32(kind, salt))
    fixed = _FIXED.pack(body, len(record.payload), len(kind), record.sequence, record.time_us)
    return b"".join((_CHECKS.pack(MARKER, zlib.crc32(fixed, salt)), fixed, kind, record.payload))


def scan(data: bytes, salt: int, start: int = 0) -> Iterator[Stretch]:
    """The records of ``data`` from ``start`` on, in order, and the damage between them; together all of its bytes."""
    at, end = start, len(data)
    while at < end:
        found = _record_at(data, at, salt)
        if found is not None:
            yield found
            at = found.end
            continue
        resumed = _next_record(data, at + 1, salt)
        yield Stretch(at, resumed, None, cut=resumed == end and _looks_cut(data, at, salt))
        at = resumed


def time_of(head: bytes, salt: int) -> int | None:
    """When the record that begins with these bytes was written, microseconds since 1970 UTC; None for damage."""
    fixed = _fixed_at(head, 0, salt)
    return None if fixed is None else fixed[4]


def _next_record(data: bytes, at: int, salt: int) -> int:
    """Where the next whole record begins, the end of the data where there is none."""
    while (at := data.find(MARKER, at)) >= 0:
        if _record_at(data, at, salt) is not None:
            return at
        at += 1
    return len(data)


def _fixed_at(data: bytes, at: int, salt: int) -> tuple[int, int, int, int, int] | None:
    if at + RECORD_BYTES > len(data):
        return None
    marker, checksum = _CHECKS.unpack_from(data, at)
    begin = at + _CHECKS.size
    if marker != MARKER or checksum != zlib.crc32(data[begin : begin + _FIXED.size], salt):
        return None
    body, payload_bytes, kind_bytes, sequence, time_us = _FIXED.unpack_from(data, begin)
    return body, payload_bytes, kind_bytes, sequence, time_us


def _record_at(data: bytes, at: int, salt: int) -> Stretch | None:
    fixed = _fixed_at(data, at, salt)
    if fixed is None:
        return None
    body, payload_bytes, kind_bytes, sequence, time_us = fixed
    middle = at + RECORD_BYTES + kind_bytes
    end = middle + payload_bytes
    if end > len(data):
        return None
    kind, payload = data[at + RECORD_BYTES : middle], data[middle:end]
    if body != zlib.crc32(payload, zlib.crc32(kind, salt)):
        return None
    return Stretch(at, end, SpoolRecord(sequence, kind.decode(), payload, time_us))


def _looks_cut(data: bytes, at: int, salt: int) -> bool:
    """Whether the last bytes are the beginning of a record, or zeros that a crash left in place of data."""
    rest = data[at:]
    if len(rest) < RECORD_BYTES:
        return rest.startswith(MARKER[: len(rest)]) or not rest.strip(b"\0")
    if not rest.strip(b"\0"):
        return True
    fixed = _fixed_at(data, at, salt)
    return fixed is not None and at + RECORD_BYTES + fixed[2] + fixed[1] > len(data)
