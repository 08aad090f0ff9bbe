"""One HTTP connection: uvicorn's, with bounds that uvicorn does not have, or refuses in a way of its own."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gnn_service.api.middleware import OVER_LIMIT

HEAD_MAX_BYTES: Final = 65_536


def bounded(head_timeout_s: float, connections_max: int) -> type[HttpToolsProtocol]:
    """Uvicorn's protocol, closing a connection whose next head is not whole in time, or over `HEAD_MAX_BYTES`.

    The time runs from the connection's beginning to its first head, later from the first byte of a head to its last;
    in between uvicorn's keep-alive does. Requests of connections that came when there were ``connections_max``
    already are marked `OVER_LIMIT`, while there are that many.
    """

    class Bounded(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _head_bytes = 0
        _late = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            self._late = len(self.connections) > connections_max
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_here()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._timer is not None:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                    self.send_400_response(f"The head of a request is {HEAD_MAX_BYTES} bytes at most.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            if self._timer is None:
                self._expect_head()

        def on_headers_complete(self) -> None:
            self._head_is_here()
            self.scope["state"][OVER_LIMIT] = self._late and len(self.connections) > connections_max
            super().on_headers_complete()

        def _expect_head(self) -> None:
            self._timer = self.loop.call_later(head_timeout_s, self.transport.close)

        def _head_is_here(self) -> None:
            self._head_bytes = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Bounded
