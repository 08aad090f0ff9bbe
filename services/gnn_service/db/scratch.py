"""A store of its own to measure on, gone afterwards, and what of it the server alone can tell."""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from pydantic import SecretStr

from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import ConfigurationError
from gnn_service.db.frame_copy import copy_frames
from gnn_service.db.frames import FrameBlock
from gnn_service.db.owner import connected
from gnn_service.db.repository import DEFAULT_TENANT, Connection
from gnn_service.db.store import Store

_PREFIX: Final = "gnn_bench_"


@dataclass(frozen=True, slots=True)
class Scratch:
    """A store with nothing in it. ``folder`` is the embedded server's, None where the server is another."""

    store: Store
    folder: Path | None

    async def copy(self, blocks: Sequence[FrameBlock], *, by_time: bool = False) -> None:
        """A bare COPY of frames: no check, no conflict, no note for the roll-ups."""

        async def work(con: Connection) -> None:
            await copy_frames(con, DEFAULT_TENANT, blocks, by_time=by_time)

        await self.store.database.run(work, name="bench.copy", idempotent=False)

    async def round_trip(self) -> None:
        """The least that a question can cost."""

        async def work(con: Connection) -> None:
            await con.fetchval("select 1")

        await self.store.database.run(work, name="bench.round_trip", idempotent=True)

    async def frame_bytes(self) -> int:
        """Bytes of all frames on the disk: rows, index and what belongs to them."""
        sql = _HYPERTABLE if self.store.database.capability.has_timescale else _TABLE

        async def work(con: Connection) -> int:
            return int(await con.fetchval(sql))

        return await self.store.database.run(work, name="bench.size", idempotent=True)

    async def fill_hours(self, machine_id: int, layout_id: int, hours: int) -> None:
        """Roll-ups of this many hours, as the upkeep would have made them."""

        async def work(con: Connection) -> None:
            await con.execute(_HOURS, DEFAULT_TENANT, machine_id, layout_id, hours)

        await self.store.database.run(work, name="bench.hours", idempotent=True)


@asynccontextmanager
async def scratch_store(settings: DatabaseSettings) -> AsyncIterator[Scratch]:
    """A new embedded server beside where the service keeps its own, or a new database on the server of the settings.

    Raises:
        DatabaseRefusedError: the server takes no new database from this role.
        ConfigurationError: the folder cannot be written to.
    """
    if settings.url is None:
        folder = _new_folder(settings.folder)
        try:
            async with Store.open(settings.model_copy(update={"data_dir": folder})) as store:
                yield Scratch(store, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    owner = settings.owner_url or settings.url
    name = f"{_PREFIX}{uuid4().hex[:12]}"
    async with connected(owner, settings.migration) as con:
        await con.execute(f"create database {name}")
    try:
        update = {"url": _database(settings.url, name), "owner_url": _database(owner, name)}
        async with Store.open(settings.model_copy(update=update)) as store:
            yield Scratch(store, None)
    finally:
        async with connected(owner, settings.migration) as con:
            with contextlib.suppress(asyncpg.UndefinedObjectError):
                await con.execute(f"drop database if exists {name} with (force)")


def _new_folder(beside: Path) -> Path:
    try:
        beside.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir=beside))
        folder.chmod(0o755)
    except OSError as error:
        raise ConfigurationError(f"cannot use {beside}: {error.strerror}", where="database.data_dir") from error
    return folder


def _database(url: SecretStr, name: str) -> SecretStr:
    return SecretStr(urlunsplit(urlsplit(url.get_secret_value())._replace(path=f"/{name}")))


_TABLE: Final = "select pg_total_relation_size('frame')"
_HYPERTABLE: Final = "select hypertable_size('frame')"
_HOURS: Final = """
insert into rollup_1h (ts, tenant_id, machine_id, layout_id, rate_group, count, mean, low, high)
select timestamptz '2026-01-01 00:00:00+00' + h * interval '1 hour', $1, $2, layout_id, rate_group,
       array_fill(3600, array[n]), array_fill(h::real, array[n]), array_fill(h::real - 1, array[n]),
       array_fill(h::real + 1, array[n])
from generate_series(0, $4 - 1) h,
     (select layout_id, rate_group, cardinality(sensor_ids) as n from layout where tenant_id = $1 and layout_id = $3) l
on conflict do nothing"""
