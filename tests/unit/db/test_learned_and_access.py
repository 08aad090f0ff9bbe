"""Baselines, state, activations, keys and audit in the store."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from gnn_service.core.errors import NotFoundError, UnknownMachineError
from gnn_service.db.access import AccessRepository, AuditEntry, find_key, new_secret
from gnn_service.db.machines import MachineRepository
from gnn_service.db.models import Activation, ModelRepository, Role
from gnn_service.db.state import MachineState, StateRepository, StoredBaseline
from gnn_service.model.baseline import Baseline
from tests.support.stored import pump, sensor

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def machine_id(runner):
    return (await MachineRepository(runner).put(pump(sensor("P1")))).stored.machine_id


def fitted(machine_id, bundle="v1", hours=0, **more):
    baseline = Baseline(machine="M1", windows=3, centre={"P1": (1.0, None)}, scale={"P1": 0.1})
    return StoredBaseline(machine_id, bundle, NOON + hours * HOUR, baseline, **more)


async def test_the_newest_baseline_of_a_bundle_counts(runner, machine_id):
    state = StateRepository(runner)
    assert await state.baseline(machine_id, "v1") is None
    for one in (fitted(machine_id), fitted(machine_id, hours=2), fitted(machine_id, hours=1), fitted(machine_id, "v2")):
        await state.put_baseline(one)
        await state.put_baseline(one)
    assert await state.baseline(machine_id, "v1") == fitted(machine_id, hours=2)
    assert await state.baseline(machine_id, "v2") == fitted(machine_id, "v2")


async def test_another_bundle_finds_the_stretch_to_learn_from(runner, machine_id):
    state = StateRepository(runner)
    await state.put_baseline(fitted(machine_id, hours=3))
    assert await state.commissioned(machine_id) is None
    known = fitted(machine_id, hours=1, fitted_from=NOON - HOUR, fitted_to=NOON)
    await state.put_baseline(known)
    assert await state.commissioned(machine_id) == known


async def test_what_has_seen_later_data_is_not_replaced_by_earlier(runner, machine_id):
    state = StateRepository(runner)
    late = MachineState(machine_id, "v1", NOON + HOUR, {"drift": [1.5, None]})
    assert await state.put_state(late)
    assert not await state.put_state(MachineState(machine_id, "v1", NOON, {"drift": []}))
    assert await state.put_state(late)
    assert await state.state(machine_id, "v1") == late
    assert await state.state(machine_id, "v2") is None
    assert await state.states("v1") == (late,)


async def test_nothing_is_kept_of_a_machine_that_is_gone(runner, machine_id):
    state = StateRepository(runner)
    with pytest.raises(UnknownMachineError):
        await state.put_baseline(fitted(machine_id + 1))
    with pytest.raises(UnknownMachineError):
        await state.put_state(MachineState(machine_id + 1, "v1", NOON, {}))


async def test_the_newest_activation_of_a_role_counts_and_none_is_lost(runner):
    models = ModelRepository(runner)
    assert await models.current(Role.ACTIVE) is None
    first = Activation(Role.ACTIVE, "v1", NOON, actor="anna")
    second = Activation(Role.ACTIVE, "v2", NOON + HOUR)
    for one in (second, first, first):
        await models.activate(one)
    assert await models.current(Role.ACTIVE) == second
    assert await models.history(Role.ACTIVE) == (second, first)
    await models.activate(Activation(Role.SHADOW, "v3", NOON))
    await models.activate(Activation(Role.SHADOW, "", NOON + HOUR))
    assert await models.current(Role.SHADOW) is None


async def test_a_key_is_found_by_its_secret_which_is_not_stored(runner):
    access, secret = AccessRepository(runner), new_secret()
    key = await access.add_key(secret, "line 4", scopes=("read", "write"), created_by="anna")
    assert await access.add_key(secret, "line 4") == key
    assert await find_key(runner, secret) == key
    assert await find_key(runner, SecretStr("gnn_wrong")) is None
    assert (key.scopes, key.prefix) == (("read", "write"), secret.get_secret_value()[:10])
    async with runner.pool.acquire() as con:
        row = str(await con.fetchrow("select * from api_key"))
    assert secret.get_secret_value() not in row


async def test_a_key_ends_when_it_is_revoked_or_expires(runner):
    access = AccessRepository(runner)
    brief = await access.add_key(new_secret(), "brief", expires_at=NOON)
    assert brief.valid(NOON - HOUR)
    assert not brief.valid(NOON)
    key = await access.add_key(new_secret(), "key")
    assert key.valid(NOON)
    revoked = await access.revoke(key.key_id, NOON)
    assert not revoked.valid(NOON)
    assert (await access.revoke(key.key_id, NOON + HOUR)).revoked_at == NOON
    assert [one.name for one in await access.keys()] == ["key", "brief"]
    with pytest.raises(NotFoundError):
        await access.revoke(99, NOON)


async def test_the_last_use_of_a_key_only_moves_forward(runner):
    access, secret = AccessRepository(runner), new_secret()
    key = await access.add_key(secret, "key")
    await access.used([key.key_id], NOON)
    await access.used([key.key_id], NOON - HOUR)
    found = await find_key(runner, secret)
    assert found is not None
    assert found.last_used_at == NOON


async def test_the_audit_takes_each_entry_once(runner):
    access = AccessRepository(runner)
    entries = [
        AuditEntry("anna", "machine.put", NOON + minute * HOUR, subject=f"M{minute % 2}", detail={"n": minute})
        for minute in range(4)
    ]
    assert await access.record(entries) == 4
    assert await access.record([*entries, AuditEntry("bert", "key.add", NOON, event_id=uuid4())]) == 1
    assert list(await access.audit(subject="M1")) == [entries[3], entries[1]]
    assert list(await access.audit(before=NOON + 2 * HOUR, limit=1)) == [entries[1]]
    assert await access.record([]) == 0


@pytest.mark.parametrize("statement", ["update audit set actor = 'x'", "delete from audit", "truncate audit"])
async def test_the_audit_cannot_be_changed(runner, statement):
    await AccessRepository(runner).record([AuditEntry("anna", "machine.put", NOON)])
    async with runner.pool.acquire() as con:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await con.execute(statement)
