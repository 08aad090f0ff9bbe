"""Descriptions in memory: fresh while the database answers, the last known while it is away."""

import asyncio

import pytest

from gnn_service.core.errors import DatabaseUnavailableError, UnknownMachineError
from gnn_service.domain.machine import Machine
from gnn_service.monitoring.machines import MachineDirectory
from tests.support.stored import stored
from tests.support.tiny_plant import DESCRIPTION


def machine(name="rig", revision=1):
    return stored(Machine.model_validate(DESCRIPTION | {"id": name}), revision=revision)


class Source:
    def __init__(self, *machines):
        self.machines = {one.machine.id: one for one in machines}
        self.asked, self.away = 0, False
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, external_id):
        self.asked += 1
        await self.gate.wait()
        if self.away:
            raise DatabaseUnavailableError("away")
        if external_id not in self.machines:
            raise UnknownMachineError("no")
        return self.machines[external_id]

    async def page(self, *, after="", limit=100):
        return [self.machines[name] for name in sorted(self.machines) if name > after][:limit]


class Time:
    now = 0.0

    def monotonic(self):
        return self.now


async def test_a_description_is_asked_for_once_and_again_when_it_is_old():
    source, time = Source(machine()), Time()
    subject = MachineDirectory(source, clock=time)
    for _ in range(3):
        assert (await subject.get("rig")).revision == 1
    source.machines["rig"] = machine(revision=2)
    assert source.asked == 1
    time.now = 10.5
    assert (await subject.get("rig")).revision == 2


async def test_while_the_database_is_away_the_last_one_is_used_and_unknown_ones_are_an_error():
    source, time = Source(machine()), Time()
    subject = MachineDirectory(source, clock=time)
    await subject.get("rig")
    source.away, time.now = True, 100.0
    assert (await subject.get("rig")).revision == 1
    asked = source.asked
    assert (await subject.get("rig")).revision == 1
    assert source.asked == asked  # not with every reading
    with pytest.raises(DatabaseUnavailableError):
        await subject.get("other")


async def test_a_machine_that_is_gone_is_forgotten():
    source, time = Source(machine()), Time()
    subject = MachineDirectory(source, clock=time)
    await subject.get("rig")
    source.machines.clear()
    time.now = 100.0
    with pytest.raises(UnknownMachineError):
        await subject.get("rig")
    source.away = True
    with pytest.raises(DatabaseUnavailableError):
        await subject.get("rig")


async def test_callers_at_once_share_one_question_and_one_that_leaves_takes_nobody_along():
    source = Source(machine())
    source.gate.clear()
    subject = MachineDirectory(source)
    tasks = [asyncio.create_task(subject.get("rig")) for _ in range(5)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    source.gate.set()
    assert [one.revision for one in await asyncio.gather(*tasks[1:])] == [1] * 4
    assert source.asked == 1


async def test_all_machines_are_loaded_as_many_as_are_kept():
    source = Source(*(machine(f"m{number}") for number in range(7)))
    subject = MachineDirectory(source, machines_max=5)
    assert await subject.load() == 5
    assert len(subject) == 5
    source.away = True
    assert (await subject.get("m3")).machine.id == "m3"
    await MachineDirectory(source).load()


async def test_a_description_just_stored_is_used_at_once():
    source = Source()
    subject = MachineDirectory(source)
    subject.remember(machine(revision=9))
    assert (await subject.get("rig")).revision == 9
    subject.forget("rig")
    with pytest.raises(UnknownMachineError):
        await subject.get("rig")
