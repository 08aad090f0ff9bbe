"""What the routes are given: the application's state, and bodies read as JSON."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypedDict, TypeVar

import orjson
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gnn_service.api.bodies import check_members, validate
from gnn_service.api.door import Door
from gnn_service.api.held import BodiesHeld
from gnn_service.api.known import KnownMachines
from gnn_service.api.oip.service import TensorService
from gnn_service.api.storage import NO_STORE, Storage
from gnn_service.core.config import Settings
from gnn_service.core.errors import (
    DeadlineExceededError,
    InvalidMachineError,
    MalformedBodyError,
    UnavailableError,
    UnknownMachineError,
)
from gnn_service.domain.check import require_valid
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window
from gnn_service.inference.runtimes.choices import Choice
from gnn_service.inference.stats import EngineHealth, EngineStats, Readiness
from gnn_service.model.baseline import Baseline
from gnn_service.monitoring.diagnose import MachineDiagnoses
from gnn_service.observability.metrics import Metrics

Answer = TypeVar("Answer")
_SHOWN_MACHINES = 20
_LARGE_BYTES = 64 * 1024  # bodies over this are read on another thread: the loop has others to serve
_NEVER_S = 3600.0  # until somebody changes a setting
# what many JSON writers make of a missing sample
_NOT_A_NUMBER = re.compile("nan|infinity", re.IGNORECASE)


class BundleInfo(Protocol):
    """What the routes tell of `model.bundle.Bundle`."""

    @property
    def version(self) -> str: ...  # noqa: D102 - see Bundle

    @property
    def manifest(self) -> Mapping[str, Any]: ...  # noqa: D102


class EngineView(Protocol):
    """What the routes ask `inference.engine.Engine`."""

    async def check_ready(self) -> Readiness: ...  # noqa: D102 - see Engine

    def health(self) -> EngineHealth: ...  # noqa: D102

    def stats(self) -> EngineStats: ...  # noqa: D102


class Diagnosing(Protocol):
    """What the routes need of `inference.diagnoser.Diagnoser`."""

    @property
    def engine(self) -> EngineView: ...  # noqa: D102 - see Diagnoser

    @property
    def bundle(self) -> BundleInfo: ...  # noqa: D102

    @property
    def runtime_choice(self) -> Choice | None: ...  # noqa: D102

    def machines(self) -> Mapping[str, Machine]: ...  # noqa: D102

    async def diagnose(  # noqa: D102
        self, machine: Machine, window: Window, baseline: Baseline | None = None, *, timeout_s: float | None = None
    ) -> Diagnosis: ...

    async def commission(  # noqa: D102
        self, machine: Machine, windows: Sequence[Window], *, threads: Executor | None = None
    ) -> Baseline: ...


DiagnoserFactory = Callable[[Settings], AbstractAsyncContextManager[Diagnosing]]


@dataclass(frozen=True, slots=True)
class Learning:
    """What keeps the learning of baselines, seconds of computing each, from keeping diagnoses waiting."""

    door: Door
    threads: Executor


class State(TypedDict):
    """What lives as long as the application runs; the lifespan opens and closes it."""

    settings: Settings
    diagnoser: Diagnosing
    storage: Storage | None
    machines: KnownMachines
    watching: MachineDiagnoses | None
    tensors: TensorService
    metrics: Metrics
    door: Door
    learning: Learning
    bodies: BodiesHeld
    started: float


# Asynchronous, though they wait for nothing: FastAPI would take each of them to a thread and back.


async def get_settings(request: Request) -> Settings:
    """The settings this application was made with."""
    settings: Settings = request.state.settings
    return settings


async def get_diagnoser(request: Request) -> Diagnosing:
    """The one path to a diagnosis."""
    diagnoser: Diagnosing = request.state.diagnoser
    return diagnoser


async def get_tensors(request: Request) -> TensorService:
    """The models that are served as tensors."""
    tensors: TensorService = request.state.tensors
    return tensors


async def get_machines(request: Request) -> KnownMachines:
    """Machines by their ids."""
    machines: KnownMachines = request.state.machines
    return machines


async def get_storage(request: Request) -> Storage:
    """What keeps readings and diagnoses. UnavailableError where this service keeps nothing."""
    storage: Storage | None = request.state.storage
    if storage is None:
        raise UnavailableError(NO_STORE, retry_after_s=_NEVER_S)
    return storage


async def get_watching(request: Request) -> MachineDiagnoses:
    """Diagnoses of stored machines. UnavailableError where this service keeps nothing."""
    watching: MachineDiagnoses | None = request.state.watching
    if watching is None:
        raise UnavailableError(NO_STORE, retry_after_s=_NEVER_S)
    return watching


async def get_learning(request: Request) -> Learning:
    """Where baselines are learnt."""
    learning: Learning = request.state.learning
    return learning


async def get_metrics(request: Request) -> Metrics:
    """The instruments of this application."""
    metrics: Metrics = request.state.metrics
    return metrics


SettingsDep = Annotated[Settings, Depends(get_settings)]
DiagnoserDep = Annotated[Diagnosing, Depends(get_diagnoser)]
TensorsDep = Annotated[TensorService, Depends(get_tensors)]
MachinesDep = Annotated[KnownMachines, Depends(get_machines)]
StorageDep = Annotated[Storage, Depends(get_storage)]
WatchingDep = Annotated[MachineDiagnoses, Depends(get_watching)]
LearningDep = Annotated[Learning, Depends(get_learning)]
MetricsDep = Annotated[Metrics, Depends(get_metrics)]


def find_machine(known: Mapping[str, Machine], given: str | Machine) -> Machine:
    """The machine that a request names or describes; ``known`` are those that it may name.

    Not on the event loop: reading the units of a description takes a while. Raises UnknownMachineError for an id that
    is not known here, InvalidMachineError for a description that contradicts itself or the catalogue.
    """
    if isinstance(given, Machine):
        try:
            require_valid(given)
        except InvalidMachineError as error:
            where = f"machine.{error.where}" if error.where not in {None, "machine"} else "machine"
            raise InvalidMachineError(error.detail, where=where) from error
        return given
    if given not in known:
        listed = ", ".join(list(known)[:_SHOWN_MACHINES]) or "none"
        raise UnknownMachineError(
            f"no machine {given!r} is known here; known: {listed}; or send its description", where="machine"
        )
    return known[given]


async def answer_of(
    request: Request,
    work: Coroutine[Any, Any, Answer],
    timeout_s: float,
    *,
    since: float | None = None,
    grace_s: float = 0.0,
) -> Answer:
    """The answer of ``work``. It is cancelled when the caller leaves, and when the time has passed.

    The time runs from ``since``, an instant of the event loop's clock; None is now. ``grace_s`` are seconds on top of
    it, which callers are not told of, for what is around ``work`` that keeps the time itself.

    Raises ClientDisconnect or DeadlineExceededError then.
    """
    passed_s = 0.0 if since is None else asyncio.get_running_loop().time() - since
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, timeout=timeout_s + grace_s - passed_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise too_late(timeout_s)
    finally:
        for pending in (task, gone):
            pending.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


def too_late(timeout_s: float) -> DeadlineExceededError:
    """What a caller is told whose time has passed."""
    return DeadlineExceededError(f"there was no answer within {timeout_s:g} s; ask for less at once, or later")


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class JsonRoute(APIRoute):
    """A route whose body is JSON (RFC 8259: no NaN, no Infinity), whatever FastAPI version reads it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the body parsed before FastAPI sees it."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        kind = self.body_field.field_info.annotation

        async def read_and_handle(request: Request) -> Response:
            parsed = _JsonRequest(request.scope, request.receive)
            await parsed.body()
            parsed.state.arrived = asyncio.get_running_loop().time()
            with self.admit(parsed):
                await parsed.parse(kind)
                return await handle(parsed)

        return read_and_handle

    def admit(self, request: Request) -> AbstractContextManager[None]:
        """Lasts from a whole body to its answer; what it raises is answered instead, and the body is not read."""
        return nullcontext()


class _JsonRequest(Request):
    """A request whose JSON has been read."""

    _parsed: Any = None

    async def parse(self, kind: Any) -> None:
        check_json_headers(self.headers.get("content-type", ""), self.headers.get("content-encoding", "identity"))
        body = await self.body()
        if len(body) <= _LARGE_BYTES:
            self._parsed = parse_json(body)
        else:  # looked through there as well, as FastAPI would list its faults on the loop, however many
            self._parsed = await asyncio.to_thread(_checked_json, body, kind)
        if not self.headers.get("content-type"):  # FastAPI takes a body without a type for bytes
            others = [pair for pair in self.scope["headers"] if pair[0] != b"content-type"]  # empty ones
            self.scope["headers"] = [*others, (b"content-type", b"application/json")]
            del self._headers

    async def json(self) -> Any:
        return self._parsed


def check_json_headers(content_type: str, content_encoding: str) -> None:
    """HTTPException (415) where a body says that it is something other than plain JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    packed = content_encoding.strip().lower()
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HTTPException(415, f"{kind} is not read here; send Content-Type: application/json")
    if packed != "identity":
        raise HTTPException(415, f"Content-Encoding {packed} is not read here; send the JSON as it is")


def _checked_json(body: bytes, kind: Any) -> Any:
    parsed = parse_json(body)
    validate(kind, parsed)
    return parsed


def parse_json(body: bytes) -> Any:
    """What the JSON of a body says. Raises MalformedBodyError where it is none, BodyTooLargeError of too much of it."""
    if not body:
        raise MalformedBodyError("the body is empty; send a JSON object")
    check_members(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; send null where a sample is missing" if _NOT_A_NUMBER.match(error.doc, error.pos) else ""
        raise MalformedBodyError(f"the body is no JSON: {error}{hint}") from error
