"""Frames in the binary form of COPY, made by NumPy: the fastest way into a table that has none of them yet."""

import struct
from collections.abc import AsyncIterator, Iterable
from typing import Final

import numpy as np

from gnn_service.db.frames import EPOCH_US, REAL, FrameBlock
from gnn_service.db.repository import Connection

COLUMNS: Final = ("ts", "tenant_id", "machine_id", "layout_id", "rate_group", "vals")
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_PIECE_BYTES: Final = 2**20


async def copy_frames(con: Connection, tenant_id: int, blocks: Iterable[FrameBlock]) -> None:
    """COPY frames into their table. asyncpg.UniqueViolationError, and nothing written, where a tick is there."""
    source = copy_stream(tenant_id, blocks)
    await con.copy_to_table("frame", source=source, columns=list(COLUMNS), format="binary")


async def copy_stream(tenant_id: int, blocks: Iterable[FrameBlock]) -> AsyncIterator[bytes]:
    """The bytes of a binary COPY (PostgreSQL, sql-copy.html, "Binary Format"), in pieces of at most about 1 MB."""
    yield _HEADER
    for block in blocks:
        row = _row(block.values.shape[1])
        step = max(1, _PIECE_BYTES // row.itemsize)
        for start in range(0, len(block), step):
            yield _rows(tenant_id, block.part(slice(start, start + step)), row)
    yield _TRAILER


def _row(sensors: int) -> np.dtype[np.void]:
    """One row: how many fields, then length and content of each; an array has a head, and lengths of its own."""
    element = np.dtype([("length", ">i4"), ("value", ">f4")])
    fields = [
        ("fields", ">i2"),
        *(part for name, kind in _FIXED for part in ((f"{name}_length", ">i4"), (name, kind))),
        ("vals_length", ">i4"),
        *((name, ">i4") for name in ("dimensions", "nulls", "oid", "size", "lower")),
        ("vals", element, (sensors,)),
    ]
    return np.dtype(fields)


def _rows(tenant_id: int, block: FrameBlock, row: np.dtype[np.void]) -> bytes:
    rows = np.empty(len(block), row)
    rows["fields"] = len(COLUMNS)
    for name, kind in _FIXED:
        rows[f"{name}_length"] = np.dtype(kind).itemsize
    rows["ts"] = block.times - EPOCH_US
    rows["tenant_id"], rows["machine_id"] = tenant_id, block.machine_id
    rows["layout_id"], rows["rate_group"] = block.layout_id, block.rate_group
    sensors = block.values.shape[1]
    rows["vals_length"] = 20 + 8 * sensors
    rows["dimensions"], rows["nulls"], rows["oid"], rows["size"], rows["lower"] = 1, 0, REAL, sensors, 1
    rows["vals"]["length"] = 4
    rows["vals"]["value"] = block.values
    return rows.tobytes()


_FIXED: Final = (
    ("ts", ">i8"),
    ("tenant_id", ">i4"),
    ("machine_id", ">i4"),
    ("layout_id", ">i4"),
    ("rate_group", ">i2"),
)
