"""One HTTP connection: uvicorn's, with bounds of its own, and with the hot lane in front of the application."""

import asyncio
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gnn_service.api.exchange import Exchange
from gnn_service.api.hot import HotLane, HotRoute
from gnn_service.api.middleware import OVER_LIMIT
from gnn_service.core.errors import EngineStoppedError

HEAD_MAX_BYTES: Final = 65_536


def bounded(head_timeout_s: float, connections_max: int, lane: HotLane | None = None) -> type[HttpToolsProtocol]:
    """The protocol of one server; see `Connection`."""
    limits = {"head_timeout_s": head_timeout_s, "connections_max": connections_max, "lane": lane}
    return type("BoundedConnection", (Connection,), limits)


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol, closing a connection whose next head is not whole in time, or over `HEAD_MAX_BYTES`.

    The time runs from the connection's beginning to its first head, later from the first byte of a head to its last;
    in between uvicorn's keep-alive does. Requests of connections that came when there were ``connections_max``
    already are marked `OVER_LIMIT`, while there are that many.

    Requests that ``lane`` has a route for are answered by it. The application gets those all the same that are out
    of the ordinary: over a limit, chunked, pipelined behind an unanswered one, with ``Expect`` or a header twice, or
    from a caller that does not read its answers.
    """

    head_timeout_s: ClassVar[float]
    connections_max: ClassVar[int]
    lane: ClassVar[HotLane | None]

    cycle: Any  # uvicorn's, or the exchange that stands in for it
    _timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None
    _rests_since = 0.0
    _head_open = False
    _head_bytes = 0
    _late = False
    _exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Count it, and expect a head."""
        super().connection_made(transport)
        self._late = len(self.connections) > self.connections_max
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever is answering."""
        self._head_is_here()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        if self._exchange is not None:
            self._exchange.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and watch what is not whole yet."""
        super().data_received(data)
        if self._head_open:
            self._expect_head()
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of a request is {HEAD_MAX_BYTES} bytes at most.")
        elif type(self.cycle) is Exchange and not self.cycle.whole:
            self.cycle.expect_body()

    def shutdown(self) -> None:
        """The service is stopping: what is being answered is finished, and what is not whole yet is refused."""
        if type(self.cycle) is Exchange and not self.cycle.whole and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.cycle.done(EngineStoppedError("the service is stopping; send it again later", retry_after_s=1))
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()  # the request before may have been answered while this data was read
        self._head_open = True

    def on_headers_complete(self) -> None:
        """The head is whole: into the lane with it, or to the application."""
        self._head_is_here()
        over = self._late and len(self.connections) > self.connections_max
        self.scope["state"][OVER_LIMIT] = over
        found = None if over or self.lane is None else self._hot(self.lane)
        if found is None or self.lane is None:
            super().on_headers_complete()
        else:
            self._exchange = Exchange(self, self.lane, *found, self._rest)
            self.cycle = self._exchange

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if type(self.cycle) is not Exchange:
            super().on_body(body)
        elif not self.cycle.response_complete:
            self.cycle.feed(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        if type(self.cycle) is not Exchange:
            super().on_message_complete()
        elif not self.cycle.response_complete:
            self.cycle.begin()

    def _hot(self, lane: HotLane) -> tuple[HotRoute, dict[bytes, bytes]] | None:
        parser = self.parser
        if parser.get_method() != b"POST" or self.expect_100_continue or parser.should_upgrade():
            return None
        unanswered = self.cycle is not None and not self.cycle.response_complete
        if unanswered or self.pipeline or self.flow.write_paused or parser.get_http_version() != "1.1":
            return None
        headers = dict(self.headers)
        if len(headers) != len(self.headers):
            return None  # which of two counts is the application's to say
        route = lane.route(self.url, headers)
        return None if route is None else (route, headers)

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _head_is_here(self) -> None:
        self._head_open = False
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rest(self) -> None:
        """An exchange is over: on with what is waiting, or rest until the next request, for so long as uvicorn has it.

        One timer stands for all rests of a connection; uvicorn winds up one for each answer.
        """
        if self.pipeline or self.transport.is_closing():
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._rests_since = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._look_whether_it_rests)

    def _look_whether_it_rests(self) -> None:
        self._rest_timer = None
        if self._head_open or type(self.cycle) is not Exchange or not self.cycle.response_complete:
            return  # it does not; whoever answers winds it up again
        left_s = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._rest_timer = self.loop.call_later(left_s, self._look_whether_it_rests)
        else:
            self.timeout_keep_alive_handler()
