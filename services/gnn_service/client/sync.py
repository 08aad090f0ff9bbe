"""The client for programs without an event loop."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from gnn_service.client.http import Client
from gnn_service.client.payload import Json
from gnn_service.domain.diagnosis import Diagnosis, MachineDiagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window


class SyncClient:
    """`Client` with calls that block. Use it as a context manager, from one thread, outside any event loop."""

    def __init__(self, base_url: str, *, timeout_s: float = 30.0, attempts: int = 3) -> None:
        self._client = Client(base_url, timeout_s=timeout_s, attempts=attempts)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._client.close())
        self._runner.close()

    def diagnose(self, machine: str | Machine | Json, window: Window | Json, baseline: Json | None = None) -> Diagnosis:
        """See `Client.diagnose`."""
        return self._runner.run(self._client.diagnose(machine, window, baseline))

    def commission(self, machine: str | Machine | Json, windows: Sequence[Window | Json]) -> dict[str, Any]:
        """See `Client.commission`."""
        return self._runner.run(self._client.commission(machine, windows))

    def put_machine(self, machine: Machine | Json, *, expected: str | None = None, dry_run: bool = False) -> Json:
        """See `Client.put_machine`."""
        return self._runner.run(self._client.put_machine(machine, expected=expected, dry_run=dry_run))

    def delete_machine(self, machine_id: str) -> None:
        """See `Client.delete_machine`."""
        self._runner.run(self._client.delete_machine(machine_id))

    def put_baseline(self, machine_id: str, baseline: Json) -> None:
        """See `Client.put_baseline`."""
        self._runner.run(self._client.put_baseline(machine_id, baseline))

    def send_readings(
        self, machine_id: str, readings: Window | Json | bytes, *, media_type: str | None = None, dry_run: bool = False
    ) -> Json:
        """See `Client.send_readings`."""
        return self._runner.run(
            self._client.send_readings(machine_id, readings, media_type=media_type, dry_run=dry_run)
        )

    def diagnose_machine(self, machine_id: str) -> MachineDiagnosis:
        """See `Client.diagnose_machine`."""
        return self._runner.run(self._client.diagnose_machine(machine_id))

    def catalogue(self) -> dict[str, Any]:
        """See `Client.catalogue`."""
        return self._runner.run(self._client.catalogue())

    def status(self) -> dict[str, Any]:
        """See `Client.status`."""
        return self._runner.run(self._client.status())

    def ready(self) -> bool:
        """See `Client.ready`."""
        return self._runner.run(self._client.ready())
