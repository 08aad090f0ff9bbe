"""Alarm episodes in the store."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gnn_service.core.errors import ConflictError, NotFoundError, UnknownMachineError
from gnn_service.db.alarms import AlarmRepository, Opening, Transition
from gnn_service.db.machines import MachineRepository
from gnn_service.domain.alarm import AlarmState, Priority
from tests.support.stored import pump, sensor

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
async def machine_id(runner):
    return (await MachineRepository(runner).put(pump(sensor("P1")))).stored.machine_id


def step(state, minute=1, **more):
    return Transition(state, NOON + timedelta(minutes=minute), **more)


async def test_an_episode_opens_once(runner, machine_id):
    alarms = AlarmRepository(runner)
    opening = Opening(machine_id, "pump", NOON, "leak", Priority.HIGH, document={"health": 0.4})
    opened = await asyncio.gather(*(alarms.open(opening) for _ in range(5)))
    assert len({one.alarm_id for one in opened}) == 1
    alarm = opened[0]
    assert (alarm.state, alarm.version, alarm.priority) == (AlarmState.ACTIVE_UNACK, 0, Priority.HIGH)
    assert (alarm.document, alarm.closed_at) == ({"health": 0.4}, None)
    assert await alarms.get(alarm.alarm_id) == alarm


async def test_an_episode_of_a_machine_that_is_gone_does_not_open(runner, machine_id):
    with pytest.raises(UnknownMachineError):
        await AlarmRepository(runner).open(Opening(machine_id + 1, "pump", NOON))


async def test_an_episode_goes_its_way_and_closes(runner, machine_id):
    alarms = AlarmRepository(runner)
    alarm = await alarms.open(Opening(machine_id, "pump", NOON))
    way = [
        step(AlarmState.ACTIVE_ACK, 1, actor="anna", reason="seen"),
        step(AlarmState.SHELVED, 2, actor="anna"),
        step(AlarmState.NORMAL, 3),
    ]
    for version, one in enumerate(way):
        alarm = await alarms.change(alarm.alarm_id, one, expected=version, document={"at": version})
    assert (alarm.state, alarm.version, alarm.document) == (AlarmState.NORMAL, 3, {"at": 2})
    assert alarm.closed_at == alarm.changed_at == NOON + timedelta(minutes=3)
    assert list(await alarms.transitions(alarm.alarm_id)) == way


async def test_who_comes_second_is_told_so(runner, machine_id):
    alarms = AlarmRepository(runner)
    alarm = await alarms.open(Opening(machine_id, "pump", NOON))
    await alarms.change(alarm.alarm_id, step(AlarmState.ACTIVE_ACK, actor="anna"), expected=0)
    with pytest.raises(ConflictError):
        await alarms.change(alarm.alarm_id, step(AlarmState.ACTIVE_ACK, actor="bert"), expected=0)
    with pytest.raises(ConflictError):
        await alarms.change(alarm.alarm_id, step(AlarmState.NORMAL), expected=7)
    assert (await alarms.get(alarm.alarm_id)).version == 1


async def test_a_transition_whose_answer_was_lost_may_be_repeated(runner, machine_id):
    alarms = AlarmRepository(runner)
    alarm = await alarms.open(Opening(machine_id, "pump", NOON))
    once = await alarms.change(alarm.alarm_id, step(AlarmState.ACTIVE_ACK, actor="anna"), expected=0)
    again = await alarms.change(alarm.alarm_id, step(AlarmState.ACTIVE_ACK, actor="anna"), expected=0)
    assert again == once
    assert len(await alarms.transitions(alarm.alarm_id)) == 1


async def test_of_many_at_once_one_wins(runner, machine_id):
    alarms = AlarmRepository(runner)
    alarm = await alarms.open(Opening(machine_id, "pump", NOON))
    tries = [alarms.change(alarm.alarm_id, step(AlarmState.ACTIVE_ACK, actor=f"a{i}"), expected=0) for i in range(6)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, ConflictError) for one in done) == 5


async def test_pages_filter_and_go_back_in_time(runner, machine_id):
    alarms = AlarmRepository(runner)
    opened = [
        await alarms.open(Opening(machine_id, component, NOON + timedelta(minutes=minute)))
        for minute in range(3)
        for component in ("pump", "motor")
    ]
    await alarms.change(opened[0].alarm_id, step(AlarmState.NORMAL), expected=0)
    found, before = [], None
    while page := await alarms.page(before=before, limit=4):
        found += [one.alarm_id for one in page]
        before = page[-1]
    assert found == [one.alarm_id for one in reversed(opened)]
    assert len(await alarms.page(only_open=True)) == 5
    assert [one.alarm_id for one in await alarms.page(state=AlarmState.NORMAL)] == [opened[0].alarm_id]
    assert await alarms.page(machine_id=machine_id + 1) == ()


async def test_an_alarm_that_is_not_there_is_not_found(runner, machine_id):
    alarms = AlarmRepository(runner)
    with pytest.raises(NotFoundError):
        await alarms.get(99)
    with pytest.raises(NotFoundError):
        await alarms.change(99, step(AlarmState.NORMAL), expected=0)
