"""An application whose diagnoser is a double that a test steers, and a client that speaks ASGI to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from gnn_service.api.app import create_app
from gnn_service.cli.serve import running_service
from gnn_service.core.config import Settings, load_settings
from gnn_service.domain.diagnosis import ComponentDiagnosis, DataQuality, Diagnosis, State
from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.domain.window import Window
from gnn_service.inference.runtimes.choices import Choice
from gnn_service.inference.stats import Counters, EngineHealth, EngineStats, Readiness, WorkerState
from gnn_service.model.baseline import Baseline


class EngineDouble:
    """Says it is ready until a test gives it a reason not to be."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.counters = Counters()

    async def check_ready(self) -> Readiness:
        return Readiness(self.reason is None, self.reason, 0.001)

    def health(self) -> EngineHealth:
        ready = self.reason is None
        return EngineHealth(ready, WorkerState.READY, "closed", 0, 0, 0.0, 0, "double", "cpu", self.reason)

    def stats(self) -> EngineStats:
        return self.counters.snapshot(
            queue_depth=3, in_flight=2, worker=WorkerState.READY, breaker="closed", batch_limit=16
        )


class BundleDouble:
    version = "double-1"
    manifest: Mapping[str, Any] = {}


class DiagnoserDouble:
    """Answers health .9 for every component, remembers what it was asked, fails or waits on demand."""

    def __init__(self) -> None:
        self.engine = EngineDouble()
        self.bundle = BundleDouble()
        self.runtime_choice = Choice("onnxruntime", "asked for")
        self.asked: list[tuple[Machine, Window, Baseline | None]] = []
        self.limits_s: list[float | None] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.cancelled = 0
        self.closed = False

    def machines(self) -> Mapping[str, Machine]:
        return {RIG: shipped_machine(RIG)}

    async def diagnose(
        self, machine: Machine, window: Window, baseline: Baseline | None = None, *, timeout_s: float | None = None
    ) -> Diagnosis:
        if baseline is not None:
            baseline.check(machine)
        self.asked.append((machine, window, baseline))
        self.limits_s.append(timeout_s)
        await self._answer()
        return Diagnosis(
            machine=machine.id,
            start=datetime.fromtimestamp(window.start, UTC),
            end=datetime.fromtimestamp(window.end, UTC),
            cycle=window.cycle,
            health=0.9,
            state=State.GOOD,
            components=tuple(
                ComponentDiagnosis(component=c.id, type=c.type, health=0.9, state=State.GOOD)
                for c in machine.components
            ),
            data_quality=DataQuality(coverage=1.0, samples=len(window.times)),
            commissioned=baseline is not None,
            bundle=self.bundle.version,
        )

    async def commission(
        self, machine: Machine, windows: Sequence[Window], *, threads: Executor | None = None
    ) -> Baseline:
        self.asked.extend((machine, window, None) for window in windows)
        await self._answer()
        return Baseline(machine=machine.id, windows=len(windows), centre={"PS1": (150.0,) * 60}, scale={"PS1": 1.0})

    async def _answer(self) -> None:
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error


@pytest.fixture
def diagnoser() -> DiagnoserDouble:
    return DiagnoserDouble()


Serving = Callable[[Settings], AbstractAsyncContextManager[httpx2.AsyncClient]]


@asynccontextmanager
async def running(settings: Settings, diagnoser: DiagnoserDouble) -> AsyncIterator[Any]:
    """The ASGI application inside its lifespan, with the lifespan's state on every request."""

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncIterator[DiagnoserDouble]:
        yield diagnoser
        diagnoser.closed = True

    app = create_app(settings, diagnoser_factory=opened)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        yield with_state


@pytest_asyncio.fixture
async def application(diagnoser: DiagnoserDouble) -> AsyncIterator[Any]:
    """The application with the default settings."""
    async with running(Settings(), diagnoser) as app:
        yield app


@pytest.fixture
def serving(diagnoser: DiagnoserDouble) -> Serving:
    """A client of an application with other settings: ``async with serving(settings) as http``."""

    @asynccontextmanager
    async def serve(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
        async with running(settings, diagnoser) as app:
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
                yield client

    return serve


@pytest.fixture
def keeping(serving: Serving, service_url: SecretStr, tmp_path: Path) -> Callable[..., Any]:
    """``async with keeping() as http``: a client of an application with a database of its own; groups of settings."""

    def keep(**groups: Any) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        return serving(stored_settings(service_url, tmp_path, **groups))

    return keep


def stored_settings(url: SecretStr, folder: Path, **groups: Any) -> Settings:
    """Settings of an application on a database that has its schema."""
    database = {"enabled": True, "url": url.get_secret_value(), "data_dir": folder, "migration": {"on_start": False}}
    ingest = {"commit_wait_ms": 1.0, **groups.pop("ingest", {})}
    given = {"database": {**database, **groups.pop("database", {})}, "monitoring": {"ingest": ingest}}
    return load_settings(**given, **groups)


@pytest_asyncio.fixture
async def kept(keeping: Callable[..., Any]) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application with a database of its own."""
    async with keeping() as client:
        yield client


@pytest_asyncio.fixture
async def http(serving: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application with the default settings."""
    async with serving(Settings()) as client:
        yield client


@pytest.fixture
def body() -> dict[str, Any]:
    """A good request; tests spoil one thing of it."""
    return {
        "machine": RIG,
        "window": {
            "start": "2026-01-31T08:00:00Z",
            "rate_hz": 1.0,
            "readings": {"PS1": [191.4, None, 151.2], "FS1": [7.7, 7.6, 7.5]},
        },
    }


Served = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def served(diagnoser: Any) -> Served:
    """``async with served(keep_alive_s=1) as url``: the application on a free port; ``inference`` is a group apart."""

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncIterator[Any]:
        yield diagnoser

    @asynccontextmanager
    async def serve(inference: Mapping[str, Any] | None = None, **api: Any) -> AsyncIterator[str]:
        settings = load_settings(api={"port": 0, **api}, inference=dict(inference or {}))
        async with running_service(settings, create_app(settings, diagnoser_factory=opened)) as url:
            yield url

    return serve
