"""Frames in the binary form of COPY, made by NumPy: the fastest way into a table that has none of them yet."""

import struct
from collections.abc import AsyncIterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.db.frames import EPOCH_US, REAL, FrameBlock
from gnn_service.db.repository import Connection

COLUMNS: Final = ("ts", "tenant_id", "machine_id", "layout_id", "rate_group", "vals")
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_PIECE_BYTES: Final = 2**20


async def copy_frames(con: Connection, tenant_id: int, blocks: Sequence[FrameBlock], *, by_time: bool = False) -> None:
    """COPY frames into their table; ``by_time`` (of one width) as they would have come in, not block by block.

    Raises:
        asyncpg.UniqueViolationError: a tick is there already; nothing was written.
    """
    source = copy_stream(tenant_id, blocks, by_time=by_time)
    await con.copy_to_table("frame", source=source, columns=list(COLUMNS), format="binary")


async def copy_stream(tenant_id: int, blocks: Sequence[FrameBlock], *, by_time: bool = False) -> AsyncIterator[bytes]:
    """The bytes of a binary COPY (PostgreSQL, sql-copy.html, "Binary Format"), in pieces of at most about 1 MB."""
    yield _HEADER
    if by_time and blocks:
        rows = np.empty(sum(map(len, blocks)), _row(blocks[0].values.shape[1]))
        # without a place to put it, the result would be of the computer's own byte order
        np.concatenate([_rows(tenant_id, block) for block in blocks], out=rows)
        yield rows[np.argsort(rows["ts"], kind="stable")].tobytes()
    else:
        for block in blocks:
            step = max(1, _PIECE_BYTES // _row(block.values.shape[1]).itemsize)
            for start in range(0, len(block), step):
                yield _rows(tenant_id, block.part(slice(start, start + step))).tobytes()
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


def _rows(tenant_id: int, block: FrameBlock) -> NDArray[np.void]:
    sensors = block.values.shape[1]
    rows = np.empty(len(block), _row(sensors))
    rows["fields"] = len(COLUMNS)
    for name, kind in _FIXED:
        rows[f"{name}_length"] = np.dtype(kind).itemsize
    rows["ts"] = block.times - EPOCH_US
    rows["tenant_id"], rows["machine_id"] = tenant_id, block.machine_id
    rows["layout_id"], rows["rate_group"] = block.layout_id, block.rate_group
    rows["vals_length"] = 20 + 8 * sensors
    rows["dimensions"], rows["nulls"], rows["oid"], rows["size"], rows["lower"] = 1, 0, REAL, sensors, 1
    rows["vals"]["length"] = 4
    rows["vals"]["value"] = block.values
    return rows


_FIXED: Final = (
    ("ts", ">i8"),
    ("tenant_id", ">i4"),
    ("machine_id", ">i4"),
    ("layout_id", ">i4"),
    ("rate_group", ">i2"),
)
