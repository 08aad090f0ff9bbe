"""The diagnosis on request: what it looks at, and what becomes of it while the database is away."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from gnn_service.core.errors import DatabaseUnavailableError, NotFoundError, UnknownMachineError
from gnn_service.db.diagnoses import Origin
from gnn_service.db.events import Operation
from gnn_service.db.stats import DatabaseState
from gnn_service.domain.diagnosis import DataQuality, Diagnosis, State
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings
from gnn_service.monitoring.diagnose import MachineDiagnoses, Sources
from gnn_service.monitoring.ingest import Kept
from gnn_service.monitoring.machines import MachineDirectory
from gnn_service.monitoring.pieces import Doing
from tests.support.flaky_store import SECOND_US, START_US, FlakyStore
from tests.support.inference import until
from tests.support.intake import intake
from tests.support.stored import stored
from tests.support.tiny_plant import DESCRIPTION

PHASES = [{"id": "dig", "start_s": 0, "end_s": 5, "kind": "plateau"}]
RIG = stored(Machine.model_validate(DESCRIPTION | {"id": "rig", "duty_cycle": {"period_s": 5, "phases": PHASES}}))


class FakeDiagnoser:
    bundle = SimpleNamespace(version="b1")

    def __init__(self):
        self.windows, self.baselines = [], []

    async def diagnose(self, machine, window, baseline=None, *, timeout_s=None):
        self.windows.append(window)
        self.baselines.append(baseline)
        return Diagnosis(
            machine=machine.id, start=datetime.fromtimestamp(window.start, UTC),
            end=datetime.fromtimestamp(window.end, UTC), health=0.9, state=State.GOOD, components=(),
            data_quality=DataQuality(coverage=1.0, samples=len(window.times)), commissioned=baseline is not None,
            bundle="b1",
        )  # fmt: skip


class Database:
    """What is stored from before: readings from -20 s to 0 s, cycles of 5 s, a baseline."""

    def __init__(self):
        self.away = False
        self.asked = 0
        self.baseline_kept = SimpleNamespace(baseline="mine")

    def check(self):
        self.asked += 1
        if self.away:
            raise DatabaseUnavailableError("away")

    async def get(self, external_id):
        self.check()
        if external_id != "rig":
            raise UnknownMachineError("no")
        return RIG

    async def window(self, machine, *, ticks=128):
        self.check()
        times = START_US + np.arange(-200, 0) * SECOND_US // 10
        values = np.full((200, 6), -1.0, np.float32)
        return Readings(times[-ticks:], machine.machine.sensor_ids, values[-ticks:])

    async def operation(self, machine_id, from_us, to_us):
        self.check()
        times = np.array([START_US - 15 * SECOND_US, START_US - 10 * SECOND_US, START_US - 5 * SECOND_US])
        return Operation(times, cycle=[1, 2, 3])

    async def baseline(self, machine_id, bundle):
        self.check()
        return self.baseline_kept


def readings(start, end, value=1.0):
    """Ten readings a second from start to end, seconds."""
    times = START_US + np.arange(start * 10, end * 10) * SECOND_US // 10
    return RIG.blocks(times, RIG.machine.sensor_ids, np.full((len(times), 6), value, np.float32))


@asynccontextmanager
async def diagnoses(folder, **values):
    store, database, diagnoser = FlakyStore(), Database(), FakeDiagnoser()
    async with intake(folder, store, **values) as way:
        subject = MachineDiagnoses(
            diagnoser, MachineDirectory(database, fresh_s=0.0), way.newest, way.ingest,
            sources=Sources(database, database, database), ticks_max=1000,
        )  # fmt: skip
        yield SimpleNamespace(
            diagnose=subject.diagnose, store=store, database=database, diagnoser=diagnoser, way=way, subject=subject
        )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def seconds(window):
    return round(window.start - START_US / 1e6, 3), round(window.end - START_US / 1e6, 3)


async def test_the_newest_window_is_diagnosed_from_memory_and_stored(folder):
    async with diagnoses(folder) as at:
        await at.way.ingest.submit([*readings(0, 12), Doing(1, Operation(np.array([START_US]), cycle=[1]))])
        await at.way.ingest.submit([Doing(1, Operation(START_US + np.array([5, 10]) * SECOND_US, cycle=[2, 3]))])
        found = await at.diagnose("rig", request_id="r1")
        assert found.persisted
        assert seconds(at.diagnoser.windows[0]) == (5.0, 9.9)
        assert at.diagnoser.windows[0].phase_s == 0.0
        assert at.diagnoser.baselines == ["mine"]
        (given,) = at.store.diagnoses.given.values()
        assert (given.machine_id, given.origin, given.request_id) == (1, Origin.REQUEST, "r1")
        assert given.diagnosis == found.diagnosis


async def test_asked_twice_it_is_there_once(folder):
    async with diagnoses(folder) as at:
        await at.way.ingest.submit(readings(0, 12))
        await at.diagnose("rig")
        await at.diagnose("rig")
        assert len(at.store.diagnoses.given) == 1


async def test_after_a_restart_the_window_comes_from_the_database_and_memory_fills_up(folder):
    async with diagnoses(folder) as at:
        await at.diagnose("rig")
        assert seconds(at.diagnoser.windows[0]) == (-5.0, -0.1)
        assert at.diagnoser.windows[0].cycle == 3
        await at.way.ingest.submit(readings(0, 2))
        await at.diagnose("rig")
        assert seconds(at.diagnoser.windows[1]) == (-5.0, 1.9)


async def test_what_was_just_sent_counts_more_than_what_the_database_still_says(folder):
    async with diagnoses(folder) as at:
        await at.way.ingest.submit(readings(-1, 0, value=7.0))  # corrections
        await at.diagnose("rig")
        values = at.diagnoser.windows[0].values
        assert values[0, -1] == 7.0
        assert values[0, 0] == -1.0


async def test_while_the_database_is_away_diagnoses_go_on_and_are_stored_later(folder):
    async with diagnoses(folder) as at:
        await at.way.ingest.submit(readings(0, 12))
        await at.diagnose("rig")
        at.database.away, at.store.mode = True, "down"
        await at.way.ingest.submit(readings(12, 14, value=2.0))
        found = await at.diagnose("rig", request_id="r2")
        assert not found.persisted
        assert found.kept is Kept.SPOOLED
        assert seconds(at.diagnoser.windows[-1])[1] == 13.9
        assert at.diagnoser.baselines == ["mine", "mine"]
        at.store.mode = "up"
        at.way.drain.database_changed(DatabaseState.HEALTHY)
        await until(lambda: at.way.spool.empty)
        assert {given.request_id for given in at.store.diagnoses.given.values()} == {"", "r2"}


async def test_what_neither_the_database_nor_the_spool_takes_is_answered_all_the_same(folder):
    async with diagnoses(folder, spool={"bytes_max": 100}) as at:
        await at.way.ingest.submit(readings(0, 12))
        at.store.mode = "down"
        found = await at.diagnose("rig")
        assert found.kept is None
        assert found.diagnosis.state is State.GOOD


async def test_a_machine_of_which_nothing_is_known_while_the_database_is_away_is_an_error_that_passes(folder):
    async with diagnoses(folder) as at:
        at.database.away = True
        with pytest.raises(DatabaseUnavailableError):
            await at.diagnose("rig")
        at.database.away = False
        await at.diagnose("rig")
        with pytest.raises(UnknownMachineError):
            await at.diagnose("other")


async def test_a_machine_without_readings_is_told_apart_and_a_short_past_is_asked_for_once(folder, monkeypatch):
    async with diagnoses(folder) as at:

        async def nothing(machine, *, ticks=128):
            at.database.check()
            return Readings(np.empty(0, np.int64), machine.machine.sensor_ids, np.empty((0, 6), np.float32))

        monkeypatch.setattr(at.database, "window", nothing)
        with pytest.raises(NotFoundError, match="no readings yet"):
            await at.diagnose("rig")
        await at.way.ingest.submit(readings(0, 1))
        await at.diagnose("rig")
        asked = at.database.asked
        await at.diagnose("rig")
        assert at.database.asked == asked + 1  # the description alone


async def test_many_at_once_are_each_answered(folder):
    async with diagnoses(folder) as at:
        await at.way.ingest.submit(readings(0, 12))
        found = await asyncio.gather(*(at.diagnose("rig", request_id=str(n)) for n in range(50)))
        assert all(one.persisted for one in found)
        assert len(at.store.diagnoses.given) == 50
