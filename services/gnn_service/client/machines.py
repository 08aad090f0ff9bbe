"""What the client asks about stored machines."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel

from gnn_service.client.payload import Json, machine_value, window_value
from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.diagnosis import MachineDiagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window

M = TypeVar("M", bound=BaseModel)


class MachineCalls:
    """The part of `Client` that speaks of machines which the service stores. Every call may be repeated."""

    async def put_machine(
        self,
        machine: Machine | Json,
        *,
        expected: str | None = None,
        dry_run: bool = False,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Store a description under its id; what became of it.

        Args:
            machine: the description.
            expected: fingerprint that the stored one must have; ConflictError where it has another.
            dry_run: only check.
            timeout_s: seconds for it.
        """
        value = machine_value(machine)
        headers = None if expected is None else {"if-match": f'"{expected}"'}
        path = _path(str(value.get("id", "")))
        return await self._json("PUT", path, value, timeout_s, query=_flag(dry_run=dry_run), headers=headers)

    async def machine(self, machine_id: str, *, timeout_s: float | None = None) -> Machine:
        """The description of a stored machine."""
        answer = await self._json("GET", _path(machine_id), None, timeout_s)
        return Machine.model_validate(answer["machine"])

    async def machines(self, *, page: int = 100, timeout_s: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """The stored machines in the order of their ids, each with its state; ``timeout_s`` for each page of them."""
        after: str | None = ""
        while after is not None:
            query = {"limit": str(page), "after": after}
            answer = await self._json("GET", "/v1/machines", None, timeout_s, query=query)
            for one in answer["machines"]:
                yield one
            after = answer["next"]

    async def delete_machine(self, machine_id: str, *, timeout_s: float | None = None) -> None:
        """Take a machine away, with all that is kept of it."""
        await self._call("DELETE", _path(machine_id), None, timeout_s)

    async def put_baseline(self, machine_id: str, baseline: Json, *, timeout_s: float | None = None) -> None:
        """Keep what `commission` gave: the machine is diagnosed with it from now on."""
        await self._json("PUT", _path(machine_id, "baseline"), baseline, timeout_s)

    async def send_readings(
        self,
        machine_id: str,
        readings: Window | Json | bytes,
        *,
        media_type: str | None = None,
        dry_run: bool = False,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Have readings kept; what became of them. When this returns, they are on a disk.

        Args:
            machine_id: whose.
            readings: on one grid; or the bytes of a table.
            media_type: what the bytes are: ``text/csv``, ``application/vnd.apache.parquet`` ...
            dry_run: only check.
            timeout_s: seconds for it.
        """
        path = _path(machine_id, "readings")
        if isinstance(readings, bytes):
            if media_type is None:
                raise InvalidInputError(
                    "say what the bytes are: text/csv, or another type of table", where="media_type"
                )
            headers = {"content-type": media_type}
            return await self._json("POST", path, readings, timeout_s, query=_flag(dry_run=dry_run), headers=headers)
        return await self._json("POST", path, window_value(readings), timeout_s, query=_flag(dry_run=dry_run))

    async def readings(
        self,
        machine_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        sensors: Sequence[str] = (),
        every: str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Readings in [start, end) as they are stored, or in buckets of ``every``; see `docs/reference/http.md`."""
        query = _between(start, end)
        if sensors:
            query["sensors"] = ",".join(sensors)
        if every is not None:
            query["every"] = every
        return await self._json("GET", _path(machine_id, "readings"), None, timeout_s, query=query)

    async def diagnose_machine(self, machine_id: str, *, timeout_s: float | None = None) -> MachineDiagnosis:
        """Diagnose the newest window of readings of a machine, now, and have the diagnosis kept."""
        answer = await self._call("POST", _path(machine_id, "diagnosis"), None, timeout_s)
        return self._read(MachineDiagnosis, answer)

    async def diagnoses(
        self,
        machine_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        page: int = 100,
        timeout_s: float | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Diagnoses of windows that end in [start, end), the newest first; ``timeout_s`` for each page of them."""
        query = {**_between(start, end), "limit": str(page)}
        while True:
            answer = await self._json("GET", _path(machine_id, "diagnoses"), None, timeout_s, query=query)
            for one in answer["diagnoses"]:
                yield one
            if answer["next"] is None:
                return
            query["before"] = answer["next"]

    def _read(self, kind: type[M], answer: httpx2.Response) -> M:
        raise NotImplementedError

    async def _json(
        self, method: str, path: str, body: Json | bytes | None, timeout_s: float | None, **more: Any
    ) -> dict[str, Any]:
        raise NotImplementedError

    async def _call(
        self,
        method: str,
        path: str,
        body: Json | bytes | None,
        timeout_s: float | None,
        *,
        attempts: int | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        raise NotImplementedError


def _path(machine_id: str, *below: str) -> str:
    return "/".join(("/v1/machines", quote(machine_id, safe=""), *below))


def _flag(*, dry_run: bool) -> dict[str, str]:
    return {"dry_run": "true"} if dry_run else {}


def _between(start: datetime | None, end: datetime | None) -> dict[str, str]:
    given = {"from": start, "to": end}
    return {name: time.isoformat() for name, time in given.items() if time is not None}
