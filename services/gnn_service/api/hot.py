"""The hot lane: the busiest routes answered next to the socket, without a task, a scope or middleware a request.

It answers what the routes behind the ASGI application answer, which also take over whatever is out of the ordinary
(`connection.bounded` says what is). Requests are counted like all others; of them only failures and slow ones are
logged, one by one.
"""

import itertools
import re
import time
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol

from gnn_service.api import problems
from gnn_service.api.held import BodiesHeld, Share
from gnn_service.core.errors import GnnServiceError, UnavailableError
from gnn_service.observability.logs import logger, request_context
from gnn_service.observability.metrics import Metrics

JSON: Final = b"application/json"
SLOW_S: Final = 1.0
"""An answer that took longer is logged, as every failure is."""

_GOOD_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = logger("gnn_service.api.access")


class Answer(NamedTuple):
    """What goes back: the body with its type, the status, and headers of its own in lower case."""

    body: bytes
    media_type: bytes = JSON
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


class HotRequest(NamedTuple):
    """One whole request: its path, its headers by lower-case name (the last of each), and its body."""

    path: str
    headers: Mapping[bytes, bytes]
    body: bytes


Outcome = Answer | BaseException
Done = Callable[[Outcome], None]
Cancel = Callable[[], object]


class Handler(Protocol):
    """Begins to answer a request: calls ``done`` once, now or later; what it returns is called if the caller leaves.

    What it raises is answered as if ``done`` had been called with it.
    """

    def __call__(self, request: HotRequest, done: Done) -> Cancel: ...  # noqa: D102 - see above


class HotRoute:
    """A handler, and the numbers of its route in the instruments that all routes share.

    Args:
        template: what the numbers are counted under.
        handler: answers.
        metrics: the instruments of the application.
    """

    __slots__ = ("_problems", "handler", "tally")

    def __init__(self, template: str, handler: Handler, metrics: Metrics) -> None:
        self.handler = handler
        self.tally = metrics.requests.of("POST", template)
        self._problems = metrics.problems

    def ended(self, status: int, seconds: float, body_bytes: int | None, problem: str | None) -> None:
        """A request has been answered, or its caller left; ``body_bytes`` None when the body did not come whole."""
        self.tally.inside -= 1
        self.tally.ended(status, seconds, body_bytes)
        if problem is not None:
            self._problems.labels(problem).inc()


class HotLane:
    """Which requests are hot; only ``POST`` to these very paths is, without a query.

    Args:
        routes: by path.
        body_max_bytes: bytes in a body, at most; larger ones are refused behind the lane.
        body_timeout_s: seconds for a body that did not come along with its head.
        bodies: what all bodies hold, those behind the lane too; where it has no room they are refused behind the lane.
        browsers: whether pages of other origins may call, which is settled behind the lane.
    """

    def __init__(
        self,
        routes: Mapping[str, HotRoute],
        *,
        body_max_bytes: int,
        body_timeout_s: float,
        bodies: BodiesHeld,
        browsers: bool = False,
    ) -> None:
        self._routes = {path.encode(): route for path, route in routes.items()}
        self.body_max_bytes = body_max_bytes
        self.body_timeout_s = body_timeout_s
        self._bodies = bodies
        self._browsers = browsers
        self._prefix = uuid.uuid4().hex[:20].encode()
        self._count = itertools.count(1)
        self._common_of: list[tuple[bytes, bytes]] | None = None
        self._common = b""

    def route(self, path: bytes, headers: Mapping[bytes, bytes]) -> HotRoute | None:
        """The route of a ``POST`` with this head; None where the lane is not for it."""
        route = self._routes.get(path)
        if route is None or b"content-length" not in headers or b"transfer-encoding" in headers:
            return None
        length = int(headers[b"content-length"])
        if length > self.body_max_bytes or (self._browsers and b"origin" in headers):
            return None
        return route if self._bodies.fits(length) else None

    def share(self, headers: Mapping[bytes, bytes]) -> Share:
        """What the body behind this head holds, for which there is room; its request releases it."""
        share = Share(self._bodies)
        share.grow(int(headers[b"content-length"]))
        return share

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The caller's own id where it is a usable one, else a new one."""
        given = headers.get(b"x-request-id")
        if given is not None and _GOOD_ID.fullmatch(given):
            return given
        return self._prefix + b"%012x" % next(self._count)

    def common_headers(self, pairs: list[tuple[bytes, bytes]]) -> bytes:
        """The headers that every answer has, as bytes; uvicorn makes a new list of them each second."""
        if pairs is not self._common_of:
            self._common = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
            self._common_of = pairs
        return self._common


def answer_of(outcome: Outcome, path: str, request_id: bytes) -> tuple[Answer, str | None]:
    """The answer to a request, and the code of its problem where it failed. Failures of the service are logged."""
    if isinstance(outcome, Answer):
        return outcome, None
    if not isinstance(outcome, Exception):  # cancelled, though the caller is still there
        outcome = UnavailableError("the service is stopping; try again later", retry_after_s=1)
    scope: dict[str, Any] = {"path": path, "method": "POST", "state": {"request_id": request_id.decode()}}
    with request_context(request_id=request_id.decode()):
        if isinstance(outcome, GnnServiceError):
            problems.tell(outcome)
        response = problems.respond(scope, outcome)
    headers = tuple((name, value) for name, value in response.raw_headers if not name.startswith(b"content-"))
    answer = Answer(bytes(response.body), response.headers["content-type"].encode(), response.status_code, headers)
    return answer, scope["state"].get("problem")


def log(path: str, status: int, seconds: float, request_id: bytes, problem: str | None) -> None:
    """Log what somebody may look for: a failure, or an answer that took longer than `SLOW_S`."""
    if status >= HTTPStatus.BAD_REQUEST or seconds >= SLOW_S:
        told = {"problem": problem} if problem is not None else {}
        with request_context(request_id=request_id.decode()):
            _log.info("request", ms=round(seconds * 1000, 3), method="POST", path=path, status=status, **told)


now = time.perf_counter
