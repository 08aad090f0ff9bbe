"""Pure ASGI middleware around every request: who asks (id, log, trace, metrics), how much, and what if it crashes."""

import asyncio
import re
import time
import uuid
from contextlib import suppress
from typing import Any, Final

from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gnn_service.api import problems
from gnn_service.api.held import BodiesHeld, Share
from gnn_service.core.errors import BodyTooLargeError, OverloadedError, SlowBodyError
from gnn_service.observability import tracing
from gnn_service.observability.logs import logger, request_context
from gnn_service.observability.metrics import UNMATCHED, Metrics, method_label

REQUEST_ID = "x-request-id"
OVER_LIMIT = "over_limit"
"""In a request's state, where its connection is one too many."""
LINGER_S: Final = 10.0
"""Seconds that a caller whose body is refused may go on sending it; what comes is dropped."""
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# probes and scrapes come every few seconds and would bury what people asked
_QUIET = ("/health", "/metrics", "/v2/health")
_log = logger("gnn_service.api.access")


class Observe:
    """Gives each request its id, binds it to the logs, and records the answer in log, metrics and trace."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)
        request_id = given.get(REQUEST_ID, "")
        if not _GOOD_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        with request_context(request_id=request_id):
            if scope["path"].startswith(_QUIET):
                await self._observed(scope, receive, answer)
                return
            with tracing.span(
                method_label(scope["method"]),
                kind=SpanKind.SERVER,
                attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
                parent=tracing.caller_context(given),
            ) as span:
                await self._observed(scope, receive, answer)
                span.update_name(f"{method_label(scope['method'])} {route_of(scope)}")
                span.set_attributes(
                    {
                        "http.route": route_of(scope),
                        "http.response.status_code": answer.status,
                        "gnn.request_id": request_id,
                    }
                )
                if answer.status >= 500:
                    span.set_status(Status(StatusCode.ERROR, scope["state"].get("problem")))

    async def _observed(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        started = time.perf_counter()
        self._metrics.requests.inside += 1
        try:
            await self._app(scope, receive, answer)
        finally:
            self._metrics.requests.inside -= 1
            self._record(scope, answer, time.perf_counter() - started)

    def _record(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        method, route, state = method_label(scope["method"]), route_of(scope), scope["state"]
        self._metrics.requests.of(method, route).ended(answer.status, seconds, state.get("body_bytes"))
        if (code := state.get("problem")) is not None:
            self._metrics.problems.labels(code).inc()
        told = {"method": scope["method"], "path": scope["path"], "status": answer.status}
        if code is not None:
            told["problem"] = code
        write = _log.debug if scope["path"].startswith(_QUIET) else _log.info
        write("request", ms=round(seconds * 1000, 3), **told)


class LimitConnections:
    """Refuses requests that came on a connection too many, and has it closed; see `connection.bounded`."""

    def __init__(self, app: ASGIApp, connections_max: int) -> None:
        self._app = app
        self._connections_max = connections_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["state"].get(OVER_LIMIT):
            await self._app(scope, receive, send)
            return
        detail = f"there are more connections than {self._connections_max}; try again later, or keep connections open"
        answer = problems.respond(scope, OverloadedError(detail, retry_after_s=1))
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)


class LimitBody:
    """Refuses bodies over ``max_bytes``, declared or chunked, and those that take longer than ``timeout_s``.

    Those that ``bodies`` has no room for are refused too, and their connection is closed. A declared length is held
    from the head on, else what has come; all of it until the request has ended.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, bodies: BodiesHeld) -> None:
        self._app = app
        self._bodies = bodies
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            await problems.respond(scope, self._too_large())(scope, receive, send)
            return
        share, closing = Share(self._bodies), _Closing(receive, send)
        try:
            share.grow(int(declared) if declared.isdecimal() else 0)
        except OverloadedError as error:
            await problems.respond(scope, error)(scope, receive, closing)
            return
        body = _Body(receive, self, scope["state"], share)

        async def answering(message: Message) -> None:
            await (closing if body.refused else send)(message)

        try:
            await self._app(scope, body.receive, send if declared else answering)
        finally:
            share.release()

    async def next_part(self, receive: Receive, until: float, so_far: int) -> tuple[Message, int]:
        """The next part of a body of which ``so_far`` bytes have come, and how many have then."""
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise SlowBodyError(
                f"the body did not arrive within {self._timeout_s:g} s; send it faster or in smaller pieces"
            ) from None
        size = so_far + len(message.get("body", b""))
        if size > self._max_bytes:
            raise self._too_large()
        return message, size

    def deadline(self) -> float:
        """When a body that starts now must be here, in loop time."""
        return asyncio.get_running_loop().time() + self._timeout_s

    def _too_large(self) -> BodyTooLargeError:
        limit = self._max_bytes / 2**20
        return BodyTooLargeError(
            f"the body is over {limit:.4g} MiB; send fewer samples or windows, or raise GNN_API__BODY_MAX_BYTES"
        )


class GuardCrash:
    """Answers an unexpected exception with problem details, where no answer has begun, and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if begun:
                raise
            await problems.respond(scope, error)(scope, receive, send)


def route_of(scope: Scope) -> str:
    """The template of the route that answered, or `unmatched`: never the path, of which there is no end."""
    return str(getattr(scope.get("route"), "path", UNMATCHED))


class _Answer:
    """Sends an answer on with the request id, and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self._request_id
        await self._send(message)


class _Closing:
    """Sends the answer to a body that is not read to its end, and has the connection closed.

    That waits, `LINGER_S` at most, until the caller stops sending: with what nobody read the answer would be lost.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"
        if message["type"] == "http.response.start" or message.get("more_body", False):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await self._receive()).get("more_body", False):
                    pass
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _Body:
    """The body of one request as it comes in."""

    def __init__(self, receive: Receive, limit: LimitBody, state: dict[str, Any], share: Share) -> None:
        self._receive = receive
        self._limit = limit
        self._state = state
        self._share = share
        self.refused = False
        self._until: float | None = None
        self._size = 0
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:  # what comes now is the disconnect, for which the answer may wait long
            return await self._receive()
        if self._until is None:
            self._until = self._limit.deadline()
        message, self._size = await self._limit.next_part(self._receive, self._until, self._size)
        try:
            self._share.grow(self._size)
        except OverloadedError:
            self.refused = True
            raise
        if not message.get("more_body", False):
            self._complete = True
            self._state["body_bytes"] = self._size
        return message
