"""A database with tables, and a runner of repositories' work on a plain pool: no retries that would hide a fault."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import numpy as np
import pytest
from pydantic import SecretStr

from gnn_service.db.frames import set_codecs
from gnn_service.db.layouts import Layout, sensors_by_rate
from gnn_service.db.machines import StoredMachine
from gnn_service.domain.machine import Component, Machine, Sensor, Span

T = TypeVar("T")
START_US = 1_790_000_000_000_000
SECOND = 1_000_000


class PlainRunner:
    """Runs work once, on any connection of a pool; a statement may take 20 s."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool
        self.calls: list[str] = []

    async def run(
        self,
        work: Callable[[Any], Awaitable[T]],
        *,
        name: str,
        idempotent: bool,
        timeout_s: float | None = None,
    ) -> T:
        self.calls.append(name)
        async with self.pool.acquire(timeout=20) as con:
            return await work(con)


@asynccontextmanager
async def plain_runner(url: SecretStr, connections: int = 4) -> AsyncIterator[PlainRunner]:
    """A runner on the database of this address."""

    pool = await asyncpg.create_pool(
        url.get_secret_value(),
        min_size=1,
        max_size=connections,
        command_timeout=20,
        init=set_codecs,
        server_settings={"search_path": "gnn, public", "timezone": "UTC"},
    )
    try:
        yield PlainRunner(pool)
    finally:
        await asyncio.wait_for(pool.close(), 20)


@pytest.fixture
async def runner(service_url: SecretStr) -> AsyncIterator[PlainRunner]:
    """Runs work on a new database with the schema, in the role that serves."""
    async with plain_runner(service_url) as plain:
        yield plain


def sensor(tag: str, *, unit: str = "bar", rate_hz: float = 1.0) -> Sensor:
    """A sensor on the component `pump`."""
    quantity = "temperature" if unit in ("Cel", "K") else "pressure"
    return Sensor(id=tag, component="pump", quantity=quantity, unit=unit, rate_hz=rate_hz, range=Span(low=0, high=100))


def pump(*sensors: Sensor, name: str = "M1") -> Machine:
    """A machine of one component with these sensors."""
    return Machine(id=name, components=(Component(id="pump", type="pump"),), sensors=sensors)


def ticks(count: int, *, first: int = 0, step_us: int = SECOND) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Times of ``count`` ticks, microseconds UTC."""
    return START_US + (first + np.arange(count, dtype=np.int64)) * step_us


def stored(machine: Machine, machine_id: int = 1, revision: int = 1) -> StoredMachine:
    """The machine as the store would give it, without a database: sensors numbered from 1, one layout a rate."""
    numbers = {tag: number for number, tag in enumerate(machine.sensor_ids, 1)}
    rates = sorted(sensors_by_rate(machine).items(), reverse=True)
    groups = tuple(
        Layout(100 * machine_id + place, machine_id, place, tuple(numbers[tag] for tag in tags))
        for place, (_, tags) in enumerate(rates, 1)
    )
    now = datetime.now(UTC)
    return StoredMachine(machine_id, revision, machine, numbers, groups, tuple(rate for rate, _ in rates), now, now)
