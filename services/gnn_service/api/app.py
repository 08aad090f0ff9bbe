"""The application: made by `create_app`, everything it opens is opened and closed by its lifespan."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from gnn_service import __version__
from gnn_service.api import openapi, problems
from gnn_service.api.beside import begun
from gnn_service.api.deps import DiagnoserFactory, Diagnosing, Learning, State
from gnn_service.api.door import Door
from gnn_service.api.held import BodiesHeld
from gnn_service.api.hot import HotLane, HotRoute
from gnn_service.api.hot_diagnose import HotDiagnose
from gnn_service.api.known import KnownMachines
from gnn_service.api.middleware import REQUEST_ID, GuardCrash, LimitBody, LimitConnections, Observe
from gnn_service.api.oip.codec import HEADER_LENGTH
from gnn_service.api.oip.hot_infer import hot_routes
from gnn_service.api.oip.service import TensorService
from gnn_service.api.routes import about, diagnose, diagnoses, docs, health, machines, oip, readings
from gnn_service.api.storage import Storage, StorageFactory, open_storage, watch_storage
from gnn_service.core.config import ObservabilitySettings, Settings
from gnn_service.domain.units import convert
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.tensor_models import TensorModels
from gnn_service.observability.logs import logger
from gnn_service.observability.metrics import Metrics
from gnn_service.observability.tracing import start_tracing

_DESCRIPTION = """
Diagnoses hydraulic and electro-mechanical machines with one graph neural network.

Send a machine (its id, or its whole description) and a window of readings to `POST /v1/diagnose`. Answers get better
with a baseline of the machine's own healthy running, which `POST /v1/commission` learns from a few windows.
`/v2` is the Open Inference Protocol: tensors in, tensors out, for plain ONNX graphs and for the bundle's network.
Errors are problem details (RFC 9457); every answer carries `X-Request-Id`.
"""
LEARNING_THREADS: Final = 2
"""Threads that read the windows of `POST /v1/commission` and learn from them."""
LEARNING_REQUESTS: Final = 4
"""Baselines that may be learnt at once, those included that wait for a thread; more are refused."""
_log = logger("gnn_service.api")
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[State]]


def create_app(
    settings: Settings,
    *,
    diagnoser_factory: DiagnoserFactory | None = None,
    storage_factory: StorageFactory | None = None,
) -> FastAPI:
    """The ASGI application of the service.

    ``diagnoser_factory`` opens what diagnoses, as an async context manager; default `Diagnoser.open`.
    ``storage_factory`` opens what keeps readings and diagnoses, or None where nothing does; default `open_storage`,
    which goes by `database.enabled`.
    """
    metrics, bodies = Metrics(), BodiesHeld(settings.api.bodies_max_bytes)
    opening = diagnoser_factory or Diagnoser.open, storage_factory or open_storage
    app = FastAPI(
        title="gnn-service",
        version=__version__,
        summary="Condition diagnosis of hydraulic and electro-mechanical machines.",
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=_lifespan(settings, metrics, bodies, *opening),
        middleware=_middleware(settings, metrics, bodies),
        generate_unique_id_function=openapi.operation_id,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.api.docs_enabled else None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours cover it, in every FastAPI version
    )
    routers = [diagnose.bounded, diagnose.router, machines.router, readings.router, diagnoses.router]
    routers += [about.router, health.router, oip.router]
    if settings.observability.metrics_enabled:
        routers.append(health.scraping)
    if settings.api.docs_enabled:
        routers.append(docs.router)
    for router in routers:
        app.include_router(router)
    problems.install(app, [route for router in routers for route in router.routes])
    openapi.install(app)
    return app


def hot_lane(settings: Settings, state: State) -> HotLane | None:
    """The lane in front of the application that ``state`` is of; None where every request is to go through that.

    Traced requests all do: the lane opens no spans.
    """
    if not settings.api.hot_lane_enabled or settings.observability.tracing_enabled:
        return None
    metrics = state["metrics"]
    diagnose_hot = HotDiagnose(
        state["diagnoser"], state["machines"], metrics, state["door"], settings.inference.request_timeout_s
    )
    return HotLane(
        {"/v1/diagnose": HotRoute("/v1/diagnose", diagnose_hot, metrics), **hot_routes(state["tensors"], metrics)},
        body_max_bytes=settings.api.body_max_bytes,
        body_timeout_s=settings.api.body_timeout_s,
        bodies=state["bodies"],
        browsers=bool(settings.api.cors_origins),
    )


def _lifespan(
    settings: Settings,
    metrics: Metrics,
    bodies: BodiesHeld,
    open_diagnoser: DiagnoserFactory,
    open_storing: StorageFactory,
) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as opened:
            _trace(opened, settings.observability)
            storing = await opened.enter_async_context(begun(open_storing(settings)))  # while the model is loaded
            diagnoser = await opened.enter_async_context(open_diagnoser(settings))
            storage = await storing()
            known = await _known_machines(opened, diagnoser, storage)
            # the table of units takes a second to build; nobody should wait for it, nor the event loop
            await asyncio.to_thread(convert, 1.0, "kPa", "bar")
            metrics.build.info({"version": __version__, "bundle": diagnoser.bundle.version})
            metrics.watch_engine(diagnoser.engine.stats)
            if storage is not None:
                watch_storage(metrics, storage)
            models = await opened.enter_async_context(TensorModels.open(settings, diagnoser))
            for name, graph in models.graphs.items():
                metrics.watch_engine(graph.engine.stats, name)
            tensors = TensorService(models, diagnoser.engine, settings)
            tensors.rehearse()  # here, as its parser belongs to the loop's thread
            _log.info("ready", version=__version__, bundle=diagnoser.bundle.version)
            yield State(
                settings=settings,
                diagnoser=diagnoser,
                storage=storage,
                machines=known,
                watching=None if storage is None else storage.diagnoses(diagnoser),
                tensors=tensors,
                metrics=metrics,
                door=Door(settings.inference.queue_max + settings.inference.batch_max),
                learning=_learning(opened),
                bodies=bodies,
                started=time.monotonic(),
            )
            _log.info("stopping")

    return lifespan


def _trace(opened: AsyncExitStack, observed: ObservabilitySettings) -> None:
    if observed.tracing_enabled and observed.otlp_endpoint is not None:
        tracing = start_tracing(
            observed.otlp_endpoint,
            version=__version__,
            service=observed.service_name,
            sample_ratio=observed.trace_sample_ratio,
            timeout_s=observed.otlp_timeout_s,
        )
        opened.push_async_callback(tracing.stop, observed.otlp_timeout_s)


async def _known_machines(opened: AsyncExitStack, diagnoser: Diagnosing, storage: Storage | None) -> KnownMachines:
    machines = KnownMachines(diagnoser.machines, None if storage is None else storage.machines)
    opened.push_async_callback(machines.stop)
    if storage is not None and not storage.away:
        await machines.load()
    return machines


def _learning(opened: AsyncExitStack) -> Learning:
    threads = ThreadPoolExecutor(LEARNING_THREADS, thread_name_prefix="commission")
    opened.callback(threads.shutdown, wait=False, cancel_futures=True)
    return Learning(Door(LEARNING_REQUESTS, "baselines are being learnt"), threads)


def _middleware(settings: Settings, metrics: Metrics, bodies: BodiesHeld) -> list[Middleware]:
    """Outermost first."""
    api = settings.api
    stack = [Middleware(Observe, metrics=metrics)]
    if api.cors_origins:
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(api.cors_origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["content-type", "if-match", REQUEST_ID, "traceparent", HEADER_LENGTH],
                expose_headers=[REQUEST_ID, "retry-after", "etag", HEADER_LENGTH],
            )
        )
    return [
        *stack,
        Middleware(LimitConnections, connections_max=api.connections_max),
        Middleware(GuardCrash),
        Middleware(LimitBody, max_bytes=api.body_max_bytes, timeout_s=api.body_timeout_s, bodies=bodies),
    ]
