"""Single values, and what a machine was doing."""

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.db import events as module
from gnn_service.db.events import EventRepository, Events, Operation
from gnn_service.db.frame_writing import Stored
from gnn_service.db.machines import MachineRepository
from tests.support.stored import START_US, pump, sensor, ticks


@pytest.fixture
async def machine(runner):
    return (await MachineRepository(runner).put(pump(sensor("P1"), sensor("P2")))).stored


async def test_single_values_come_back_and_the_same_again_changes_nothing(runner, machine):
    repository, number = EventRepository(runner), machine.sensor_ids["P1"]
    given = Events(machine.machine_id, number, ticks(3), np.array([1.25, np.inf, -1e300]))
    assert await repository.store(given) == Stored(stored=3)
    assert await repository.store(given) == Stored(unchanged=3)
    changed = Events(machine.machine_id, number, ticks(3, first=1), np.array([2.0, -1e300, 5.0]))
    assert await repository.store(changed) == Stored(stored=1, merged=1, unchanged=1)
    back = await repository.read(machine.machine_id, number, START_US, START_US + 10**9)
    assert back.times.tolist() == ticks(4).tolist()
    assert back.values.tolist() == [1.25, 2.0, -1e300, 5.0]
    assert len((await repository.read(machine.machine_id, number, START_US, START_US + 10**9, limit=2)).times) == 2
    assert len((await repository.read(machine.machine_id, machine.sensor_ids["P2"], 0, 10**16)).times) == 0


async def test_single_values_stand_in_the_view_of_readings(runner, machine):
    await EventRepository(runner).store(Events(machine.machine_id, machine.sensor_ids["P1"], ticks(1), np.array([7.5])))
    async with runner.pool.acquire() as con:
        row = await con.fetchrow("select machine, component, sensor, unit, value from sensor_reading")
    assert tuple(row) == ("M1", "pump", "P1", "bar", 7.5)


async def test_single_values_of_a_deleted_machine_are_refused(runner, machine):
    await MachineRepository(runner).delete("M1")
    given = Events(machine.machine_id, machine.sensor_ids["P1"], ticks(2), np.zeros(2))
    assert await EventRepository(runner).store(given) == Stored(refused=2)


@pytest.mark.parametrize(
    "times, values", [(ticks(2)[::-1], [1, 2]), (ticks(2), [1]), (ticks(1), [np.nan]), ([[1]], [[1]])]
)
def test_events_that_contradict_themselves_are_refused(times, values):
    with pytest.raises(InvalidInputError):
        Events(1, 1, np.asarray(times), np.asarray(values, float))


async def test_too_much_at_once_is_refused(runner, machine, monkeypatch):
    monkeypatch.setattr(module, "EVENTS_MAX", 2)
    repository = EventRepository(runner)
    with pytest.raises(InvalidInputError, match="at most"):
        await repository.store(Events(machine.machine_id, 1, ticks(3), np.zeros(3)))
    with pytest.raises(InvalidInputError, match="at most"):
        await repository.store_operation(machine.machine_id, Operation(ticks(3), cycle=[1, 2, 3]))


async def test_only_changes_of_operation_are_kept(runner, machine):
    repository = EventRepository(runner)
    doing = Operation(ticks(6), [1, 1, 1, 2, 2, 2], ["a", "a", "b", "a", "a", "b"], None)
    assert await repository.store_operation(machine.machine_id, doing) == 4
    assert await repository.store_operation(machine.machine_id, doing) == 0
    back = await repository.operation(machine.machine_id, START_US, START_US + 10**9)
    assert back.times.tolist() == ticks(6)[[0, 2, 3, 5]].tolist()
    assert (back.cycle, back.phase, back.operating_state) == ([1, 1, 2, 2], ["a", "b", "a", "b"], [None] * 4)


async def test_the_operation_of_a_stretch_begins_with_what_went_on(runner, machine):
    repository = EventRepository(runner)
    await repository.store_operation(machine.machine_id, Operation(ticks(6), operating_state=list("aabbcc")))
    begin = int(ticks(6)[3])
    back = await repository.operation(machine.machine_id, begin, begin + 10**9)
    assert back.operating_state == ["b", "c"]
    assert back.times.tolist() == ticks(6)[[2, 4]].tolist()
    nothing = await repository.operation(machine.machine_id, 0, 1)
    assert nothing.times.tolist() == []


async def test_what_is_learned_later_of_the_operation_takes_nothing_away(runner, machine):
    repository = EventRepository(runner)
    await repository.store_operation(machine.machine_id, Operation(ticks(1), cycle=[4]))
    await repository.store_operation(machine.machine_id, Operation(ticks(1), operating_state=["idle"]))
    back = await repository.operation(machine.machine_id, START_US, START_US + 1)
    assert (back.cycle, back.operating_state) == ([4], ["idle"])


async def test_nothing_is_noted_of_a_machine_that_is_gone(runner, machine):
    await MachineRepository(runner).delete("M1")
    assert await EventRepository(runner).store_operation(machine.machine_id, Operation(ticks(1), cycle=[4])) == 0
