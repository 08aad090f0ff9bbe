"""`gnn-service serve`, and the running service that `demo` starts for itself."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Annotated, Any

import typer
import uvicorn

from gnn_service.cli.main import DONE, FAILED
from gnn_service.core.config import Settings, load_settings
from gnn_service.core.errors import ConfigurationError, UnavailableError
from gnn_service.observability.logs import configure_logs, logger

app = typer.Typer()
_STARTED_WITHIN_S = 10.0
_SWITCH_S = 0.0002  # against 0.005: a third more requests a second, measured on two cores
_log = logger("gnn_service.serve")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on; 0 takes a free one.")] = None,
    onnx: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a plain ONNX graph to serve through /v2; again for more.")
    ] = None,
) -> int:
    """Run the service until Ctrl-C or SIGTERM, then finish what has begun.

    It ends with exit code 1 when only a new process can help: whoever supervises it starts that.
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    groups: dict[str, Any] = {"api": given} if given else {}
    if onnx:
        groups["inference"] = {"tensor_models": onnx}
    settings = load_settings(**groups)
    configure_logs(settings.observability.log_level, settings.observability.log_format)
    return run_loop(_serve(settings))


async def _serve(settings: Settings) -> int:
    fatal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with stop_signals() as stopped:
        work = asyncio.create_task(_run(settings, lambda why: None if fatal.done() else fatal.set_result(why)))
        either: set[asyncio.Future[Any]] = {work, stopped, fatal}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():  # it may still be starting
            if fatal.done():
                _log.critical("ending for a new process to take over", reason=fatal.result())
            else:
                _log.info("stopping", signal=signal.Signals(stopped.result()).name)
            work.cancel()
            await asyncio.wait({work})
    if not work.cancelled():
        work.result()
    return FAILED if fatal.done() else DONE


async def _run(settings: Settings, on_fatal: Callable[[str], object]) -> None:
    """Serve until cancelled; then what has begun has been finished."""
    async with running_service(settings, on_fatal=on_fatal) as url:
        _settle_in()
        _log.info("listening", url=url, docs=f"{url}/docs" if settings.api.docs_enabled else None)
        await asyncio.Event().wait()


def _settle_in() -> None:
    """Tune the interpreter for serving, once everything is loaded."""
    # what is loaded stays: the collector need not look through it again each time that requests make garbage
    gc.collect()
    gc.freeze()
    # a model thread back from its run waits that long for a busy event loop to let it have the interpreter
    sys.setswitchinterval(_SWITCH_S)


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on the fastest event loop there is."""
    factory = None
    if os.name != "nt":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Future[int]]:
    """A future that the first SIGINT or SIGTERM resolves with its number; later ones change nothing."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield stopped
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def running_service(
    settings: Settings, application: Any = None, *, on_fatal: Callable[[str], object] | None = None
) -> AsyncIterator[str]:
    """The service on the settings' address, from ready to drained; yields its URL.

    ``application`` is what `create_app` made of the settings; None makes it. ``on_fatal`` is told when only a new
    process can help; see `Engine.on_fatal`.

    Raises ConfigurationError where the address cannot be had, and whatever opening the model raises.
    """
    from gnn_service.api.app import create_app, hot_lane

    listener = _listen(settings.api.host, settings.api.port)
    with contextlib.closing(listener):
        application = application or create_app(settings)
        # the lifespan is run here and not by uvicorn, which would turn its errors into a logged traceback
        async with application.router.lifespan_context(application) as state:
            if on_fatal is not None:
                for engine in (state["diagnoser"].engine, *(g.engine for g in state["tensors"].models.graphs.values())):
                    engine.on_fatal = on_fatal
            lane = hot_lane(settings, state) if state else None
            server = _Server(_server_config(_with_state(application, dict(state or {})), settings, lane))
            task = asyncio.create_task(server.serve(sockets=[listener]), name="http-server")
            try:
                await _started(server, task)
                yield _url(listener)
            finally:
                server.should_exit = True
                await asyncio.wait_for(task, settings.api.shutdown_timeout_s + _STARTED_WITHIN_S)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: whoever runs it decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server_config(application: Any, settings: Settings, lane: Any) -> uvicorn.Config:
    from gnn_service.api.connection import bounded

    return uvicorn.Config(
        application,
        http=bounded(settings.api.body_timeout_s, settings.api.connections_max, lane),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.api.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(settings.api.shutdown_timeout_s)),
    )


def _with_state(application: Any, state: dict[str, Any]) -> Any:
    async def stateful(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["state"] = {**state, **scope["state"]}
        await application(scope, receive, send)

    return stateful


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose others with GNN_API__HOST, GNN_API__PORT"
        ) from error
    return listener


async def _started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(_STARTED_WITHIN_S):
            while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers no event
                await asyncio.sleep(0.005)
    except TimeoutError as error:
        raise UnavailableError(f"the HTTP server did not start within {_STARTED_WITHIN_S:g} s") from error
    if task.done():
        await task
        raise UnavailableError("the HTTP server ended as it started; its log says why")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
