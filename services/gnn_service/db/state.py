"""What the service has learned about each machine: baselines, and what it carries from window to window."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from gnn_service.core.errors import UnknownMachineError
from gnn_service.db.repository import Repository
from gnn_service.model.baseline import Baseline


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """A baseline, when it was fitted for which bundle, and from which stretch of data [fitted_from, fitted_to)."""

    machine_id: int
    bundle: str
    fitted_at: datetime
    baseline: Baseline
    fitted_from: datetime | None = None
    fitted_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class MachineState:
    """What a bundle carries from window to window for a machine: slow path and drift, up to data time ``until``."""

    machine_id: int
    bundle: str
    until: datetime
    document: Mapping[str, Any]


class StateRepository(Repository):
    """Baselines and state of one tenant's machines."""

    async def put_baseline(self, stored: StoredBaseline) -> None:
        """Keep a baseline beside the former ones; the same key again replaces it.

        Raises:
            UnknownMachineError: the machine is not there.
        """
        rows = await self._fetch(
            "baseline.put",
            _PUT_BASELINE,
            self._tenant,
            stored.machine_id,
            stored.bundle,
            stored.fitted_at,
            stored.fitted_from,
            stored.fitted_to,
            stored.baseline.model_dump_json(),
        )
        _require(rows, stored.machine_id)

    async def baseline(self, machine_id: int, bundle: str) -> StoredBaseline | None:
        """The newest baseline for a bundle; None where the machine has none."""
        row = await self._row(
            "baseline.get", _BASELINE + "and bundle = $3 " + _LATEST, self._tenant, machine_id, bundle
        )
        return None if row is None else _baseline(row)

    async def commissioned(self, machine_id: int) -> StoredBaseline | None:
        """The newest baseline for any bundle whose stretch of data is known: from it another bundle learns its own."""
        row = await self._row(
            "baseline.commissioned", _BASELINE + "and fitted_from is not null " + _LATEST, self._tenant, machine_id
        )
        return None if row is None else _baseline(row)

    async def put_state(self, state: MachineState) -> bool:
        """Keep what was carried, unless what is there has seen later data; whether it was kept.

        Raises:
            UnknownMachineError: the machine is not there.
        """
        body = orjson.dumps(state.document, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        rows = await self._fetch(
            "state.put", _PUT_STATE, self._tenant, state.machine_id, state.bundle, state.until, body
        )
        _require(rows, state.machine_id)
        return bool(rows[0]["kept"])

    async def state(self, machine_id: int, bundle: str) -> MachineState | None:
        """What a bundle carries for a machine; None where nothing yet."""
        row = await self._row("state.get", _STATE + "and machine_id = $3", self._tenant, bundle, machine_id)
        return None if row is None else _state(row)

    async def states(self, bundle: str) -> tuple[MachineState, ...]:
        """What a bundle carries for every machine, for a start."""
        return tuple(map(_state, await self._fetch("state.all", _STATE, self._tenant, bundle)))


def _require(rows: Any, machine_id: int) -> None:
    if not rows:
        raise UnknownMachineError(f"there is no machine {machine_id}", where="machine")


def _baseline(row: asyncpg.Record) -> StoredBaseline:
    return StoredBaseline(**dict(row) | {"baseline": Baseline.model_validate_json(row["baseline"])})


def _state(row: asyncpg.Record) -> MachineState:
    return MachineState(row["machine_id"], row["bundle"], row["until"], orjson.loads(row["document"]))


_PUT_BASELINE: Final = """
insert into baseline (tenant_id, machine_id, bundle, fitted_at, fitted_from, fitted_to, document)
select $1, $2, $3, $4, $5, $6, $7::jsonb
from machine where tenant_id = $1 and machine_id = $2 and deleted_at is null
on conflict (tenant_id, machine_id, bundle, fitted_at) do update
set fitted_from = excluded.fitted_from, fitted_to = excluded.fitted_to, document = excluded.document
returning machine_id"""
_BASELINE: Final = """
select machine_id, bundle, fitted_at, fitted_from, fitted_to, document as baseline from baseline
where tenant_id = $1 and machine_id = $2 """
_LATEST: Final = "order by fitted_at desc limit 1"
_PUT_STATE: Final = """
with there as (select machine_id from machine where tenant_id = $1 and machine_id = $2 and deleted_at is null),
kept as (
    insert into machine_state as s (tenant_id, machine_id, bundle, until, document)
    select $1, machine_id, $3, $4, $5::jsonb from there
    on conflict (tenant_id, machine_id, bundle) do update
    set until = excluded.until, document = excluded.document, updated_at = now() where s.until <= excluded.until
    returning machine_id)
select exists (select from kept) as kept from there"""
_STATE: Final = """
select machine_id, bundle, until, document from machine_state where tenant_id = $1 and bundle = $2 """
