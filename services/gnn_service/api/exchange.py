"""One request of the hot lane and its answer, from the head to the last byte, inside uvicorn's protocol."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gnn_service.api.hot import Cancel, HotLane, HotRequest, HotRoute, Outcome, answer_of, log, now
from gnn_service.api.problems import CLIENT_GONE
from gnn_service.core.errors import GnnServiceError, SlowBodyError

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Exchange:
    """Stands where uvicorn keeps its own cycle of a request, so that pipelining, keep-alive and shutdown go on.

    Uvicorn reads or sets ``response_complete``, ``disconnected``, ``keep_alive`` and ``message_event``.

    Args:
        protocol: the connection.
        lane: what holds for every hot request.
        route: answers it.
        headers: by lower-case name.
        on_answered: called when the answer is written.
    """

    __slots__ = (
        "_body",
        "_cancel",
        "_headers",
        "_lane",
        "_on_answered",
        "_path",
        "_protocol",
        "_route",
        "_share",
        "_size",
        "_started",
        "_timer",
        "disconnected",
        "keep_alive",
        "message_event",
        "request_id",
        "response_complete",
        "whole",
    )

    def __init__(
        self,
        protocol: HttpToolsProtocol,
        lane: HotLane,
        route: HotRoute,
        headers: Mapping[bytes, bytes],
        on_answered: Callable[[], None],
    ) -> None:
        self._protocol = protocol
        self._lane = lane
        self._route = route
        self._headers = headers
        self._path = protocol.url.decode("ascii")
        self._on_answered = on_answered
        self._body: list[bytes] = []
        self._size: int | None = None
        self._cancel: Cancel | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._share = lane.share(headers)
        self._started = now()
        self.request_id = lane.request_id(headers)
        self.keep_alive: bool = protocol.parser.should_keep_alive()
        self.message_event = _NOBODY_WAITS
        self.response_complete = False
        self.disconnected = False
        self.whole = False
        route.tally.inside += 1

    def feed(self, part: bytes) -> None:
        """A part of the body."""
        self._body.append(part)

    def begin(self) -> None:
        """The request is whole: have it answered."""
        self.whole = True
        if self._timer is not None:
            self._timer.cancel()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._size = len(body)
        try:
            cancel = self._route.handler(HotRequest(self._path, self._headers, body), self.done)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be told
            self.done(error)
        else:
            self._cancel = cancel

    def expect_body(self) -> None:
        """The body did not come along with its head: it has a time of its own."""
        if self._timer is None and not self.whole:
            self._timer = self._protocol.loop.call_later(self._lane.body_timeout_s, self._late)

    def done(self, outcome: Outcome) -> None:
        """Write the answer, unless the caller has left or has it."""
        if self.response_complete or self.disconnected:
            return
        if isinstance(outcome, GnnServiceError) and outcome.status == HTTPStatus.REQUEST_TIMEOUT:
            self.keep_alive = False  # the rest of the body may still come
        answer, problem = answer_of(outcome, self._path, self.request_id)
        self.response_complete = True
        self._cancel = None
        self._ended(answer.status, problem)
        protocol = self._protocol
        protocol.transport.write(
            b"%b%bcontent-length: %d\r\ncontent-type: %b\r\n%bx-request-id: %b\r\n%b\r\n%b"
            % (
                _STATUS_LINES[answer.status],
                self._lane.common_headers(protocol.server_state.default_headers),
                len(answer.body),
                answer.media_type,
                b"".join([b"%b: %b\r\n" % pair for pair in answer.headers if pair[0] != b"connection"]),
                self.request_id,
                b"" if self.keep_alive else b"connection: close\r\n",
                answer.body,
            )
        )
        if not self.keep_alive:
            protocol.transport.close()
        self._on_answered()

    def leave(self) -> None:
        """The caller has gone: nothing is computed for it any more."""
        if self.response_complete or self.disconnected:
            return
        self.disconnected = True
        if self._timer is not None:
            self._timer.cancel()
        if self._cancel is not None:
            self._cancel()
        self._ended(CLIENT_GONE, None)

    def _ended(self, status: int, problem: str | None) -> None:
        self._body.clear()
        self._share.release()
        seconds = now() - self._started
        self._route.ended(status, seconds, self._size, problem)
        log(self._path, status, seconds, self.request_id, problem)

    def _late(self) -> None:
        limit_s = self._lane.body_timeout_s
        self.done(SlowBodyError(f"the body did not arrive within {limit_s:g} s; send it faster or in smaller pieces"))


class _Nobody:
    """Uvicorn wakes whoever waits for more of a body; here nobody does."""

    def set(self) -> None:
        pass


_NOBODY_WAITS: Final = _Nobody()
