"""Every write of the store, cut off behind each of its statements in turn and repeated whole, has its effect once.

What the connection's end undoes and what it leaves differs from statement to statement: a transaction is rolled
back, a statement by itself stays. Wherever the cut falls, the repetition must find its way.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
import pytest

from gnn_service.core.errors import ConflictError
from gnn_service.db import frame_writing
from gnn_service.db.access import AccessRepository, AuditEntry, new_secret
from gnn_service.db.alarms import AlarmRepository, Opening, Transition
from gnn_service.db.diagnoses import DiagnosisRepository, Given
from gnn_service.db.events import EventRepository, Events, Operation
from gnn_service.db.frames import set_codecs
from gnn_service.db.machines import MachineRepository
from gnn_service.db.models import Activation, ModelRepository, Role
from gnn_service.db.readings import ReadingRepository
from gnn_service.db.state import MachineState, StateRepository, StoredBaseline
from gnn_service.domain.alarm import AlarmState
from gnn_service.domain.diagnosis import ComponentDiagnosis, DataQuality, Diagnosis, State
from gnn_service.model.baseline import Baseline
from tests.support.stored import START_US, pump, sensor, ticks

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
NAN = np.nan


class CuttingRunner:
    """Ends the connection behind the first statement, then behind the second ... until the work gets through."""

    def __init__(self, url):
        self._url = url
        self.cuts = 0

    async def run(self, work, *, name, idempotent, timeout_s=None):
        assert idempotent, f"{name} is not meant to be repeated"
        for allowed in range(30):
            con = await asyncpg.connect(
                self._url, timeout=10, command_timeout=10, server_settings={"search_path": "gnn, public"}
            )
            await set_codecs(con)
            done: list[str] = []

            def cut(record, con=con, done=done, allowed=allowed):
                done.append(record.query)
                if len(done) > allowed:
                    con.terminate()

            con.add_query_logger(cut)
            try:
                result = await work(con)
                await asyncio.sleep(0)  # loggers hear of a statement in the next turn of the loop
            except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError):
                assert len(done) > allowed
                self.cuts += 1
                continue
            else:
                if len(done) <= allowed:
                    return result
                self.cuts += 1  # the answer to the last statement was lost
            finally:
                con.terminate()
        raise AssertionError(f"{name} needs more statements than a write should")


@pytest.fixture
async def cutting(service_url):
    return CuttingRunner(service_url.get_secret_value())


@pytest.fixture(params=[1, 10**9], ids=["copied", "inserted"])
def way_in(request, monkeypatch):
    monkeypatch.setattr(frame_writing, "COPY_FRAMES", request.param)


async def everything(runner, machine):
    parts = [part async for part in ReadingRepository(runner).read(machine, START_US, START_US + 10**9)]
    return np.concatenate([part.values for part in parts])


async def test_new_frames(runner, cutting, way_in):
    machine = (await MachineRepository(runner).put(pump(sensor("A")))).stored
    values = np.arange(5, dtype=np.float32)[:, None]
    (counts,) = await ReadingRepository(cutting).store(machine.blocks(ticks(5), ("A",), values))
    assert counts.stored + counts.unchanged == 5
    assert cutting.cuts >= 1
    assert np.array_equal(await everything(runner, machine), values)
    async with runner.pool.acquire() as con:
        assert await con.fetchval("select count(*) from rollup_stale where machine_ids = $1", [machine.machine_id]) >= 1


async def test_late_values_of_another_set_of_sensors(runner, cutting, way_in):
    machines = MachineRepository(runner)
    before = (await machines.put(pump(sensor("A"), sensor("B")))).stored
    await ReadingRepository(runner).store(
        before.blocks(ticks(3), ("A", "B"), np.array([[1, 2], [3, NAN], [5, 6]], np.float32))
    )
    after = (await machines.put(pump(sensor("B"), sensor("C")))).stored
    late = after.blocks(ticks(3, first=1), ("B", "C"), np.array([[4, 40], [NAN, 60], [8, 80]], np.float32))
    (counts,) = await ReadingRepository(cutting).store(late)
    assert counts.stored + counts.merged + counts.unchanged == 3
    assert cutting.cuts >= 5
    every = (await machines.put(pump(sensor("A"), sensor("B"), sensor("C")))).stored
    expected = np.array([[1, 2, NAN], [3, 4, 40], [5, 6, 60], [NAN, 8, 80]], np.float32)
    assert np.array_equal(await everything(runner, every), expected, equal_nan=True)


async def test_a_machine_and_its_change(runner, cutting):
    machines = MachineRepository(cutting)
    first = await machines.put(pump(sensor("A")))
    second = await machines.put(pump(sensor("A"), sensor("B")), expected=first.stored.machine.fingerprint)
    assert second.stored.revision == 2
    assert cutting.cuts >= 10
    async with runner.pool.acquire() as con:
        counts = [
            await con.fetchval(f"select count(*) from {table}")  # noqa: S608 - names of below
            for table in ("machine", "machine_revision", "sensor", "layout", "rate_group")
        ]
    assert counts == [1, 2, 2, 2, 1]


async def test_diagnoses(runner, cutting):
    machine = (await MachineRepository(runner).put(pump(sensor("A")))).stored
    said = Diagnosis(
        machine="M1",
        start=NOON - timedelta(minutes=1),
        end=NOON,
        health=0.5,
        state=State.WARNING,
        components=(ComponentDiagnosis(component="pump", type="pump", health=0.5, state=State.WARNING),),
        data_quality=DataQuality(coverage=1, samples=60),
        commissioned=False,
        bundle="v1",
    )
    await DiagnosisRepository(cutting).store([Given(machine.machine_id, said)])
    assert len(await DiagnosisRepository(runner).page(machine.machine_id, NOON, NOON + timedelta(1))) == 1
    assert cutting.cuts >= 1


async def test_an_alarm_and_its_way(runner, cutting):
    machine = (await MachineRepository(runner).put(pump(sensor("A")))).stored
    alarms = AlarmRepository(cutting)
    alarm = await alarms.open(Opening(machine.machine_id, "pump", NOON))
    way = [Transition(AlarmState.ACTIVE_ACK, NOON, "anna"), Transition(AlarmState.NORMAL, NOON + timedelta(1))]
    for version, step in enumerate(way):
        alarm = await alarms.change(alarm.alarm_id, step, expected=version)
    assert (alarm.state, alarm.version) == (AlarmState.NORMAL, 2)
    assert list(await AlarmRepository(runner).transitions(alarm.alarm_id)) == way
    assert len(await AlarmRepository(runner).page()) == 1
    with pytest.raises(ConflictError):
        await alarms.change(alarm.alarm_id, Transition(AlarmState.SHELVED, NOON), expected=0)


async def test_what_was_learned_and_who_may_and_did(runner, cutting):
    machine = (await MachineRepository(runner).put(pump(sensor("A")))).stored
    state, access, events = StateRepository(cutting), AccessRepository(cutting), EventRepository(cutting)
    baseline = Baseline(machine="M1", windows=3, centre={"A": (1.0,)}, scale={"A": 0.1})
    await state.put_baseline(StoredBaseline(machine.machine_id, "v1", NOON, baseline))
    assert await state.put_state(MachineState(machine.machine_id, "v1", NOON, {"drift": 1}))
    await ModelRepository(cutting).activate(Activation(Role.ACTIVE, "v1", NOON))
    key = await access.add_key(new_secret(), "line 4")
    await access.revoke(key.key_id, NOON)
    await access.record([AuditEntry("anna", "key.add", NOON), AuditEntry("anna", "key.revoke", NOON)])
    await events.store(Events(machine.machine_id, machine.sensor_ids["A"], ticks(3), np.ones(3)))
    await events.store_operation(machine.machine_id, Operation(ticks(2), cycle=[1, 2]))
    expected = {
        "baseline": 1, "machine_state": 1, "model_activation": 1, "api_key": 1, "audit": 2, "sensor_event": 3,
        "operation": 2,
    }  # fmt: skip
    async with runner.pool.acquire() as con:
        for table, count in expected.items():
            assert await con.fetchval(f"select count(*) from {table}") == count, table  # noqa: S608 - names of above
    assert cutting.cuts >= 8
