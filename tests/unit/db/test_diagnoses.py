"""Diagnoses in the store."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.db.diagnoses import DIAGNOSES_MAX, Condition, DiagnosisRepository, Given, Origin
from gnn_service.db.frame_writing import Stored
from gnn_service.db.machines import MachineRepository
from gnn_service.domain.diagnosis import ComponentDiagnosis, DataQuality, Diagnosis, State
from tests.support.stored import pump, sensor

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def said(minute=0, *, health=0.9, bundle="v1"):
    end = NOON + timedelta(minutes=minute)
    state = State.of(health)
    return Diagnosis(
        machine="M1",
        start=end - timedelta(seconds=60),
        end=end,
        health=health,
        state=state,
        components=(ComponentDiagnosis(component="pump", type="pump", health=health, state=state),),
        data_quality=DataQuality(coverage=1, samples=60),
        commissioned=True,
        bundle=bundle,
    )


@pytest.fixture
async def machine_id(runner):
    return (await MachineRepository(runner).put(pump(sensor("P1")))).stored.machine_id


async def test_a_diagnosis_comes_back_whole(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    assert await diagnoses.newest(machine_id) is None
    assert await diagnoses.store([Given(machine_id, said())]) == Stored(stored=1)
    assert await diagnoses.newest(machine_id) == said()


async def test_the_same_again_is_one_and_another_answer_replaces_it(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    await diagnoses.store([Given(machine_id, said())])
    assert await diagnoses.store([Given(machine_id, said()), Given(machine_id, said(1))]) == Stored(1, 0, 1)
    assert await diagnoses.store([Given(machine_id, said(health=0.2))]) == Stored(merged=1)
    assert (await diagnoses.page(machine_id, NOON, NOON + timedelta(seconds=1)))[0].diagnosis.health == 0.2


async def test_bundle_origin_and_request_tell_diagnoses_of_one_window_apart(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    given = [
        Given(machine_id, said()),
        Given(machine_id, said(bundle="v2")),
        Given(machine_id, said(), Origin.REQUEST, "r1"),
        Given(machine_id, said(), Origin.REQUEST, "r2"),
        Given(machine_id, said(), Origin.BACKFILL),
    ]
    assert await diagnoses.store(given) == Stored(stored=5)
    assert set(await diagnoses.page(machine_id, NOON, NOON + timedelta(1))) == set(given)
    found = await diagnoses.page(machine_id, NOON, NOON + timedelta(1), origin=Origin.REQUEST)
    assert {one.request_id for one in found} == {"r1", "r2"}


async def test_of_two_with_one_key_in_one_write_the_later_counts(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    both = [Given(machine_id, said(health=0.9)), Given(machine_id, said(health=0.4))]
    assert await diagnoses.store(both) == Stored(stored=1, unchanged=1)
    assert (await diagnoses.newest(machine_id)).health == 0.4


async def test_pages_go_back_in_time_without_gap_or_repetition(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    given = [Given(machine_id, said(minute, bundle=bundle)) for minute in range(7) for bundle in ("a", "b")]
    await diagnoses.store(given)
    found: list[Given] = []
    before = None
    while page := await diagnoses.page(machine_id, NOON, NOON + timedelta(1), limit=3, before=before):
        found += page
        before = page[-1]
    assert found == sorted(given, key=lambda one: one.key, reverse=True)


async def test_diagnoses_of_a_machine_that_is_gone_are_refused(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    given = [Given(machine_id, said()), Given(machine_id + 1, said())]
    assert await diagnoses.store(given) == Stored(stored=1, refused=1)


async def test_the_newest_word_on_each_machine(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    await diagnoses.store([Given(machine_id, said(0, health=0.9)), Given(machine_id, said(5, health=0.5))])
    expected = Condition(NOON + timedelta(minutes=5), State.WARNING, 0.5)
    assert await diagnoses.conditions() == {machine_id: expected}
    assert await diagnoses.conditions([machine_id + 1]) == {}


async def test_an_unknown_health_stays_unknown(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    await diagnoses.store([Given(machine_id, said(health=None))])
    assert (await diagnoses.conditions())[machine_id].health is None
    assert (await diagnoses.newest(machine_id)).health is None


async def test_the_view_tells_the_health_of_components(runner, machine_id):
    await DiagnosisRepository(runner).store([Given(machine_id, said(health=0.5))])
    async with runner.pool.acquire() as con:
        row = await con.fetchrow("select machine, component, health, state from component_health")
    assert tuple(row) == ("M1", "pump", 0.5, "warning")


async def test_writers_of_the_same_diagnoses_at_once_make_each_once(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    given = [Given(machine_id, said(minute)) for minute in range(20)]
    counts = await asyncio.gather(*(diagnoses.store(given[::step]) for step in (1, -1, 1, -1)))
    assert sum(count.stored for count in counts) == 20
    assert sum(count.unchanged for count in counts) == 60


async def test_what_cannot_be_stored_is_refused(runner, machine_id):
    diagnoses = DiagnosisRepository(runner)
    naive = said().model_copy(update={"end": datetime(2026, 9, 1)})  # noqa: DTZ001
    with pytest.raises(InvalidInputError, match="zone"):
        await diagnoses.store([Given(machine_id, naive)])
    with pytest.raises(InvalidInputError, match="at most"):
        await diagnoses.store([Given(machine_id, said())] * (DIAGNOSES_MAX + 1))
    assert await diagnoses.store([]) == Stored()
