"""Readings' way in with a real database behind a wire that is cut, swallows bytes, and loses replies."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from gnn_service.db.diagnoses import DiagnosisRepository
from gnn_service.db.events import EventRepository, Operation
from gnn_service.db.machines import MachineRepository
from gnn_service.db.manager import DatabaseManager
from gnn_service.db.readings import ReadingRepository
from gnn_service.db.state import StateRepository
from gnn_service.db.store import prepare
from gnn_service.domain.diagnosis import DataQuality, Diagnosis, State
from gnn_service.monitoring.diagnose import MachineDiagnoses, Sources
from gnn_service.monitoring.ingest import Kept
from gnn_service.monitoring.machines import MachineDirectory
from gnn_service.monitoring.pieces import Doing, Writer
from gnn_service.monitoring.pipeline import Pipeline
from tests.support.database import database_settings
from tests.support.flaky_store import SECOND_US, START_US
from tests.support.intake import ingest_settings
from tests.support.spool import spool_settings
from tests.support.stored import pump, sensor
from tests.support.tcp_proxy import Mode, TcpProxy

MACHINE = pump(sensor("p1"), sensor("p2"))


class Echo:
    """A diagnoser that says how many ticks it was shown."""

    bundle = SimpleNamespace(version="b1")

    async def diagnose(self, machine, window, baseline=None, *, timeout_s=None):
        return Diagnosis(
            machine=machine.id, start=datetime.fromtimestamp(window.start, UTC),
            end=datetime.fromtimestamp(window.end, UTC), health=0.9, state=State.GOOD, components=(),
            data_quality=DataQuality(coverage=1.0, samples=len(window.times)), commissioned=False, bundle="b1",
        )  # fmt: skip


@pytest.fixture
async def proxy(service_url):
    async with TcpProxy(service_url) as proxy:
        yield proxy


@asynccontextmanager
async def way(proxy, folder):
    database = DatabaseManager(database_settings(), url=proxy.url, prepare=prepare)
    await database.start()
    try:
        readings, events, diagnoses = (
            made(database) for made in (ReadingRepository, EventRepository, DiagnosisRepository)
        )
        machines = MachineRepository(database)
        writer = Writer(readings, events, diagnoses)
        settings = ingest_settings(store_timeout_s=1.0)
        async with Pipeline.open(writer, database, folder, spool=spool_settings(), ingest=settings) as pipeline:
            diagnose = MachineDiagnoses(
                Echo(), MachineDirectory(machines, fresh_s=0.0), pipeline.newest, pipeline.ingest,
                sources=Sources(readings, events, StateRepository(database)), ticks_max=1000,
            )  # fmt: skip
            yield SimpleNamespace(
                database=database, machines=machines, readings=readings, diagnoses=diagnoses, events=events,
                pipeline=pipeline, ingest=pipeline.ingest, diagnose=diagnose.diagnose,
            )  # fmt: skip
    finally:
        await database.stop()


def frames(machine, first, last, value=1.0):
    times = START_US + np.arange(first, last) * SECOND_US
    return machine.blocks(times, ("p1", "p2"), np.full((len(times), 2), value, np.float32))


async def emptied(at, seconds=20.0):
    end = time.monotonic() + seconds
    while not at.pipeline.spool.empty:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACK_HOLE, Mode.DROP_REPLIES])
async def test_what_is_acknowledged_while_the_wire_is_bad_is_in_the_database_once_when_it_is_good(
    proxy, tmp_path, mode
):
    async with way(proxy, tmp_path / "spool") as at:
        machine = (await at.machines.put(MACHINE)).stored
        assert (await at.ingest.submit(frames(machine, 0, 100))).kept is Kept.STORED
        assert (await at.diagnose(MACHINE.id, request_id="before")).persisted
        proxy.mode = mode
        if mode is Mode.REFUSE:
            await proxy.refuse()
        proxy.reset()
        spooled = 0
        for tick in range(100, 110):
            began = time.monotonic()
            receipt = await at.ingest.submit(frames(machine, tick, tick + 1, float(tick)))
            spooled += receipt.kept is Kept.SPOOLED
            assert time.monotonic() - began < 6
        correction = await at.ingest.submit(frames(machine, 105, 106, -5.0))
        assert correction.kept is Kept.SPOOLED
        assert spooled > 5
        found = await at.diagnose(MACHINE.id, request_id="during")
        assert not found.persisted
        assert found.diagnosis.end.timestamp() == START_US / 1e6 + 109
        proxy.mode = Mode.PASS
        if mode is Mode.REFUSE:
            await proxy.listen()
        at.database.look_now()
        await emptied(at)
        window = await at.readings.window(machine, ticks=1000)
        assert (window.times - START_US).tolist() == [tick * SECOND_US for tick in range(110)]
        wanted = [1.0] * 100 + [-5.0 if tick == 105 else float(tick) for tick in range(100, 110)]
        assert window.values[:, 0].tolist() == wanted
        day = (datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(4e9, UTC))
        kept = await at.diagnoses.page(machine.machine_id, *day)
        assert sorted(given.request_id for given in kept) == ["before", "during"]
        assert (await at.ingest.submit(frames(machine, 110, 111))).kept is Kept.STORED


async def test_operation_and_single_values_come_through_the_spool_too(proxy, tmp_path):
    async with way(proxy, tmp_path / "spool") as at:
        machine = (await at.machines.put(MACHINE)).stored
        await proxy.refuse()
        proxy.reset()
        doing = Operation(np.array([START_US, START_US + SECOND_US]), cycle=[1, 2], operating_state=["on", None])
        assert (await at.ingest.submit([Doing(machine.machine_id, doing)])).kept is Kept.SPOOLED
        await proxy.listen()
        at.database.look_now()
        await emptied(at)
        known = await at.events.operation(machine.machine_id, START_US, START_US + 9 * SECOND_US)
        assert known.cycle == [1, 2]


async def test_a_machine_that_was_deleted_meanwhile_does_not_hold_up_the_others(proxy, tmp_path):
    async with way(proxy, tmp_path / "spool") as at:
        gone = (await at.machines.put(pump(sensor("p1"), sensor("p2"), name="gone"))).stored
        machine = (await at.machines.put(MACHINE)).stored
        await at.machines.delete("gone")
        await proxy.refuse()
        proxy.reset()
        await at.ingest.submit(frames(gone, 0, 5))
        await at.ingest.submit(frames(machine, 0, 5))
        await proxy.listen()
        at.database.look_now()
        await emptied(at)
        assert len((await at.readings.window(machine, ticks=10)).times) == 5
