"""Machines in the store: descriptions, sensors' numbers, layouts."""

import asyncio

import numpy as np
import pytest

from gnn_service.core.errors import ConflictError, InvalidMachineError, UnknownMachineError
from gnn_service.db.machines import MachineRepository, Outcome
from gnn_service.db.readings import ReadingRepository
from gnn_service.domain.shipped import shipped_machines
from tests.support.stored import pump, sensor, ticks


async def test_a_machine_comes_back_as_it_was_put(runner):
    machines = MachineRepository(runner)
    put = await machines.put(pump(sensor("P1"), sensor("T1", unit="Cel", rate_hz=0.1)))
    assert put.outcome is Outcome.CREATED
    stored = await machines.get("M1")
    assert stored == put.stored
    assert stored.machine.fingerprint == pump(sensor("P1"), sensor("T1", unit="Cel", rate_hz=0.1)).fingerprint
    assert stored.rates_hz == (1.0, 0.1)
    assert [layout.sensor_ids for layout in stored.groups] == [
        (stored.sensor_ids["P1"],), (stored.sensor_ids["T1"],)
    ]  # fmt: skip


async def test_every_shipped_machine_keeps_its_fingerprint(runner):
    machines = MachineRepository(runner)
    for machine in shipped_machines():
        await machines.put(machine)
        assert (await machines.get(machine.id)).machine.fingerprint == machine.fingerprint


async def test_putting_the_same_again_changes_nothing(runner):
    machines = MachineRepository(runner)
    first = await machines.put(pump(sensor("P1")))
    again = await machines.put(pump(sensor("P1")))
    assert again.outcome is Outcome.UNCHANGED
    assert again.stored == first.stored


async def test_another_description_is_another_revision_and_the_former_is_kept(runner):
    machines = MachineRepository(runner)
    await machines.put(pump(sensor("P1")))
    changed = await machines.put(pump(sensor("P1"), sensor("P2")))
    assert (changed.outcome, changed.stored.revision) == (Outcome.CHANGED, 2)
    assert [number for number, _, _ in await machines.revisions("M1")] == [2, 1]


async def test_sensors_keep_their_numbers_and_a_set_that_comes_back_its_layout(runner):
    machines = MachineRepository(runner)
    first = (await machines.put(pump(sensor("P1"), sensor("P2")))).stored
    fewer = (await machines.put(pump(sensor("P2")))).stored
    back = (await machines.put(pump(sensor("P1"), sensor("P2")))).stored
    assert fewer.sensor_ids["P2"] == first.sensor_ids["P2"]
    assert fewer.groups[0].layout_id != first.groups[0].layout_id
    assert back.groups == first.groups


async def test_a_sensor_in_another_unit_is_another_sensor(runner):
    machines = MachineRepository(runner)
    bar = (await machines.put(pump(sensor("P1")))).stored
    pascal = (await machines.put(pump(sensor("P1", unit="Pa")))).stored
    assert bar.sensor_ids["P1"] != pascal.sensor_ids["P1"]


async def test_a_rate_that_is_gone_has_no_layout_and_its_number_is_not_given_away(runner):
    machines = MachineRepository(runner)
    both = (await machines.put(pump(sensor("P1"), sensor("P2", rate_hz=10)))).stored
    one = (await machines.put(pump(sensor("P1"), sensor("P2", rate_hz=5)))).stored
    assert {layout.rate_group for layout in both.groups} == {0, 1}
    assert {layout.rate_group for layout in one.groups} == {0, 2}
    assert one.rates_hz == (5.0, 1.0)


async def test_a_description_that_was_changed_meanwhile_is_not_written_over(runner):
    machines = MachineRepository(runner)
    mine, theirs, other = pump(sensor("P1")), pump(sensor("P2")), pump(sensor("P3"))
    await machines.put(mine)
    await machines.put(theirs, expected=mine.fingerprint)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        await machines.put(other, expected=mine.fingerprint)
    assert (await machines.get("M1")).machine == theirs


async def test_a_put_whose_answer_was_lost_may_be_repeated(runner):
    machines = MachineRepository(runner)
    mine, theirs = pump(sensor("P1")), pump(sensor("P2"))
    await machines.put(mine)
    await machines.put(theirs, expected=mine.fingerprint)
    again = await machines.put(theirs, expected=mine.fingerprint)
    assert (again.outcome, again.stored.revision) == (Outcome.UNCHANGED, 2)


async def test_an_expected_description_that_is_not_there_creates_nothing(runner):
    machines = MachineRepository(runner)
    with pytest.raises(ConflictError):
        await machines.put(pump(sensor("P1")), expected="0" * 64)
    with pytest.raises(UnknownMachineError):
        await machines.get("M1")


async def test_many_puts_at_once_make_one_machine(runner):
    machines = MachineRepository(runner)
    puts = await asyncio.gather(*(machines.put(pump(sensor("P1"), sensor(f"Q{i % 3}"))) for i in range(12)))
    assert len({put.stored.machine_id for put in puts}) == 1
    assert sum(put.outcome is Outcome.CREATED for put in puts) == 1


async def test_a_deleted_machine_is_gone_and_its_id_free(runner):
    machines = MachineRepository(runner)
    first = (await machines.put(pump(sensor("P1")))).stored
    assert await machines.delete("M1")
    assert not await machines.delete("M1")
    with pytest.raises(UnknownMachineError, match="M1"):
        await machines.get("M1")
    second = await machines.put(pump(sensor("P1")))
    assert second.outcome is Outcome.CREATED
    assert second.stored.machine_id != first.machine_id


async def test_a_purge_removes_what_a_deleted_machine_left_and_nothing_else(runner):
    machines, readings = MachineRepository(runner), ReadingRepository(runner)
    gone = (await machines.put(pump(sensor("P1"), sensor("P2", rate_hz=10)))).stored
    kept = (await machines.put(pump(sensor("P1"), name="M2"))).stored
    for stored in (gone, kept):
        values = np.ones((50, len(stored.machine.sensors)), np.float32)
        await readings.store(stored.blocks(ticks(50), stored.machine.sensor_ids, values))
    await machines.delete("M1")
    steps = 0
    while await machines.purge():
        steps += 1
        assert steps < 20
    async with runner.pool.acquire() as con:
        assert await con.fetchval("select array_agg(distinct machine_id) from frame") == [kept.machine_id]
        assert await con.fetchval("select count(*) from machine") == 1


async def test_pages_are_in_the_order_of_ids(runner):
    machines = MachineRepository(runner)
    for name in ("B", "A", "C"):
        await machines.put(pump(sensor("P1"), name=name))
    assert [stored.machine.id for stored in await machines.page(limit=2)] == ["A", "B"]
    assert [stored.machine.id for stored in await machines.page(after="B")] == ["C"]


async def test_tenants_do_not_see_each_other(runner):
    async with runner.pool.acquire() as con:
        other = await con.fetchval("insert into tenant (name) values ('other') returning tenant_id")
    await MachineRepository(runner).put(pump(sensor("P1")))
    with pytest.raises(UnknownMachineError):
        await MachineRepository(runner, tenant_id=other).get("M1")
    put = await MachineRepository(runner, tenant_id=other).put(pump(sensor("P9")))
    assert put.outcome is Outcome.CREATED
    assert (await MachineRepository(runner).get("M1")).machine == pump(sensor("P1"))


async def test_a_text_that_no_database_takes_is_refused(runner):
    machine = pump(sensor("P1")).model_copy(update={"name": "a\x00b"})
    with pytest.raises(InvalidMachineError, match="NUL"):
        await MachineRepository(runner).put(machine)
