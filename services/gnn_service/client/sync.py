"""The client for programs without an event loop."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from gnn_service.client.http import Client, Json
from gnn_service.domain.diagnosis import Diagnosis
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

    def catalogue(self) -> dict[str, Any]:
        """See `Client.catalogue`."""
        return self._runner.run(self._client.catalogue())

    def status(self) -> dict[str, Any]:
        """See `Client.status`."""
        return self._runner.run(self._client.status())

    def ready(self) -> bool:
        """See `Client.ready`."""
        return self._runner.run(self._client.ready())
